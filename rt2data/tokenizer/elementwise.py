"""Actions to bins and back, one number at a time, for arrays of any library."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from rt2data.tokenizer import arrays, schemes
from rt2data.tokenizer.arrays import Array, Namespace
from rt2data.tokenizer.schemes import Quantizer, Uniform
from rt2data.tokenizer.spec import Spec

if TYPE_CHECKING:
    import numpy.typing as npt


class Elementwise:
    """A rule of schemes.py over an array (..., D).

    numpy runs the rule itself. Other libraries run it too where it is plain arithmetic (Uniform, in float64); else they
    search the rule's thresholds, tables made by asking the rule, so that they agree with it to the last bit, with or
    without float64.
    """

    __slots__ = ("_cache", "dims", "rule")

    def __init__(self, spec: Spec) -> None:
        self.rule: Quantizer = schemes.quantizer(spec.scheme, spec.dims, spec.bins, spec.options)
        self.dims = len(spec.dims)
        self._cache: dict[tuple[str, ...], Array] = {}

    def encode(self, xp: Namespace, x: Array) -> Array:
        """Bins (..., D) as int32, of actions (..., D)."""
        if xp is np:
            kept = x if x.dtype.kind == "f" and x.dtype.itemsize in (4, 8) else x.astype(np.float32)
            with np.errstate(invalid="ignore", over="ignore"):
                cells = self.rule.cells(kept)
            return cells if self.rule.order is None else self.rule.order[cells]
        if isinstance(self.rule, Uniform) and arrays.has_float64(xp, x):
            # In place: a GPU is done when the numbers have passed its memory, and every new array is a pass.
            y = xp.astype(x, xp.float64, copy=True)
            y -= self._constant(xp, "low", x)
            y *= self._constant(xp, "scale", x)
            return xp.astype(xp.clip(y, 0.0, float(self.rule.bins - 1)), xp.int32)
        name = "float64" if arrays.dtype_name(x) == "float64" else "float32"
        y = xp.astype(x, getattr(xp, name), copy=False)
        table = self._constant(xp, f"thresholds {name}", x)
        # Copies: torch warns about searching in strided columns, and makes them itself.
        columns = [
            xp.searchsorted(table[d, :], xp.asarray(y[..., d], copy=True), side="right") for d in range(self.dims)
        ]
        cells = xp.astype(xp.stack(columns, axis=-1), xp.int32)
        if self.rule.order is None:
            return cells
        return xp.reshape(xp.take(self._constant(xp, "order", x), xp.reshape(cells, (-1,)), axis=0), cells.shape)

    def clipped(self, xp: Namespace, x: Array) -> Array:
        """Where actions (..., D) lie below (-1) or above (+1) the bounds, as int8."""
        low, high = (
            self._constant(xp, f"lows {self._kind(xp, x)}", x),
            self._constant(xp, f"highs {self._kind(xp, x)}", x),
        )
        y = xp.astype(x, low.dtype, copy=False)
        return xp.astype(y > high, xp.int8) - xp.astype(y < low, xp.int8)

    def decode(self, xp: Namespace, bins: Array, dtype: str) -> Array:
        """Actions (..., D) of bins (..., D)."""
        if xp is np:
            return self._constant(np, f"values {dtype}", bins).take(bins + self._constant(np, "rows int64", bins))
        table = self._constant(xp, f"values {dtype}", bins)
        flat = bins + self._constant(xp, f"rows {arrays.dtype_name(bins)}", bins)
        return xp.reshape(xp.take(table, xp.reshape(flat, (-1,)), axis=0), bins.shape)

    def measure(self) -> tuple[bool, bool, int]:
        """See Properties: idempotent, injective, changed; over every bin of every dimension."""
        changed, injective = [], True
        for dtype in ("float32", "float64"):
            values = self.rule.values(dtype)
            changed.append(int((np.arange(self.rule.bins) != self.encode(np, np.ascontiguousarray(values.T)).T).sum()))
            injective &= all(len(np.unique(row)) == self.rule.bins for row in values)
        return changed == [0, 0], injective, changed[0]

    @property
    def faults(self) -> tuple[str, ...]:
        return self.rule.faults

    def _kind(self, xp: Namespace, x: Array) -> str:
        return "float64" if arrays.has_float64(xp, x) else "float32"

    def _constant(self, xp: Namespace, name: str, like: Array) -> Array:
        """A table on the device of `like`. Kept for numpy and torch; JAX gets it anew, since a kept one may be a
        tracer.
        """
        host = self._cache.get(("numpy", name))
        if host is None:
            host = self._cache["numpy", name] = self._table(name)
        if xp is np:
            return host
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(like, torch.Tensor) or torch.compiler.is_compiling():
            return arrays.constant(xp, host, like)
        key = ("torch", name, str(like.device))
        if key not in self._cache:
            self._cache[key] = arrays.constant(xp, host, like)
        return self._cache[key]

    def _table(self, name: str) -> npt.NDArray[np.generic]:
        what, _, dtype = name.partition(" ")
        if what == "values":
            return self.rule.values(dtype).reshape(-1)
        if what == "rows":
            return (np.arange(self.dims) * self.rule.bins).astype(dtype)
        if what == "thresholds":
            return schemes.thresholds(self.rule, dtype, self.dims)
        if what == "order":
            return np.asarray(self.rule.order)
        if what in ("lows", "highs"):
            bound = self.rule.limits[what == "highs"]
            kept = bound.astype(dtype)
            # The nearest float32 inside the bound: comparing a float32 with it is comparing with the bound.
            inside = kept < bound if what == "lows" else kept > bound
            return np.where(inside, np.nextafter(kept, kept.dtype.type(np.inf if what == "lows" else -np.inf)), kept)
        array: npt.NDArray[np.generic] = getattr(self.rule, what)
        return array
