"""Indexing a part, once: an index that is there already, and still true, is used again."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import weakref
from functools import lru_cache
from pathlib import Path
from typing import Any

from rt2data import blobs, declaration, index, sources, storage, whole
from rt2data.declaration import Declaration
from rt2data.errors import Rt2dataError
from rt2data.job import IndexedPart
from rt2data.sources import Part, Source


def keep_in(source: Source, work: Path) -> None:
    """Tell a source where in the work directory its blobs and what it reads of annotation files belong."""
    if hasattr(source, "blobs"):
        source.blobs = blobs.folder(work)
    if hasattr(source, "kept"):
        source.kept = work / "examples"


def task(source: Source, part: Part, work: Path, *, check: str) -> dict[str, Any]:
    """The task of indexing one part, as JSON."""
    return {
        "declaration": source.declaration.reference, "root": str(source.root), "split": part.split, "name": part.name,
        "files": list(part.files), "start": part.start, "stop": part.stop, "work": str(work), "check": check,
        "opened": _opened.setdefault(source, uuid.uuid4().hex),
    }  # fmt: skip


# Which opening of a source a task goes back to: a worker opens it once for all of these, since that takes time in
# proportion to the number of parts, and again for another build, before which the dataset may have changed.
_opened: weakref.WeakKeyDictionary[Source, str] = weakref.WeakKeyDictionary()


@lru_cache(maxsize=8)
def _open(reference: str, root: str, work: str, opened: str, files: str) -> Source:  # noqa: ARG001
    """A source as a worker sees it. `opened` and `files`, the state of files that all parts share, only tell apart."""
    declared = declaration.load(reference)
    source: Source = sources.of_format(declared, reference)(declared, storage.place(root))
    keep_in(source, Path(work))
    return source


def cached(task: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a task that was done before, where the part's files have the size and time they had then."""
    seen = _seen(task)
    try:
        known = json.loads(seen.read_bytes())
        if known["stat"] == _stat(task) and known["declaration"] == declaration.load(task["declaration"]).digest:
            same = known["watched_stat"] == _watched_stat(task, known["watched"])
            return _usable(task, known["result"]) if same else None
    except (OSError, ValueError, KeyError):
        pass  # not seen before, or unreadable: it is made anew
    return None


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Index one part.

    Returns:
        ``{"digest", "file", "rows", "blobs"}``; `file` is below the work directory.
    """
    found = cached(task)
    if found:
        return found
    shared = json.dumps(_stat(task)[1:])
    source = _open(task["declaration"], task["root"], task["work"], task["opened"], shared)
    declared = source.declaration
    part = Part(task["split"], task["name"], tuple(task["files"]), task["start"], task["stop"])
    watched = source.watched(part)
    seen = {
        "stat": _stat(task),
        "watched": watched,
        "watched_stat": _watched_stat(task, watched),
        "declaration": declared.digest,
    }
    if _seen(task).exists():  # size or time changed, but perhaps not the content
        digest = source.digest(part)
        result = _usable(task, {"digest": digest, "file": _file(declared, digest, check=task["check"])})
        if result:
            return _remember(task, seen, result)
    table = source.index(part, check=task["check"])
    meta = index.meta(table) | {
        "source": declared.id, "dataset": declared.name, "split": part.split, "part": part.name, "check": task["check"],
    }  # fmt: skip
    file = _file(declared, meta["digest"], check=task["check"])
    index.write(Path(task["work"]) / file, table, meta)
    result = {"digest": meta["digest"], "file": file, "rows": table.num_rows, "blobs": _blobs(meta)}
    return _remember(task, seen, result)


def indexed(position: int, task: dict[str, Any], result: dict[str, Any]) -> IndexedPart:
    """The indexed part of a finished task of the recipe's source number `position`."""
    return IndexedPart(position, task["split"], task["name"], result["digest"], result["file"], result["rows"])


def _file(declared: Declaration, digest: str, *, check: str) -> str:
    name = hashlib.blake2b(f"{digest}{declared.digest}".encode(), digest_size=16).hexdigest()
    return f"index/{declared.id}/{name}-v{index.VERSION}-{check}.arrow"


def _stat(task: dict[str, Any]) -> list[list[int | str]]:
    stats = []
    for name in task["files"]:
        path = storage.place(task["root"]) / name
        try:
            stats.append(storage.version(path))
        except OSError as error:
            raise Rt2dataError(str(path), error.strerror or str(error), "a file of the dataset") from None
    return stats


def _watched_stat(task: dict[str, Any], names: list[str]) -> str:
    """A digest of size and time of each of a part's further files; one that is not there counts as such."""
    h = hashlib.blake2b(digest_size=16)
    for found in storage.versions(storage.place(task["root"]), names):
        h.update(b"%d %b\n" % (found[0], str(found[1]).encode()) if found else b"none\n")
    return h.hexdigest()


def _seen(task: dict[str, Any]) -> Path:
    name = index.digest(_resolved(task["root"]), task["name"], task["declaration"], size=16).hex()
    return Path(task["work"]) / "seen" / f"{name}-v{index.VERSION}-{task['check']}.json"


@lru_cache(maxsize=64)
def _resolved(root: str) -> str:
    return str(storage.place(root).resolve())


def _usable(task: dict[str, Any], result: dict[str, Any]) -> dict[str, Any] | None:
    path = Path(task["work"]) / result["file"]
    if not path.is_file():
        return None
    if "rows" not in result:
        table = index.read(path)
        result = result | {"rows": table.num_rows, "blobs": _blobs(index.meta(table))}
    return (
        result if all(os.path.exists(blobs.locate(name, "", Path(task["work"]))) for name in result["blobs"]) else None
    )


def _blobs(meta: dict[str, str]) -> list[str]:
    """The blobs in which an index's images lie."""
    return list(json.loads(meta.get("blobs", "[]")))


def _remember(task: dict[str, Any], seen: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    whole.write(_seen(task), json.dumps(seen | {"result": result}).encode())
    return result
