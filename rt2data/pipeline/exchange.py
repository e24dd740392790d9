"""EXCHANGE: rows leave their part and go to the shard group they belong to.

A task reads one group of index slices front to back and writes one run: an Arrow IPC file whose record batch b holds
the group's rows for shard group b. The file's own footer has the offsets, so that GATHER reads just its batch.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.ipc

from rt2data import index
from rt2data.errors import Rt2dataError
from rt2data.pipeline import staging
from rt2data.pipeline.bin_counts import Bins
from rt2data.pipeline.measure import action_statistics
from rt2data.plan import draw
from rt2data.plan.plan import Plan, load_plan
from rt2data.recipes.recipe import RecipeSource
from rt2data.runners.tasks import Counts, Task
from rt2data.samples import image_pass, kinds, paraphrases, selection, windows
from rt2data.samples.job import Job, load_job
from rt2data.samples.reasoning import Reasonings
from rt2data.storage import atomic
from rt2data.tokenizer import ActionTokenizer, learned, proprio

Ints = npt.NDArray[np.int64]

MIN_SHARD_GROUPS = 16
REFERENCE = ("file", "offset", "length", "crc", "format")  # columns of a camera that GATHER needs
SHARD_GROUP_BYTES = 40_000_000  # of rows in a worker's memory: 200,000 samples of one step


def shard_group_size(plan: Plan) -> int:
    """How many consecutive shards make a group: about SHARD_GROUP_BYTES of rows, in at least MIN_SHARD_GROUPS groups.

    A gather task opens every run: smaller groups would read runs a few rows at a time, larger ones take more memory.
    """
    shards = max(1, plan.shards)
    return math.ceil(shards / min(shards, max(MIN_SHARD_GROUPS, math.ceil(plan.run_bytes / SHARD_GROUP_BYTES))))


def shard_groups(plan: Plan) -> int:
    """The number of shard groups."""
    return math.ceil(plan.shards / shard_group_size(plan))


@dataclass(frozen=True, slots=True)
class ExchangeTask(Task):
    """Write the run of group `group` of the job at `job`, for the build named `build`.

    A run that is there is whole, since it was renamed into place.
    """

    job: Path
    build: str
    group: int
    learned: tuple[str, ...] = ()  # the places of encoders that the tokenizer may use

    def run(self) -> Counts:
        learned.allow(self.learned)
        return write_run(self)


def write_run(task: ExchangeTask) -> Counts:
    """Write a run, and before it all else that its task leaves. Counts rows, drawn samples and why rows are none."""
    job, group = load_job(task.job), task.group
    build = job.work.build(task.build)
    plan = load_plan(build.folder)
    path = build.run(job.runs, group)
    if path.is_file():
        return {}
    source = job.parts[job.groups[group][0].part].source
    robot = job.recipe.sources[source].declaration.robot
    folder = build.folder
    bins = Bins(ActionTokenizer.from_pretrained(str(folder)), proprio.load(folder)) if robot else None
    counts: Counter[str] = Counter()
    rows = _rows(job, plan, group, bins, counts)
    if bins is not None:
        arrays = {f"{name}.{i}": array for name, pair in bins.counts.items() for i, array in enumerate(pair)}
        action_statistics.save(build.bins(job.runs, group), arrays)
    if job.staged and job.staged[source] and rows.num_rows:
        rows = staging.stage(job, source, rows, build.staged_run(job.runs, group))
    _write(path, rows, shard_groups(plan), shard_group_size(plan))
    return {**counts, "samples": rows.num_rows}


def _rows(job: Job, plan: Plan, group: int, bins: Bins | None, counts: Counter[str]) -> pa.Table:
    """The drawn samples of a group: the index's columns, and order, shard, copy, variant and (web) target. Counts all
    of its samples in `bins`, so that each part is opened once, and its rows in `counts`.

    Where samples hold several steps, the columns of the action are as wide, and the images of other steps stand in
    columns of their own, as those of a camera ``CAMERA.hN``; states and actions likewise (`windows.other_column`).
    """
    pieces, splits = [], job.recipe.splits
    for piece in job.slices(group):
        part, source, table, every, start = piece
        samples = selection.select(table, job.recipe, source, part.split)
        counts["rows"] += table.num_rows
        counts.update({f"left_out.{reason}": number for reason, number in samples.left_out.items()})
        if bins is not None:
            bins.add(piece, samples)
        if source.kinds:
            values = job.values(part, every)
            steps = kinds.kind_steps(values)
            samples = kinds.expand(job.recipe, source, samples, steps, plan.sources[part.source].kinds, start)
        drawn = list(draw.iter_drawn(job.recipe, source, plan.sources[part.source], samples))
        positions = np.concatenate([rows for _, rows, _, _ in drawn]) if drawn else np.empty(0, np.int64)
        columns: dict[str, Any] = {
            "order": np.concatenate([values for *_, values in drawn]) if drawn else np.empty(0, np.uint64),
            "shard": _joined([plan.shard_of(splits[s], source.name, v) for s, _, _, v in drawn], np.int64),
            "copy": _joined([np.full(len(rows), copy, np.int32) for _, rows, copy, _ in drawn], np.int32),
            "variant": samples.variant[positions],
        }  # fmt: skip
        if source.kinds:
            columns |= kinds.value_columns(job.recipe, values, samples, positions, steps, start)
        if source.declaration.robot and (source.reasoning or source.instructions != "first"):
            told = selection.instructions(table, source, job.recipe.seed, samples)
            if source.instructions != "first":
                columns["instruction"] = told._replace(codes=told.codes[positions]).column()
            reasonings = job.reasonings(part, table, samples.rows, told)
            if reasonings is not None:
                columns["plan"] = _reasoning_column(job, plan, part.source, reasonings, samples, drawn)
        if source.declaration.kind != "robot":
            texts = np.array(selection.targets(table, source, job.recipe.seed, samples), object)
            columns["target"] = pa.array(texts[positions], pa.string())
        elif source.sampling.windows:
            columns |= _window(every, samples.rows[positions] + start, source)
        pieces.append(_with(table.take(samples.rows[positions]), columns, source, selection.cameras(source)))
    return pa.concat_tables(pieces)


def _window(every: pa.Table, rows: Ints, source: RecipeSource) -> dict[str, Any]:
    """The columns of the samples that begin at `rows` of a part, as far as they are of more than these rows."""
    chunks = windows.ActionWindows(every, source)
    actions = chunks.at(rows)
    columns: dict[str, Any] = {
        "action": index.fixed(actions.values.reshape(len(rows), math.prod(actions.values.shape[1:]))),
        "terminate": index.fixed(actions.terminate),
        "valid": index.fixed(actions.valid),
    }
    origin = chunks.relative.origin(rows) if chunks.relative else None
    if origin is not None:
        columns["origin"] = index.fixed(origin)
    shown = [one for kind in source.kinds or (None,) for one in windows.pictures(source, kind)]
    for one in dict.fromkeys(one._replace(padded=False) for one in shown if one.step):
        at, there = windows.other_rows(every, rows, source, one.step)
        columns |= {f"{one.name}.{what}": every.column(f"{one.camera}.{what}").take(at) for what in REFERENCE}
        columns[f"{one.name}.file"] = columns[f"{one.name}.file"].cast(pa.string())
        columns[f"{one.name}.there"] = there
    said = {(slot.name, slot.step) for kind in source.kinds for slot in kind.values().values() if slot.step}
    for name, step in sorted(said):
        at, there = windows.other_rows(every, rows, source, step)
        columns |= _other(every, chunks, name, step, at, there)
    return columns


def _other(
    every: pa.Table, chunks: windows.ActionWindows, name: str, step: int, at: Ints, there: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """The columns of a value of another step, at the rows `at` of a part; none of a track, which is text already."""
    if name == "step":
        return {windows.other_column("step", step): pa.array(index.numbers(every, "step")[at], mask=~there)}
    if name == "state":
        held = np.where(there[:, None], index.matrix(every.column("proprio"))[at], np.float32("nan"))
        return {windows.other_column("proprio", step): index.fixed(held)}
    if name != "action":
        return {}
    actions = chunks.at(at)
    values = actions.values.reshape(len(at), math.prod(actions.values.shape[1:]))
    return {
        windows.other_column("action", step): index.fixed(values),
        windows.other_column("terminate", step): index.fixed(actions.terminate),
        windows.other_column("acts", step): there & windows.acts(every)[at],
    }


def _reasoning_column(
    job: Job, plan: Plan, source: int, reasonings: Reasonings, samples: selection.Selection, drawn: list[Any]
) -> pa.Array:
    """The reasoning of each drawn sample; null where it has none."""
    rule, masks, which = job.recipe.sources[source], [], []
    for split, rows, copy, _ in drawn:
        last = int((plan.sources[source].plans or {})["threshold"][job.recipe.splits[split]])
        hashes = draw.reasoning_hashes(job.recipe, rule, samples, rows, copy)
        which.append(rows)
        masks.append((reasonings.which[rows] >= 0) & (last >= 0) & (hashes <= np.uint64(max(0, last))))
    mask, rows = _joined(masks, np.bool_), _joined(which, np.int64)
    place = np.cumsum(mask) - 1
    return reasonings.take(rows[mask]).take(pa.array(place, mask=~mask))


def _joined(arrays: list[Any], dtype: Any) -> Any:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def _with(table: pa.Table, columns: dict[str, Any], source: RecipeSource, cameras: tuple[str, ...]) -> pa.Table:
    """`table` without what GATHER does not need, and with `columns`. Dictionaries become plain text: a reader of one
    batch would have to load the dictionaries of the whole file.
    """
    unused = {f"{c}." for c in source.declaration.cameras if c not in cameras}
    arrays: dict[str, Any] = {}
    for name in table.column_names:
        if name in ("split_hash", "reject", "plan", "success", paraphrases.COLUMN, *windows.WINDOW):
            continue
        if name.startswith((index.COLUMN, index.BOXES, image_pass.ATTACHED, *unused)):
            continue
        column = table.column(name)
        arrays[name] = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
    return pa.table(arrays | columns)


def _write(path: Path, table: pa.Table, count: int, size: int) -> None:
    group = index.numbers(table, "shard") // size
    by_group = np.argsort(group, kind="stable")
    table = table.take(by_group).combine_chunks()
    edges = np.searchsorted(group[by_group], np.arange(count + 1))
    with (
        atomic.replacing(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        empty = pa.record_batch([pa.array([], f.type) for f in table.schema], schema=table.schema)
        for number in range(count):
            rows = table.slice(edges[number], edges[number + 1] - edges[number]).combine_chunks().to_batches()
            if len(rows) > 1:  # Arrow's texts of one batch end at 2 GiB
                raise Rt2dataError(str(path), "more than 2 GiB of text in one shard group", "smaller samples_per_shard")
            writer.write_batch(rows[0] if rows else empty)
