"""Exact statistics of float32 arrays: bounded memory, any order, any partition, the same bits.

Two passes over the data. The first counts, sums and finds in which cell (a dimension and the upper 16 bits of a value)
each wanted order statistic lies; the second counts the lower 16 bits inside those few cells. All state is integers, so
merging is exact, commutative and associative: the result does not depend on how the data was divided among workers.

The order statistics are those of `numpy.quantile(x, q, method="linear")` computed in float64, bit for bit. -0.0 counts
as 0.0. NaN and infinity are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rt2data.errors import Rt2dataError
from rt2data.robot import value_limits

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]

# float32 keeps 24 bits of mantissa, so the int64 sum of mantissas of one exponent holds 2**39 values.
MAX_COUNT = 1 << 39
# Rows per block: bounds the temporary arrays, and keeps every float64 sum of 24-bit integers far below 2**53.
_BLOCK = 1 << 18
_EXPONENTS = 256
_MIN_RELATIVE_WIDTH = 2.0**-12


@dataclass(frozen=True, slots=True)
class Moments:
    """Pass 1: count, range, exact sums and a histogram of the upper 16 bits, per dimension of arrays (n, D).

    Attributes:
        count: number of rows.
        lowest, highest: uint32 (D,), the extreme values in ordered form; 0xFFFFFFFF and 0 of no rows.
        sums: int64 (3, D, 256), per biased exponent of float32: the sum of signed 24-bit mantissas, and the sums of the
            lower and upper 24 bits of their squares.
        cell: uint32 (C,), sorted: dimension << 16 | upper 16 bits of the ordered form.
        cell_count: int64 (C,), how many values lie in each cell.
    """

    count: int
    lowest: Words
    highest: Words
    sums: Ints
    cell: Words
    cell_count: Ints

    @classmethod
    def from_array(cls, array: Floats, where: str = "array") -> Moments:
        """The moments of `array`, float32 (n, D); n may be 0.

        Raises:
            Rt2dataError: a value is NaN or infinite; `where` and the row are named.
        """
        dims = _dims(array)
        total = cls(
            count=0,
            lowest=np.full(dims, 0xFFFFFFFF, np.uint32),
            highest=np.zeros(dims, np.uint32),
            sums=np.zeros((3, dims, _EXPONENTS), np.int64),
            cell=np.zeros(0, np.uint32),
            cell_count=np.zeros(0, np.int64),
        )
        for bits in _blocks(array, where):
            ordered = _ordered(bits)
            cell, cell_count = np.unique(_cell_of(ordered), return_counts=True)
            total = total.merge(
                cls(
                    count=len(bits),
                    lowest=ordered.min(axis=0),
                    highest=ordered.max(axis=0),
                    sums=_sums(bits),
                    cell=cell,
                    cell_count=cell_count.astype(np.int64),
                )
            )
        return total

    def merge(self, other: Moments) -> Moments:
        """The moments of both arrays together; exact, in any order."""
        if len(self.lowest) != len(other.lowest):
            raise ValueError(f"moments of {len(self.lowest)} and of {len(other.lowest)} dimensions cannot be merged")
        if self.count + other.count > MAX_COUNT:
            raise OverflowError(f"more than {MAX_COUNT} rows")
        cell, cell_count = _add_counts(self.cell, self.cell_count, other.cell, other.cell_count)
        return Moments(
            count=self.count + other.count,
            lowest=np.minimum(self.lowest, other.lowest),
            highest=np.maximum(self.highest, other.highest),
            sums=self.sums + other.sums,
            cell=cell,
            cell_count=cell_count,
        )

    def to_arrays(self) -> dict[str, Array]:
        """The state as plain arrays, for `numpy.savez`; equal states give equal arrays."""
        return {
            "count": np.array(self.count, np.int64),
            "lowest": self.lowest,
            "highest": self.highest,
            "sums": self.sums,
            "cell": self.cell,
            "cell_count": self.cell_count,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Moments:
        """The inverse of `to_arrays`."""
        state = dict(arrays)
        return cls(count=int(state.pop("count")), **state)  # type: ignore[arg-type]

    @property
    def dims(self) -> int:
        """D, the number of dimensions."""
        return len(self.lowest)

    @property
    def min(self) -> Floats:
        """float32 (D,), the least values."""
        _need_rows(self.count)
        return _floats(self.lowest)

    @property
    def max(self) -> Floats:
        """float32 (D,), the greatest values."""
        _need_rows(self.count)
        return _floats(self.highest)

    @property
    def mean(self) -> Doubles:
        """float64 (D,), the exact mean, rounded once."""
        _need_rows(self.count)
        return np.array([total / (self.count << 149) for total, _ in self._totals()])

    @property
    def std(self) -> Doubles:
        """float64 (D,), the exact standard deviation of the population, rounded once."""
        _need_rows(self.count)
        # n * sum(x^2) - sum(x)^2 is n^2 times the variance; x is counted in units of 2^-149.
        return np.array(
            [
                _sqrt_ratio(self.count * square - total * total, (self.count << 149) ** 2)
                for total, square in self._totals()
            ]
        )

    def cells(self, qs: Sequence[float]) -> Words:
        """The cells that pass 2 counts: those of the order statistics that the quantiles `qs`, in [0, 1], need."""
        _need_rows(self.count)
        wanted = set[int]()
        for dim in range(self.dims):
            first, last = np.searchsorted(self.cell, [dim << 16, (dim + 1) << 16])
            upto = np.cumsum(self.cell_count[first:last])
            for rank in {rank for q in qs for rank in _ranks(q, self.count)[:2]}:
                wanted.add(int(self.cell[first + np.searchsorted(upto, rank, side="right")]))
        return np.array(sorted(wanted), np.uint32)

    def _totals(self) -> Iterator[tuple[int, int]]:
        """Per dimension the exact sum in units of 2^-149 and the exact sum of squares in units of 2^-298."""
        for dim in range(self.dims):
            total = square = 0
            for exponent in np.flatnonzero(self.sums[:, dim].any(axis=0)).tolist():
                mantissa, low, high = self.sums[:, dim, exponent].tolist()
                shift = max(exponent, 1) - 1  # denormals (exponent 0) have the unit of exponent 1
                total += mantissa << shift
                square += (low + (high << 24)) << (2 * shift)
            yield total, square


@dataclass(frozen=True, slots=True)
class Cells:
    """Pass 2: how often each value occurs inside the cells that `Moments.cells` asked for.

    Attributes:
        cells: uint32 (K,), the cells looked at.
        value: uint64 (V,), sorted: dimension << 32 | ordered form of a value in one of them; at most K * 65536.
        value_count: int64 (V,).
    """

    cells: Words
    value: npt.NDArray[np.uint64]
    value_count: Ints

    @classmethod
    def from_array(cls, array: Floats, cells: Words, where: str = "array") -> Cells:
        """The values of `array`, float32 (n, D), inside `cells`."""
        dims = _dims(array)
        wanted = np.zeros(dims << 16, np.bool_)
        wanted[cells] = True
        shift = np.arange(dims, dtype=np.uint64) << np.uint64(32)
        total = cls(cells, np.zeros(0, np.uint64), np.zeros(0, np.int64))
        for bits in _blocks(array, where):
            ordered = _ordered(bits)
            value, value_count = np.unique((ordered | shift)[wanted[_cell_of(ordered)]], return_counts=True)
            total = total.merge(cls(cells, value, value_count.astype(np.int64)))
        return total

    def merge(self, other: Cells) -> Cells:
        """The counts of both arrays together; exact, in any order."""
        if not np.array_equal(self.cells, other.cells):
            raise ValueError("counts inside different cells cannot be merged")
        return Cells(self.cells, *_add_counts(self.value, self.value_count, other.value, other.value_count))

    def to_arrays(self) -> dict[str, Array]:
        """The state as plain arrays, for `numpy.savez`; equal states give equal arrays."""
        return {"cells": self.cells, "value": self.value, "value_count": self.value_count}

    def within(self, cells: Words) -> Cells:
        """The counts inside `cells`, which are some of those looked at."""
        inside = np.isin((self.value >> np.uint64(16)).astype(np.uint32), cells)
        return Cells(cells, self.value[inside], self.value_count[inside])

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Cells:
        """The inverse of `to_arrays`."""
        return cls(**arrays)  # type: ignore[arg-type]


def quantiles(moments: Moments, cells: Cells, qs: Sequence[float]) -> Doubles:
    """float64 (len(qs), D): `numpy.quantile(x, qs, axis=0, method="linear")` in float64, from both passes.

    Raises:
        Rt2dataError: the second pass saw other data than the first.
    """
    upto = np.cumsum(moments.cell_count)
    inside = np.cumsum(cells.value_count)

    def value_at(dim: int, rank: int) -> float:
        before_dim = dim * moments.count  # every dimension holds `count` values
        at = int(np.searchsorted(upto, before_dim + rank, side="right"))
        cell = int(moments.cell[at])
        first, last = np.searchsorted(cells.value, [cell << 16, (cell + 1) << 16])
        before = int(inside[first - 1]) if first else 0
        held = int(inside[last - 1]) - before if last > first else 0
        if held != moments.cell_count[at]:
            raise Rt2dataError(
                f"dimension {dim}",
                f"the second pass counted {held} values in a cell",
                f"the {moments.cell_count[at]} of the first pass",
                "The data changed between the two passes: index it again",
            )
        rank_in_cell = rank - (int(upto[at]) - int(moments.cell_count[at]) - before_dim)
        found = int(cells.value[np.searchsorted(inside, before + rank_in_cell, side="right")])
        return float(_floats(np.array(found & 0xFFFFFFFF, np.uint32)))

    _need_rows(moments.count)
    result = np.empty((len(qs), moments.dims), np.float64)
    for row, q in enumerate(qs):
        below, above, t = _ranks(q, moments.count)
        for dim in range(moments.dims):
            a, b = value_at(dim, below), value_at(dim, above)
            # numpy's own interpolation: from the nearer end, so that it is monotone and exact at both.
            result[row, dim] = b - (b - a) * (1 - t) if t >= 0.5 else a + (b - a) * t
    return result


class Bounds(NamedTuple):
    """The range of one action dimension; `constant` marks a dimension that keeps one value, but for noise."""

    low: float
    high: float
    constant: bool


def bounds(low: float, high: float, minimum: float, maximum: float, *, where: str, unit: str, bins: int) -> Bounds:
    """The tokenizer's bounds of one dimension, from its statistics.

    `low` and `high`; where these are nearer than what the dimension's unit resolves, the minimum and maximum. Where
    these are equal, v +- max(1e-6, 1e-3 |v|), and where they are that near, bounds around their middle of which one bin
    holds all of the noise: either is marked constant.

    Args:
        low, high: what the rule of bounds gives (`rt2data.pipeline.measure.action_statistics.bounds`).
        minimum, maximum: of the data.
        where: the source and the dimension, for errors.
        unit: the dimension's, which says what counts as motion (`rt2data.robot.value_limits.resolution`).
        bins: of the tokenizer.

    Raises:
        Rt2dataError: a width below 2^-12 of the largest bound, too narrow for 256 bins in float32.
    """
    low, high = float(low), float(high)
    if high - low < value_limits.resolution(unit, low, high):
        low, high = float(minimum), float(maximum)
    least = value_limits.resolution(unit, low, high)
    constant = high - low < least
    if low == high:
        margin = max(1e-6, 1e-3 * abs(low))
        low, high = low - margin, high + margin
    elif constant:
        # The middle lies a quarter of a bin above an edge, whatever the scheme, and the noise is less than half a bin.
        middle = (low + high) / 2
        margin = max(bins * least, 1e-3 * abs(middle))
        low, high = middle - margin * (1 + 0.5 / bins), middle + margin * (1 - 0.5 / bins)
    if high - low < _MIN_RELATIVE_WIDTH * max(abs(low), abs(high)):
        raise Rt2dataError(
            where,
            f"the bounds [{low!r}, {high!r}] are {high - low:.3g} apart",
            f"at least {_MIN_RELATIVE_WIDTH:.3g} of the larger bound",
            "Give this dimension fixed bounds, or look for an offset in its declaration",
        )
    return Bounds(low, high, constant)


def _need_rows(count: int) -> None:
    if count == 0:
        raise ValueError("statistics of no rows are not defined")


def _dims(array: Floats) -> int:
    if array.ndim != 2 or array.dtype != np.float32:
        raise TypeError(f"float32 (n, D) needed, not {array.dtype} {array.shape}")
    return int(array.shape[1])


def _blocks(array: Floats, where: str) -> Iterator[Words]:
    """Blocks of rows as their float32 bit patterns, -0.0 made 0.0, all finite."""
    for start in range(0, len(array), _BLOCK):
        bits = np.ascontiguousarray(array[start : start + _BLOCK]).view(np.uint32).copy()
        bits[bits == 0x80000000] = 0
        bad = (bits & 0x7F800000) == 0x7F800000
        if bad.any():
            row, dim = (int(i) for i in np.argwhere(bad)[0])
            raise Rt2dataError(
                where, f"{array[start + row, dim]} in row {start + row}, dimension {dim}", "a finite number"
            )
        yield bits


def _ordered(bits: Words) -> Words:
    """The bit patterns of float32 values, changed so that they compare as unsigned integers like the values."""
    return np.where(bits >> np.uint32(31), ~bits, bits ^ np.uint32(0x80000000))


def _floats(ordered: Words) -> Floats:
    """The inverse of `_ordered`."""
    return np.where(ordered >> np.uint32(31), ordered ^ np.uint32(0x80000000), ~ordered).view(np.float32)


def _cell_of(ordered: Words) -> Words:
    """The cell, dimension << 16 | upper 16 bits, for ordered values (n, D)."""
    return (ordered >> np.uint32(16)) | (np.arange(ordered.shape[1], dtype=np.uint32) << np.uint32(16))


def _sums(bits: Words) -> Ints:
    """int64 (3, D, 256): see `Moments.sums`. Every float64 sum inside is of integers and below 2^53, hence exact."""
    dims = bits.shape[1]
    exponent = ((bits >> np.uint32(23)) & np.uint32(0xFF)).astype(np.int64)
    slot = (exponent + np.arange(dims) * _EXPONENTS).ravel()
    mantissa = (bits & np.uint32(0x7FFFFF)).astype(np.int64) | ((exponent > 0).astype(np.int64) << 23)
    square = mantissa * mantissa
    signed = np.where(bits >> np.uint32(31), -mantissa, mantissa)
    parts = (signed, square & 0xFFFFFF, square >> 24)
    counts = [np.bincount(slot, part.ravel(), dims * _EXPONENTS).astype(np.int64) for part in parts]
    return np.stack(counts).reshape(3, dims, _EXPONENTS)


def _add_counts(
    key_a: npt.NDArray[np.unsignedinteger], count_a: Ints, key_b: npt.NDArray[np.unsignedinteger], count_b: Ints
) -> tuple[npt.NDArray[np.unsignedinteger], Ints]:
    """Two sparse histograms added: sorted keys, counts."""
    if not len(key_a) or not len(key_b):
        return (key_b, count_b) if len(key_b) else (key_a, count_a)
    key, at = np.unique(np.concatenate((key_a, key_b)), return_inverse=True)
    count = np.zeros(len(key), np.int64)
    np.add.at(count, at, np.concatenate((count_a, count_b)))
    return key, count


def _ranks(q: float, count: int) -> tuple[int, int, float]:
    """The two order statistics around quantile `q` of `count` values and the weight of the second, as in numpy."""
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"quantile {q} is not in [0, 1]")
    virtual = (count - 1) * float(q)
    if virtual >= count - 1:
        return count - 1, count - 1, 0.0
    below = math.floor(virtual)
    return below, below + 1, virtual - below


def _sqrt_ratio(numerator: int, denominator: int) -> float:
    """The float nearest to sqrt(numerator / denominator), exact integers."""
    if numerator == 0:
        return 0.0
    # Scale to a root of at least 64 bits, then one sticky bit below it: int / int rounds correctly, and only once.
    shift = max(0, 64 - (numerator.bit_length() - denominator.bit_length()) // 2)
    square = numerator << (2 * shift)
    root = math.isqrt(square // denominator)
    sticky = root * root * denominator != square
    return (2 * root + sticky) / (1 << (shift + 1))
