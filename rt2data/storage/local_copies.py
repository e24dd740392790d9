"""Local copies of objects of a store, as far as they were read.

A copy lies in the temporary directory (``TMPDIR``) without a name, so that it goes with the process. Whoever reads a
file from front to back, or maps it, gets all of it; a library that looks here and there gets what it asks for: some
episodes of a video, the columns of a Parquet file. What was brought once is not asked for again while the copy is kept.
"""

from __future__ import annotations

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from rt2data.errors import Rt2dataError
from rt2data.storage import object_store
from rt2data.storage.object_store import Stat, Url

# What a thread keeps (a worker of Beam may have several, and none may close what another one reads): the part that it
# reads and a file beside it, however large; else what is below both limits, such as the videos of a part of eight
# episodes, which are read once for their digest and once for their frames.
KEPT, KEPT_FILES, KEPT_BYTES = 2, 128, 1 << 30
BLOCK = object_store.GAP  # bytes that are brought together where a file is read here and there
AHEAD = 64 << 20  # bytes that are brought at once, at most, of a file that is read from front to back


class _Copy:
    """A sparse local file with what was read of the object `url`, which may not change meanwhile."""

    def __init__(self, url: Url, stat: Stat) -> None:
        import tempfile

        self.url, self.size, self.etag = url, stat.st_size, stat.etag
        self.file = tempfile.TemporaryFile()  # noqa: SIM115  # open while it is kept
        self.file.truncate(self.size)
        self.block = (
            self.size if self.size <= object_store.REQUEST_BYTES else BLOCK
        )  # of a small one all is brought by one request
        self.there = bytearray(-(-self.size // self.block) if self.size else 0)
        self.brought, self.users = 0, 0
        self.ahead = 1  # blocks

    def whole(self) -> Path:
        """The path of the file, with all bytes of the object."""
        self._bring(0, len(self.there))
        return Path(f"/dev/fd/{self.file.fileno()}")

    def read(self, start: int, stop: int) -> bytes:
        """Some bytes. The more of the file was read from front to back, the more is brought ahead."""
        first, last = start // self.block, -(-stop // self.block)
        missing = self.there.find(0, first, last)
        if missing >= 0:
            follows = missing > 0 and self.there[missing - 1]
            self.ahead = min(2 * self.ahead, AHEAD // self.block) if follows else 1
            self._bring(missing, min(max(last, missing + self.ahead), len(self.there)))
        return os.pread(self.file.fileno(), stop - start, start)

    def _write(self, data: memoryview, at: int) -> None:
        try:
            while data:
                done = os.pwrite(self.file.fileno(), data, at)
                data, at = data[done:], at + done
        except OSError as error:
            import tempfile

            expected, repair = f"room for what is read of {self.url}", "Set TMPDIR to a folder that has more"
            raise Rt2dataError(tempfile.gettempdir(), error.strerror or str(error), expected, repair) from None

    def _bring(self, first: int, last: int) -> None:
        """Bring what is missing of the blocks `first` to `last`."""
        wanted: list[tuple[int, int]] = []
        while (first := self.there.find(0, first, last)) >= 0:
            end = self.there.find(1, first, last)
            end = last if end < 0 else end
            start, stop = first * self.block, min(end * self.block, self.size)
            wanted += [(start + a, start + b) for a, b in object_store.byte_ranges(stop - start)]
            first = end
        for (start, _), data in zip(
            wanted, object_store.fetch_ranges(((self.url, *one) for one in wanted), self.etag), strict=True
        ):
            self._write(data, start)
            self.brought += len(data)
        for start, stop in wanted:
            a, b = start // self.block, -(-stop // self.block)
            self.there[a:b] = b"\1" * (b - a)


class _Kept(threading.local):
    def __init__(self) -> None:
        self.copies: OrderedDict[tuple[Url, Stat], _Copy] = OrderedDict()


_KEPT = _Kept()


def _of(url: Url) -> _Copy:
    key, kept = (url, url.stat()), _KEPT.copies
    if key not in kept:
        kept[key] = _Copy(*key)
    kept.move_to_end(key)
    return kept[key]


def _drop() -> None:
    """Let go of the oldest copies that are too many or too large together, but for those that are being read."""
    kept = _KEPT.copies
    size = sum(one.brought for one in kept.values())
    for key, one in list(kept.items())[:-KEPT]:
        if (size > KEPT_BYTES or len(kept) > KEPT_FILES) and not one.users:
            size -= one.brought
            kept.pop(key).file.close()


def drop_copies() -> None:
    """Let go of every copy of this thread."""
    while _KEPT.copies:
        _KEPT.copies.popitem()[1].file.close()


def copy_whole(url: Url) -> Path:
    """A local file with the content of an object, which lasts at least until this thread asked for KEPT others.

    Raises:
        FileNotFoundError: there is no such object.
    """
    one = _of(url)
    path = one.whole()
    _drop()
    return path


@contextmanager
def open_copy(url: Url) -> Iterator[BinaryIO]:
    """An object as a file of which a library reads what it wants.

    Raises:
        FileNotFoundError: there is no such object.
        Rt2dataError: a request failed, whatever the library made of that.
    """
    copy = _of(url)
    file = _File(copy)
    copy.users += 1
    try:
        yield cast("BinaryIO", file)
    finally:
        copy.users -= 1
        _drop()
        if file.failed is not None:
            raise file.failed


class _File(io.RawIOBase):
    def __init__(self, copy: _Copy) -> None:
        self.copy, self.at = copy, 0
        self.failed: Exception | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.copy.size}[whence])
        return self.at

    def read(self, size: int | None = -1) -> bytes:
        end = self.copy.size if size is None or size < 0 else min(self.copy.size, self.at + size)
        if end <= self.at:
            return b""
        try:
            data = self.copy.read(self.at, end)
        except Exception as error:
            self.failed = error
            raise
        self.at += len(data)
        return data

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class Extent(NamedTuple):
    """What of a file is read: the bytes from `start` to `stop` of `size`, and a list of contents at either end."""

    size: int
    start: int
    stop: int

    def with_(self, other: Extent | None) -> Extent:
        """This and another one of the same file."""
        return Extent(self.size, min(self.start, other.start), max(self.stop, other.stop)) if other else self


def count_reads(of: Extent) -> int:
    """About how many requests read so much of an object here and there."""
    if of.size <= object_store.REQUEST_BYTES:
        return 1
    count = 2  # its beginning, and its end
    ahead, at = BLOCK, max(of.start, BLOCK)
    while at < min(of.stop, of.size - BLOCK):
        at += ahead
        count += -(-ahead // object_store.REQUEST_BYTES)
        ahead = min(2 * ahead, AHEAD)
    return count
