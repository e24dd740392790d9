"""Writing a shard: a tar (POSIX ustar) with no time, user or host in it.

Headers are packed for the whole shard at once: `tarfile` packs 4 to 5 thousand members a second, this a million.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import numpy as np
import numpy.typing as npt

from rt2data import whole

BLOCK, RECORD = 512, 10240
WINDOW = 16 << 20  # bytes of members read before they are written
MAX_PIECES = 1000  # IOV_MAX is 1024
MAX_NAME = 100

# mode, user, group, time, type, magic and version of a ustar header (POSIX.1-1988), by place
_CONSTANT = (
    (100, b"0000644\0"),
    (108, b"0000000\0"),
    (116, b"0000000\0"),
    (136, b"00000000000\0"),
    (156, b"0"),
    (257, b"ustar\x0000"),
)

_ZEROS = bytes(BLOCK)

Bytes = npt.NDArray[np.uint8]
Read = Callable[["Ref", Bytes], None]


@dataclass(frozen=True, slots=True)
class Written:
    """What the manifest says of a shard: `crc32c` is of the whole file (as object stores report it), `members` the
    SHA-256 of the lines ``NAME SIZE CRC32C`` of its members, in order.
    """

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


class Ref(NamedTuple):
    """Bytes of a source file that become a member: where they start, and their CRC32C when they were indexed."""

    file: str
    offset: int
    crc: int


class Buffers:
    """Memory that is used again for every window and shard of a worker: fresh pages cost six times as much."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def get(self, size: int) -> Bytes:
        if len(self._bytes) < size:
            self._bytes = np.empty(max(size, WINDOW), np.uint8)
        return self._bytes[:size]


def write(
    path: Path, names: Sequence[str], sizes: Sequence[int], content: Sequence[bytes | Ref], read: Read, buffers: Buffers
) -> Written:
    """Write a shard under a temporary name, sync it, rename it.

    Args:
        path: the final name.
        names: member names, ASCII, at most 100 bytes.
        sizes: their sizes in bytes.
        content: their bytes, or where these lie.
        read: reads a reference and checks its CRC32C, or raises.
        buffers: the worker's.
    """
    head = headers(names, np.array(sizes, np.int64)).tobytes()
    lines: list[bytes] = []
    crc = total = 0
    with (
        whole.replacing(path, "room and permission to write a shard") as temporary,
        temporary.open("wb", buffering=0) as file,
    ):
        for start, stop in _windows(sizes):
            for pieces in _window(start, stop, names, sizes, content, head, lines, read, buffers):
                for piece in pieces:
                    crc = google_crc32c.extend(crc, piece)
                total += _write_all(file.fileno(), pieces)
        end = bytes((total + 2 * BLOCK + RECORD - 1) // RECORD * RECORD - total)
        crc = google_crc32c.extend(crc, end)
        total += _write_all(file.fileno(), [end])
        os.fsync(file.fileno())
    return Written(total, f"{crc:08x}", hashlib.sha256(b"".join(lines)).hexdigest())


def _windows(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges of members that fill WINDOW bytes, or are one larger member."""
    start = filled = 0
    for i, size in enumerate(sizes):
        if filled and filled + size > WINDOW:
            yield start, i
            start, filled = i, 0
        filled += size
    if sizes:
        yield start, len(sizes)


def _window(
    start: int,
    stop: int,
    names: Sequence[str],
    sizes: Sequence[int],
    content: Sequence[bytes | Ref],
    head: bytes,
    lines: list[bytes],
    read: Read,
    buffers: Buffers,
) -> Iterator[list[bytes | Bytes]]:
    """The bytes of members `start` to `stop`, in lists that one `writev` takes. Adds the members' lines to `lines`.

    Headers, JSON and padding between two references are joined to one piece. References are read into the buffer in the
    order of their files, not of the shard: a disk and its read-ahead like it. The loops are written as comprehensions
    because they run for every member: each microsecond here is a twentieth of the time that copying an image takes.
    """
    references = [(i, ref) for i, ref in enumerate(content[start:stop], start) if type(ref) is Ref]
    at = [i for i, _ in references]
    ends = list(accumulate(sizes[i] for i in at))
    buffer = buffers.get(ends[-1] if ends else 0)
    views = [buffer[end - sizes[i] : end] for i, end in zip(at, ends, strict=True)]
    for (_, ref), view in sorted(zip(references, views, strict=True), key=_by_place):
        read(ref, view)

    def text(after: int, before: int) -> bytes:
        """Everything between references `after` and `before`."""
        pieces = [_ZEROS[: -sizes[after] % BLOCK]] if after >= start else []
        for i in range(after + 1, before):
            data = content[i]
            pieces += (head[BLOCK * i : BLOCK * i + BLOCK], data, _ZEROS[: -len(data) % BLOCK])  # type: ignore[arg-type]
        if before < stop:
            pieces.append(head[BLOCK * before : BLOCK * before + BLOCK])
        return b"".join(pieces)

    crcs = [data.crc if type(data) is Ref else google_crc32c.value(data) for data in content[start:stop]]
    encoded = [name.encode() for name in names[start:stop]]
    lines += [b"%b %d %08x\n" % line for line in zip(encoded, sizes[start:stop], crcs, strict=True)]
    edges = [start - 1, *at, stop]
    texts = [text(after, before) for after, before in pairwise(edges)]
    pieces: list[bytes | Bytes] = [texts[0]]
    pieces += [piece for pair in zip(views, texts[1:], strict=True) for piece in pair]
    for first in range(0, len(pieces), MAX_PIECES):
        yield pieces[first : first + MAX_PIECES]


def _by_place(item: tuple[tuple[int, Ref], Bytes]) -> Ref:
    return item[0][1]


def _write_all(descriptor: int, pieces: Sequence[bytes | Bytes]) -> int:
    """Write every piece; returns how many bytes that was."""
    total = sum(len(piece) for piece in pieces)
    done = os.writev(descriptor, pieces)  # type: ignore[arg-type]  # arrays are buffers; numpy's types do not say so
    while done < total:  # a disk that is full raises; a signal may cut a write short
        rest = b"".join(bytes(piece) for piece in pieces)[done:]
        done += os.write(descriptor, rest)
    return total


def crc32c_of(path: Path) -> str:
    """The CRC32C of a file, 8 hex digits."""
    crc, block = 0, np.empty(WINDOW, np.uint8)
    with path.open("rb", buffering=0) as file:
        while n := file.readinto(block.data):
            crc = google_crc32c.extend(crc, block[:n])
    return f"{crc:08x}"
