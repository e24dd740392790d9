"""CRC32Cs (Castagnoli) of long stretches from those of the pieces in them, without hashing any byte twice.

A CRC is a polynomial over GF(2) modulo P. That of A followed by B is crc(A) * x^(8 |B|) + crc(B), so the CRC of a
stretch is a sum over its pieces, each shifted by the bytes after it. A polynomial is a uint32 with x^31 in its lowest
bit, as the CRC itself is stored (RFC 3720 appendix B.4; zlib's crc32_combine works alike).
"""

from __future__ import annotations

from functools import cache

import google_crc32c
import numpy as np
import numpy.typing as npt

POLYNOMIAL = np.uint32(0x82F63B78)
SHORT = 16  # bytes: pieces up to here are hashed together, longer ones each by a call

Words = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


def combine_crcs(
    data: Bytes, starts: Numbers, ends: Numbers, offsets: Numbers, lengths: Numbers, known: Words
) -> Words:
    """The CRC32Cs of stretches of `data`, uint32 (n,); only what lies between the pieces is read.

    Args:
        data: the bytes of a file.
        starts, ends: the stretches, ascending, (n,).
        offsets, lengths, known: pieces of at least one byte and their CRC32Cs, (m,), in any order. Each lies in one of
            the stretches, and no two overlap.
    """
    by_place = np.argsort(offsets)
    offsets, lengths, known = offsets[by_place], lengths[by_place], known[by_place]
    # The gaps: before the first piece of a stretch, behind each piece up to the next or to the end.
    bounds = np.sort(np.concatenate([starts, offsets + lengths])), np.sort(np.concatenate([ends, offsets]))
    some = bounds[1] > bounds[0]
    gap, gap_end = bounds[0][some], bounds[1][some]
    end = np.concatenate([offsets + lengths, gap_end])
    crcs = np.concatenate([known, _of_gaps(data, gap, gap_end - gap)])
    within = np.searchsorted(starts, end - 1, side="right") - 1
    out = np.zeros(len(starts), np.uint32)
    np.bitwise_xor.at(out, within, shift_crcs(crcs, ends[within] - end))
    return out


def shift_crcs(crcs: Words, lengths: Numbers) -> Words:
    """The part of each of `crcs` in the CRC of a stretch that goes on for `lengths` bytes, (n,)."""
    out, digit = crcs, 0
    while np.any(lengths):
        out = multiply(out, _powers(digit)[lengths & 255])
        lengths = lengths >> 8
        digit += 1
    return out


def multiply(a: Words, b: Words) -> Words:
    """Products of polynomials modulo P."""
    out = np.zeros_like(a)
    for bit in range(31, -1, -1):
        out ^= b * (a >> np.uint32(bit) & np.uint32(1))
        b = b >> np.uint32(1) ^ POLYNOMIAL * (b & np.uint32(1))
    return out


@cache
def _powers(digit: int) -> Words:
    """x^(8 k 256^digit) for k from 0 to 255."""
    step = np.array([1 << 23], np.uint32)  # x^8
    for _ in range(8 * digit):
        step = multiply(step, step)
    out = np.array([1 << 31], np.uint32)  # 1
    while len(out) < 256:
        out = np.concatenate([out, multiply(out, np.repeat(step, len(out)))])
        step = multiply(step, step)
    return out


@cache
def _table() -> Words:
    """The CRC register after one byte, from its lowest 8 bits."""
    out = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        out = out >> np.uint32(1) ^ POLYNOMIAL * (out & np.uint32(1))
    return out


def _of_gaps(data: Bytes, starts: Numbers, lengths: Numbers) -> Words:
    out = np.zeros(len(starts), np.uint32)
    long = lengths > SHORT
    pairs = zip(starts[long].tolist(), lengths[long].tolist(), strict=True)
    out[long] = [google_crc32c.value(data[start : start + length]) for start, length in pairs]
    for length in np.unique(lengths[~long]).tolist():
        rows = np.flatnonzero(lengths == length)
        register = np.full(len(rows), 0xFFFFFFFF, np.uint32)
        for place in range(length):
            low = register & np.uint32(255) ^ data[starts[rows] + place]
            register = _table()[low] ^ register >> np.uint32(8)
        out[rows] = ~register
    return out
