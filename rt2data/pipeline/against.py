"""A checkpoint's statistics against a dataset: what share of its values lies outside, and what does not fit, in words.

Shares are exact: every train step is looked at, in the index. Dimensions are matched by their order, which is all that
a statistics file has; where another order fits far better, that is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rt2data import index
from rt2data.robot import value_limits
from rt2data.robot.fields import RobotFields
from rt2data.samples import selection
from rt2data.samples.job import Job
from rt2data.tokenizer.normalisers import RULES
from rt2data.tokenizer.statistics import BOUNDS, STACKS, Statistics

Json = dict[str, Any]
Floats = npt.NDArray[np.floating[Any]]

# From what on a difference is told: a share outside, a shift in standard deviations, and a factor of width.
OUTSIDE, SHIFT, WIDTH = 0.05, 0.5, 2.0
_NEAR = 1.25  # how far a factor may lie from that of a unit
_REORDERED = 1.5  # by how much another order must fit better, in the sum of `_misfit`
# By the unit of the data: a factor of the data's width to the file's, and what it says.
_UNITS: Mapping[str, Sequence[tuple[float, str]]] = {
    "rad": (
        (math.pi / 180, "the file may be in degrees, the data is in radians"),
        (180 / math.pi, "the file may be in radians, and the data in degrees against its declaration"),
    ),
    "m": (
        (1e-3, "the file may be in millimetres, the data is in metres"),
        (1e-2, "the file may be in centimetres, the data is in metres"),
        (1e3, "the file may be in metres, and the data in millimetres against its declaration"),
        (1e2, "the file may be in metres, and the data in centimetres against its declaration"),
    ),
}


@dataclass(frozen=True, slots=True)
class _Compared:
    """The numbers of the data (train steps) and of the file, each (D,); the file's std is 0 where it has none."""

    robot: RobotFields
    mean: Floats
    std: Floats
    file_mean: Floats
    file_std: Floats
    low: Floats
    high: Floats
    outside: Floats  # the share of values that lie outside by more than value_limits.MARGIN of the width

    def moves(self, i: int) -> bool:
        """Whether dimension `i` moves in both."""
        least = value_limits.resolution(self.robot.units[i])
        return bool(self.std[i] > least and self.file_std[i] > 0)

    def ratio(self, i: int) -> float:
        """How many times as wide dimension `i` is in the data."""
        return float(self.std[i] / self.file_std[i]) if self.file_std[i] > 0 else math.nan

    def shift(self, i: int) -> float:
        """How far the mean of dimension `i` lies from the file's, in the file's standard deviations."""
        return float((self.mean[i] - self.file_mean[i]) / self.file_std[i]) if self.file_std[i] > 0 else math.nan


def compare(job: Job, train: Mapping[str, Any], statistics: Statistics) -> Json:
    """Compare the train steps of the one source of a job with the statistics of a file.

    Args:
        job: of one robot source.
        train: its statistics, as `action_statistics.summary` gives them.
        statistics: of the actions, (D,).

    Returns:
        ``file``, ``stack``, ``clips`` (whether the stack clips), ``dims``; a list over the dimensions of ``low``,
        ``high``, ``below``, ``above`` (how many of ``count`` values lie there), ``shift`` and ``scale`` (None where the
        file does not say); and ``findings``, sentences.

    Raises:
        ActionError: another number of dimensions, or no bounds.
    """
    robot = job.recipe.sources[0].declaration.robot
    if robot is None:
        raise ValueError("a robot source is needed")
    statistics.check_one_set()
    statistics.check_width(len(robot.dims), " ".join(robot.dims))
    low, high = statistics.bounds()
    if statistics.mask is not None:  # passes as it is, into a model that gives and takes -1..1
        low, high = np.where(statistics.mask, low, -1.0), np.where(statistics.mask, high, 1.0)
    below, above, far = count_outside(job, low, high)
    has = all(name in statistics.measures for name in BOUNDS["zscore"])
    compared = _Compared(
        robot,
        np.array(train["mean"]),
        np.array(train["std"]),
        statistics.measure("mean") if has else (low + high) / 2,
        statistics.measure("std") if has else np.zeros(len(robot.dims)),
        low,
        high,
        far / train["count"],
    )
    stack = STACKS[statistics.stack]
    clips = next(rule for kind, rule in RULES[stack.rules].items() if kind == stack.bounds[0]).clip is not None
    each = range(len(robot.dims))
    return {
        "file": statistics.where,
        "stack": stack.title,
        "clips": clips,
        "dims": list(robot.dims),
        "count": train["count"],
        "low": low.tolist(),
        "high": high.tolist(),
        "below": below.tolist(),
        "above": above.tolist(),
        "shift": [compared.shift(i) if compared.file_std[i] > 0 else None for i in each],
        "scale": [compared.ratio(i) if compared.file_std[i] > 0 else None for i in each],
        "findings": list(_findings(compared, clips=clips)),
    }


def count_outside(job: Job, low: Floats, high: Floats) -> tuple[Any, Any, Any]:
    """How many values of train steps lie below `low`, above `high`, and outside by more than value_limits.MARGIN of the
    width, int64 (D,) each; every step once.
    """
    counts = np.zeros((3, len(low)), np.int64)
    margin = value_limits.MARGIN * (high - low)
    for piece in (piece for group in range(len(job.groups)) for piece in job.slices(group)):
        chosen = selection.select(piece.table, job.recipe, piece.source, piece.part.split)
        rows = np.flatnonzero(chosen.kept & (chosen.row_split == 0))
        values = index.matrix(piece.table.column("action"))[rows].astype(np.float64)
        where = values < low, values > high, (values < low - margin) | (values > high + margin)
        counts += np.array([np.count_nonzero(one, axis=0) for one in where])
    return counts[0], counts[1], counts[2]


def _findings(it: _Compared, *, clips: bool) -> Iterator[str]:
    dims, told = it.robot.dims, set[int]()
    order = _better_order(it)
    if moved := [i for i in range(len(dims)) if order[i] != i]:
        pairs = ", ".join(f"{dims[i]} is like number {order[i] + 1}" for i in moved)
        yield f"the order may differ: {pairs} of the file"
        told.update(moved)
    for i in range(len(dims)):
        if i not in told and (said := _turned(it, i)):
            yield f"{dims[i]}: {said}"
            told.add(i)
    for unit in dict.fromkeys(it.robot.units):
        group = [i for i in range(len(dims)) if it.robot.units[i] == unit and i not in told and it.moves(i)]
        if said := _unit(it, unit, group):
            yield f"{', '.join(dims[i] for i in group)}: {said}"
            told.update(group)
    for i in range(len(dims)):
        if i in told:
            continue
        if it.moves(i) and not 1 / WIDTH <= it.ratio(i) <= WIDTH:
            yield f"{dims[i]}: {it.ratio(i):.3g} times as wide as in the file"
        elif it.file_std[i] > 0 and not it.moves(i):
            yield f"{dims[i]}: keeps one value in the data, and moves in the file"
        if it.file_std[i] > 0 and abs(it.shift(i)) > SHIFT:
            yield f"{dims[i]}: its mean lies {it.shift(i):+.2f} standard deviations of the file from the file's"
    for i in range(len(dims)):
        if it.outside[i] > OUTSIDE:
            what = "are clipped" if clips else "become numbers beyond -1 and 1"
            yield f"{dims[i]}: {100 * it.outside[i]:.1f} % of the values lie outside of the file's bounds and {what}"


def _turned(it: _Compared, i: int) -> str:
    """What a mirrored dimension is called: openness of which 0 and 1 are swapped or otherwise scaled, or a sign."""
    if not it.moves(i):
        return ""
    if it.robot.units[i] == value_limits.OPENNESS:
        if it.low[i] >= -0.1 and abs(it.mean[i] + it.file_mean[i] - 1) < 0.15 < abs(it.mean[i] - it.file_mean[i]) / 2:
            return "open and closed may be swapped"
        ends = abs(it.low[i] + 1) < 0.1 and abs(it.high[i] - 1) < 0.1
        return "-1..1 in the file, 0..1 in the data" if ends and abs(it.ratio(i) - 0.5) < 0.1 else ""
    mirrored = abs(it.mean[i] + it.file_mean[i]) < 0.25 * it.file_std[i] and abs(it.shift(i)) > SHIFT
    return "the sign may be the opposite" if mirrored and 1 / _NEAR < it.ratio(i) < _NEAR else ""


def _unit(it: _Compared, unit: str, group: Sequence[int]) -> str:
    """What a factor that all dimensions of one unit share says of the unit, or of time."""
    if not group:
        return ""
    rates = [(1 / it.robot.control_hz, "per second"), (it.robot.control_hz, "per step")] if it.robot.control_hz else []
    said = [*_UNITS.get(unit, ())]
    if len(group) > 1 and it.robot.kind != "absolute":
        said += [
            (rate, f"the file may be {what}, and the data {other}")
            for (rate, what), other in zip(rates, ("per step", "per second"), strict=False)
        ]
    for factor, words in said:
        if not 1 / WIDTH <= factor <= WIDTH and all(1 / _NEAR < it.ratio(i) / factor < _NEAR for i in group):
            return f"{factor:.3g} times as wide as in the file: {words}"
    return ""


def _misfit(it: _Compared, i: int, j: int) -> float:
    """How badly dimension `i` of the data fits dimension `j` of the file."""
    if not it.moves(i) or not it.file_std[j] > 0:
        return 0.0 if not it.moves(i) and not it.file_std[j] > 0 else 1.0
    apart = abs(float(it.mean[i] - it.file_mean[j])) / float(it.file_std[j])
    return abs(math.log(float(it.std[i] / it.file_std[j]))) + min(apart, 3.0)


def _better_order(it: _Compared) -> list[int]:
    """The dimension of the file that each dimension of the data is most like, by exchanges of two that fit far better;
    0, 1, 2 ... where none does.
    """
    size = len(it.robot.dims)
    order = list(range(size))
    if not (it.file_std > 0).any():
        return order
    misfit = [[_misfit(it, i, j) for j in range(size)] for i in range(size)]
    while True:
        gains = [
            (misfit[i][order[i]] + misfit[j][order[j]] - misfit[i][order[j]] - misfit[j][order[i]], i, j)
            for i in range(size)
            for j in range(i + 1, size)
        ]
        gain, i, j = max(gains, default=(0.0, 0, 0))
        if gain < _REORDERED:
            return order
        order[i], order[j] = order[j], order[i]
