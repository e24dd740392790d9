"""Records of a few numbers, on disk by ranges of the first: what is compared only when every sample was seen.

A record waits in memory until its range has `FLUSH` bytes, then in an unnamed temporary file. So memory is that of the
buffers and of one range at a time, a 64th of all records, whatever the size of the mixture.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

RANGES = 64
FLUSH = 1 << 18  # bytes of a range: 16 MiB for all of them

Rows = np.ndarray[Any, np.dtype[Any]]


class Records:
    """Records of unsigned integers; the first is one of 64 bits, evenly spread, such as half a digest."""

    def __init__(self, **sizes: int) -> None:
        """`sizes` gives the bytes of each number, 1, 2, 4 or 8, by its name."""
        self._struct = struct.Struct("<" + "".join({1: "B", 2: "H", 4: "I", 8: "Q"}[size] for size in sizes.values()))
        self._dtype = np.dtype([(name, f"<u{size}") for name, size in sizes.items()])
        self._waiting = [bytearray() for _ in range(RANGES)]
        self._files: dict[int, BinaryIO] = {}
        self.count = 0

    def add(self, *numbers: int) -> None:
        """Keep a record."""
        place = numbers[0] >> 58
        waiting = self._waiting[place]
        waiting += self._struct.pack(*numbers)
        self.count += 1
        if len(waiting) >= FLUSH:
            if place not in self._files:
                self._files[place] = tempfile.TemporaryFile()  # noqa: SIM115  # closed with this object
            self._files[place].write(waiting)
            waiting.clear()

    def ranges(self) -> Iterator[Rows]:
        """The records range by range, each a structured array sorted by the first number, then the second, ..."""
        for place in range(RANGES):
            data = bytes(self._waiting[place])
            if place in self._files:
                self._files[place].seek(0)
                data = self._files[place].read() + data
            rows = np.frombuffer(data, self._dtype)
            names = rows.dtype.names or ()
            yield rows[np.lexsort([rows[name] for name in reversed(names)])]


def groups(rows: Rows, *names: str) -> Iterator[Rows]:
    """Consecutive rows that agree in `names`."""
    edges = starts(rows, *names).tolist()
    for low, high in zip(edges, [*edges[1:], len(rows)], strict=True):
        yield rows[low:high]


def starts(rows: Rows, *names: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where consecutive rows that agree in `names` begin."""
    new = np.zeros(len(rows), np.bool_)
    new[:1] = True
    for name in names:
        new[1:] |= rows[name][1:] != rows[name][:-1]
    return np.flatnonzero(new)
