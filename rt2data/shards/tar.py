"""Writing a shard: a tar (POSIX ustar) with no time, user or host in it, and its index.

All but the images is made for the whole shard at once, by columns: a call per image is what is left. `tarfile` packs 4
to 5 thousand headers a second, this a million.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import google_crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rt2data.index import text_columns
from rt2data.index.text_columns import Texts
from rt2data.mixture.reader import INDEX
from rt2data.shards import direct_writer
from rt2data.shards.direct_writer import Bytes
from rt2data.storage import atomic
from rt2data.storage.places import Place

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

# What comes after a member, by its size modulo BLOCK.
_ZEROS = text_columns.of([bytes(-size % BLOCK) for size in range(BLOCK)])

Image = TypeVar("Image")


@dataclass(frozen=True, slots=True)
class Written:
    """What the manifest says of a shard: `crc32c` is of the whole file (as object stores report it), `members` the
    SHA-256 of the lines ``NAME SIZE CRC32C`` of its members, in order, `index` the CRC32C of its index.
    """

    bytes: int
    crc32c: str
    members: str
    index: str


def headers(names: Texts, sizes: npt.NDArray[np.int64]) -> Bytes:
    """The tar headers of members, uint8 (n, 512): mode 0644, user, group and time 0. Names are at most 100 bytes."""
    out = np.zeros((len(names), BLOCK), np.uint8)
    out[:, :MAX_NAME] = text_columns.padded(names, MAX_NAME)
    for place, text in _CONSTANT:
        out[:, place : place + len(text)] = np.frombuffer(text, np.uint8)
    out[:, 124:135] = _octal(sizes, 11)
    out[:, 148:154] = _octal(out[:, :265].sum(axis=1, dtype=np.uint32), 6)  # with blanks in place of the sum itself
    out[:, 154] = 0
    return out


def _octal(values: npt.NDArray[Any], digits: int) -> Bytes:
    shifts = np.arange(3 * (digits - 1), -1, -3, dtype=values.dtype)
    return ((values[:, None] >> shifts) & 7).astype(np.uint8) + np.uint8(ord("0"))


@dataclass(frozen=True, slots=True)
class Packed:
    """All of n members but the bytes of images.

    Attributes:
        text: their headers, bytes and what stands behind them, one after the other.
        begins: where the members begin in `text`, and the last one ends, int64 (n + 1,).
        places: where they begin, and the last one ends, once the images are between, int64 (n + 1,).
        sizes: their sizes in bytes, int64 (n,).
        is_image: bool (n,).
        lines: the lines that `Written.members` is of.
        line_begins: where they begin, int64 (n + 1,).
    """

    text: Bytes
    begins: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    is_image: npt.NDArray[np.bool_]
    lines: Bytes
    line_begins: npt.NDArray[np.int64]


def pack(names: Texts, sizes: npt.NDArray[np.int64], held: Texts, crcs: npt.NDArray[np.int64]) -> Packed:
    """Make all of some members but the bytes of images, of one shard or of several that follow one another.

    Args:
        names: member names, ASCII, at most 100 bytes.
        sizes: their sizes in bytes, (n,).
        held: their bytes; null where these are an image's.
        crcs: the CRC32Cs of images, (n,); of other members it is not looked at.
    """
    is_image = np.asarray(held.is_null())
    padding = _ZEROS.take(pa.array(sizes % BLOCK))
    text, begins = text_columns.data(text_columns.join(text_columns.rows(headers(names, sizes)), held, padding))
    data, places = text_columns.data(held)
    stored, bounds = data.tobytes(), (side[~is_image].tolist() for side in (places[:-1], places[1:]))
    crcs = crcs.astype(np.uint32)
    crcs[~is_image] = [google_crc32c.value(stored[a:b]) for a, b in zip(*bounds, strict=True)]
    checksums = text_columns.hexes(crcs.astype(">u4").view(np.uint8).reshape(-1, 4))
    lines, line_begins = text_columns.data(
        text_columns.join(names, b" ", text_columns.digits(sizes), b" ", checksums, b"\n")
    )
    places = np.array(begins, np.int64)
    places[1:] += np.cumsum(np.where(is_image, sizes, 0))
    return Packed(text, begins, places, sizes, is_image, lines, line_begins)


def write(
    path: Place,
    packed: Packed,
    begins: npt.NDArray[np.int64],
    images: Iterable[Image],
    read: Callable[[Image, Bytes], None],
    into: direct_writer.Sink,
) -> Written:
    """Write a shard and its index, each under a temporary name, sync it, rename it.

    Args:
        path: the final name.
        packed: its members, perhaps among others.
        begins: of each of its samples the first of these members, and the one behind the last, int64 (samples + 1,).
        images: the images, in the order of their members.
        read: reads an image of a size and checks its CRC32C, or raises.
        into: the worker's.
    """
    rows = slice(int(begins[0]), int(begins[-1]))
    start, stop = (int(packed.begins[row]) for row in (rows.start, rows.stop))
    text, is_image = packed.text[start:stop], packed.is_image[rows]
    cuts = packed.begins[rows][is_image] + (BLOCK - start)
    image_sizes = packed.sizes[rows][is_image]
    places = packed.places[begins] - packed.places[rows.start]
    total = int(places[-1])
    end = -(-(total + 2 * BLOCK) // RECORD) * RECORD - total
    with atomic.replacing(path, "room and permission to write a shard") as temporary:
        try:
            into.open(temporary, total + end, max(direct_writer.CHUNK, int(image_sizes.max(initial=0))))
            pieces = zip(cuts.tolist(), image_sizes.tolist(), images, strict=True)
            at = _fill(text, pieces, read, into)
            into.buffer[at : at + end] = 0
            into.close(at + end)
        finally:
            into.abandon()
    index = places.astype("<u8").tobytes()  # that of Megatron Energon: where samples begin, and the last one ends
    atomic.write_file(path.with_name(path.name + INDEX), index, sync=True)
    lines = packed.lines[packed.line_begins[rows.start] : packed.line_begins[rows.stop]]
    members = hashlib.sha256(lines.data).hexdigest()
    return Written(total + end, f"{into.crc:08x}", members, f"{google_crc32c.value(index):08x}")


def _fill(
    text: Bytes,
    pieces: Iterable[tuple[int, int, Image]],
    read: Callable[[Image, Bytes], None],
    into: direct_writer.Sink,
) -> int:
    """Write `text` with the images between it; returns how many bytes of the buffer are still to be written.

    Each microsecond in this loop is a tenth of the time that copying an image takes.
    """
    at = start = 0
    between, buffer, view = text.data, into.buffer, into.buffer.data  # views are faster at copying than arrays
    for stop, size, image in chain(pieces, [(len(text), 0, None)]):
        while stop - start > direct_writer.CHUNK - at:  # a text that is longer than the room for it
            length = direct_writer.CHUNK - at
            view[at : direct_writer.CHUNK] = between[start : start + length]
            start, at = start + length, into.flush(direct_writer.CHUNK)
            buffer, view = into.buffer, into.buffer.data
        begin = at + stop - start
        view[at:begin] = between[start:stop]
        start, at = stop, begin + size
        if image is not None:
            read(image, buffer[begin:at])
        if at >= direct_writer.CHUNK:
            at = into.flush(at)
            buffer, view = into.buffer, into.buffer.data
    return at


def crc32c_of(path: Path) -> str:
    """The CRC32C of a file, 8 hex digits."""
    crc, block = 0, np.empty(direct_writer.CHUNK, np.uint8)
    with path.open("rb", buffering=0) as file:
        while n := file.readinto(block.data):
            crc = google_crc32c.extend(crc, block[:n])
    return f"{crc:08x}"
