"""GATHER: a bucket's rows from all runs, in order, become shards; image bytes are copied from where they lie."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc

from rt2data import blobs, exchange, images, index, job, plan, proprio, render, select, shard, staging, storage, whole
from rt2data.errors import Rt2dataError
from rt2data.job import Job
from rt2data.mixture import CLAIM
from rt2data.plan import Plan, Stream
from rt2data.recipe import Recipe, RecipeSource
from rt2data.render import Rendered
from rt2data.shard import Ref
from rt2data.sink import Bytes, Sink
from rt2data.storage import Place
from rt2data.tokenizer import ActionTokenizer

SAMPLED = 32  # images of a shard that are looked at, whether they are in memory
ENCODED = "encoded"  # folder of images that were encoded anew, for the time in which a shard is written
MAX_OPEN = 512  # half of what systems allow a process


class Files:
    """Open source files, local copies of those on object storage; the one opened first is closed first."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    def read(self, ref: Ref, into: Bytes) -> None:
        """Read exactly one image, and check that it is the one that was indexed."""
        path, offset, crc = ref
        descriptor, size = self._open.get(path) or self._opened(path), len(into)
        done = os.preadv(descriptor, [into], offset)  # type: ignore[list-item]  # an array is a buffer
        while done < size and (n := os.preadv(descriptor, [into[done:].data], offset + done)):
            done += n
        if done < size or google_crc32c.value(into) != crc:
            found = f"bytes {offset} to {offset + size} are not the image that was indexed"
            expected = f"CRC32C {crc:08x}"
            raise Rt2dataError(
                path, found, expected, "The file changed or is damaged: copy it again if it is, and build again"
            )

    def prefetch(self, images: Sequence[tuple[Ref, int]]) -> None:
        """Have the system read some images, each with its size, in the order of their files, where they are not in
        memory: from a disk one after the other, as they stand in a shard, takes several times as long.
        """
        if not hasattr(os, "RWF_NOWAIT") or all(
            self._in_memory(ref) for ref, _ in images[:: max(1, len(images) // SAMPLED)]
        ):
            return
        for (path, offset, _), size in sorted(images):
            os.posix_fadvise(self._open.get(path) or self._opened(path), offset, size, os.POSIX_FADV_WILLNEED)

    def _in_memory(self, ref: Ref) -> bool:
        try:
            os.preadv(self._open.get(ref.file) or self._opened(ref.file), [bytearray(1)], ref.offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
        except OSError:  # a file system that cannot say
            return True
        return True

    def _opened(self, path: str) -> int:
        if len(self._open) >= MAX_OPEN:
            os.close(self._open.pop(next(iter(self._open))))
        try:
            local = storage.near(storage.place(path)) if "://" in path else path
            descriptor = os.open(local, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise Rt2dataError(path, error.strerror or str(error), "the file that was indexed") from None
        self._open[path] = descriptor
        return descriptor

    def forget(self, path: str) -> None:
        """Close a file that is about to go."""
        if path in self._open:
            os.close(self._open.pop(path))

    def close(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()


def shard_name(recipe_name: str, stream: Stream, number: int) -> str:
    """``SPLIT/NAME-SPLIT-00000-of-00008.tar`` below the mixture's folder; by source
    ``SPLIT/SOURCE/NAME-SPLIT-SOURCE-00000-of-00008.tar``.
    """
    folder, name = stream.split, f"{recipe_name}-{stream.split}"
    if stream.source is not None:
        folder, name = f"{folder}/{stream.source}", f"{name}-{stream.source}"
    return f"{folder}/{name}-{number:05d}-of-{stream.shards:05d}.tar"


def record_file(folder: Path, number: int) -> Path:
    """Where GATHER notes what it wrote as shard `number`, counted over all streams."""
    return folder / "shards" / f"{number:06d}.json"


def finished(folder: Path, out: Place, name: str, number: int) -> dict[str, Any] | None:
    """The record of a shard that is there already, with the size and checksum it was written with."""
    try:
        record: dict[str, Any] = json.loads(record_file(folder, number).read_bytes())
        path = out / name
        if not isinstance(path, Path):  # an object is whole, and its ETag says which one it is
            return record if storage.version(path) == record["version"] else None
        if path.stat().st_size == record["bytes"] and shard.crc32c_of(path) == record["crc32c"]:
            return record
    except (OSError, ValueError, KeyError):
        pass
    return None


def task(task: dict[str, Any]) -> dict[str, Any]:
    """Write the shards of bucket ``task["bucket"]`` into ``task["out"]``; those that are there and whole are kept."""
    the_job, folder, out = job.load(task["job"]), Path(task["folder"]), storage.place(task["out"])
    the_plan = plan.load(folder)
    size = exchange.bucket_size(the_plan)
    numbers = range(task["bucket"] * size, min(the_plan.shards, (task["bucket"] + 1) * size))
    names = {}
    for number in numbers:
        names[number] = shard_name(the_job.recipe.name, *the_plan.shard(number))
    missing = [n for n in numbers if finished(folder, out, names[n], n) is None]
    if not missing:
        return {}
    if not (out / CLAIM).is_file():
        repair = "Give one that all workers share"
        raise Rt2dataError(str(out), "not there on a worker, as the build made it", "the folder of --out", repair)
    tokenizers = ActionTokenizer.from_pretrained(str(folder)), proprio.load(folder)
    rows = _rows(the_job, folder, task["bucket"])
    files, sink = Files(), Sink()
    try:
        for number in missing:
            parts = _render(the_job, the_plan, rows, number, tokenizers)
            with staging.brought(the_job, parts) as here:
                written = _write(the_job, here, out / names[number], files, sink, folder)
            if here is not parts:
                files.close()  # the copies are gone
            samples = sum(len(r.keys) for _, r, _ in parts)
            record = {"name": names[number], "samples": samples} | asdict(written)
            if not isinstance(out, Path):
                record["version"] = storage.version(out / names[number])
            whole.write(record_file(folder, number), json.dumps(record).encode())
    finally:
        files.close()
        sink.end()
    return {}


def _rows(the_job: Job, folder: Path, bucket: int) -> dict[int, pa.Table]:
    """The rows of a bucket, per source, from every run."""
    found: dict[int, list[pa.Table]] = {}
    for group, slices in enumerate(the_job.groups):
        run = pa.ipc.open_file(pa.memory_map(str(exchange.run_file(folder, the_job, group))))
        batch = run.get_batch(bucket)
        if batch.num_rows:
            found.setdefault(the_job.parts[slices[0].part].source, []).append(pa.Table.from_batches([batch]))
    return {source: pa.concat_tables(tables).combine_chunks() for source, tables in found.items()}


Part = tuple[int, Rendered, npt.NDArray[np.uint64]]


def _render(
    the_job: Job,
    the_plan: Plan,
    rows: dict[int, pa.Table],
    number: int,
    tokenizers: tuple[ActionTokenizer, ActionTokenizer | None],
) -> list[Part]:
    """The samples of one shard, source by source: (source, samples, orders)."""
    split = the_plan.shard(number)[0].split
    parts = []
    for position, table in sorted(rows.items()):
        mine = table.take(np.flatnonzero(index.numbers(table, "shard") == number))
        if mine.num_rows:
            source = the_job.recipe.sources[position]
            own = tokenizers[0].for_source(source.id) if source.declaration.kind == "robot" else None
            state = tokenizers[1].for_source(source.id) if tokenizers[1] and source.sampling.state else None
            rendered = render.render(mine, the_job.recipe, source, split, select.cameras(source), own, state)
            parts.append((position, rendered, index.numbers(mine, "order")))
    return parts


def _sequence(parts: list[Part]) -> list[tuple[int, int]]:
    """(part, sample) in the shard's order: by order value, ties by key."""
    orders = np.concatenate([o for *_, o in parts])
    which = np.repeat(np.arange(len(parts)), [len(o) for *_, o in parts])
    row = np.concatenate([np.arange(len(o)) for *_, o in parts])
    found = np.argsort(orders, kind="stable")
    if np.any(orders[found[1:]] == orders[found[:-1]]):
        found = np.array(sorted(range(len(orders)), key=lambda i: (orders[i], parts[which[i]][1].keys[row[i]])))
    return list(zip(which[found].tolist(), row[found].tolist(), strict=True))


def _write(the_job: Job, parts: list[Part], path: Place, files: Files, sink: Sink, folder: Path) -> shard.Written:
    with encoded_images(folder, files) as encoded:
        samples = [_members(the_job, source, rendered, files, encoded) for source, rendered, _ in parts]
        encoded.flush()
        picked = [samples[part][row] for part, row in _sequence(parts)]
        names, sizes, content = zip(*chain.from_iterable(picked), strict=True)
        longest = max(names, key=len)
        if len(longest) > shard.MAX_NAME:
            found = f"the member name {longest} has {len(longest)} bytes"
            raise Rt2dataError(str(path), found, f"at most {shard.MAX_NAME} bytes")
        files.prefetch([(one, size) for one, size in zip(content, sizes, strict=True) if isinstance(one, Ref)])
        return shard.write(path, names, sizes, content, files.read, sink)


@contextmanager
def encoded_images(folder: Path, files: Files) -> Iterator[IO[bytes]]:
    """A file for the images of a shard that are encoded anew: a header states the size before the bytes, and the
    images of a large shard are more than memory holds. It lies below the plan's folder, since /tmp may be memory.
    """
    there = folder / ENCODED
    there.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=there) as encoded:
        yield encoded
        files.forget(encoded.name)


Member = tuple[str, int, bytes | Ref]
_make_ref = partial(tuple.__new__, Ref)  # half the time of Ref(...), which runs for every image


def _members(
    the_job: Job, source: int, rendered: Rendered, files: Files, encoded: IO[bytes]
) -> list[tuple[Member, ...]]:
    """The members of each sample: its images, then its JSON."""
    columns: list[Any] = []
    gaps = False
    for refs in rendered.cameras:
        paths = [blobs.locate(name, the_job.roots[source], the_job.work) for name in refs.files]
        found = [paths[code] if code >= 0 else "" for code in refs.file.tolist()]
        content: list[Any] = list(map(_make_ref, zip(found, refs.offset.tolist(), refs.crc.tolist(), strict=True)))
        lengths = refs.length.tolist()
        spec = _spec(the_job.recipe, the_job.recipe.sources[source], refs.camera)
        if spec is not None:
            pairs = zip(content, lengths, strict=True)
            found = [_reencoded(spec, ref, length, files, encoded) if ref.file else (ref, 0) for ref, length in pairs]
            content, lengths = map(list, zip(*found, strict=True))
        names = [f"{key}.{suffix}" for key, suffix in zip(rendered.keys, refs.suffix, strict=True)]
        columns.append(zip(names, lengths, content, strict=True))
        gaps = gaps or "" in refs.suffix
    columns.append(zip([f"{key}.json" for key in rendered.keys], map(len, rendered.json), rendered.json, strict=True))
    samples: list[tuple[Member, ...]] = list(zip(*columns, strict=True))
    if gaps:  # samples with fewer images than others
        samples = [tuple(member for member in sample if not member[0].endswith(".")) for sample in samples]
    return samples


def _spec(recipe: Recipe, source: RecipeSource, camera: str) -> images.ImageSpec | None:
    """How a camera's images are encoded anew; None where they pass as they are."""
    robot = source.declaration.robot
    bgr = robot is not None and any(c.name == camera and c.colour == "bgr" for c in robot.cameras)
    if recipe.image is None:
        return images.ImageSpec(swap_bgr=True) if bgr else None
    wanted = dict(recipe.image)
    size = wanted.pop("size", None)
    return images.ImageSpec(size=tuple(size) if size else None, swap_bgr=bgr, **wanted)


def _reencoded(spec: images.ImageSpec, ref: Ref, length: int, files: Files, encoded: IO[bytes]) -> tuple[Ref, int]:
    """An image encoded anew at the end of `encoded`: where it lies, and its size."""
    data = np.empty(length, np.uint8)
    files.read(ref, data)
    try:
        new = images.reencode(data.tobytes(), spec)
    except images.ImageError as error:
        repair = "Set image_check: decode in the recipe, which leaves such images out and counts them"
        raise Rt2dataError(f"{ref.file} at byte {ref.offset}", str(error), "an image that decodes", repair) from None
    place = Ref(encoded.name, encoded.tell(), google_crc32c.value(new))
    encoded.write(new)
    return place, len(new)
