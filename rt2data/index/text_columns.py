"""Columns of texts: Arrow arrays of bytes, one a row, which C code joins, repeats and takes apart.

A shard holds a few texts per sample (keys, names, JSON). As Python objects each costs more than the work on it: memory
is asked for and returned per text, and thousands of them leave the core's caches before they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

TYPE = pa.large_binary()  # the texts of one column may have more than 2 GiB

Texts: TypeAlias = pa.LargeBinaryArray
Bytes = npt.NDArray[np.uint8]
_HEX = np.frombuffer("".join([f"{byte:02x}" for byte in range(256)]).encode(), np.uint8).reshape(256, 2)


def of(values: Sequence[bytes | str | None]) -> Texts:
    """Make a column of values; None is null."""
    return pa.array(values, TYPE)


def join(*columns: Texts | bytes, by: bytes = b"") -> Texts:
    """Join several columns row by row, `by` between them; nulls are passed over.

    Bytes stand in every row; one column at least is no bytes.
    """
    scalars = [pa.scalar(column, TYPE) if isinstance(column, bytes) else column for column in (*columns, by)]
    return pa.compute.binary_join_element_wise(*scalars, null_handling="skip")


def digits(values: npt.NDArray[Any], where: npt.NDArray[np.bool_] | None = None) -> Texts:
    """Format integers in decimal, null but for `where`."""
    mask = None if where is None else ~where
    return pa.array(values, mask=mask).cast(pa.large_string()).cast(TYPE)


def hexes(values: Bytes) -> Texts:
    """Format each row of an (n, D) array in hexadecimal, 2 D digits."""
    return rows(_HEX[values].reshape(len(values), 2 * values.shape[1]))


def rows(values: Bytes) -> Texts:
    """Make a text of D bytes of each row of an (n, D) array."""
    n, width = values.shape
    return _array(np.arange(n + 1, dtype=np.int64) * width, np.ascontiguousarray(values))


def lists(text: bytes) -> Texts:
    """Cut a JSON list of n > 0 lists of numbers into these, each with the comma behind it."""
    data = np.frombuffer(text[1:-1] + b",", np.uint8)
    return _array(np.concatenate([[0], np.flatnonzero(data == ord("]")) + 2]), data)


def take(values: Sequence[bytes | str], codes: npt.NDArray[Any]) -> Texts:
    """Make a column whose row i holds ``values[codes[i]]``."""
    return of(values).take(pa.array(codes))


def padded(column: Texts, width: int) -> Bytes:
    """Pad ASCII texts of at most `width` bytes with zeros behind them, uint8 (n, width)."""
    filled = pa.compute.ascii_rpad(column.cast(pa.large_string()), width=width, padding="\0")
    return data(filled)[0].reshape(len(column), width)


def data(column: Any) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Return all bytes of a column of large texts, and where each row begins and the last one ends, int64 (n + 1,)."""
    _, places, held = column.buffers()
    if not len(column):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    begins = np.frombuffer(places, np.int64)[column.offset : column.offset + len(column) + 1]
    every = np.frombuffer(held, np.uint8) if held is not None else np.empty(0, np.uint8)
    return every[begins[0] : begins[-1]], begins - begins[0]


def _array(begins: npt.NDArray[np.int64], held: Bytes) -> Texts:
    return pa.Array.from_buffers(TYPE, len(begins) - 1, [None, pa.py_buffer(begins), pa.py_buffer(held)])
