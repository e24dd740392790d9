"""Staging: images are copied, in few long reads, into a local file in the order in which GATHER takes them.

Reading each image for itself is the fastest where a read costs microseconds: from a warm page cache or a solid disk. On
a spinning disk, a network file system and an object store it costs milliseconds. There EXCHANGE, which has the rows of
some parts at hand anyway, reads what they draw from front to back and writes it bucket by bucket, in the order of the
shards, to a blob beside its run; GATHER then reads one range of each. The bytes of the mixture are the same. It costs
disk: every drawn image once, until the mixture is complete.

Where few images of an object store are drawn, far from one another, staging would read no less and write more: GATHER
then fetches those of a shard at a time, many at once.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rt2data import index, storage
from rt2data.errors import Rt2dataError
from rt2data.index import blobs
from rt2data.samples.job import Job
from rt2data.shards.render import Rendered
from rt2data.storage import atomic, object_store
from rt2data.storage.object_store import GAP, Url

WINDOW = 128 << 20  # bytes that are held and sorted before they are written
# A read of one image that takes longer is slower than reading the whole file and writing and reading the image once
# more: those are three times some 25 KB at the 100 MB/s or more of a disk or network.
SLOW_S = 1e-3
PROBES = 16

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


class Images(NamedTuple):
    """n images: their files (paths or URLs), and arrays (n,) of the file's position, offset, length and CRC32C."""

    files: list[str]
    file: Ints
    offset: Ints
    length: Ints
    crc: Ints

    def take(self, rows: Ints) -> Images:
        """Some of them."""
        return Images(self.files, self.file[rows], self.offset[rows], self.length[rows], self.crc[rows])


def requests(images: Images) -> Ints:
    """The reads that fetch some images, int64 (m, 3): file, from where, to where. What lies at most GAP apart is read
    together, up to CHUNK bytes.
    """
    order = np.lexsort((images.offset, images.file))
    file, start = images.file[order], images.offset[order]
    stop = start + images.length[order]
    if not len(order):
        return np.empty((0, 3), np.int64)
    apart = (file[1:] != file[:-1]) | (start[1:] > stop[:-1] + GAP)
    edges = [0, *(np.flatnonzero(apart) + 1).tolist(), len(order)]
    firsts: list[int] = []
    for first, end in pairwise(edges):
        while True:
            firsts.append(first)
            first += max(1, int(np.searchsorted(stop[first:end], start[first] + object_store.CHUNK, "right")))
            if first >= end:
                break
    return np.stack([file[firsts], start[firsts], np.maximum.reduceat(stop, firsts)], axis=1)


def _reads(images: Images, wanted: Ints) -> Iterator[memoryview]:
    """The bytes of each of `requests`, in order."""
    places = [storage.place(file) for file in images.files]
    if all(isinstance(place, Url) for place in places):
        yield from object_store.fetch((places[file], start, stop) for file, start, stop in wanted.tolist())
        return
    for number, own in groupby(wanted.tolist(), key=itemgetter(0)):
        path = storage.near(places[number])
        try:
            with path.open("rb", buffering=0) as file:
                for _, start, stop in own:
                    yield memoryview(os.pread(file.fileno(), stop - start, start))
        except OSError as error:
            raise Rt2dataError(str(path), error.strerror or str(error), "the file that was indexed") from None


def other_image(file: str, start: int, stop: int, crc: int) -> Rt2dataError:
    """The error of bytes that are not the image with the CRC32C `crc` that was indexed."""
    found = f"bytes {start} to {stop} are not the image that was indexed"
    repair = "The file changed or is damaged: copy it again if it is, and build again"
    return Rt2dataError(file, found, f"CRC32C {crc:08x}", repair)


def copy(path: Path, images: Images, order: Ints) -> Ints:
    """Write some images into a file, each checked, one after the other in `order`; returns where each begins, (n,).

    Raises:
        Rt2dataError: an image is not the one that was indexed.
    """
    lengths = images.length[order]
    place = np.empty(len(order), np.int64)
    place[order] = np.cumsum(lengths) - lengths
    by_source = np.lexsort((images.offset, images.file))
    file, start, crc = images.file[by_source], images.offset[by_source], images.crc[by_source]
    stop = start + images.length[by_source]
    wanted = requests(images)
    row, held = 0, 0
    pieces: list[tuple[int, Bytes]] = []
    with atomic.replacing(path, "room and permission to stage images") as temporary, temporary.open("wb") as out:
        for (number, first, last), read in zip(wanted.tolist(), _reads(images, wanted), strict=True):
            data = np.frombuffer(read, np.uint8)
            while row < len(file) and file[row] == number and stop[row] <= last:
                piece = data[int(start[row]) - first : int(stop[row]) - first]
                if len(piece) != stop[row] - start[row] or google_crc32c.value(piece) != crc[row]:
                    raise other_image(images.files[number], int(start[row]), int(stop[row]), int(crc[row]))
                pieces.append((int(place[by_source[row]]), piece))
                row += 1
            held += len(data)  # a piece keeps the whole of its read
            if held >= WINDOW:
                _write(out.fileno(), pieces)
                pieces, held = [], 0
        _write(out.fileno(), pieces)
    return place


def _write(file: int, pieces: list[tuple[int, Bytes]]) -> None:
    """Write pieces to their places, those that follow one another together."""
    pieces.sort(key=lambda piece: piece[0])
    first = 0
    for i in range(1, len(pieces) + 1):
        at, end = pieces[first][0], pieces[i - 1][0] + len(pieces[i - 1][1])
        if i < len(pieces) and pieces[i][0] == end and end - at < object_store.CHUNK:
            continue
        data = b"".join(piece.data for _, piece in pieces[first:i])
        while data:
            done = os.pwrite(file, data, at)
            data, at = data[done:], at + done
        first = i


# In EXCHANGE


def folder(the_job: Job, state: Path) -> Path:
    """Where the staged images of a build lie, below the folder of blobs; `state` is the plan's folder."""
    return blobs.folder(the_job.work) / "staged" / f"{state.name}-{the_job.runs}"


def stage(the_job: Job, source: int, table: pa.Table, path: Path) -> pa.Table:
    """A run's rows with their images in a blob at `path`, in the order of the shards."""
    cameras = [name.removesuffix(".file") for name in table.column_names if name.endswith(".file")]
    files: dict[str, int] = {}
    columns: list[list[Ints]] = []
    rows = np.arange(table.num_rows)
    for camera in cameras:
        name = f"{camera}.file"
        codes, names = index.codes(index.replaced(table, name, table.column(name).dictionary_encode()), name)
        known = np.array([files.setdefault(str(name), len(files)) for name in names], np.int64)
        there = codes >= 0
        numbers = [index.numbers(table, f"{camera}.{what}")[there].astype(np.int64) for what in _WHAT]
        columns.append([rows[there], known[codes[there]], *numbers])
    row, file, offset, length, crc = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    located = [blobs.locate(name, the_job.roots[source], the_job.work) for name in files]
    order = np.lexsort((index.numbers(table, "order")[row], index.numbers(table, "shard")[row]))
    place = copy(path, Images(located, file, offset, length, crc), order)
    name = f"{blobs.PREFIX}{path.relative_to(blobs.folder(the_job.work)).as_posix()}"
    first = 0
    for camera, (own, *_) in zip(cameras, columns, strict=True):
        at = np.zeros(table.num_rows, np.int64)
        at[own] = place[first : first + len(own)]
        first += len(own)
        here = np.zeros(table.num_rows, np.bool_)
        here[own] = True
        staged = pa.array([name if one else None for one in here.tolist()], pa.string())
        table = index.replaced(table, f"{camera}.file", staged)
        table = index.replaced(table, f"{camera}.offset", pa.array(at))
    return table


_WHAT = ("offset", "length", "crc")


def discard(the_job: Job, state: Path) -> None:
    """Remove the staged images of a mixture that is complete, and the runs that name them."""
    if any(the_job.staged):
        shutil.rmtree(state / the_job.runs, ignore_errors=True)
        shutil.rmtree(folder(the_job, state), ignore_errors=True)


# In GATHER


@contextmanager
def brought(the_job: Job, parts: list[tuple[int, Rendered, Any]]) -> Iterator[list[tuple[int, Rendered, Any]]]:
    """The samples of a shard, with a local copy of those images that lie on object storage."""
    import tempfile

    if not any("://" in the_job.roots[source] for source, *_ in parts):
        yield parts
        return
    with tempfile.TemporaryDirectory(prefix="rt2data-") as temporary:
        found = []
        for number, (source, rendered, orders) in enumerate(parts):
            path = Path(temporary) / str(number)
            found.append((source, _brought(the_job, source, rendered, orders, path), orders))
        yield found


def _brought(the_job: Job, source: int, rendered: Rendered, orders: Any, path: Path) -> Rendered:
    files: list[str] = []
    columns: list[list[Ints]] = []
    for refs in rendered.cameras:
        located = [blobs.locate(name, the_job.roots[source], the_job.work) for name in refs.files]
        remote = np.array(["://" in name for name in located], np.bool_)
        there = np.flatnonzero((refs.file >= 0) & remote[refs.file]) if len(remote) else np.empty(0, np.int64)
        numbers = [refs.offset[there], refs.length[there], refs.crc[there].astype(np.int64)]
        columns.append([there, refs.file[there].astype(np.int64) + len(files), *numbers])
        files += located
    row, file, offset, length, crc = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    if not len(row):
        return rendered
    images = Images(files, file, offset, length, crc)
    place, first, cameras = copy(path, images, np.argsort(orders[row], kind="stable")), 0, []
    for refs, (own, *_) in zip(rendered.cameras, columns, strict=True):
        code, at = refs.file.copy(), refs.offset.copy()
        code[own] = len(refs.files)
        at[own] = place[first : first + len(own)]
        first += len(own)
        cameras.append(replace(refs, files=[*refs.files, str(path)], file=code, offset=at))
    return replace(rendered, cameras=cameras)


# Whether


def choose(the_job: Job, asked: str, reads: Sequence[dict[str, int]]) -> tuple[bool, ...]:
    """Which sources are staged: all, none, or (``auto``) those whose images are slow to read one at a time.

    Args:
        asked: ``auto``, ``yes`` or ``no``.
        reads: per source what the plan counted of object storage (`rt2data.plan.plan.SourcePlan.reads`).
    """
    if asked != "auto":
        return (asked == "yes",) * len(the_job.roots)
    return tuple(
        cheaper(own) if "://" in root else _slow(the_job, number)
        for number, (root, own) in enumerate(zip(the_job.roots, reads, strict=True))
    )


def cheaper(reads: dict[str, int]) -> bool:
    """Whether staging costs less than fetching each image: a request is worth GAP bytes, a byte on disk one byte."""
    if not reads:
        return False
    staged = reads["staged"] * GAP + reads["staged_bytes"] + reads["direct_bytes"]
    return staged < reads["direct"] * GAP + reads["direct_bytes"]


def _slow(the_job: Job, source: int) -> bool:
    """Whether reading an image of a source takes longer than SLOW_S: the median of some, spread over the parts."""
    parts = [part for part in the_job.parts if part.source == source]
    taken = []
    for number in range(0, len(parts), max(1, len(parts) // PROBES)):
        table = index.read(the_job.work / parts[number].file)
        camera = next(name.removesuffix(".file") for name in table.column_names if name.endswith(".file"))
        codes, names = index.codes(table, f"{camera}.file")
        rows = np.flatnonzero(codes >= 0)
        if not len(rows):
            continue
        row = int(rows[(2 * number + 1) * len(rows) // (2 * len(parts))])  # nearer the end of later parts
        path = blobs.locate(str(names[codes[row]]), the_job.roots[source], the_job.work)
        offset, length = (int(index.numbers(table, f"{camera}.{what}")[row]) for what in ("offset", "length"))
        try:
            with open(path, "rb", buffering=0) as file:
                started = time.perf_counter()
                os.pread(file.fileno(), length, offset)
                taken.append(time.perf_counter() - started)
        except OSError:
            continue  # GATHER will say what is wrong with it
    return bool(taken) and float(np.median(taken)) > SLOW_S
