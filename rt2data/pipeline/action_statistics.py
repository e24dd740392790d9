"""Statistics of a job's robot sources: exact, from the index alone; no image is read.

Two passes (`rt2data.pipeline.exact_stats`) over the action columns, divided among tasks; each task leaves its sums in a
file. `train` is the train split after filters, each step once whatever its copies: what the tokenizer's bounds come
from. `all` is every step as found: tasks measure `rest`, what of it is not in `train`, so that no value is looked at
twice.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rt2data import index
from rt2data.pipeline import exact_stats
from rt2data.pipeline.exact_stats import Cells, Moments
from rt2data.recipes.recipe import RecipeSource
from rt2data.robot.fields import split_dimension
from rt2data.runners.tasks import Counts, Task
from rt2data.samples import paraphrases, selection
from rt2data.samples.job import Job, RowSlice, load_job
from rt2data.storage import atomic
from rt2data.storage.workdir import MeasureFiles
from rt2data.tokenizer import ActionTokenizer, Dim
from rt2data.tokenizer.floats import RAW_GRIPPER

QUANTILES = (0.01, 0.5, 0.99)
MOST_FREQUENT = 10  # instructions that are listed
_NO_STEP = [index.CODE[reason] for reason in ("not_finite", "composed")]


@dataclass(frozen=True, slots=True)
class MomentsTask(Task):
    """Pass 1 over group `group` of the job at `job`: the moments of each set."""

    job: Path
    group: int

    def run(self) -> Counts:
        job = load_job(self.job)
        totals: dict[str, Moments] = {}
        for name, values in _values(job, self.group):
            totals[name] = (
                totals[name].merge(Moments.from_array(values)) if name in totals else Moments.from_array(values)
            )
        save(job.work.measure(self.job.stem).moments(self.group), _arrays(totals))
        return {"steps": sum(totals[name].count for name in ("train", "rest") if name in totals)}


@dataclass(frozen=True, slots=True)
class WantedTask(Task):
    """Between the passes: the cells of source `source` (its position in the recipe) that pass 2 counts."""

    job: Path
    source: int

    def run(self) -> Counts:
        job = load_job(self.job)
        files = job.work.measure(self.job.stem)
        save(files.wanted(self.source), wanted_cells(merged_moments(job, files, self.source)))
        return {}


@dataclass(frozen=True, slots=True)
class CellsTask(Task):
    """Pass 2 over group `group` of source `source`: counts inside the cells that are wanted of the source."""

    job: Path
    source: int
    group: int

    def run(self) -> Counts:
        job = load_job(self.job)
        files = job.work.measure(self.job.stem)
        cells = dict(np.load(files.wanted(self.source), allow_pickle=False))
        totals: dict[str, Cells] = {}
        for name, values in _values(job, self.group):
            if name not in cells:  # no row at all
                continue
            counted = Cells.from_array(values, cells[name])
            totals[name] = totals[name].merge(counted) if name in totals else counted
        save(files.cells(self.group), _arrays(totals))
        return {}


def merged_moments(job: Job, files: MeasureFiles, source: int) -> dict[str, Moments]:
    """The moments of a source, of all its groups."""
    return merged(map(files.moments, job.groups_of(source)), Moments)


def merged_cells(job: Job, files: MeasureFiles, source: int) -> dict[str, Cells]:
    """The cells of a source, of all its groups."""
    return merged(map(files.cells, job.groups_of(source)), Cells)


def _arrays(totals: Mapping[str, Moments | Cells]) -> dict[str, Any]:
    return {f"{name}.{key}": array for name, total in totals.items() for key, array in total.to_arrays().items()}


def _values(job: Job, group: int) -> Iterator[tuple[str, Any]]:
    """The values of each set, float32 (n, D), of many parts at a time where parts are small."""
    waiting: dict[str, list[Any]] = {}
    rows = 0
    for piece in job.slices(group):
        for name, values in _values_of_slice(job, piece):
            waiting.setdefault(name, []).append(values)
        rows += piece.table.num_rows
        if rows >= index.BATCH:
            yield from ((name, np.concatenate(arrays)) for name, arrays in waiting.items())
            waiting, rows = {}, 0
    yield from ((name, np.concatenate(arrays)) for name, arrays in waiting.items())


def _values_of_slice(job: Job, piece: RowSlice) -> Iterator[tuple[str, Any]]:
    source, table = piece.source, piece.table
    kept = selection.rejected(table, source)[1]
    row_split = selection.splits(table, job.recipe, source, piece.part.split)
    action = index.matrix(table.column("action"))
    train = kept & (row_split == job.recipe.splits.index("train"))
    yield "train", action[train]
    yield "rest", action[~train & ~np.isin(index.numbers(table, "reject"), _NO_STEP)]
    if source.sampling.state:
        yield "proprio", index.matrix(table.column("proprio"))[train]


def save(path: Path, arrays: dict[str, Any]) -> None:
    """Write arrays as ``.npz``, whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    atomic.write_file(path, buffer.getvalue())


def load(path: str | Path, kind: type[Any]) -> dict[str, Any]:
    """The Moments or Cells of each set that a task wrote."""
    stored = np.load(path, allow_pickle=False)
    names = dict.fromkeys(key.partition(".")[0] for key in stored.files)
    return {
        n: kind.from_arrays({k.partition(".")[2]: stored[k] for k in stored.files if k.startswith(n + ".")})
        for n in names
    }


def merged(paths: Iterable[str | Path], kind: type[Any]) -> dict[str, Any]:
    """The sum over tasks of each set but `rest`, and `all`. The order of `paths` does not matter."""
    totals: dict[str, Any] = {}
    for path in paths:
        for name, part in load(path, kind).items():
            totals[name] = totals[name].merge(part) if name in totals else part
    rest = totals.pop("rest", None)
    return totals if rest is None else totals | {"all": totals["train"].merge(rest)}


def wanted_cells(moments: dict[str, Moments]) -> dict[str, Any]:
    """The cells that pass 2 counts of each set that tasks measure: the quantiles of `all` need those of its two."""
    cells = {name: moment.cells(QUANTILES) for name, moment in moments.items() if moment.count}
    every = np.unique(np.concatenate([np.zeros(0, np.uint32), *(cells.pop(n) for n in ("train", "all") if n in cells)]))
    return cells | {"train": every, "rest": every}


def summary(moments: Moments, cells: Cells | None, dims: Sequence[str]) -> dict[str, Any]:
    """``{count, mean, std, min, q01, median, q99, max}``, each a list over `dims` but for count."""
    if cells is None or not moments.count:
        return {"count": 0}
    q01, median, q99 = exact_stats.quantiles(moments, cells, QUANTILES)
    values = {
        "mean": moments.mean,
        "std": moments.std,
        "min": moments.min,
        "q01": q01,
        "median": median,
        "q99": q99,
        "max": moments.max,
    }
    return {"count": moments.count, "dims": list(dims)} | {
        name: [float(v) for v in value] for name, value in values.items()
    }


def instructions(job: Job, source: int) -> dict[str, Any]:
    """How many distinct instructions the train episodes of a source begin with, and the ten most frequent with their
    episodes. An episode begins with its first step that is a sample; one without any does not count.

    Where the recipe takes paraphrases, an episode begins with each of its own.

    Memory: 16 bytes a distinct instruction; texts of one part at a time, and of ten.
    """
    heads, counts = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    for _, own, number in _first_instructions(job, source):
        heads, which = np.unique(np.concatenate([heads, own]), return_inverse=True)
        counts = np.bincount(which, np.concatenate([counts, number]), len(heads)).astype(np.int64)
    least = int(np.sort(counts)[-MOST_FREQUENT]) if len(counts) >= MOST_FREQUENT else 1
    best: dict[str, int] = {}
    for texts, own, _ in _first_instructions(job, source):
        total = counts[np.searchsorted(heads, own)]
        best |= {text: int(n) for text, n in zip(texts, total, strict=True) if n >= least}
        best = dict(sorted(best.items(), key=lambda i: (-i[1], i[0]))[:MOST_FREQUENT])
    return {"distinct": len(heads), "most_frequent": [list(item) for item in best.items()]}


def _first_instructions(job: Job, source: int) -> Iterator[tuple[list[str], Any, Any]]:
    """Part by part the distinct instructions that train episodes begin with: texts, digests uint64, episodes int64."""
    for part in job.parts:
        if part.source == source and job.source(part).declaration.robot:
            table = job.table(part)
            codes, pools = paraphrases.pools(table)
            kept = selection.rejected(table, job.source(part))[1]
            train = selection.splits(table, job.recipe, job.source(part), part.split) == 0
            rows = np.flatnonzero(kept & train)
            episode = np.cumsum(index.numbers(table, "step") == 0)[rows]
            first = codes[rows[np.flatnonzero(np.diff(episode, prepend=0))]]
            episodes: Counter[str] = Counter()
            for code, times in zip(*np.unique(first[first >= 0], return_counts=True), strict=True):
                episodes.update(dict.fromkeys(pools[code], int(times)))
            texts, number = list(episodes), np.array(list(episodes.values()), np.int64)
            digests = [int.from_bytes(index.digest(text, size=8), "big") for text in texts]
            yield texts, np.array(digests, np.uint64), number


def bounds(source: RecipeSource, stats: dict[str, Any], spec: ActionTokenizer, rule: str) -> list[Dim]:
    """The tokenizer's dimensions for a source: the spec's own bounds, or the 1st and 99th percentile.

    The gripper keeps the spec's bounds under either rule: a percentile of an on-off signal says nothing.
    """
    robot = source.declaration.robot
    if robot is None:
        return []
    if spec.spec.scheme == "float":
        return _float_bounds(source, stats, spec)
    fixed = {dim.name: dim for dim in spec.dims}
    gripper = next((dim for name, dim in fixed.items() if name.startswith("gripper")), Dim("gripper", 0.0, 1.0))
    dims = []
    for i, name in enumerate(robot.dims):
        if split_dimension(name)[1] == "gripper":
            dims.append(replace(gripper, name=name))
        elif name in fixed and rule == "fixed":
            dims.append(fixed[name])
        else:
            dims.append(_measured(source, stats, i, robot.units[i], spec.bins))
    return dims


def _float_bounds(source: RecipeSource, stats: dict[str, Any], spec: ActionTokenizer) -> list[Dim]:
    """The dimensions of a source between the statistics that a scheme without bins is normalised by.

    A gripper that the stack does not normalise is between -1 and 1, which says so.
    """
    stack, kind = spec.spec.options["stack"], spec.spec.options["kind"]
    robot, dims = source.declaration.robot, []
    ends = {"quantiles": (stats["q01"], stats["q99"]), "minmax": (stats["min"], stats["max"])}
    pairs = zip(stats["mean"], stats["std"], strict=True)
    spread = [(mean - std, mean + std) for mean, std in pairs]
    measured = [ends[kind][side] if kind in ends else [pair[side] for pair in spread] for side in (0, 1)]
    own = stats | {"q01": measured[0], "q99": measured[1]}
    for i, name in enumerate(robot.dims if robot else ()):
        raw = stack in RAW_GRIPPER and split_dimension(name)[1] == "gripper"
        unit = robot.units[i] if robot else ""
        dims.append(Dim(name, -1.0, 1.0) if raw else _measured(source, own, i, unit, spec.bins))
    return dims


def proprio_bounds(source: RecipeSource, stats: dict[str, Any], bins: int) -> list[Dim]:
    """The dimensions of a source's proprioception, each between its 1st and 99th percentile."""
    return [_measured(source, stats, i, "", bins) for i in range(len(stats["dims"]))]


def _measured(source: RecipeSource, stats: dict[str, Any], i: int, unit: str, bins: int) -> Dim:
    low, high, constant = exact_stats.bounds(
        *(stats[key][i] for key in ("q01", "q99", "min", "max")),
        where=f"{source.declaration.name} dimension {stats['dims'][i]}",
        unit=unit,
        bins=bins,
    )
    return Dim(stats["dims"][i], low, high, unit, constant)
