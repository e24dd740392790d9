"""Writing a shard: a tar (POSIX ustar) with no time, user or host in it.

Headers are packed for the whole shard at once: `tarfile` packs 4 to 5 thousand members a second, this a million.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
import numpy.typing as npt

from rt2data import sink, whole
from rt2data.sink import Bytes
from rt2data.storage import Place

BLOCK, RECORD = 512, 10240
MAX_NAME = 100

# mode, user, group, time, type, magic and version of a ustar header (POSIX.1-1988), by place
_CONSTANT = (
    (100, b"0000644\0"),
    (108, b"0000000\0"),
    (116, b"0000000\0"),
    (136, b"00000000000\0"),
    (148, b"        "),
    (156, b"0"),
    (257, b"ustar\x0000"),
)

TEXT = 1 << 16  # bytes of members that wait to be joined
_ZEROS = [bytes(-size % BLOCK) for size in range(BLOCK)]  # what comes after a member, by its size modulo BLOCK

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
    out[:, :MAX_NAME] = np.array(names, f"S{MAX_NAME}").view(np.uint8).reshape(n, MAX_NAME)
    for place, text in _CONSTANT:
        out[:, place : place + len(text)] = np.frombuffer(text, np.uint8)
    out[:, 124:135] = _octal(sizes, 11)
    out[:, 148:154] = _octal(out[:, :265].sum(axis=1, dtype=np.uint32), 6)  # with blanks in place of the sum itself
    out[:, 154] = 0
    return out


def _octal(values: npt.NDArray[Any], digits: int) -> Bytes:
    shifts = np.arange(3 * (digits - 1), -1, -3, dtype=values.dtype)
    return ((values[:, None] >> shifts) & 7).astype(np.uint8) + np.uint8(ord("0"))


class Ref(NamedTuple):
    """Bytes of a source file that become a member: where they start, and their CRC32C when they were indexed."""

    file: str
    offset: int
    crc: int


def write(
    path: Place, names: Sequence[str], sizes: Sequence[int], content: Sequence[bytes | Ref], read: Read, into: sink.Sink
) -> Written:
    """Write a shard under a temporary name, sync it, rename it.

    Args:
        path: the final name.
        names: member names, ASCII, at most 100 bytes.
        sizes: their sizes in bytes.
        content: their bytes, or where these lie.
        read: reads a reference and checks its CRC32C, or raises.
        into: the worker's.
    """
    lengths = np.array(sizes, np.int64)
    packed = headers(names, lengths).tobytes()
    total = int((lengths + -lengths % BLOCK).sum()) + len(packed)
    end = -(-(total + 2 * BLOCK) // RECORD) * RECORD - total
    with whole.replacing(path, "room and permission to write a shard") as temporary:
        try:
            into.open(temporary, total + end, max((*sizes, RECORD)) + 2 * TEXT)
            crc, crcs = _members(packed, sizes, content, read, into, end)
        finally:
            into.abandon()
    lines = "".join([f"{name} {size} {one:08x}\n" for name, size, one in zip(names, sizes, crcs, strict=True)])
    return Written(total + end, f"{crc:08x}", hashlib.sha256(lines.encode()).hexdigest())


def _members(
    packed: bytes, sizes: Sequence[int], content: Sequence[bytes | Ref], read: Read, into: sink.Sink, end: int
) -> tuple[int, list[int]]:
    """Write the members and `end` zeros; returns the CRC32C of the file and those of the members.

    Headers, padding and JSON between two references are joined to one text. Each microsecond in this loop is a tenth of
    the time that copying an image takes.
    """
    crc = at = waiting = 0
    crcs: list[int] = []
    texts: list[bytes] = []
    buffer, view, checksum = into.buffer, into.buffer.data, google_crc32c.value
    heads = [packed[place : place + BLOCK] for place in range(0, len(packed), BLOCK)]
    for head, size, data in zip(heads, sizes, content, strict=True):
        if isinstance(data, Ref):
            text = b"".join((*texts, head))
            texts, waiting = [_ZEROS[size % BLOCK]], 0
            view[at : at + len(text)] = text
            at += len(text)
            read(data, buffer[at : at + size])
            at += size
            crcs.append(data.crc)
        else:
            texts += (head, data, _ZEROS[size % BLOCK])
            crcs.append(checksum(data))
            waiting += size + 2 * BLOCK
        if waiting > TEXT:
            text = b"".join(texts)
            texts, waiting = [], 0
            view[at : at + len(text)] = text
            at += len(text)
        if at >= sink.CHUNK:
            crc = google_crc32c.extend(crc, buffer[: at - at % sink.ALIGNMENT])
            at = into.flush(at)
            buffer, view = into.buffer, into.buffer.data
    text = b"".join((*texts, bytes(end)))
    view[at : at + len(text)] = text
    at += len(text)
    crc = google_crc32c.extend(crc, buffer[:at])
    into.close(at)
    return crc, crcs


def crc32c_of(path: Path) -> str:
    """The CRC32C of a file, 8 hex digits."""
    crc, block = 0, np.empty(sink.CHUNK, np.uint8)
    with path.open("rb", buffering=0) as file:
        while n := file.readinto(block.data):
            crc = google_crc32c.extend(crc, block[:n])
    return f"{crc:08x}"
