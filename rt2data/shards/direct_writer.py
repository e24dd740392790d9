"""Where a shard's bytes go: a few buffers that are used again and again, and a thread that writes those that are full
while the next one is filled.

Files are written past the page cache where the file system allows it. A shard is read by nobody soon, so its pages
would only push out those of the sources; filling the cache and flushing it costs more than copying the images does.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import threading
from queue import SimpleQueue

import google_crc32c
import numpy as np
import numpy.typing as npt

CHUNK = 1 << 20  # bytes of one write: what a core's caches hold, so that a chunk is read, hashed and written from there
ALIGNMENT = 4096  # of memory, place and size of a write past the page cache
BUFFERS = 4  # one is filled, the others are written: with two, filling and writing wait for each other
_DIRECT = getattr(os, "O_DIRECT", 0)

Bytes = npt.NDArray[np.uint8]


class Sink:
    """Writes files, one after the other. `buffer` is what the caller fills; `flush` hands the front of it over, and
    `crc` is the CRC32C of all that was handed over.

    The buffers hold CHUNK bytes and one piece more.
    """

    def __init__(self) -> None:
        self.buffer: Bytes = np.empty(0, np.uint8)
        self.crc = 0
        self._file = -1
        self._free: SimpleQueue[Bytes] = SimpleQueue()
        self._full: SimpleQueue[tuple[Bytes, int] | None] = SimpleQueue()
        self._failed: Exception | None = None
        self._small = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def open(self, path: str | os.PathLike[str], size: int, longest: int) -> None:
        """Begin a file of `size` bytes, which is given in pieces of at most `longest`.

        Raises:
            OSError: the system refuses.
        """
        self.crc, self._failed, self._small = 0, None, size < CHUNK
        room = -(-(CHUNK + longest) // CHUNK) * CHUNK + CHUNK
        if len(self.buffer) < room:
            self.buffer, self._free = _pages(room), SimpleQueue()
            for _ in range(BUFFERS - 1):
                self._free.put(_pages(room))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._file = os.open(path, flags | (0 if self._small else _DIRECT), 0o666)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # A file system without O_DIRECT: it refuses after the file was made.
            self._file = os.open(path, flags & ~os.O_EXCL, 0o666)

    def flush(self, filled: int) -> int:
        """Write the first `filled` bytes of the buffer but for what does not fill a page, which becomes the start of
        the next buffer; returns how many bytes that is.

        Raises:
            OSError: an earlier write failed.
        """
        ready = filled // ALIGNMENT * ALIGNMENT
        rest = filled - ready
        self.crc = google_crc32c.extend(self.crc, self.buffer[:ready])
        other = self._free.get()
        other[:rest] = self.buffer[ready:filled]
        self._full.put((self.buffer, ready))
        self.buffer = other
        if self._failed is not None:
            raise self._failed
        return rest

    def close(self, filled: int) -> None:
        """Write all `filled` bytes and sync the file.

        Raises:
            OSError: a write failed.
        """
        # Of less than a chunk nothing was handed to the thread yet, and waking it takes longer than to write.
        rest = filled if self._small else self.flush(filled)
        self.crc = google_crc32c.extend(self.crc, self.buffer[:rest])
        self._wait()
        if self._failed is not None:
            raise self._failed
        _cached(self._file)
        _write(self._file, self.buffer[:rest])
        os.fsync(self._file)
        self.abandon()

    def abandon(self) -> None:
        """Close the file as it is; does nothing where none is open."""
        if self._file >= 0:
            self._wait()
            os.close(self._file)
        self._file = -1

    def end(self) -> None:
        """End the thread."""
        self.abandon()
        self._full.put(None)
        self._thread.join()

    def _wait(self) -> None:
        """Until nothing is left to write: all buffers are free again."""
        for buffer in [self._free.get() for _ in range(BUFFERS - 1)]:
            self._free.put(buffer)

    def _serve(self) -> None:
        while (item := self._full.get()) is not None:
            buffer, size = item
            if self._failed is None:
                try:
                    _write(self._file, buffer[:size])
                except Exception as error:  # noqa: BLE001  # the one who fills raises it; a thread that ends hangs him
                    self._failed = error
            self._free.put(buffer)


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
