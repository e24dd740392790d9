"""Exact statistics against numpy.quantile and fractions, and their independence of order and partition."""

from __future__ import annotations

import io
import math
from collections import Counter
from fractions import Fraction
from typing import Any, cast

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings

from rt2data.errors import Rt2dataError
from rt2data.pipeline.measure import exact_stats
from rt2data.pipeline.measure.exact_stats import Cells, Moments, quantiles
from rt2data.tokenizer import ActionTokenizer

QS = (0.0, 0.01, 0.25, 0.5, 0.99, 1.0)
EXTREMES = [0.0, -0.0, 1e-45, -1e-45, 1.1754944e-38, 3.4028235e38, -3.4028235e38, 1.0, np.float32(0.1).item()]

values = st.one_of(
    st.sampled_from(EXTREMES),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.integers(-3, 3).map(float),
)
tables = hnp.arrays(np.float32, st.tuples(st.integers(1, 60), st.integers(1, 4)), elements=values)


def measured(parts: list[npt.NDArray[np.float32]], qs: tuple[float, ...] = QS) -> tuple[Moments, Cells]:
    total = Moments.from_array(parts[0])
    for part in parts[1:]:
        total = total.merge(Moments.from_array(part))
    wanted = total.cells(qs)
    cells = Cells.from_array(parts[0], wanted)
    for part in parts[1:]:
        cells = cells.merge(Cells.from_array(part, wanted))
    return total, cells


def oracle(table: npt.NDArray[np.float32], qs: tuple[float, ...] = QS) -> npt.NDArray[np.float64]:
    return np.quantile(table.astype(np.float64) + 0.0, qs, axis=0, method="linear")


def same_bits(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> None:
    assert a.dtype == b.dtype == np.float64
    np.testing.assert_array_equal((a + 0.0).view(np.uint64), (b + 0.0).view(np.uint64))


def saved(moments: Moments, cells: Cells) -> bytes:
    file = io.BytesIO()
    np.savez(file, **moments.to_arrays(), **cells.to_arrays())  # type: ignore[arg-type]
    return file.getvalue()


@settings(max_examples=300, deadline=None)
@given(tables, st.lists(st.floats(0, 1), max_size=4))
@example(np.array([[1.0]], np.float32), [])
@example(np.array([[-0.0], [0.0]], np.float32), [0.3])
def test_quantiles_are_numpys_bit_for_bit(table: npt.NDArray[np.float32], more: list[float]) -> None:
    qs = (*QS, *more)
    moments, cells = measured([table], qs)
    same_bits(quantiles(moments, cells, qs), oracle(table, qs))
    np.testing.assert_array_equal(moments.min, table.min(axis=0))
    np.testing.assert_array_equal(moments.max, table.max(axis=0))


@settings(max_examples=200, deadline=None)
@given(tables)
def test_mean_and_std_are_the_exact_ones_rounded_once(table: npt.NDArray[np.float32]) -> None:
    moments = Moments.from_array(table)
    for dim in range(table.shape[1]):
        exact = [Fraction(float(x)) for x in table[:, dim]]
        mean = sum(exact, Fraction(0)) / len(exact)
        variance = sum(((x - mean) ** 2 for x in exact), Fraction(0)) / len(exact)
        assert moments.mean[dim] == float(mean)
        std = float(moments.std[dim])
        # The nearest float: the true root lies between the midpoints to its two neighbours.
        below = (Fraction(std) + Fraction(math.nextafter(std, 0.0))) / 2
        above = (Fraction(std) + Fraction(math.nextafter(std, math.inf))) / 2
        assert below**2 <= variance <= above**2


@settings(max_examples=100, deadline=None)
@given(tables, st.data())
def test_any_order_and_partition_gives_the_same_bytes(table: npt.NDArray[np.float32], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(table))))
    cuts = data.draw(st.lists(st.integers(0, len(table)), max_size=4).map(sorted))
    parts = np.split(table[order], cuts)
    backwards = data.draw(st.booleans())
    assert saved(*measured(parts[::-1] if backwards else parts)) == saved(*measured([table]))


def test_merging_is_associative() -> None:
    a, b, c = (Moments.from_array(np.random.default_rng(i).normal(size=(50, 3)).astype(np.float32)) for i in range(3))
    left, right = a.merge(b).merge(c).to_arrays(), a.merge(b.merge(c)).to_arrays()
    assert all(left[name].tobytes() == right[name].tobytes() for name in left)


@pytest.mark.parametrize("rows", [1, 2, 3, 101, 50_000])
def test_real_sizes(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_stats, "_BLOCK", 7_000)  # several blocks and a short last one
    rng = np.random.default_rng(rows)
    table = np.stack(
        [
            rng.normal(0, 0.01, rows),
            np.round(rng.normal(0, 2, rows)),  # many ties
            rng.integers(0, 2, rows),
            np.full(rows, 0.1),
            rng.normal(0, 1, rows) * 10.0 ** rng.integers(-44, 37, rows),
        ],
        axis=1,
    ).astype(np.float32)
    moments, cells = measured([table])
    same_bits(quantiles(moments, cells, QS), oracle(table))
    assert moments.mean[3] == float(np.float32(0.1))
    assert moments.std[3] == 0.0
    assert moments.count == rows


def test_state_survives_a_file() -> None:
    table = np.random.default_rng(0).normal(size=(500, 7)).astype(np.float32)
    moments, cells = measured([table])
    with np.load(io.BytesIO(saved(moments, cells)), allow_pickle=False) as loaded:
        arrays = dict(loaded)
    moments_back = Moments.from_arrays({name: arrays[name] for name in moments.to_arrays()})
    cells_back = Cells.from_arrays({name: arrays[name] for name in cells.to_arrays()})
    assert saved(moments_back, cells_back) == saved(moments, cells)
    same_bits(quantiles(moments_back, cells_back, QS), oracle(table))
    same_bits(moments_back.std, moments.std)


def test_no_rows_change_nothing_and_have_no_statistics() -> None:
    empty, table = np.zeros((0, 2), np.float32), np.array([[1, 2], [3, 4]], np.float32)
    assert saved(*measured([empty, table, empty])) == saved(*measured([table]))
    for name in ("mean", "std", "min", "max"):
        with pytest.raises(ValueError, match="no rows"):
            getattr(Moments.from_array(empty), name)
    with pytest.raises(ValueError, match="no rows"):
        Moments.from_array(empty).cells(QS)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_named(bad: float) -> None:
    table = np.zeros((5, 2), np.float32)
    table[3, 1] = bad
    for ask in (
        lambda: Moments.from_array(table, "bridge/train"),
        lambda: Cells.from_array(table, np.zeros(0, np.uint32), "bridge/train"),
    ):
        with pytest.raises(Rt2dataError, match=f"^bridge/train: {bad} in row 3, dimension 1; expected a finite number"):
            ask()


def test_misuse_raises() -> None:
    one, two = Moments.from_array(np.zeros((1, 1), np.float32)), Moments.from_array(np.zeros((1, 2), np.float32))
    with pytest.raises(ValueError, match="1 and of 2 dimensions"):
        one.merge(two)
    with pytest.raises(TypeError, match="float64"):
        Moments.from_array(np.zeros((1, 1)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"quantile 1\.5"):
        one.cells([1.5])
    with pytest.raises(ValueError, match="different cells"):
        Cells.from_array(np.zeros((1, 1), np.float32), np.array([1], np.uint32)).merge(
            Cells.from_array(np.zeros((1, 1), np.float32), np.array([2], np.uint32))
        )


def test_data_that_changed_between_the_passes_is_noticed() -> None:
    moments, _ = measured([np.array([[1.0], [2.0]], np.float32)])
    cells = Cells.from_array(np.array([[1.0], [1.0]], np.float32), moments.cells(QS))
    with pytest.raises(Rt2dataError, match="changed between the two passes"):
        quantiles(moments, cells, QS)


def bounds(*statistics: float, unit: str = "m", bins: int = 256) -> exact_stats.Bounds:
    return exact_stats.bounds(*statistics, where="bridge dimension x", unit=unit, bins=bins)


@pytest.mark.parametrize(
    ("statistics", "wanted"),
    [
        ((-1.0, 2.0, -9.0, 9.0), (-1.0, 2.0, False)),
        ((0.0, 0.0, -3.0, 1.0), (-3.0, 1.0, False)),
        ((0.5, 0.5, 0.5, 0.5), (0.5 - 0.5e-3, 0.5 + 0.5e-3, True)),
        ((0.0, 0.0, 0.0, 0.0), (-1e-6, 1e-6, True)),
        ((-4e-6, 4e-6, -3.0, 1.0), (-3.0, 1.0, False)),  # noise, and a rare motion
        ((-1e-5, 1e-5, -1e-3, 1e-3), (-1e-5, 1e-5, False)),  # slow, but motion
        # 256 bins of 1e-5 m to either side, a quarter of a bin lower.
        ((-1e-8, 1e-8, -2e-8, 2e-8), (-0.002565, 0.002555, True)),
    ],
)
def test_bounds_follow_the_contract(statistics: tuple[float, ...], wanted: tuple[float, float, bool]) -> None:
    got = bounds(*statistics)
    assert got[:2] == pytest.approx(wanted[:2], rel=1e-12, abs=0)
    assert got.constant == wanted[2]


def test_what_is_noise_depends_on_the_unit() -> None:
    statistics = (-2e-6, 2e-6, -2e-6, 2e-6)
    assert [bounds(*statistics, unit=unit).constant for unit in ("m", "rad", "controller", "")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert bounds(0.9999995, 1.0, 0.9999995, 1.0, unit="").constant  # eight steps of float32
    assert not bounds(-5e-7, 5.01e-7, -5e-7, 5.01e-7, unit="").constant


@pytest.mark.parametrize("bins", [255, 256, 512, 1024])
@pytest.mark.parametrize("scheme", ["uniform", "truncated", "rounded", "octo-uniform", "openvla"])
@pytest.mark.parametrize("value", [0.0, 0.25, -3.0, 1000.0])
def test_noise_is_one_bin_that_gives_the_value_back(scheme: str, bins: int, value: float) -> None:
    noise = max(4e-6, abs(value) * 4e-7)
    low, high = (float(np.float32(value + change)) for change in (-noise, noise))
    found = bounds(low, high, low, high, bins=bins)
    assert found.constant
    dim = {"name": "x", "low": found.low, "high": found.high, "constant": True}
    raw = {"format": "rt2data.tokenizer/1", "name": "t", "scheme": scheme, "bins": bins, "dims": [dim]}
    tokenizer = ActionTokenizer.from_dict(raw)
    steps = np.linspace(low, high, 50).astype(np.float32)[:, None]
    coded = np.unique(tokenizer.encode(steps))
    assert len(coded) == 1
    width = (found.high - found.low) / (bins - 1)
    assert abs(tokenizer.decode(coded, dtype="float64").actions[0] - value) <= width


def test_bounds_that_float32_cannot_divide_are_refused() -> None:
    text = r"^bridge dimension x: the bounds \[0\.49998, 0\.5\] are 2e-05 apart"
    with pytest.raises(Rt2dataError, match=text):
        bounds(0.49998, 0.5, 0, 1)


@given(st.floats(-1e30, 1e30))
def test_a_constant_always_gets_bounds(value: float) -> None:
    low, high, constant = bounds(value, value, value, value)
    assert constant
    assert low < value < high


@given(st.lists(st.lists(st.sampled_from("abcdefghijklmnopqr"), max_size=30), max_size=5))
def test_the_most_frequent_instructions(parts: list[list[str]]) -> None:
    """Counted part by part by their digests: the same as counting all texts at once."""
    from rt2data import index
    from rt2data.pipeline.measure import action_statistics

    def found(*_: Any) -> Any:
        for part in parts:
            counted = Counter(part)
            digests = [int.from_bytes(index.digest(text, size=8), "big") for text in counted]
            yield list(counted), np.array(digests, np.uint64), np.array(list(counted.values()), np.int64)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(action_statistics, "_first_instructions", found)
        got = action_statistics.instructions(cast(Any, None), 0)
    every = Counter(text for part in parts for text in part)
    wanted = sorted(every.items(), key=lambda i: (-i[1], i[0]))[:10]
    assert got == {"distinct": len(every), "most_frequent": [list(item) for item in wanted]}
