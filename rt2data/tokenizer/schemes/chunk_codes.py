"""What schemes share whose codes are of a whole chunk: numbers that are normalised, summed over time and rounded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from rt2data.tokenizer import arrays
from rt2data.tokenizer.arrays import Array, Namespace, Tables
from rt2data.tokenizer.spec import Spec

if TYPE_CHECKING:
    import numpy.typing as npt


class ChunkCodes(ABC):
    """Codes of chunks, arrays (..., rows, D), of actions (..., horizon, D).

    In float64; in float32 where the library has no float64 (JAX without x64). Sums run in order, one product after
    another, so that numpy gives the same codes on every machine.

    A subclass has the tables ``middle`` and ``half``, (D,), by which (x - middle) / half is the normalised number, and
    those of its matrices.
    """

    __slots__ = ("_spec", "_tables")

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._tables = Tables(self._table)

    def encode(self, xp: Namespace, x: Array) -> Array:
        """Codes (..., rows, D), int32, of actions (..., horizon, D)."""
        return arrays.cast(xp, xp.clip(self._codes(xp, x), 0.0, self._spec.bins - 1.0), "int32")

    def clipped(self, xp: Namespace, x: Array) -> Array:
        """Where codes (not actions) were clipped, by more than rounding, int8 (..., rows, D): -1 below, 1 above."""
        codes = self._codes(xp, x)
        return arrays.cast(xp, codes > self._spec.bins - 1, "int8") - arrays.cast(xp, codes < 0, "int8")

    @abstractmethod
    def _codes(self, xp: Namespace, x: Array) -> Array:
        """The codes of actions before they are clipped, as whole floats."""

    @abstractmethod
    def _table(self, name: str) -> npt.NDArray[Any]:
        """The table of a name and a dtype, such as ``half float32``."""

    def _transform(self, xp: Namespace, matrix: str, x: Array) -> Array:
        """A matrix along time, by its name, times the normalised numbers of actions."""
        kind = arrays.widest_float(xp, x)
        y = arrays.cast(xp, x, kind) - self._tables.get(xp, f"middle {kind}", x)
        return self._product(xp, f"{matrix} {kind}", y / self._tables.get(xp, f"half {kind}", x))

    def _restore(self, xp: Namespace, matrix: str, y: Array, dtype: str) -> Array:
        """Actions of what decoding gives, by the matrix that leads back."""
        kind = arrays.widest_float(xp, y)
        x = self._product(xp, f"{matrix} {kind}", y)
        x = x * self._tables.get(xp, f"half {kind}", y) + self._tables.get(xp, f"middle {kind}", y)
        return arrays.cast(xp, x, dtype if kind == "float64" else "float32")

    def _product(self, xp: Namespace, matrix: str, y: Array) -> Array:
        """A matrix, of all dimensions or of each, times y (..., rows, D)."""
        if self._spec.horizon == 1:  # what one step is made into is the step, and its arrays have no axis for time
            return y
        columns = self._tables.get(xp, matrix, y)
        total = columns[0, ...] * y[..., 0:1, :]
        for row in range(1, columns.shape[0]):
            total = total + columns[row, ...] * y[..., row : row + 1, :]
        return total
