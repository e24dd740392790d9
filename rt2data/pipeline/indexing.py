"""Indexing parts, once: an index that is there already, and still true, is used again.

Each stage takes some time for a part, whether it is a file of gigabytes or of kilobytes. So small parts of a split that
follow one another, a *batch*, are indexed by one task into one file, which counts as one part from then on. What a
mixture holds does not depend on it: its order is by keys, and its manifest lists the parts themselves.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import weakref
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from rt2data import index, sources, storage
from rt2data.declarations import declaration
from rt2data.declarations.declaration import Declaration
from rt2data.errors import Rt2dataError
from rt2data.index import blobs
from rt2data.samples.parts import IndexedPart, Member
from rt2data.sources.base import Part, Source
from rt2data.sources.web.corpus import PART_ROWS
from rt2data.storage import atomic, object_store
from rt2data.storage.local_copies import Extent
from rt2data.storage.workdir import WorkDir

SMALL_BYTES = 16 << 20  # of the files of a part that is indexed with others
BATCH_BYTES = 64 << 20  # of all files of a batch: a fraction of a second's work
# A batch begins where the hash of a name says so, once in so many names: parts that are added move few of the cuts.
BATCH_PARTS = 64


def keep_in(source: Source, work: WorkDir) -> None:
    """Tell a source where in the work directory its blobs and what it reads of annotation files belong."""
    source.keep_in(blobs=work.blobs, examples=work.examples, counts=work.seen_folder)


def tasks(source: Source, parts: Sequence[Part], work: WorkDir, *, check: str) -> list[dict[str, Any]]:
    """The tasks of indexing some parts, as JSON. ``shared`` are the files that all of them share."""
    files = {name: None for part in parts for name in part.files}
    sizes = {
        n: found[0] if found else 0
        for n, found in zip(files, storage.read_versions(source.root, list(files)), strict=True)
    }
    shared = set(parts[0].files).intersection(*(part.files for part in parts)) if parts else set[str]()
    common = {
        "declaration": source.declaration.reference, "root": str(source.root), "work": str(work.root), "check": check,
        "shared": sorted(shared), "opened": _opened.setdefault(source, uuid.uuid4().hex),
    }  # fmt: skip
    return [
        common | {"split": batch[0].split, "parts": [[p.name, list(p.files), p.start, p.stop] for p in batch]}
        for batch in _batches(parts, {name: int(size) for name, size in sizes.items() if name not in shared})
    ]


def _batches(parts: Sequence[Part], sizes: dict[str, int]) -> Iterator[list[Part]]:
    """Parts that are indexed together, in the order of their names; `sizes` has the bytes of files that not all share.

    A part without files of its own, as of a dataset that is nowhere on disk, has no size to go by and stays alone.
    """
    batch: list[Part] = []
    held = rows = 0
    for part in sorted(parts, key=lambda p: (p.split, p.name)):
        own = [sizes[name] for name in part.files if name in sizes]
        size, number = sum(own), max(0, part.stop - part.start)
        small = bool(own) and size <= SMALL_BYTES
        cut = int.from_bytes(index.digest(part.name, size=8), "big") % BATCH_PARTS == 0
        full = held + size > BATCH_BYTES or rows + number > PART_ROWS
        if batch and (not small or cut or full or batch[0].split != part.split):
            yield batch
            batch, held, rows = [], 0, 0
        batch.append(part)
        held, rows = held + size, rows + number
        if not small:
            yield batch
            batch, held, rows = [], 0, 0
    if batch:
        yield batch


def survey(tasks: Iterable[dict[str, Any]]) -> None:
    """List the folders in which the files of parts lie, where a store would be asked for each of them else."""
    for task in tasks:
        if "://" in task["root"]:
            root = storage.place(task["root"])
            object_store.list_folders({(root / name).parent for name in _files(task)})


# Which opening of a source a task goes back to: a worker opens it once for all of these, since that takes time in
# proportion to the number of parts, and again for another build, before which the dataset may have changed.
_opened: weakref.WeakKeyDictionary[Source, str] = weakref.WeakKeyDictionary()


@lru_cache(maxsize=8)
def _open(reference: str, root: str, work: str, opened: str, files: str) -> Source:  # noqa: ARG001
    """A source as a worker sees it. `opened` and `files`, the state of files that all parts share, only tell apart."""
    declared = declaration.load_declaration(reference)
    source: Source = sources.load_format(declared, reference)(declared, storage.place(root))
    keep_in(source, WorkDir(Path(work)))
    return source


def cached(task: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a task that was done before, where the parts' files have the size and time they had then."""
    seen = _seen(task)
    try:
        known = json.loads(seen.read_bytes())
        if (
            known["stat"] == _stat(task)
            and known["declaration"] == declaration.load_declaration(task["declaration"]).digest
        ):
            same = known["watched_stat"] == _watched_stat(task, known["watched"])
            return _usable(task, known["result"]) if same else None
    except (OSError, ValueError, KeyError):
        pass  # not seen before, or unreadable: it is made anew
    return None


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Index a part, or some small ones.

    Returns:
        ``{"file", "members", "blobs"}``; `file` is below the work directory, `members` are the parts as `job.Member`.

    Raises:
        Rt2dataError: a file that cannot be used, which is named.
    """
    found = cached(task)
    if found:
        return found
    stat = _stat(task)
    shared = json.dumps([stat[name] for name in task["shared"]])
    source = _open(task["declaration"], task["root"], task["work"], task["opened"], shared)
    declared = source.declaration
    parts = [Part(task["split"], name, tuple(files), start, stop) for name, files, start, stop in task["parts"]]
    watched = list(dict.fromkeys(name for part in parts for name in source.watched(part)))
    seen = {
        "stat": stat,
        "watched": watched,
        "watched_stat": _watched_stat(task, watched),
        "declaration": declared.digest,
    }
    if _seen(task).exists():  # size or time changed, but perhaps not the content
        file = _file(task, declared, [source.digest(part) for part in parts])
        result = _usable(task, {"file": file})
        if result:
            return _remember(task, seen, result)
    tables = [source.index(part, check=task["check"]) for part in parts]
    metas = [index.meta(table) for table in tables]
    members = [Member(p.name, m["digest"], t.num_rows) for p, m, t in zip(parts, metas, tables, strict=True)]
    meta = {
        "source": declared.id, "dataset": declared.name, "split": task["split"], "check": task["check"],
        "members": json.dumps(members),
        "units": json.dumps([unit for m in metas for unit in json.loads(m["units"])]),
        "blobs": json.dumps([blob for m in metas for blob in json.loads(m.get("blobs", "[]"))]),
        "read": json.dumps(_read(metas)),
    }  # fmt: skip
    file = _file(task, declared, [member.digest for member in members])
    table = pa.concat_tables([table.replace_schema_metadata(None) for table in tables])
    index.write(_work(task).path(file), table, meta)
    return _remember(task, seen, {"file": file} | _content(meta))


def indexed(position: int, task: dict[str, Any], result: dict[str, Any]) -> IndexedPart:
    """The indexed part of a finished task of the recipe's source number `position`."""
    return IndexedPart(position, task["split"], result["file"], tuple(Member(*m) for m in result["members"]))


def changed(task: dict[str, Any]) -> str:
    """A file of a task that was finished, but is not `cached` any more: the first one that is another than it was."""
    try:
        known = json.loads(_seen(task).read_bytes())["stat"]
    except (OSError, ValueError, KeyError):
        known = {}
    name = next((name for name, now in _stat(task).items() if known.get(name) != now), task["parts"][0][0])
    return f"{task['root']}/{name}"


def _file(task: dict[str, Any], declared: Declaration, digests: Sequence[str]) -> str:
    """Where the index of parts of such content lies."""
    work = _work(task)
    name = hashlib.blake2b(f"{''.join(digests)}{declared.digest}".encode(), digest_size=16).hexdigest()
    return work.name(work.index(declared.id, f"{name}-v{index.VERSION}-{task['check']}"))


def _work(task: dict[str, Any]) -> WorkDir:
    return WorkDir(Path(task["work"]))


def _read(metas: Sequence[dict[str, str]]) -> dict[str, Extent]:
    """What of which files parts were made from, together; of parts that are files, nothing is said."""
    found: dict[str, Extent] = {}
    for meta in metas:
        for name, of in json.loads(meta.get("read", "{}")).items():
            found[name] = Extent(*of).with_(found.get(name))
    return found


def _files(task: dict[str, Any]) -> dict[str, None]:
    return {name: None for _, files, _, _ in task["parts"] for name in files}


def _stat(task: dict[str, Any]) -> dict[str, list[int | str]]:
    """Size and time of each file. Raises Rt2dataError where one is not there."""
    root = storage.place(task["root"])
    stats: dict[str, list[int | str]] = {}
    for name in _files(task):
        try:
            stats[name] = storage.read_version(root / name)
        except OSError as error:
            raise Rt2dataError(str(root / name), error.strerror or str(error), "a file of the dataset") from None
    return stats


def _watched_stat(task: dict[str, Any], names: list[str]) -> str:
    """A digest of size and time of each of a part's further files; one that is not there counts as such."""
    h = hashlib.blake2b(digest_size=16)
    for found in storage.read_versions(storage.place(task["root"]), names):
        h.update(b"%d %b\n" % (found[0], str(found[1]).encode()) if found else b"none\n")
    return h.hexdigest()


def _seen(task: dict[str, Any]) -> Path:
    name = index.digest(_resolved(task["root"]), task["parts"][0][0], task["declaration"], size=16).hex()
    return _work(task).seen(f"{name}-v{index.VERSION}-{task['check']}")


@lru_cache(maxsize=64)
def _resolved(root: str) -> str:
    return str(storage.place(root).resolve())


def _usable(task: dict[str, Any], result: dict[str, Any]) -> dict[str, Any] | None:
    path = _work(task).path(result["file"])
    if not path.is_file():
        return None
    if "members" not in result:
        result = result | _content(index.meta(index.read(path)))
    there = all(os.path.exists(blobs.locate(name, "", Path(task["work"]))) for name in result["blobs"])
    return result if there else None


def _content(meta: dict[str, str]) -> dict[str, Any]:
    """What an index says of itself: its parts, and the blobs in which their images lie."""
    return {name: json.loads(meta[name]) for name in ("members", "blobs")}


def _remember(task: dict[str, Any], seen: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    atomic.write_file(_seen(task), json.dumps(seen | {"result": result}).encode())
    return result
