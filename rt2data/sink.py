"""Where a shard's bytes go: two buffers that are used again and again, and a thread that writes one while the other
is filled.

Files are written past the page cache where the file system allows it. A shard is read by nobody soon, so its pages
would only push out those of the sources; filling the cache and flushing it costs more than copying the images does.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor

import google_crc32c
import numpy as np
import numpy.typing as npt

CHUNK = 1 << 20  # bytes of one write: what a core's caches hold, so that a chunk is read, hashed and written from there
ALIGNMENT = 4096  # of memory, place and size of a write past the page cache
_DIRECT = getattr(os, "O_DIRECT", 0)

Bytes = npt.NDArray[np.uint8]


class Sink:
    """Writes files, one after the other. `buffer` is what the caller fills; `flush` hands the front of it over, and
    `crc` is the CRC32C of all that was handed over.

    The buffers hold CHUNK bytes and one piece more.
    """

    def __init__(self) -> None:
        self.buffer: Bytes = np.empty(0, np.uint8)
        self._other = self.buffer
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None
        self._file, self.crc = -1, 0

    def open(self, path: str | os.PathLike[str], size: int, longest: int) -> None:
        """Begin a file of `size` bytes, which is given in pieces of at most `longest`.

        Raises:
            OSError: the system refuses.
        """
        self.crc = 0
        room = -(-(CHUNK + longest) // CHUNK) * CHUNK + CHUNK
        if len(self.buffer) < room:
            self.buffer, self._other = _pages(room), _pages(room)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._file = os.open(path, flags | (_DIRECT if size >= CHUNK else 0), 0o666)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # A file system without O_DIRECT: it refuses after the file was made.
            self._file = os.open(path, flags & ~os.O_EXCL, 0o666)

    def flush(self, filled: int) -> int:
        """Write the first `filled` bytes of the buffer but for what does not fill a page, which becomes the start of
        the next buffer; returns how many bytes that is.
        """
        ready = filled // ALIGNMENT * ALIGNMENT
        rest = filled - ready
        self.crc = google_crc32c.extend(self.crc, self.buffer[:ready])
        self._wait()
        self._other[:rest] = self.buffer[ready:filled]
        self._pending = self._thread.submit(_write, self._file, self.buffer[:ready])
        self.buffer, self._other = self._other, self.buffer
        return rest

    def close(self, filled: int) -> None:
        """Write all `filled` bytes and sync the file."""
        rest = self.flush(filled)
        self.crc = google_crc32c.extend(self.crc, self.buffer[:rest])
        self._wait()
        _cached(self._file)
        _write(self._file, self.buffer[:rest])
        os.fsync(self._file)
        self.abandon()

    def abandon(self) -> None:
        """Close the file as it is; does nothing where none is open."""
        if self._file >= 0:
            if self._pending is not None:
                self._pending.exception()
            os.close(self._file)
        self._pending, self._file = None, -1

    def end(self) -> None:
        """End the thread."""
        self.abandon()
        self._thread.shutdown()

    def _wait(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()


def _pages(size: int) -> Bytes:
    """Memory that begins at a page."""
    return np.frombuffer(mmap.mmap(-1, size), np.uint8)


def _write(file: int, data: Bytes) -> None:
    """Write all of `data`."""
    done = 0
    while done < len(data):  # a disk that is full raises; a signal may cut a write short
        try:
            done += os.write(file, data[done:].data)
        except OSError as error:
            if error.errno != errno.EINVAL or not _cached(file):
                raise  # else the file system wants another alignment


def _cached(file: int) -> bool:
    """Turn to writing through the page cache; whether that is a change."""
    flags = fcntl.fcntl(file, fcntl.F_GETFL)
    if flags & _DIRECT:
        fcntl.fcntl(file, fcntl.F_SETFL, flags & ~_DIRECT)
    return bool(flags & _DIRECT)
