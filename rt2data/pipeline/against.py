"""A checkpoint's statistics against a dataset: what share of its values lies outside, and what does not fit, in words.

The statistics are those of a file, or of a mixture that the checkpoint was trained on; the dataset may be a mixture
too. Shares are exact: every train step is looked at, in the index or in the shards. Dimensions are matched by their
order, which is all that a statistics file has; where another order fits far better, that is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rt2data import index, storage
from rt2data.errors import Rt2dataError
from rt2data.mixture import reader
from rt2data.mixture.stats import read_mixture_stats
from rt2data.robot import value_limits
from rt2data.samples import selection
from rt2data.samples.job import Job
from rt2data.storage.places import Place
from rt2data.tokenizer import ActionTokenizer
from rt2data.tokenizer.normalisers import RULES
from rt2data.tokenizer.statistics import BOUNDS, STACKS, Statistics, read_statistics

Json = dict[str, Any]
Floats = npt.NDArray[np.floating[Any]]

_BLOCK = 4096  # samples of a mixture that are compared at a time

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
class Space:
    """What the numbers of the data are: name and unit of each dimension, steps per second, and whether they are
    targets, not displacements.
    """

    dims: Sequence[str]
    units: Sequence[str]
    control_hz: float | None
    absolute: bool = False


@dataclass(frozen=True, slots=True)
class Against:
    """What is compared with: a statistics file, or a mixture's folder (a path or URL), and the dataset in it (None: one
    of the dataset's names).
    """

    file: str
    key: str | None = None

    def read(self, names: Sequence[str]) -> Stated:
        """Read the statistics of the actions, of the first of `names` that there is where no key is given.

        Raises:
            Rt2dataError: no such file, mixture or key, or statistics of each step of a chunk.
        """
        folder = storage.place(self.file)
        return self._mixture(folder, names) if (folder / "manifest.json").is_file() else self._file(names)

    def _file(self, names: Sequence[str]) -> Stated:
        statistics = read_statistics(self.file, self.key, names=names)
        statistics.check_one_set()
        low, high = statistics.bounds()
        if statistics.mask is not None:  # passes as it is, into a model that gives and takes -1..1
            low, high = np.where(statistics.mask, low, -1.0), np.where(statistics.mask, high, 1.0)
        stack = STACKS[statistics.stack]
        clips = next(rule for kind, rule in RULES[stack.rules].items() if kind == stack.bounds[0]).clip is not None
        return Stated(statistics, low, high, stack.title, clips)

    def _mixture(self, folder: Place, names: Sequence[str]) -> Stated:
        manifest = reader.load_manifest(folder)
        robots = [source for source in manifest["sources"] if source["kind"] == "robot"]
        known = [name for source in robots for name in (source["source"], source["id"], *source["aliases"])]
        key = self.key or next((name for name in names if name in known), None)
        if key is None and len(robots) != 1:
            expected = f"the key of one: {', '.join(source['source'] for source in robots)}"
            raise Rt2dataError(self.file, f"{len(robots)} robot sources", expected)
        among = [source["source"] for source in robots]
        source = reader.find_source(manifest, key or among[0], self.file, among)["source"]
        measured = {s["source"]: s["actions"] for s in read_mixture_stats(folder)["sources"]}[source]
        if not measured or not measured["train"]["count"]:
            raise Rt2dataError(self.file, f"no train step of {source}", "statistics of its actions")
        _check_plain(measured["train"], self.file)
        tokenizer = ActionTokenizer.from_pretrained(str(folder)).for_source(source)
        measures = {name: np.array(measured["train"][name]) for name in ("mean", "std", "min", "max", "q01", "q99")}
        statistics = Statistics(measures, where=f"{self.file}: {source}", names=tuple(measured["train"]["dims"]))
        low, high = (np.array([getattr(dim, end) for dim in tokenizer.dims]) for end in ("low", "high"))
        return Stated(statistics, low, high, f"mixture {manifest['name']}", not tokenizer.spec.of_chunks)


@dataclass(frozen=True, slots=True)
class Stated:
    """The statistics (D,) that are compared with, the bounds by which their stack scales, its title, and whether it
    clips.
    """

    statistics: Statistics
    low: Floats
    high: Floats
    title: str
    clips: bool


@dataclass(frozen=True, slots=True)
class _Compared:
    """The numbers of the data (train steps) and of the file, each (D,); the file's std is 0 where it has none."""

    space: Space
    mean: Floats
    std: Floats
    file_mean: Floats
    file_std: Floats
    low: Floats
    high: Floats
    outside: Floats  # the share of values that lie outside
    far: Floats  # the same by more than value_limits.MARGIN of the width

    def moves(self, i: int) -> bool:
        """Whether dimension `i` moves in both."""
        least = value_limits.resolution(self.space.units[i])
        return bool(self.std[i] > least and self.file_std[i] > 0)

    def ratio(self, i: int) -> float:
        """How many times as wide dimension `i` is in the data."""
        return float(self.std[i] / self.file_std[i]) if self.file_std[i] > 0 else math.nan

    def shift(self, i: int) -> float:
        """How far the mean of dimension `i` lies from the file's, in the file's standard deviations."""
        return float((self.mean[i] - self.file_mean[i]) / self.file_std[i]) if self.file_std[i] > 0 else math.nan


def compare_job(job: Job, train: Mapping[str, Any], stated: Stated) -> Json:
    """Compare the train steps of the one robot source of a job, whose statistics are `train`; see `compare`."""
    robot = job.recipe.sources[0].declaration.robot
    if robot is None:
        raise ValueError("a robot source is needed")
    space = Space(robot.dims, robot.units, robot.control_hz, robot.kind == "absolute")
    return compare(space, train, _values_of_job(job), stated)


def compare_mixture(folder: Place, against: Against) -> dict[str, Json]:
    """Compare what each robot source of a mixture has in its train samples; see `compare`.

    Of each sample the first step counts, of chunks relative to their start all defined steps.

    Returns:
        By the source's public name.

    Raises:
        Rt2dataError: statistics of each step of a chunk, or no robot source.
    """
    manifest, found = reader.load_manifest(folder), {}
    stats = {source["source"]: source for source in read_mixture_stats(folder)["sources"]}
    for name, source in stats.items():
        if source["actions"] and source["actions"]["train"]["count"]:
            train = source["actions"]["train"]
            _check_plain(train, str(folder))
            space = _space(folder, manifest, source)
            stated = against.read((name, source["id"], *source["aliases"]))
            found[name] = compare(space, train, _values_of_mixture(folder, manifest, name), stated)
    if not found:
        raise Rt2dataError(str(folder), "no train step of a robot", "a robot source", "--against compares actions")
    return found


def compare(space: Space, train: Mapping[str, Any], values: Iterable[Floats], stated: Stated) -> Json:
    """Compare actions with the statistics of a file.

    Args:
        space: of the actions.
        train: their statistics, as `action_statistics.summary` gives them.
        values: all of them, arrays (n, D).
        stated: what they are compared with.

    Returns:
        ``file``, ``stack``, ``clips`` (whether the stack clips), ``dims``; a list over the dimensions of ``low``,
        ``high``, ``below``, ``above`` (how many of ``count`` values lie there), ``shift`` and ``scale`` (None where the
        file does not say); and ``findings``, sentences.

    Raises:
        ActionError: another number of dimensions.
    """
    statistics, low, high = stated.statistics, stated.low, stated.high
    statistics.check_width(len(space.dims), " ".join(space.dims))
    below, above, far, count = count_outside(values, low, high)
    has = all(name in statistics.measures for name in BOUNDS["zscore"])
    compared = _Compared(
        space,
        np.array(train["mean"]),
        np.array(train["std"]),
        statistics.measure("mean") if has else (low + high) / 2,
        statistics.measure("std") if has else np.zeros(len(space.dims)),
        low,
        high,
        (below + above) / max(count, 1),
        far / max(count, 1),
    )
    each = range(len(space.dims))
    named = set(statistics.names) == set(space.dims) and statistics.names != tuple(space.dims)
    order = [f"the file names its dimensions in another order: {' '.join(statistics.names)}"] if named else []
    return {
        "file": statistics.where,
        "stack": stated.title,
        "clips": stated.clips,
        "dims": list(space.dims),
        "count": count,
        "low": low.tolist(),
        "high": high.tolist(),
        "below": below.tolist(),
        "above": above.tolist(),
        "shift": [compared.shift(i) if compared.file_std[i] > 0 else None for i in each],
        "scale": [compared.ratio(i) if compared.file_std[i] > 0 else None for i in each],
        "findings": [*order, *_findings(compared, clips=stated.clips)],
    }


def count_outside(values: Iterable[Floats], low: Floats, high: Floats) -> tuple[Any, Any, Any, int]:
    """How many values lie below `low`, above `high`, and outside by more than value_limits.MARGIN of the width, int64
    (D,) each; and how many rows there are.
    """
    counts, count = np.zeros((3, len(low)), np.int64), 0
    margin = value_limits.MARGIN * (high - low)
    for block in values:
        own = block.astype(np.float64)
        where = own < low, own > high, (own < low - margin) | (own > high + margin)
        counts += np.array([np.count_nonzero(one, axis=0) for one in where])
        count += len(own)
    return counts[0], counts[1], counts[2], count


def _values_of_job(job: Job) -> Iterator[Floats]:
    """The actions of train steps, every step once."""
    for piece in (piece for group in range(len(job.groups)) for piece in job.slices(group)):
        chosen = selection.select(piece.table, job.recipe, piece.source, piece.part.split)
        rows = np.flatnonzero(chosen.kept & (chosen.row_split == 0))
        yield index.matrix(piece.table.column("action"))[rows]


def _values_of_mixture(folder: Place, manifest: Json, source: str) -> Iterator[Floats]:
    """The actions of the train samples of a source."""
    waiting: list[Floats] = []
    for sample in _robots(folder, manifest, source):
        # What is stored is float32, of which JSON has the shortest decimal.
        steps = np.array(sample["action"], np.float32).reshape(-1, len(sample["dims"]))
        waiting.append(steps[np.array(sample["action_valid"])] if sample.get("relative") else steps[:1])
        if len(waiting) == _BLOCK:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def _space(folder: Place, manifest: Json, source: Json) -> Space:
    """The space of a source's actions, as its first sample has it."""
    sample = next(_robots(folder, manifest, source["source"]), None)
    if sample is None:
        raise Rt2dataError(str(folder), f"no train sample of {source['source']}", "one")
    return Space(sample["dims"], sample["units"], source["control_hz"])


def _robots(folder: Place, manifest: Json, source: str) -> Iterator[Json]:
    """The JSON of the train samples of a robot source."""
    for shard in reader.shards(manifest, "train"):
        if shard["source"] in (None, source):
            for sample in reader.samples(folder / shard["name"], images=False):
                if sample.meta["source"] == source:
                    yield sample.meta


def _check_plain(train: Json, where: str) -> None:
    """Check that the statistics of a source are not those of each step of a chunk."""
    if "horizon" in train:
        found = f"statistics of {train['horizon']} steps of a chunk"
        raise Rt2dataError(where, found, "one set for all steps", "Compare a mixture whose chunks share statistics")


def _findings(it: _Compared, *, clips: bool) -> Iterator[str]:
    dims, told = it.space.dims, set[int]()
    order = _better_order(it)
    if moved := [i for i in range(len(dims)) if order[i] != i]:
        pairs = ", ".join(f"{dims[i]} is like number {order[i] + 1}" for i in moved)
        yield f"the order may differ: {pairs} of the file"
        told.update(moved)
    for i in range(len(dims)):
        if i not in told and (said := _turned(it, i)):
            yield f"{dims[i]}: {said}"
            told.add(i)
    for unit in dict.fromkeys(it.space.units):
        group = [i for i in range(len(dims)) if it.space.units[i] == unit and i not in told and it.moves(i)]
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
        if it.far[i] > OUTSIDE:
            what = "are clipped" if clips else "become numbers beyond -1 and 1"
            yield f"{dims[i]}: {100 * it.outside[i]:.1f} % of the values lie outside of the file's bounds and {what}"


def _turned(it: _Compared, i: int) -> str:
    """What a mirrored dimension is called: openness of which 0 and 1 are swapped or otherwise scaled, or a sign."""
    if not it.moves(i):
        return ""
    if it.space.units[i] == value_limits.OPENNESS:
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
    rates = [(1 / it.space.control_hz, "per second"), (it.space.control_hz, "per step")] if it.space.control_hz else []
    said = [*_UNITS.get(unit, ())]
    if len(group) > 1 and not it.space.absolute:
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
    size = len(it.space.dims)
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
