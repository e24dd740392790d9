"""Read the records of TFRecord files in place, without TensorFlow and without copying their bytes.

A record is ``length: uint64, CRC of length: uint32, payload, CRC of payload: uint32``, little-endian. The CRCs are
CRC-32C, masked (rotated right by 15 bits, plus a constant), as ``tensorflow/core/lib/io/record_writer.h`` defines them.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from rt2data.errors import Rt2dataError
from rt2data.rlds import crc32c
from rt2data.storage import reading

Buffer = bytes | bytearray | memoryview | mmap.mmap | NDArray[np.uint8]
"""The bytes of a file."""

HEADER_BYTES = 12
FOOTER_BYTES = 4

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
# First bytes of files that are often in the place of a TFRecord file, and the repair.
_DISGUISES = {
    b"version ": "It is a Git LFS pointer: fetch the real file with `git lfs pull`",
    b"\x1f\x8b": "It is compressed with gzip: unpack it first",
    b"PAR1": "It is a Parquet file",
}


class Record(NamedTuple):
    """One record of a TFRecord file.

    Attributes:
        offset: position of the payload in the file, in bytes.
        data: the payload, uint8 (length,), a read-only view of the file's buffer.
        length: size of the payload in bytes.
        length_crc: masked CRC-32C of the length; verified.
        data_crc: masked CRC-32C of the payload, as stored; verified only on request.
    """

    offset: int
    data: NDArray[np.uint8]
    length: int
    length_crc: int
    data_crc: int


def masked_crc(data: bytes | NDArray[np.uint8]) -> int:
    """Return the masked CRC-32C of `data`, as TFRecord stores it: 0..2**32 - 1."""
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def map_file(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Map a local file into memory: uint8, read-only. Nothing is read yet. Raises as `storage.reading.retry` does."""
    return byte_view(reading.map_whole(path) or b"")


def byte_view(buffer: Buffer) -> NDArray[np.uint8]:
    """View `buffer` as a read-only uint8 array that shares its memory."""
    view = np.frombuffer(buffer, np.uint8)
    view.flags.writeable = False
    return view


def scan_records(buffer: Buffer, *, path: str, check: bool) -> Iterator[Record]:
    """Yield the records of the TFRecord file whose bytes are `buffer`, in order.

    Framing and the CRC of each length are always verified; the CRC of each payload where `check` is true.

    Raises:
        Rt2dataError: the file is truncated, damaged or no TFRecord file; names `path`, record and byte offset.
    """
    data = byte_view(buffer)
    size, position, number = data.size, 0, 0
    while position < size:
        start = position + HEADER_BYTES
        where = f"{path}: record {number}, byte {position}"
        if start > size:
            raise Rt2dataError(
                where, f"{size - position} bytes to the end of the file", f"a record header of {HEADER_BYTES} bytes",
                _disguise(data) or "The file is truncated: fetch it again",
            )  # fmt: skip
        length, length_crc = _HEADER.unpack_from(data.data, position)
        if masked_crc(data[position : position + 8]) != length_crc:
            raise Rt2dataError(
                where, f"a record length ({length}) that does not match its CRC-32C", "a TFRecord header",
                _disguise(data) or "The file is damaged or no TFRecord file: fetch it again",
            )  # fmt: skip
        end = start + length
        if end + FOOTER_BYTES > size:
            raise Rt2dataError(
                where, f"{size - start} bytes after the header", f"{length + FOOTER_BYTES} (payload and CRC)",
                "The file is truncated: fetch it again",
            )  # fmt: skip
        payload = data[start:end]
        (data_crc,) = _FOOTER.unpack_from(data.data, end)
        if check and masked_crc(payload) != data_crc:
            raise Rt2dataError(
                where, f"a payload of {length} bytes with CRC-32C {masked_crc(payload):#010x}",
                f"{data_crc:#010x} (masked, as stored)", "The file is damaged: fetch it again",
            )  # fmt: skip
        yield Record(start, payload, length, length_crc, data_crc)
        position = end + FOOTER_BYTES
        number += 1


HASHED_AGAIN = 1 << 21
"""Bytes of a file up to which hashing all of it is faster than combining known CRCs."""

KnownCrcs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint32]]
"""Parts of a file whose CRC-32Cs are known: positions and lengths in bytes, and the CRCs."""


def check_payloads(buffer: Buffer, *, path: str, known: KnownCrcs | None = None) -> None:
    """Verify the CRC of every payload. Parts in `known`, such as images, are not hashed again.

    Raises:
        Rt2dataError: as `scan_records` does.
    """
    if known is not None and len(byte_view(buffer)) >= HASHED_AGAIN:
        records = [(r.offset, r.length, r.data_crc) for r in scan_records(buffer, path=path, check=False)]
        starts, lengths, stored = np.array(records, np.int64).reshape(-1, 3).T
        crcs = crc32c.combine_crcs(byte_view(buffer), starts, starts + lengths, *known)
        masked = (crcs >> np.uint32(15) | crcs << np.uint32(17)) + np.uint32(0xA282EAD8)
        if np.array_equal(masked, stored):
            return
    for _ in scan_records(buffer, path=path, check=True):  # names the damaged record
        pass


def _disguise(data: NDArray[np.uint8]) -> str:
    start = data[:8].tobytes()
    return next((text for magic, text in _DISGUISES.items() if start.startswith(magic)), "")
