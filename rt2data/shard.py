"""Writing a shard: a tar (POSIX ustar) made in one reused buffer, with no time, user or host in it.

Headers are packed for the whole shard at once: `tarfile` packs 4 to 5 thousand members a second, this a million.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from rt2data.errors import Rt2dataError

BLOCK, RECORD = 512, 10240
WINDOW = 16 << 20  # bytes of tar made before each write; more gained nothing, and memory stays small
MAX_NAME = 100

# mode, user, group, time, type, magic and version of a ustar header (POSIX.1-1988), by place
_CONSTANT = ((100, b"0000644\0"), (108, b"0000000\0"), (116, b"0000000\0"), (136, b"00000000000\0"), (156, b"0"), (257, b"ustar\x0000"))

Bytes = npt.NDArray[np.uint8]
# Fills windows of the tar with the content of members `start` to `stop`, each at its place.
Fill = Callable[[Bytes, int, int, npt.NDArray[np.int64]], None]


@dataclass(frozen=True, slots=True)
class Written:
    """What the manifest says of a shard: `crc32c` is of the whole file (as object stores report it), `members` the
    SHA-256 of the lines ``NAME SIZE CRC32C`` of its members, in order."""

    bytes: int
    crc32c: str
    members: str


def headers(names: Sequence[str], sizes: npt.NDArray[np.int64]) -> Bytes:
    """The tar headers of members, uint8 (n, 512): mode 0644, user, group and time 0. Names are at most 100 bytes."""
    n = len(names)
    out = np.zeros((n, BLOCK), np.uint8)
    out[:, :MAX_NAME] = np.array([name.encode() for name in names], f"S{MAX_NAME}").view(np.uint8).reshape(n, MAX_NAME)
    for place, text in _CONSTANT:
        out[:, place : place + len(text)] = np.frombuffer(text, np.uint8)
    out[:, 124:135] = _octal(sizes, 11)
    out[:, 148:156] = ord(" ")
    total = out.sum(axis=1, dtype=np.int64)
    out[:, 148:154] = _octal(total, 6)
    out[:, 154] = 0
    return out


def _octal(values: npt.NDArray[np.int64], digits: int) -> Bytes:
    shifts = np.arange(3 * (digits - 1), -1, -3)
    return ((values[:, None] >> shifts) & 7).astype(np.uint8) + np.uint8(ord("0"))


class Buffers:
    """Memory that is used again for every window and shard of a worker: fresh pages cost six times as much."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def get(self, size: int) -> Bytes:
        if len(self._bytes) < size:
            self._bytes = np.empty(max(size, WINDOW), np.uint8)
        return self._bytes[:size]


def write(path: Path, names: Sequence[str], sizes: npt.NDArray[np.int64], fill: Fill, buffers: Buffers) -> Written:
    """Write a shard under a temporary name, sync it, rename it.

    Args:
        path: the final name.
        names: member names, ASCII, at most 100 bytes.
        sizes: their sizes in bytes.
        fill: called with (window, first member, last member + 1, the members' places in the window).
        buffers: the worker's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    head = headers(names, sizes)
    padded = (sizes + BLOCK - 1) // BLOCK * BLOCK
    ends = np.cumsum(BLOCK + padded)
    begins = ends - BLOCK - padded
    lines: list[str] = []
    crc = 0
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb", buffering=0) as file:
            start = 0
            while start < len(names):
                stop = max(start + 1, int(np.searchsorted(ends, begins[start] + WINDOW, side="right")))
                window = buffers.get(int(ends[stop - 1] - begins[start]))
                places = begins[start:stop] - begins[start]
                for i, place in enumerate(places.tolist(), start):
                    window[place : place + BLOCK] = head[i]
                    used = place + BLOCK + int(sizes[i])
                    window[used : place + BLOCK + int(padded[i])] = 0
                places += BLOCK
                fill(window, start, stop, places)
                for i, place in enumerate(places.tolist(), start):
                    lines.append(f"{names[i]} {sizes[i]} {google_crc32c.value(window[place : place + int(sizes[i])]):08x}\n")
                crc = google_crc32c.extend(crc, window)
                _write_all(file, window)
                start = stop
            total = int(ends[-1]) if len(names) else 0
            end = np.zeros((total + 2 * BLOCK + RECORD - 1) // RECORD * RECORD - total, np.uint8)
            crc = google_crc32c.extend(crc, end)
            _write_all(file, end)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise Rt2dataError(str(path), error.strerror or str(error), "room and permission to write a shard") from None
    finally:
        temporary.unlink(missing_ok=True)
    return Written(total + len(end), f"{crc:08x}", hashlib.sha256("".join(lines).encode()).hexdigest())


def _write_all(file: Any, data: Bytes) -> None:
    done = 0
    while done < len(data):
        done += os.write(file.fileno(), data[done:].data)


def crc32c_of(path: Path) -> str:
    """The CRC32C of a file, 8 hex digits."""
    crc, block = 0, np.empty(WINDOW, np.uint8)
    with path.open("rb", buffering=0) as file:
        while n := file.readinto(block.data):
            crc = google_crc32c.extend(crc, block[:n])
    return f"{crc:08x}"
