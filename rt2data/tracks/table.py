"""Rows of tracks as they are stored: an Arrow file per source of annotations, mapped into memory by who reads it.

========= ============= ===============================================================================================
column    type          meaning
========= ============= ===============================================================================================
unit      binary(10)    the episode: `rt2data.index.digest` of its id, as the index has it
track     int16         position in TRACKS
start     int32         the step from which on the row holds
until     int32         the step from which on it holds no longer; -1: until the next row of the track begins
time      float32       seconds since the episode's first step, where the row's time was given so; else NaN
camera    int16         position in CAMERAS: the view that the value belongs to; -1: none
role      int16         position in ROLES: who says it (user, assistant, ...); -1: none
value     large_string  of a text track the text itself, of others the JSON form of its type (`rt2data.tracks.types`)
========= ============= ===============================================================================================

Rows are sorted by (unit, track, start), those of one time as they were given. The schema's metadata is JSON: ``tracks``
([[name, type, event], ...]), ``cameras`` and ``roles`` (lists of names), ``hz`` (steps per second; null: unknown). Rows
of a track of events belong to their step alone: nothing is active between them.

Beside it lies ``NAME.spans.arrow``, one batch: `unit`, `track`, `first` (int64, the first row) and `rows` (int32), in
the order of the rows; and ``NAME.json``, written last: how many rows there are, and how many of the file were none.

A file of any size is written in memory that does not depend on it: rows go to buckets by the first bits of `unit`, each
of which is then sorted by itself.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from rt2data import index
from rt2data.errors import Rt2dataError
from rt2data.storage import atomic
from rt2data.storage.workdir import TrackFiles

BATCH = 16384  # rows of a record batch of the file
BUFFERED = 65536  # rows that are held before they go to their buckets
BUCKET = 64 << 20  # bytes of an annotation file for each bucket
MAX_BUCKETS = 256
MAX_STEP = (1 << 31) - 1
MAX_NAME = 80  # characters of the name of a track
MAX_NAMES = 1 << 12  # tracks, cameras or roles of a file

SCHEMA = pa.schema(
    {
        "unit": pa.binary(10), "track": pa.int16(), "start": pa.int32(), "until": pa.int32(), "time": pa.float32(),
        "camera": pa.int16(), "role": pa.int16(), "value": pa.large_string(),
    }
)  # fmt: skip
SPANS = pa.schema({"unit": pa.binary(10), "track": pa.int16(), "first": pa.int64(), "rows": pa.int32()})


class Row(NamedTuple):
    """A row of a track, as a reader gives it.

    Attributes:
        episode: the episode's id, as the index has it.
        track, type: the track's name, and its type (of `types.TYPES`).
        value: the value as `types.stored` gives it.
        start: the first step at which it holds; None where only `time` is known.
        until: the first step at which it holds no longer; -1: until the next row of the track. Seconds where `start` is
            None.
        time: seconds since the episode's first step; NaN where unknown.
        camera, role: "" for none.
        event: whether the track is one of events.
    """

    episode: str
    track: str
    type: str
    value: str
    start: int | None
    until: float = -1
    time: float = math.nan
    camera: str = ""
    role: str = ""
    event: bool = False


class Rejected:
    """What was read and is no row: how often, by reason, and of each reason where the first was and what it had."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, reason: str, where: str, found: str, number: int = 1) -> None:
        self.counts[reason] += number
        self.first.setdefault(reason, f"{where}: {found}")


class _Names:
    """Positions of names, in the order in which they come."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.code: dict[str, int] = {}

    def add(self, name: str) -> int:
        code = self.code.get(name)
        if code is None:
            if len(self.code) == MAX_NAMES:
                raise Rt2dataError(self.what, f"more than {MAX_NAMES} names", "a few", "Are two fields swapped?")
            code = self.code[name] = len(self.code)
        return code

    def optional(self, name: str) -> int:
        return self.add(name) if name else -1


def write(
    files: TrackFiles, rows: Iterable[Row], rejected: Rejected, *, hz: float | None, size: int, where: str
) -> int:
    """Write the rows of an annotation file, sorted; identical rows are one.

    Args:
        files: where to.
        rows: in any order.
        rejected: what the reader counts; rows that do not fit their track or its times are added.
        hz: steps per second, for rows that have their time in seconds; None: unknown.
        size: about how many bytes `rows` come from.
        where: begins errors and what is rejected.

    Returns:
        How many rows there are.

    Raises:
        Rt2dataError: times in seconds without a rate, or too many names.
    """
    names = tuple(_Names(f"{where} {what}") for what in ("tracks", "cameras", "roles"))
    kinds: dict[str, tuple[str, bool]] = {}
    buckets = min(max(math.ceil(size / BUCKET), 1), MAX_BUCKETS)
    files.rows.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=files.rows.parent) as folder, ExitStack() as opened:
        sinks: dict[int, Any] = {}
        pending: list[tuple[Any, ...]] = []

        def flush() -> None:
            table = _record_batch(pending)
            pending.clear()
            unit = np.frombuffer(table.column("unit").buffers()[1], np.uint8).reshape(-1, 10)
            bucket = (unit[:, 0].astype(np.int64) << 8 | unit[:, 1]) * buckets >> 16
            for number in np.unique(bucket).tolist():
                if number not in sinks:
                    path = str(Path(folder) / f"{number}")
                    sinks[number] = opened.enter_context(pa.ipc.new_stream(path, SCHEMA))
                sinks[number].write_batch(table.take(pa.array(np.flatnonzero(bucket == number))))

        for row in rows:
            if not (row.track.isprintable() and 0 < len(row.track) <= MAX_NAME):
                rejected.add("bad_track", where, f"the name {row.track[:MAX_NAME]!r}")
                continue
            kind = kinds.setdefault(row.track, (row.type, row.event))
            if kind != (row.type, row.event):
                known = f"{kind[0]}{' events' if kind[1] else ''}"
                rejected.add("other_type", where, f'{row.type} in the track "{row.track}" of type {known}')
                continue
            times = _steps(row, hz, where)
            if times is None:
                rejected.add("bad_step", where, f'"{row.track}" from {row.start} to {row.until} in {row.episode}')
                continue
            pending.append(
                (
                    index.digest(row.episode), names[0].add(row.track), *times, row.time,
                    names[1].optional(row.camera), names[2].optional(row.role), row.value,
                )
            )  # fmt: skip
            if len(pending) == BUFFERED:
                flush()
        flush()
        for number, sink in sinks.items():
            sink.close()
            sinks[number] = None
        meta = {
            "tracks": json.dumps([[name, *kinds[name]] for name in names[0].code]),
            "cameras": json.dumps(list(names[1].code)), "roles": json.dumps(list(names[2].code)), "hz": json.dumps(hz),
        }  # fmt: skip
        return _write_sorted(files, [Path(folder) / str(number) for number in sorted(sinks)], meta, rejected)


def first_step(seconds: float, hz: float) -> int:
    """Return the first step whose time, step / hz rounded to float32, is not before `seconds` as float32.

    Both are compared as float32, as tables store them: a step of 2.4 s has reached a row of 2.4 s.
    """
    wanted = np.float32(seconds)
    step = max(math.floor(seconds * hz) - 1, 0)
    while np.float32(step / hz) < wanted:
        step += 1
    return step


def _steps(row: Row, hz: float | None, where: str) -> tuple[int, int] | None:
    """Return the steps in which a row begins and ends; None where there are no such."""
    start, until = row.start, row.until
    if start is None:
        if hz is None:
            expected = "control_hz in the dataset's declaration, or hz beside the file in the recipe"
            raise Rt2dataError(where, f'the time of a row of "{row.track}" in seconds, and no rate', expected)
        if not (math.isfinite(row.time) and max(row.time, until) * hz < MAX_STEP):
            return None
        start = first_step(row.time, hz)
        until = first_step(until, hz) if until >= 0 else -1
        if until == start:  # between two steps
            return None
    until = start + 1 if row.event else until
    if not 0 <= start < MAX_STEP or not (until == -1 or start < until <= MAX_STEP):
        return None
    return start, int(until)


def _record_batch(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else [()] * len(SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)


def _write_sorted(files: TrackFiles, buckets: list[Path], meta: dict[str, str], rejected: Rejected) -> int:
    spans: list[pa.RecordBatch] = []
    total = 0
    with (
        atomic.replacing(files.rows) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, SCHEMA.with_metadata(meta)) as out,
    ):
        for table, doubles in map(_sorted_bucket, buckets):
            if doubles:
                rejected.counts["duplicate"] += doubles
            for batch in table.to_batches(max_chunksize=BATCH):
                out.write_batch(batch)
            spans.append(_spans(table, total))
            total += table.num_rows
    spans_table = pa.Table.from_batches(spans, SPANS).combine_chunks()
    with (
        atomic.replacing(files.spans) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, SPANS) as out,
    ):
        out.write_table(spans_table)
    return total


def _sorted_bucket(path: Path) -> tuple[pa.Table, int]:
    """Return the rows of a bucket, sorted and without doubles, and how many doubles there were."""
    with pa.memory_map(str(path)) as file:
        table = pa.ipc.open_stream(file).read_all()
        start, track = index.numbers(table, "start"), index.numbers(table, "track")
        order = np.lexsort((start, track, index.units(table)))  # stable: as they were given
        table = table.take(pa.array(order)).combine_chunks()
    unit, track, start = index.units(table), index.numbers(table, "track"), index.numbers(table, "start")
    same = (unit[1:] == unit[:-1]) & (track[1:] == track[:-1]) & (start[1:] == start[:-1])
    if not same.any():
        return table, 0
    # Only rows that share their time with another are looked at one by one.
    group = np.concatenate([[0], np.cumsum(~same)])
    shared = np.flatnonzero(np.concatenate([[False], same]) | np.concatenate([same, [False]]))
    columns = [table.column(name).take(pa.array(shared)).to_pylist() for name in ("until", "camera", "role", "value")]
    seen: set[tuple[Any, ...]] = set()
    kept = np.ones(len(table), np.bool_)
    for row, *rest in zip(shared.tolist(), *columns, strict=True):
        key = (int(group[row]), *rest)
        kept[row] = key not in seen
        seen.add(key)
    return table.filter(pa.array(kept)), int(np.count_nonzero(~kept))


def _spans(table: pa.Table, first: int) -> pa.RecordBatch:
    unit, track = index.units(table), index.numbers(table, "track")
    new = np.ones(len(unit), np.bool_)
    new[1:] = (unit[1:] != unit[:-1]) | (track[1:] != track[:-1])
    begins = np.flatnonzero(new)
    rows = np.diff(np.append(begins, len(unit)))
    raw = pa.py_buffer(unit[begins].tobytes())
    units = pa.FixedSizeBinaryArray.from_buffers(pa.binary(10), len(begins), [None, raw])
    arrays = [units, pa.array(track[begins]), pa.array(first + begins), pa.array(rows.astype(np.int32))]
    return pa.record_batch(arrays, schema=SPANS)
