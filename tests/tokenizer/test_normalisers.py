"""Values scaled as each stack scales them: published results, a second computation, and what cannot be scaled."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import scalar_normalisers as scalar

from rt2data.tokenizer import ActionError
from rt2data.tokenizer.normalisers import RULES, Normaliser, normaliser_of
from rt2data.tokenizer.statistics import Statistics, statistics_of

Array = np.ndarray[Any, Any]
NAN = math.nan

# Dimensions: of some width, unevenly placed, of one value.
PLAIN = {
    "mean": [0.0, 1.0, 2.0], "std": [1.0, 0.5, 0.0], "min": [-1.0, 0.0, 2.0], "max": [1.0, 4.0, 2.0],
    "q01": [-0.9, 0.5, 2.0], "q10": [-0.5, 1.0, 2.0], "q90": [0.5, 3.0, 2.0], "q99": [0.9, 3.5, 2.0],
}  # fmt: skip


def close(found: Array, wanted: Any, dtype: Any) -> None:
    """The same bits, NaN where NaN is wanted."""
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.array(wanted, dtype))


def test_openvla_scales_clips_and_zeroes() -> None:
    """openvla/openvla@c8f03f4 data_utils.py:61-107, run in TensorFlow 2.21."""
    measures = {
        "min": [-1.0, 1.0, 0.0], "max": [1.0, 1.0, 1.0], "mean": [0.0, 1.0, 0.5], "std": [1.0, 0.0, 0.4],
        "q01": [-0.0287, 1.0, 0.0], "q99": [0.0283, 1.0, 1.0],
    }  # fmt: skip
    single = {name: np.array(values, np.float32) for name, values in measures.items()}
    statistics = statistics_of(single, mask=np.array([True, True, False]))
    x = np.array([[-0.05, 1.0, 0.0], [0.0, 1.0, 1.0], [0.01, 2.0, 0.4], [NAN, NAN, NAN]], np.float32)
    wanted = [[-1, 0, 0], [0.007017374038696289, 0, 1], [0.3578944206237793, 0, 0.4000000059604645], [NAN, 0, NAN]]
    close(normaliser_of("openvla", statistics).normalise(x), wanted, np.float32)
    # Octo has no zero for the dimension of one value.
    wanted = [[-1, -1, 0], [0.007017374038696289, -1, 1], [0.3578944206237793, 1, 0.4000000059604645], [NAN] * 3]
    close(normaliser_of("octo", statistics, "quantiles").normalise(x), wanted, np.float32)


def test_openvla_oft_adds_the_epsilon_back() -> None:
    """moojink/openvla-oft@213c5ff modeling_prismatic.py:787."""
    statistics = statistics_of({"min": [0.0, 1.0], "max": [1.0, 1.0], "q01": [0.0, 1.0], "q99": [1.0, 1.0]})
    y = np.array([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]])
    wanted = [[0.0, 1.0], [0.500000005, 1.000000005], [1.00000001, 1.00000001]]
    close(normaliser_of("openvla-oft", statistics, "minmax").denormalise(y), wanted, np.float64)
    close(normaliser_of("openvla", statistics).denormalise(y), [[0.0, 1.0], [0.5, 1.0], [1.0, 1.0]], np.float64)


def test_openpi_has_no_clip_and_gives_float64() -> None:
    """Physical-Intelligence/openpi@15a9616 transforms.py:109-181."""
    x = np.array([[-3.0] * 3, [0.5] * 3, [2.0] * 3, [NAN] * 3], np.float32)
    one = normaliser_of("openpi", statistics_of(PLAIN))
    wanted = [
        [-3.3333320370377573, -3.3333325555558146, -10000001.0],
        [0.5555546913585048, -1.0, -3000001.0],
        [2.22222043209976, -3.333332222466012e-07, -1.0],
        [NAN] * 3,
    ]
    close(one.normalise(x), wanted, np.float64)
    close(one.denormalise(one.normalise(x)), [[-3.0] * 3, [0.4999999999999999, 0.5, 0.5], [2.0] * 3, [NAN] * 3], float)
    # A model pads its actions: columns beyond the statistics pass.
    assert one.denormalise(np.array([-1.0, -1.0, -1.0, 7.0, 7.0])).tolist() == [-0.9, 0.5, 2.0, 7.0, 7.0]


def test_lerobot_divides_by_a_tiny_width() -> None:
    """huggingface/lerobot@7427f31 normalize_processor.py:302-413, in float32."""
    x = np.array([[-3.0] * 3, [0.5] * 3, [2.0] * 3], np.float32)
    zscore = normaliser_of("lerobot", statistics_of(PLAIN))
    close(zscore.normalise(x), [[-3, -8, -500000000], [0.5, -1, -150000000], [2, 2, 0]], np.float32)
    close(zscore.denormalise(zscore.normalise(x)), [[-3, -3, 2], [0.5, 0.5, 2], [2, 2, 2]], np.float32)
    quantiles = normaliser_of("lerobot", statistics_of(PLAIN), "quantiles")
    wanted = [
        [-3.3333332538604736, -3.3333332538604736, -1e9],
        [0.5555555820465088, -1, -3e8],
        [2.222222328186035, 0, -1],
    ]
    close(quantiles.normalise(x), wanted, np.float32)
    close(
        normaliser_of("lerobot", statistics_of(PLAIN), "quantiles10").normalise(x)[:, :2],
        [[-6, -5], [1, -1.5], [4, 0]],
        np.float32,
    )


def test_gr00t_zeroes_what_is_nearly_one_value_and_clips() -> None:
    """gr00t/data/utils.py:57-233 of the N1.6 release; there the clip is another step."""
    measures = {
        "min": [-1.0, 0.0, 2.0, 0.0],
        "max": [1.0, 1e-9, 2.0, 5.0],
        "mean": [0.0, 1.0, 2.0, 3.0],
        "std": [1.0, 0.0, 0.5, 2.0],
    }
    one = normaliser_of("gr00t", statistics_of(measures))
    x = np.array([[-2.0] * 4, [0.5] * 4, [3.0] * 4, [NAN] * 4])
    close(
        one.normalise(x), [[-1, 0, 0, -1], [0.5, 0, 0, -0.8], [1, 0, 0, 0.19999999999999996], [NAN, 0, 0, NAN]], float
    )
    close(one.normalise(x.astype(np.float32))[2], [1, 0, 0, 0.20000004768371582], np.float32)
    close(one.denormalise(x), [[-1, 0, 2, 0], [0.5, 7.500000000000001e-10, 2, 3.75], [1, 1e-9, 2, 5], [NAN] * 4], float)
    zscore = normaliser_of("gr00t", statistics_of(measures), "zscore")
    unclipped = replace(zscore, rule=replace(zscore.rule, clip=None))
    close(unclipped.normalise(x)[:3], [[-2, -2, -8, -2.5], [0.5, 0.5, -3, -1.25], [3, 3, 2, 0]], float)
    close(zscore.denormalise(x)[:3], [[-2, -2, 1, -1], [0.5, 0.5, 2.25, 4], [3, 3, 3.5, 9]], float)


def test_gr00t_scales_chunks_by_the_range_of_each_step() -> None:
    """With percentiles too: statistics of relative actions replace the parameters whole."""
    steps = {"min": [[-1.0, 0.0], [-2.0, 0.0]], "max": [[1.0, 1.0], [2.0, 4.0]]}
    chunk = np.array([[[0.5, 0.5], [1.0, 1.0]]])
    for kind in ("", "quantiles"):
        one = normaliser_of("gr00t", statistics_of(steps), kind)
        assert (one.kind, one.normalise(chunk).tolist()) == ("minmax", [[[0.5, 0.0], [0.5, -0.5]]])
        assert one.denormalise(one.normalise(chunk)).tolist() == chunk.tolist()
    with pytest.raises(ActionError, match=r"the shape \(3, 2\); expected \(\.\.\., H, D\) with \(2, 2\)"):
        one.normalise(np.zeros((3, 2)))


def test_starvla_clips_farther_out() -> None:
    """starVLA/starVLA@0ed0aad transform/state_action.py:98-216; model/tools.py:246 takes column 6 for a gripper."""
    measures = {"q01": [-0.9, 0.1, 2.0], "q99": [0.9, 4.9, 2.0]}
    x = np.array([[-3.0] * 3, [1.0] * 3, [2.5] * 3], np.float32)
    wide, narrow = (normaliser_of(stack, statistics_of(measures), "quantiles") for stack in ("starvla", "gr00t-n1.5"))
    close(wide.normalise(x), [[-2.2, -2.2, -2.2], [1.1111111640930176, -0.625, 1], [2.2, 0, 2.2]], np.float32)
    close(narrow.normalise(x), [[-1, -1, -1], [1, -0.625, 1], [1, 0, 1]], np.float32)
    y = np.array([[-2.0, -0.5, 0.0, 0.5, 1.0, 3.0, 0.49], [0.0] * 6 + [0.5]])
    seven = {"q01": [-1.0] * 7, "q99": [2.0] * 7}
    deployed = normaliser_of("starvla-deploy", statistics_of(seven)).denormalise(y)
    assert deployed.tolist() == [[-1.0, -0.25, 0.5, 1.25, 2.0, 2.0, 0.5], [0.5] * 6 + [2.0]]
    masked = statistics_of(seven, mask=np.array([True] * 6 + [False]))
    assert normaliser_of("starvla-deploy", masked).denormalise(y)[:, 6].tolist() == [0.0, 1.0]


MEASURES = [
    {"mean": 0.1, "std": 0.3, "min": -0.9, "max": 1.3, "q01": -0.0287, "q10": -0.01, "q90": 0.02, "q99": 0.0283},
    {"mean": -3.0, "std": 7.1, "min": -98.3, "max": 99.6, "q01": -51.0, "q10": -3.3, "q90": 30.1, "q99": 94.2},
    {"mean": 0.25, "std": 0.0, "min": 0.25, "max": 0.25, "q01": 0.25, "q10": 0.25, "q90": 0.25, "q99": 0.25},
    {"mean": 0.0, "std": 1e-9, "min": 0.0, "max": 1e-9, "q01": 0.0, "q10": 0.0, "q90": 0.0, "q99": 0.0},
    {"mean": 0.4, "std": 0.5, "min": 0.0, "max": 1.0, "q01": 0.0, "q10": 0.0, "q90": 1.0, "q99": 1.0},
]  # fmt: skip
MASK = [True, True, True, True, False]


def values() -> Array:
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(0, 1, (40, 5)), rng.normal(0, 60, (40, 5)), [[0.25] * 5, [0.0] * 5, [NAN] * 5]])
    return x.astype(np.float32)


def by_number(x: Array, of: Callable[[float, dict[str, float], bool], float], dtype: Any) -> Array:
    rows = [[of(float(v), MEASURES[i], MASK[i]) for i, v in enumerate(row)] for row in x]
    return np.array(rows, dtype)


def of_all(*, masked: bool = False) -> Statistics:
    measures = {name: [entry[name] for entry in MEASURES] for name in MEASURES[0]}
    return statistics_of(measures, mask=np.array(MASK) if masked else None)


FORWARD: list[tuple[str, str, Callable[..., float]]] = [
    *(("openvla", k, lambda x, s, m, k=k: scalar.openvla(x, s, k, m)) for k in ("quantiles", "minmax", "zscore")),
    *(("octo", k, lambda x, s, m, k=k: scalar.octo(x, s, k, m)) for k in ("quantiles", "zscore")),
    *(("openpi", k, lambda x, s, _, k=k: scalar.openpi(x, s, k, False)) for k in ("quantiles", "zscore")),
    *(
        ("lerobot", k, lambda x, s, _, k=k: scalar.lerobot(x, s, k, False, scalar.single))
        for k in ("quantiles", "quantiles10", "minmax", "zscore")
    ),
    ("molmoact2", "quantiles", lambda x, s, m: scalar.molmoact2(x, s, m, scalar.single)),
    *(
        ("gr00t-n1.5", k, lambda x, s, _, k=k: scalar.n15(x, s, k, 1.0, False, scalar.single))
        for k in ("quantiles", "minmax", "zscore", "scale", "binary")
    ),
    *(
        (
            "starvla",
            k,
            lambda x, s, m, k=k: scalar.n15(x, s, k if m else "binary", scalar.single(2.2), False, scalar.single),
        )
        for k in ("quantiles", "minmax", "zscore", "scale", "binary")
    ),
]
MASKED = ("openvla", "octo", "molmoact2", "starvla")


@pytest.mark.parametrize(("stack", "kind", "of"), FORWARD, ids=lambda v: v if isinstance(v, str) else "")
def test_every_rule_is_computed_twice(stack: str, kind: str, of: Callable[..., float]) -> None:
    found = normaliser_of(stack, of_all(masked=stack in MASKED), kind).normalise(values())
    close(found, by_number(values(), of, found.dtype), found.dtype)


BACK: list[tuple[str, str, Callable[..., float]]] = [
    *(("openpi", k, lambda y, s, _, k=k: scalar.openpi(y, s, k, True)) for k in ("quantiles", "zscore")),
    *(("gr00t", k, lambda y, s, _, k=k: scalar.gr00t(y, s, k, True)) for k in ("quantiles", "minmax", "zscore")),
]
SINGLE_BACK: list[tuple[str, str, Callable[..., float]]] = [
    *(
        ("lerobot", k, lambda y, s, _, k=k: scalar.lerobot(y, s, k, True, scalar.single))
        for k in ("quantiles", "quantiles10", "minmax", "zscore")
    ),
    *(
        ("gr00t-n1.5", k, lambda y, s, _, k=k: scalar.n15(y, s, k, 1.0, True, scalar.single))
        for k in ("quantiles", "minmax", "zscore", "binary")
    ),
]


@pytest.mark.parametrize(("stack", "kind", "of"), [*BACK, *SINGLE_BACK], ids=lambda v: v if isinstance(v, str) else "")
def test_every_inverse_is_computed_twice(stack: str, kind: str, of: Callable[..., float]) -> None:
    y = values() if (stack, kind, of) in SINGLE_BACK else values().astype(np.float64)
    found = normaliser_of(stack, of_all(), kind).denormalise(y)
    close(found, by_number(y, of, found.dtype), y.dtype)


@pytest.mark.parametrize("kind", ["quantiles", "minmax", "zscore"])
def test_gr00t_is_computed_twice(kind: str) -> None:
    x = values().astype(np.float64)
    found = normaliser_of("gr00t", of_all(), kind).normalise(x)
    close(found, by_number(x, lambda v, s, _: scalar.gr00t(v, s, kind, False), float), float)


@pytest.mark.parametrize("stack", [name for name in RULES if name != "starvla-deploy"])
def test_what_lies_inside_comes_back(stack: str) -> None:
    """Within the bounds, of dimensions that move."""
    statistics = statistics_of({name: [entry[name] for entry in MEASURES[:2]] for name in MEASURES[0]})
    x = np.random.default_rng(1).uniform(-1, 1, (50, 2)) * [0.01, 50.0]
    for kind, rule in RULES[stack].items():
        if rule.kind not in ("scale", "binary") and not (rule.kind == "zscore" and rule.clip):
            one = normaliser_of(stack, statistics, kind)
            np.testing.assert_allclose(one.denormalise(one.normalise(x)), x, rtol=0, atol=2e-5)


def test_what_cannot_be_scaled() -> None:
    statistics = statistics_of({"mean": [0.0], "std": [1.0]}, where="norm_stats.json: actions")
    with pytest.raises(ActionError, match=r'^stack: \'gr00d\'; expected one of .* Did you mean "gr00t"\?$'):
        normaliser_of("gr00d", statistics)
    with pytest.raises(ActionError, match=r"^norm_stats.json: actions: no q01; expected one of mean, std"):
        normaliser_of("openpi", statistics)
    with pytest.raises(ActionError, match=r"^kind: 'minmax'; expected one of quantiles, zscore for openpi"):
        normaliser_of("openpi", statistics, "minmax")
    one = normaliser_of("openpi", statistics, "zscore")
    for wrong in (np.zeros(2), np.zeros((3, 1), np.int64), np.array("x")):
        with pytest.raises(ActionError, match=r"^values: "):
            one.normalise(wrong)
    scale = normaliser_of("gr00t-n1.5", statistics_of({"min": [-2.0], "max": [1.0]}), "scale")
    with pytest.raises(ActionError, match=r"^normaliser scale: no inverse"):
        scale.denormalise([0.5])
    assert scale.normalise([0.5]).tolist() == [0.25]


# Whole files of published results, which are no part of the project.


def shared(name: str) -> Any:
    folder = os.environ.get("RT2DATA_SHARED")
    if not folder:
        pytest.skip("RT2DATA_SHARED does not name a folder of published results")
    return json.loads((Path(folder) / "facts" / "goldens" / name).read_text())


def floats(rows: Any, dtype: Any = np.float64) -> Array:
    return np.array([[float(v) for v in row] for row in rows], dtype)


def test_published_results_of_openvla_and_octo() -> None:
    known = shared("openvla_octo_normalization.json")
    single = {name: np.array(values, np.float32) for name, values in known["statistics"].items()}
    kinds = {"normal": "zscore", "bounds": "minmax", "bounds_q99": "quantiles"}
    for stack, names in (("openvla", kinds), ("octo", {"normal": "zscore", "bounds": "quantiles"})):
        for name, kind in names.items():
            for feature, mask in (("action", np.array(known["mask"])), ("proprio", None)):
                found = normaliser_of(stack, statistics_of(single, mask=mask), kind).normalise(
                    floats(known["x"], np.float32)
                )
                close(found, floats(known[stack][name][feature]), np.float32)
    centres = np.linspace(-1, 1, 256)
    centres = (centres[:-1] + centres[1:]) / 2
    statistics = statistics_of(known["statistics"], mask=np.array(known["mask"]))
    for case in known["openvla_predict"]:
        y = centres[np.clip(32000 - np.array(case["ids"]) - 1, 0, 254)]
        close(normaliser_of("openvla", statistics).denormalise(y), case["actions"], float)


def both_ways(one: Normaliser, x: Array, forward: Any, back: Any, dtype: Any) -> None:
    scaled = one.normalise(x)
    close(scaled, floats(forward), dtype)
    if back is not None:
        close(one.denormalise(scaled), floats(back), dtype)


def test_published_results_of_openpi_and_lerobot() -> None:
    known = shared("statistics_and_normalizers.json")
    lerobot, openpi = known["lerobot_normalizer"], known["openpi_normalizer"]
    x, statistics = floats(lerobot["x"], np.float32), statistics_of(lerobot["statistics"])
    for name, kind in (("MS", "zscore"), ("MM", "minmax"), ("Q", "quantiles"), ("Q10", "quantiles10")):
        mode = lerobot["modes"][name]
        both_ways(normaliser_of("lerobot", statistics, kind), x, mode["normalized"], mode["back"], np.float32)
    both_ways(normaliser_of("openpi", statistics), x, openpi["quantile"], openpi["quantile_back"], float)
    both_ways(normaliser_of("openpi", statistics, "zscore"), x, openpi["zscore"], openpi["zscore_back"], float)


def test_published_results_of_gr00t_and_starvla() -> None:
    known = shared("gr00t_starvla.json")
    kinds = {"q99": "quantiles", "mean_std": "zscore", "min_max": "minmax", "scale": "scale", "binary": "binary"}
    for stack, name in (("gr00t-n1.5", "n1_5_normalizer"), ("starvla", "starvla_normalizer")):
        for mode, kind in kinds.items():
            one = normaliser_of(stack, statistics_of(known[name]["statistics"]), kind)
            case = known[name]["modes"][mode]
            x = floats(known[name]["x"], np.float32)
            both_ways(one, x, case["forward"], case["inverse_of_forward"].get("ok"), np.float32)
