"""Pieces of shards in an object store, kept in a folder that all workers and readers of a machine may share.

A piece is what a reader's lane has of a run: consecutive samples, one request. Its file appears when it is complete;
who needs it meanwhile waits for who fetches it. When the folder holds more than its limit the oldest pieces go: a piece
is read within as many rounds over the lanes as it has samples, so the oldest ones are done with first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from rt2data.errors import Rt2dataError
from rt2data.storage import object_store
from rt2data.storage.object_store import Url

WAIT = 60.0  # seconds after which a piece that somebody else fetches is fetched here as well
PAUSE = 0.005
LOOK = 64  # pieces that are added between two looks at how much the folder holds


class Piece(NamedTuple):
    """Bytes of a shard, and the name of their file."""

    name: str
    url: Url
    start: int
    stop: int


class Cache:
    """Pieces in a folder.

    Args:
        folder: where; it is made.
        limit: bytes that it may hold, beside what was added since the last look.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._added = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._refused(error) from None

    def read(self, piece: Piece, start: int, stop: int) -> bytes:
        """The bytes from `start` to `stop` of a piece's shard, fetched with the piece where it is not here."""
        for _ in range(3):  # a piece that is here may be removed before it is opened
            try:
                file = os.open(self.folder / piece.name, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                for _ in self.fetch([piece]):
                    pass
                continue
            try:
                return os.pread(file, stop - start, start - piece.start)
            finally:
                os.close(file)
        expected = "a limit that holds what is read at once"
        raise Rt2dataError(str(self.folder), "pieces that are removed before they are read", expected, "Raise it")

    def fetch(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Fetch the pieces that are not here, many at a time, and give each one as it is complete, in order."""
        mine: list[Piece] = []
        theirs: list[Piece] = []

        def missing() -> Iterator[tuple[Url, int, int]]:
            for piece in pieces:
                if (self.folder / piece.name).exists():
                    continue
                if self._claim(piece):
                    mine.append(piece)
                    yield piece.url, piece.start, piece.stop
                else:
                    theirs.append(piece)

        done = 0
        try:
            for data in object_store.fetch_ranges(missing()):
                self._keep(mine[done], data)
                done += 1
                yield mine[done - 1]
        finally:
            for piece in mine[done:]:
                (self.folder / (piece.name + ".part")).unlink(missing_ok=True)
        for piece in theirs:
            if not self._wait(piece):
                self._keep(piece, next(object_store.fetch_ranges([(piece.url, piece.start, piece.stop)])))
            yield piece

    def _claim(self, piece: Piece) -> bool:
        """Whether nobody else fetches a piece: then it is the caller's to fetch."""
        try:
            os.close(os.open(self.folder / (piece.name + ".part"), os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        except FileExistsError:
            return False
        except OSError as error:
            raise self._refused(error) from None
        return True

    def _wait(self, piece: Piece) -> bool:
        """Wait for who fetches a piece; False where that takes too long."""
        part, file = self.folder / (piece.name + ".part"), self.folder / piece.name
        end = time.monotonic() + WAIT
        while part.exists() and time.monotonic() < end:
            time.sleep(PAUSE)
        return file.exists()

    def store(self, name: str, data: bytes | memoryview) -> None:
        """Store a file; one with a dot in its name stays."""
        temporary = self.folder / f"{name}.{os.getpid()}"
        try:
            temporary.write_bytes(data)
            temporary.replace(self.folder / name)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise self._refused(error) from None

    def _keep(self, piece: Piece, data: memoryview) -> None:
        self.store(piece.name, data)
        (self.folder / (piece.name + ".part")).unlink(missing_ok=True)
        self._added += 1
        if self._added % LOOK == 0:
            self._shrink()

    def _shrink(self) -> None:
        """Remove the oldest pieces beyond the limit."""
        found: list[tuple[int, int, str]] = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                try:
                    stat = entry.stat()
                except FileNotFoundError:
                    continue  # somebody else removed it
                if "." not in entry.name:
                    found.append((stat.st_mtime_ns, stat.st_size, entry.path))
        over = sum(size for _, size, _ in found) - self.limit
        for _, size, path in sorted(found):
            if over <= 0:
                break
            over -= size
            Path(path).unlink(missing_ok=True)

    def _refused(self, error: OSError) -> Rt2dataError:
        expected = "a folder for what is read of the mixture"
        return Rt2dataError(str(self.folder), error.strerror or str(error), expected, "Set cache= or TMPDIR")
