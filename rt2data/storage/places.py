"""Where data lies: a folder of a file system, or a prefix of an object store.

What is mapped into memory gets a local copy from `local_path`; a library that reads some of a file gets it from `open_partly`.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

from rt2data.errors import Rt2dataError
from rt2data.storage import local_copies, object_store
from rt2data.storage.object_store import Stat, Url

_URL = re.compile(r"(s3|gs)://([^/]+)/*(.*)", re.DOTALL)

Place: TypeAlias = Path | Url


def place(text: str | Path | Url) -> Place:
    """A path or URL as it is given on a command line, in a recipe or in a job.

    Raises:
        Rt2dataError: a URL of another scheme, or without a bucket.
    """
    if not isinstance(text, str):
        return text
    if found := _URL.fullmatch(text):
        return Url(found[1], found[2], "") / found[3]
    if re.match(r"[a-z][a-z0-9+.-]+://", text) or text.startswith(("s3:", "gs:")):
        raise Rt2dataError(text, "no URL that is read", "a path, s3://BUCKET/… or gs://BUCKET/…")
    return Path(text)


def join(root: Place | None, name: str) -> Place:
    """`name`, which may be absolute or a URL, seen from `root`."""
    found = place(name)
    return found if isinstance(found, Url) or found.is_absolute() else (root or Path()) / name


def list_matching(folder: Place, pattern: str) -> list[str]:
    """The names, seen from `folder`, of the files below it that match a pattern of `Path.glob`, sorted."""
    if isinstance(folder, Url):
        return sorted(one.relative_to(folder).as_posix() for one in folder.glob(pattern))
    return sorted(one.relative_to(folder).as_posix() for one in folder.glob(pattern) if one.is_file())


def is_file(folder: Place, name: str) -> bool:
    """Whether a file of that name, read from data, lies below a folder; False also for a name that can be none."""
    return (folder / name).is_file() if isinstance(folder, Url) else os.path.isfile(folder / name)


def read_version(found: Place) -> list[int | str]:
    """Size and time of a file, size and ETag of an object: what changes with its content. Raises OSError."""
    stat = found.stat()
    return [stat.st_size, stat.etag if isinstance(stat, Stat) else stat.st_mtime_ns]


def read_versions(folder: Place, names: Sequence[str]) -> Iterator[tuple[int, int | str] | None]:
    """`read_version` of each of many files below a folder, None of one that is not there."""
    if isinstance(folder, Url):
        object_store.list_folders({(folder / name).parent for name in names})
        for name in names:
            try:
                yield (folder / name).stat()
            except FileNotFoundError:
                yield None
        return
    for name in names:
        try:
            found = os.stat(os.path.join(folder, name))
            yield found.st_size, found.st_mtime_ns
        except OSError:
            yield None


def local_path(found: Place) -> Path:
    """A local file with the content of `found`: itself, or a copy (`local_copies.copy_whole`), which lasts until others are
    made.

    Raises:
        FileNotFoundError: there is no such object.
    """
    return local_copies.copy_whole(found) if isinstance(found, Url) else found


def open_file(found: Place) -> BinaryIO:
    """A file, or a local copy of an object (`local_path`), opened for reading from front to back. Raises OSError."""
    return local_path(found).open("rb")


@contextmanager
def open_partly(found: Place) -> Iterator[BinaryIO]:
    """A file or an object as a file of which some is read (`rt2data.storage.local_copies.open_copy`). Raises OSError."""
    with local_copies.open_copy(found) if isinstance(found, Url) else found.open("rb") as file:
        yield file


def safe_join(root: Place, name: str) -> Place | None:
    """`root`/`name`, or None where `name`, which is read from data, would leave `root`."""
    if "\0" in name:
        return None
    if isinstance(root, Url):
        plain = posixpath.normpath(name)
        return None if plain == "." or plain.split("/")[0] in ("", "..") else root / plain
    folder = os.path.abspath(root)
    joined = os.path.normpath(os.path.join(folder, name))
    return Path(joined) if joined != folder and joined.startswith(folder.rstrip(os.sep) + os.sep) else None
