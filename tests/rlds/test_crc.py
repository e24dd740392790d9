"""CRCs of stretches from those of their pieces, held against hashing the whole."""

from __future__ import annotations

import google_crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.rlds import crc32c

# A stretch: how far it begins behind the one before, and its parts: lengths, and whether their CRC is known.
STRETCH = st.tuples(st.integers(0, 9), st.lists(st.tuples(st.integers(1, 700), st.booleans()), max_size=12))


@given(st.lists(STRETCH, max_size=5), st.randoms(use_true_random=False))
def test_of_stretches(layout: list[tuple[int, list[tuple[int, bool]]]], random: object) -> None:
    starts, ends, pieces, place = [], [], [], 0
    for skipped, parts in layout:
        starts.append(place + skipped)
        place += skipped
        for length, known in parts:
            pieces += [(place, length)] if known else []
            place += length
        ends.append(place)
    data = np.random.default_rng(place).integers(0, 256, place + 1, np.uint8)
    random.shuffle(pieces)  # type: ignore[attr-defined]
    known = np.array([google_crc32c.value(data[o : o + n]) for o, n in pieces], np.uint32)
    offsets, lengths = np.array(pieces, np.int64).reshape(-1, 2).T
    found = crc32c.combine_crcs(data, np.array(starts, np.int64), np.array(ends, np.int64), offsets, lengths, known)
    assert found.tolist() == [google_crc32c.value(data[a:b]) for a, b in zip(starts, ends, strict=True)]


@pytest.mark.parametrize("length", [0, 1, 255, 256, 65_535, 65_536, 3_000_001, 1 << 24])
def test_shifted_over_any_length(length: int) -> None:
    head, tail = b"rt2data", bytes(length)
    shifted = crc32c.shift_crcs(np.array([google_crc32c.value(head)], np.uint32), np.array([length]))
    assert shifted[0] ^ google_crc32c.value(tail) == google_crc32c.value(head + tail)
