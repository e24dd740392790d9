"""EXCHANGE: rows leave their part and go to the bucket of shards they belong to.

A task reads one group of index slices front to back and writes one run file: an Arrow IPC file whose record batch b
holds the group's rows for bucket b. The file's own footer is the sidecar of offsets, so GATHER reads just its batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.ipc

from rt2data import index, job, pictures, plan, select, staging, statistics, whole
from rt2data.errors import Rt2dataError
from rt2data.job import Job
from rt2data.plan import Plan
from rt2data.reasoning import Plans
from rt2data.recipe import RecipeSource
from rt2data.tokenizer import ActionTokenizer

MIN_BUCKETS = 16
BUCKET_SAMPLES = 200_000  # at some 200 bytes a row, 40 MB of a worker's memory

Counts = npt.NDArray[np.int64]


def bucket_size(the_plan: Plan) -> int:
    """How many consecutive shards make a bucket: about BUCKET_SAMPLES samples, in at least MIN_BUCKETS buckets.

    A gather task opens every run: smaller buckets would read runs a few rows at a time, larger ones take more memory.
    """
    shards = max(1, the_plan.shards)
    samples = sum(the_plan.splits.values())
    return math.ceil(shards / min(shards, max(MIN_BUCKETS, math.ceil(samples / BUCKET_SAMPLES))))


def buckets(the_plan: Plan) -> int:
    """The number of buckets."""
    return math.ceil(the_plan.shards / bucket_size(the_plan))


def run_file(folder: Path, the_job: Job, group: int) -> Path:
    """The run of a group, below the plan's state folder."""
    return folder / the_job.runs / f"{group:06d}.arrow"


def task(task: dict[str, Any]) -> dict[str, Any]:
    """Write the run of group ``task["group"]``; a run that is there is whole, since it was renamed into place.

    Returns:
        ``{"rows"}``: how many samples the run holds.
    """
    the_job, folder = job.load(task["job"]), Path(task["folder"])
    the_plan = plan.load(folder)
    path = run_file(folder, the_job, task["group"])
    if not path.is_file():
        if the_job.source(the_job.parts[the_job.groups[task["group"]][0].part]).declaration.robot:
            bins, clipped = count_bins(the_job, [task["group"]], ActionTokenizer.from_pretrained(str(folder)))
            statistics.save(str(path.with_suffix(".bins.npz")), {"bins": bins, "clipped": clipped})
        # The run comes last: where it is, all that the task leaves is.
        rows = _rows(the_job, the_plan, task["group"])
        source = the_job.parts[the_job.groups[task["group"]][0].part].source
        if the_job.staged and the_job.staged[source] and rows.num_rows:
            rows = staging.stage(the_job, source, rows, staging.folder(the_job, folder) / path.stem)
        _write(path, rows, buckets(the_plan), bucket_size(the_plan))
    return {}


def _rows(the_job: Job, the_plan: Plan, group: int) -> pa.Table:
    """The drawn samples of a group: the index's columns, and order, shard, copy, variant and (web) target."""
    pieces, splits = [], the_job.recipe.splits
    for part, source, table in the_job.slices(group):
        samples = select.select(table, the_job.recipe, source, part.split)
        drawn = list(plan.drawn(the_job.recipe, source, the_plan.sources[part.source], samples))
        positions = np.concatenate([rows for _, rows, _, _ in drawn]) if drawn else np.empty(0, np.int64)
        columns: dict[str, Any] = {
            "order": np.concatenate([values for *_, values in drawn]) if drawn else np.empty(0, np.uint64),
            "shard": _joined([the_plan.shard_of(splits[s], source.id, v) for s, _, _, v in drawn], np.int64),
            "copy": _joined([np.full(len(rows), copy, np.int32) for _, rows, copy, _ in drawn], np.int32),
            "variant": samples.variant[positions],
        }  # fmt: skip
        plans = the_job.plans(part, table)
        if plans is not None:
            columns["plan"] = _plans(the_job, the_plan, part.source, plans, samples, drawn)
        if source.declaration.kind != "robot":
            texts = np.array(select.targets(table, source, the_job.recipe.seed, samples), object)
            columns["target"] = pa.array(texts[positions], pa.string())
        pieces.append(_with(table.take(samples.rows[positions]), columns, source, select.cameras(source)))
    return pa.concat_tables(pieces)


def _plans(
    the_job: Job, the_plan: Plan, source: int, plans: Plans, samples: select.Samples, drawn: list[Any]
) -> pa.Array:
    """The plan in words of each drawn sample; null where it has none."""
    rule, masks, which = the_job.recipe.sources[source], [], []
    for split, rows, copy, _ in drawn:
        last = int((the_plan.sources[source].plans or {})["threshold"][the_job.recipe.splits[split]])
        hashes = plan.planned(the_job.recipe, rule, samples, rows, copy)
        which.append(samples.rows[rows])
        masks.append((plans.which[which[-1]] >= 0) & (last >= 0) & (hashes <= np.uint64(max(0, last))))
    mask, rows = _joined(masks, np.bool_), _joined(which, np.int64)
    place = np.cumsum(mask) - 1
    return plans.take(rows[mask]).take(pa.array(place, mask=~mask))


def _joined(arrays: list[Any], dtype: Any) -> Any:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def _with(table: pa.Table, columns: dict[str, Any], source: RecipeSource, cameras: tuple[str, ...]) -> pa.Table:
    """`table` without what GATHER does not need, and with `columns`. Dictionaries become plain text: a reader of one
    batch would have to load the dictionaries of the whole file.
    """
    unused = {f"{c}." for c in source.declaration.cameras if c not in cameras}
    arrays: dict[str, Any] = {}
    for name in table.column_names:
        if name in ("split_hash", "reject", "plan", "success"):
            continue
        if name.startswith((index.COLUMN, pictures.ATTACHED, *unused)):
            continue
        column = table.column(name)
        arrays[name] = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
    return pa.table(arrays | columns)


def _write(path: Path, table: pa.Table, count: int, size: int) -> None:
    bucket = index.numbers(table, "shard") // size
    by_bucket = np.argsort(bucket, kind="stable")
    table = table.take(by_bucket).combine_chunks()
    edges = np.searchsorted(bucket[by_bucket], np.arange(count + 1))
    with (
        whole.replacing(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        empty = pa.record_batch([pa.array([], f.type) for f in table.schema], schema=table.schema)
        for number in range(count):
            rows = table.slice(edges[number], edges[number + 1] - edges[number]).combine_chunks().to_batches()
            if len(rows) > 1:  # Arrow's texts of one batch end at 2 GiB
                raise Rt2dataError(str(path), "more than 2 GiB of text in one bucket", "smaller samples_per_shard")
            writer.write_batch(rows[0] if rows else empty)


def count_bins(the_job: Job, groups: Iterable[int], tokenizer: ActionTokenizer) -> tuple[Counts, Counts]:
    """How often each bin occurs, and how many values are clipped, in the train steps of robot groups.

    Each step counts once whatever its copies: int64 (fields, bins), the first row of the terminate field, and int64
    (D,).
    """
    bins: Any = 0
    clipped: Any = 0
    for part, source, table in (piece for group in groups for piece in the_job.slices(group)):
        samples = select.select(table, the_job.recipe, source, part.split)
        rows = np.flatnonzero(samples.kept & (samples.row_split == 0))
        mine = tokenizer.for_source(source.id)
        ends = index.numbers(table, "terminate")[rows] if mine.terminate else None
        coded, outside = mine.encode(index.matrix(table.column("action"))[rows], ends, return_clipped=True)
        bins = bins + np.stack([np.bincount(column, minlength=mine.bins) for column in np.asarray(coded).T]).astype(
            np.int64
        )
        clipped = clipped + np.count_nonzero(np.asarray(outside), axis=0)
    return bins, clipped
