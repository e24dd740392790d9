"""The rules of bounds on arrays: `robust` against plain Python, and what it promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support import bounds_by_rule

from rt2data.tokenizer import ActionTokenizer

Floats = npt.NDArray[np.float32]


def draw(kind: str, n: int, seed: int = 0) -> Floats:
    """Values of 6 dimensions and a gripper, float32 (n, 7)."""
    rng = np.random.default_rng(seed)
    if kind == "heavy":
        values = rng.standard_t(2.5, (n, 7)) * 0.01
    elif kind == "bounded":
        values = rng.uniform(-0.05, 0.05, (n, 7))
    elif kind == "saturated":  # a joystick: most steps are at an end or at rest
        values = rng.choice([-0.9375, 0.0, 0.9375], (n, 7))
    else:
        values = rng.normal(0.003, 0.01, (n, 7))
    values[:, 6] = rng.integers(0, 2, n)
    return values.astype(np.float32)


def ends(tokenizer: ActionTokenizer) -> npt.NDArray[np.float64]:
    return np.array([(dim.low, dim.high) for dim in tokenizer.dims])[:6]


@pytest.mark.parametrize("kind", ["normal", "heavy", "bounded", "saturated"])
@pytest.mark.parametrize("n", [2, 3, 4, 33, 101, 102, 600, 1001, 1002, 5000])
def test_robust_is_what_plain_python_says(kind: str, n: int) -> None:
    actions = draw(kind, n)
    found = ends(bounds_by_rule.measure(bounds_by_rule.source(), actions))
    for i in range(6):
        values = [float(x) for x in actions[:, i]]
        if max(values) > min(values):
            assert tuple(found[i]) == bounds_by_rule.scalar_robust(values)


@pytest.mark.parametrize(
    ("rule", "q"),
    [("minmax", (0, 1)), ("quantiles", (0.01, 0.99)), ({"quantiles": [0.001, 0.999]}, (0.001, 0.999)),
     ({"quantiles": [0.2, 0.7]}, (0.2, 0.7))],
)  # fmt: skip
def test_the_other_rules_are_quantiles_of_numpy(rule: Any, q: tuple[float, float]) -> None:
    actions = draw("heavy", 1234)
    found = ends(bounds_by_rule.measure(bounds_by_rule.source(bounds=rule), actions))
    wanted = np.quantile(actions[:, :6].astype(np.float64), q, axis=0, method="linear")
    np.testing.assert_array_equal(found, wanted.T)


@pytest.mark.parametrize("kind", ["normal", "heavy", "bounded", "saturated"])
@pytest.mark.parametrize("n", [150, 600, 10_000])
def test_one_bad_step_widens_no_bin_more_than_twofold(kind: str, n: int) -> None:
    rng = np.random.default_rng(n)
    actions = draw(kind, n)
    before = np.ptp(ends(bounds_by_rule.measure(bounds_by_rule.source(), actions)), axis=1)
    grown, ruined = [], []
    for factor in (100, -100) * 5:
        bad = actions.copy()
        bad[rng.integers(0, n)] *= factor
        after = np.ptp(ends(bounds_by_rule.measure(bounds_by_rule.source(), bad)), axis=1)
        grown.append((after / before).max())
        widest = np.ptp(ends(bounds_by_rule.measure(bounds_by_rule.source(bounds="minmax"), bad)), axis=1)
        ruined.append((widest / before).max())
    assert max(grown) <= 2
    assert max(ruined) > 10  # so bad were they


def test_one_bad_step_in_ten_thousand_of_either_sign() -> None:
    """Ten of 100,000, so that both ends have some."""
    actions = draw("normal", 100_000)
    before = np.ptp(ends(bounds_by_rule.measure(bounds_by_rule.source(), actions)), axis=1)
    actions[::10_000] *= 100
    after = np.ptp(ends(bounds_by_rule.measure(bounds_by_rule.source(), actions)), axis=1)
    assert (after <= 2 * before).all()


def test_a_rare_motion_keeps_its_range() -> None:
    """A hand that turns in one step of 200: the percentiles see only noise."""
    actions = (draw("normal", 4000) * 1e-2).astype(np.float32)
    actions[::200, 3] = 0.5
    robust = bounds_by_rule.measure(bounds_by_rule.source(), actions)
    assert robust.dims[3].high == 0.5
    percentiles = bounds_by_rule.measure(bounds_by_rule.source(bounds="quantiles"), actions)
    assert percentiles.dims[3].high < 0.01


def test_nothing_is_clipped_where_nothing_stands_out() -> None:
    actions = draw("bounded", 3000)
    _, clipped = bounds_by_rule.measure(bounds_by_rule.source(), actions).encode(
        actions, np.zeros(3000, bool), return_clipped=True
    )
    assert not clipped.any()
