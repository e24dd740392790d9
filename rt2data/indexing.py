"""Indexing a part, once: an index that is there already, and still true, is used again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rt2data import declaration, index, job, sources
from rt2data.declaration import Declaration
from rt2data.errors import Rt2dataError
from rt2data.job import IndexedPart
from rt2data.sources import Part, Source


def task(source: Source, part: Part, work: Path, *, check: str) -> dict[str, Any]:
    """The task of indexing one part, as JSON."""
    return {
        "declaration": source.declaration.file, "root": str(source.root), "split": part.split, "name": part.name,
        "files": list(part.files), "start": part.start, "stop": part.stop, "work": str(work), "check": check,
    }  # fmt: skip


def cached(task: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a task that was done before, where the part's files have the size and time they had then."""
    seen = _seen(task)
    try:
        known = json.loads(seen.read_bytes())
        if known["stat"] == _stat(task) and known["declaration"] == _declaration(task["declaration"]).digest:
            return _usable(task, known["result"])
    except (OSError, ValueError, KeyError):
        pass  # not seen before, or unreadable: it is made anew
    return None


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Index one part.

    Returns:
        ``{"digest", "file", "rows"}``; `file` is below the work directory.
    """
    found = cached(task)
    if found:
        return found
    declared = _declaration(task["declaration"])
    source: Source = sources.of_format(declared, task["declaration"])(declared, Path(task["root"]))
    part = Part(task["split"], task["name"], tuple(task["files"]), task["start"], task["stop"])
    stat = _stat(task)
    if _seen(task).exists():  # size or time changed, but perhaps not the content
        digest = source.digest(part)
        result = _usable(task, {"digest": digest, "file": _file(declared, digest, check=task["check"])})
        if result:
            return _remember(task, stat, declared, result)
    table = source.index(part, check=task["check"])
    meta = index.meta(table) | {
        "source": declared.id, "dataset": declared.name, "split": part.split, "part": part.name, "check": task["check"],
    }  # fmt: skip
    file = _file(declared, meta["digest"], check=task["check"])
    index.write(Path(task["work"]) / file, table, meta)
    return _remember(task, stat, declared, {"digest": meta["digest"], "file": file, "rows": table.num_rows})


def indexed(position: int, task: dict[str, Any], result: dict[str, Any]) -> IndexedPart:
    """The indexed part of a finished task of the recipe's source number `position`."""
    return IndexedPart(position, task["split"], task["name"], result["digest"], result["file"], result["rows"])


def _declaration(file: str) -> Declaration:
    known = {one.file: one for one in declaration.declared().values()}
    return known.get(file) or declaration.read(Path(file))


def _file(declared: Declaration, digest: str, *, check: str) -> str:
    name = hashlib.blake2b(f"{digest}{declared.digest}".encode(), digest_size=16).hexdigest()
    return f"index/{declared.id}/{name}-v{index.VERSION}-{check}.arrow"


def _stat(task: dict[str, Any]) -> list[list[int]]:
    stats = []
    for name in task["files"]:
        path = Path(task["root"]) / name
        try:
            found = path.stat()
        except OSError as error:
            raise Rt2dataError(str(path), error.strerror or str(error), "a file of the dataset") from None
        stats.append([found.st_size, found.st_mtime_ns])
    return stats


def _seen(task: dict[str, Any]) -> Path:
    name = index.digest(str(Path(task["root"]).resolve()), task["name"], task["declaration"], size=16).hex()
    return Path(task["work"]) / "seen" / f"{name}-v{index.VERSION}-{task['check']}.json"


def _usable(task: dict[str, Any], result: dict[str, Any]) -> dict[str, Any] | None:
    path = Path(task["work"]) / result["file"]
    if not path.is_file():
        return None
    return result if "rows" in result else result | {"rows": index.read(path).num_rows}


def _remember(task: dict[str, Any], stat: list[list[int]], declared: Declaration, result: dict[str, Any]) -> dict[str, Any]:
    known = {"stat": stat, "declaration": declared.digest, "result": result}
    job.write_whole(_seen(task), json.dumps(known).encode())
    return result
