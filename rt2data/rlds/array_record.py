"""ArrayRecord files, the other container in which TFDS keeps its records: found by the package ``array_record``.

A file is a row of chunks as Riegeli defines them (``riegeli/doc/riegeli_records_file_format.md``), each a header of 40
bytes and compressed records. At every multiple of 64 KiB 24 bytes more interrupt whatever stands there. A chunk's
header holds a hash of its data: the identity of a file needs no reading of its content. No record lies in the file as
bytes, so what is read here are copies.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rt2data.errors import Rt2dataError

MAX_CHUNK_BYTES = 1 << 32
"""Limit on a chunk's records, unpacked, as its header states them. TFDS writes one record a chunk, each below 2 GiB."""

_BLOCK, _BLOCK_HEADER, _CHUNK_HEADER = 1 << 16, 24, 40
_CHUNK = struct.Struct("<8xQQQQ")  # after its own hash: size and hash of the data, type and records, unpacked size
_SIGNATURE = ord("s")
_DAMAGED = "The file is damaged or no ArrayRecord file: fetch it again"


class ChunkHeader(NamedTuple):
    """The header of a chunk.

    Attributes:
        records: how many it holds.
        size, hash: bytes of its data as stored; their 64-bit hash, as the writer states it.
        unpacked: bytes of its records.
    """

    records: int
    size: int
    hash: int
    unpacked: int


def read_chunk_headers(data: NDArray[np.uint8], *, path: str) -> Iterator[ChunkHeader]:
    """The headers of the chunks of the file whose bytes are `data`, in order.

    Raises:
        Rt2dataError: the file is truncated or no ArrayRecord file, or a chunk is larger than MAX_CHUNK_BYTES.
    """
    size, position = data.size, 0
    while position < size or not size:
        header = _bytes(data, position, _CHUNK_HEADER)
        if len(header) < _CHUNK_HEADER:
            raise Rt2dataError(f"{path}: byte {position}", f"{len(header)} bytes", "the header of a chunk", _DAMAGED)
        stored, hashed, kind, unpacked = _CHUNK.unpack(header)
        if position == 0 and (kind, stored) != (_SIGNATURE, 0):
            raise Rt2dataError(path, f"a file that begins with {data[:8].tobytes()!r}", "an ArrayRecord file", _DAMAGED)
        if unpacked > MAX_CHUNK_BYTES:
            where, found = f"{path}: byte {position}", f"a chunk of {unpacked:,} bytes of records"
            raise Rt2dataError(where, found, f"at most {MAX_CHUNK_BYTES:,}", _DAMAGED)
        yield ChunkHeader(kind >> 8, stored, hashed, unpacked)
        position = max(_after(position, _CHUNK_HEADER + stored), position + (kind >> 8))
    if position > size:
        raise Rt2dataError(path, f"{size:,} bytes", f"{position:,}, as its last chunk states", _DAMAGED)


def read_records(path: Path) -> Iterator[bytes]:
    """The records of a file, in order, one chunk in memory at a time. The hash of each chunk is verified.

    Raises:
        Rt2dataError: no readable ArrayRecord file, or a damaged record; names file and record.
    """
    reader, count = _opened(path)
    try:
        for number in range(count):
            try:
                record = reader.read()
            except (RuntimeError, IndexError) as error:  # what the library says of the bytes
                raise Rt2dataError(f"{path}: record {number}", str(error), "a whole record", _DAMAGED) from None
            yield record
    finally:
        with suppress(RuntimeError):  # of a damaged file: it was said
            reader.close()


def count_records(path: Path) -> int:
    """How many records a file holds, by its footer."""
    reader, found = _opened(path)
    reader.close()
    return found


def open_writer(path: Path) -> Any:
    """A writer of the records of a file, with ``write(bytes)`` and ``close()``; a record a chunk, as TFDS has them."""
    return _module(str(path)).ArrayRecordWriter(str(path), "group_size:1")


def _opened(path: Path) -> tuple[Any, int]:
    module = _module(str(path))
    try:
        # Neither threads nor a buffer of records read ahead: both take memory by the size of the machine.
        reader = module.ArrayRecordReader(str(path), "readahead_buffer_size:0,max_parallelism:0")
        found = reader.num_records()
        if not reader.ok():  # then it says 0, and why only when it is closed
            reader.close()
    except RuntimeError as error:
        raise Rt2dataError(str(path), str(error), "an ArrayRecord file with its footer", _DAMAGED) from None
    return reader, found


def _module(where: str) -> Any:
    try:
        from array_record.python import array_record_module
    except ImportError as error:
        repair = "pip install 'rt2data[array-record]'; or `tfds convert_format --file_format=tfrecord`"
        found = f"an ArrayRecord file, and no way to read it ({error})"
        raise Rt2dataError(where, found, "the package array-record", repair) from None
    return array_record_module


def _bytes(data: NDArray[np.uint8], position: int, length: int) -> bytes:
    """`length` bytes of a chunk from `position`, without the block headers between them; fewer at the file's end."""
    out = b""
    while len(out) < length and position < data.size:
        position += _BLOCK_HEADER if position % _BLOCK == 0 else 0
        piece = data[position : position + min(length - len(out), _BLOCK - position % _BLOCK)].tobytes()
        out += piece
        position += len(piece)
        if not piece:
            break
    return out


def _after(position: int, length: int) -> int:
    """Where `length` bytes of a chunk that begins at `position` end, with the block headers between them."""
    usable = _BLOCK - _BLOCK_HEADER
    return position + length + (length + (position + usable - 1) % _BLOCK) // usable * _BLOCK_HEADER
