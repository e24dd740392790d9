"""Columns of texts against the same by Python objects."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rt2data.index import text_columns

ROWS = st.lists(st.tuples(st.none() | st.binary(max_size=9), st.binary(max_size=9)), max_size=20)


@settings(deadline=None)
@given(ROWS, st.binary(max_size=3), st.integers(0, 5))
def test_join_passes_nulls_over(rows: list[tuple[bytes | None, bytes]], by: bytes, first: int) -> None:
    left, right = text_columns.of([a for a, _ in rows]), text_columns.of([b for _, b in rows])
    found = text_columns.join(left, b"x", right, by=by)
    wanted = [by.join(one for one in (a, b"x", b) if one is not None) for a, b in rows]
    assert found.to_pylist() == wanted
    data, begins = text_columns.data(found[first:])  # a slice begins inside of its buffer
    assert data.tobytes() == b"".join(wanted[first:])
    assert np.diff(begins).tolist() == [len(one) for one in wanted[first:]]


def test_numbers_become_texts() -> None:
    values = np.array([0, 7, -1, 12345], np.int32)
    assert text_columns.digits(values).to_pylist() == [b"0", b"7", b"-1", b"12345"]
    assert text_columns.digits(values, values > 0).to_pylist() == [None, b"7", None, b"12345"]
    assert text_columns.hexes(np.array([[0, 255], [16, 1]], np.uint8)).to_pylist() == [b"00ff", b"1001"]
    lists = [[1.5, None], [-2, 3e-7], []]
    found = text_columns.lists(json.dumps(lists, separators=(",", ":")).encode())
    assert [json.loads(one[:-1]) for one in found.to_pylist()] == lists


def test_texts_are_padded_with_zeros() -> None:
    found = text_columns.padded(text_columns.of(["abc", "", "x" * 5]), 5)
    assert [row.tobytes() for row in found] == [b"abc\0\0", bytes(5), b"xxxxx"]
    assert text_columns.padded(text_columns.of([]), 5).shape == (0, 5)
