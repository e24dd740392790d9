"""`statistics.json` compared with the steps in the shards, by exact sums in plain integers."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from rt2data.verify.report import Report

Json = dict[str, Any]

_UNIT = 149  # every float32 is a whole multiple of 2**-149
_QUANTILES = {"q01": Fraction(0.01), "median": Fraction(0.5), "q99": Fraction(0.99)}


class TrainSums:
    """Sums over the train steps of one source, each step once.

    Args:
        stats: the source's ``train`` in statistics.json, whose quantiles are counted against.
        dims: number of dimensions.
        fields: number of bins of a step.
        bins: bins of a dimension.
    """

    def __init__(self, stats: Json, dims: int, fields: int, bins: int) -> None:
        self.stats, self.count = stats, 0
        self.low, self.high = [math.inf] * dims, [-math.inf] * dims
        self.sums, self.squares = [0] * dims, [0] * dims
        self.clipped = [0] * dims
        self.bins = [[0] * bins for _ in range(fields)]
        # Per quantile and dimension, how many values are below it, and how many are at most it.
        self.below = {name: [[0, 0] for _ in range(dims)] for name in _QUANTILES}

    def add(self, action: list[float], coded: list[tuple[list[int], list[bool]]]) -> None:
        """Add a step: D float32 values; its bins, and which values lie outside the bounds (`Reference.steps`)."""
        self.count += 1
        for i, x in enumerate(action):
            self.low[i], self.high[i] = min(self.low[i], x), max(self.high[i], x)
            whole = int(math.ldexp(x, _UNIT))
            self.sums[i] += whole
            self.squares[i] += whole * whole
        for bins, clipped in coded:
            for i, outside in enumerate(clipped):
                self.clipped[i] += outside
            for row, b in zip(self.bins, bins, strict=True):
                if b < len(row):
                    row[b] += 1
        for name, counts in self.below.items():
            for pair, x, edge in zip(counts, action, self.stats[name], strict=True):
                pair[0] += x < edge
                pair[1] += x <= edge


def shape_error(stats: Json, dims: list[str], fields: int, bins: int) -> str:
    """Say what is wrong with the lengths of the lists of a set of statistics; "" where nothing is."""
    if stats["dims"] != dims:
        return f"the dimensions {' '.join(stats['dims'])}"
    for name in ("mean", "std", "min", "q01", "median", "q99", "max", *(["clipped"] if "clipped" in stats else [])):
        if len(stats[name]) != len(dims):
            return f"{len(stats[name])} values of {name}"
    if "bins" in stats and (len(stats["bins"]) != fields or {len(row) for row in stats["bins"]} - {bins}):
        return f"bins of {len(stats['bins'])} rows"
    return ""


def compare(where: str, sums: TrainSums, *, complete: bool, report: Report) -> None:
    """Compare the statistics of train with the steps that were seen; `complete`: all of its steps are in the shards."""
    check, stats, n = report["statistics"], sums.stats, sums.count
    if not complete:
        check.expect(n <= stats["count"], where, f"count {stats['count']}", f"at least the {n} steps in the shards")
        for i, name in enumerate(stats["dims"]):
            fits = (
                stats["min"][i] <= sums.low[i]
                and sums.high[i] <= stats["max"][i]
                and sums.clipped[i] <= stats["clipped"][i]
            )
            found = f"min {stats['min'][i]!r}, max {stats['max'][i]!r}, {stats['clipped'][i]} clipped"
            check.expect(
                fits,
                f"{where} {name}",
                found,
                f"room for {sums.low[i]!r}, {sums.high[i]!r}, {sums.clipped[i]} of the shards",
            )
        return
    if (
        not check.expect(n == stats["count"], where, f"count {stats['count']}", f"{n}, the steps in the shards")
        or n == 0
    ):
        return
    for i, name in enumerate(stats["dims"]):
        mean = Fraction(sums.sums[i], n << _UNIT)
        variance = Fraction(sums.squares[i], n << 2 * _UNIT) - mean * mean
        exact = {"min": sums.low[i], "max": sums.high[i], "mean": float(mean), "clipped": sums.clipped[i]}
        for key, value in exact.items():
            check.expect(
                stats[key][i] == value, f"{where} {name}", f"{key} {stats[key][i]!r}", f"{value!r}, that of the shards"
            )
        std = math.sqrt(variance)
        check.expect(
            math.isclose(stats["std"][i], std, rel_tol=1e-12, abs_tol=1e-300),
            f"{where} {name}",
            f"std {stats['std'][i]!r}",
            repr(std),
        )
        for key, q in _QUANTILES.items():
            # The quantile lies between the sorted values number k and k + 1, from 0.
            k = math.floor(q * (n - 1))
            below, upto = sums.below[key][i]
            check.expect(
                upto >= k + 1 and below <= k + 1,
                f"{where} {name}",
                f"{key} {stats[key][i]!r}, above {below} of {n} values",
                f"about {k + 1} values below it",
            )
    for row, (found, wanted) in enumerate(zip(stats["bins"], sums.bins, strict=True)):
        check.expect(found == wanted, f"{where} bins, field {row + 1}", "other counts", "those of the shards")


def quantile_bounds(stats: Json, i: int, unit: str, bins: int) -> tuple[float, float, bool]:
    """(low, high, constant) of dimension `i`, which is in `unit`, by the rule of quantile bounds, for `bins` bins."""
    q01, q99, least, most = (stats[key][i] for key in ("q01", "q99", "min", "max"))
    if q99 - q01 >= _smallest_motion(unit, q01, q99):
        return q01, q99, False
    smallest = _smallest_motion(unit, least, most)
    if most - least >= smallest:
        return least, most, False
    if least == most:
        around = max(1e-6, 1e-3 * abs(least))
        return least - around, least + around, True
    centre = (least + most) / 2
    around = max(bins * smallest, 1e-3 * abs(centre))
    return centre - around * (1 + 0.5 / bins), centre + around * (1 - 0.5 / bins), True


def _smallest_motion(unit: str, low: float, high: float) -> float:
    """The span from which on values between `low` and `high` are motion: of metres and radians 1e-5, else 1e-6; never
    less than 2^-20 of the larger one.
    """
    by_unit = 1e-5 if unit in ("m", "rad", "m/s", "rad/s") else 1e-6
    return max(by_unit, math.ldexp(max(abs(low), abs(high)), -20))
