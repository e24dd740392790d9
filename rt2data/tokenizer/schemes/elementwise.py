"""Encode actions as bins and back, one number at a time, for arrays of any library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rt2data.tokenizer import arrays
from rt2data.tokenizer.arrays import Array, Namespace, Tables
from rt2data.tokenizer.schemes import quantizers
from rt2data.tokenizer.schemes.quantizers import Quantizer, Uniform
from rt2data.tokenizer.spec import Spec

if TYPE_CHECKING:
    import numpy.typing as npt


class Elementwise:
    """A rule of quantizers.py over an array (..., D).

    numpy runs the rule itself. Other libraries run it too where it is plain arithmetic ("uniform", in float64); else
    they search the rule's thresholds, tables made by asking the rule, so that they agree with it to the last bit, with
    or without float64.

    Where dimensions have bounds per step, the numbers of a whole chunk (horizon, D) are dimensions of their own.
    """

    __slots__ = ("_dims", "_per_step", "_rule", "_spec", "_tables")

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._dims = spec.dims_per_step
        self._per_step = self._dims is not spec.dims  # asked once: torch.compile cannot trace `is` of tuples
        self._rule: Quantizer | None = None
        self._tables = Tables(self._table)

    @property
    def rule(self) -> Quantizer:
        if self._rule is None:
            spec = self._spec
            self._rule = quantizers.make_quantizer(spec.scheme, self._dims, spec.bins, spec.options)
        return self._rule

    @property
    def faults(self) -> tuple[str, ...]:
        return self.rule.faults

    def encode(self, xp: Namespace, x: Array) -> Array:
        """Bins (..., D) as int32, of actions (..., D)."""
        return xp.reshape(self._encode(xp, self._widened(xp, x)), x.shape)

    def _widened(self, xp: Namespace, x: Array) -> Array:
        """`x` (..., D) with what has bounds of its own in the last axis."""
        return xp.reshape(x, (*x.shape[:-2], len(self._dims))) if self._per_step else x

    def _encode(self, xp: Namespace, x: Array) -> Array:
        if xp is np:
            kept = x if x.dtype.kind == "f" and x.dtype.itemsize in (4, 8) else x.astype(np.float32)
            with np.errstate(invalid="ignore", over="ignore"):
                cells = self.rule.cells(kept)
            return cells if self.rule.order is None else self.rule.order[cells]
        name = "float64" if arrays.dtype_name(x) == "float64" else "float32"
        y = arrays.cast(xp, x, name)
        if self._spec.scheme == "uniform" and arrays.has_float64(xp, x):
            # On a GPU the time is that of the passes through memory, so: clipped while it is float32, widened by the
            # subtraction. clamp is torch's clip, which takes arrays as bounds in one pass.
            clip = getattr(xp, "clamp", xp.clip)
            y = clip(y, self._tables.get(xp, f"least {name}", x), self._tables.get(xp, f"most {name}", x))
            z = y - self._tables.get(xp, "low", x)
            z *= self._tables.get(xp, "scale", x)
            return arrays.cast(xp, z, "int32")
        table = self._tables.get(xp, f"thresholds {name}", x)
        # Copies: torch warns about searching in strided columns, and makes them itself.
        columns = [
            xp.searchsorted(table[d, :], xp.asarray(y[..., d], copy=True), side="right") for d in range(len(self._dims))
        ]
        cells = arrays.cast(xp, xp.stack(columns, axis=-1), "int32")
        if self.rule.order is None:
            return cells
        order = self._tables.get(xp, "order", x)
        return xp.reshape(xp.take(order, xp.reshape(cells, (-1,)), axis=0), cells.shape)

    def clipped(self, xp: Namespace, x: Array) -> Array:
        """Where actions (..., D) lie below (-1) or above (+1) the bounds, as int8."""
        kind = arrays.widest_float(xp, x)
        low, high = self._tables.get(xp, f"lows {kind}", x), self._tables.get(xp, f"highs {kind}", x)
        y = arrays.cast(xp, self._widened(xp, x), kind)
        return xp.reshape(arrays.cast(xp, y > high, "int8") - arrays.cast(xp, y < low, "int8"), x.shape)

    def decode(self, xp: Namespace, bins: Array, dtype: str) -> Array:
        """Actions (..., D) of bins (..., D)."""
        return xp.reshape(self._decode(xp, self._widened(xp, bins), dtype), bins.shape)

    def _decode(self, xp: Namespace, bins: Array, dtype: str) -> Array:
        table = self._tables.get(xp, f"values {dtype}", bins)
        if xp is np:
            return table.take(bins + self._tables.get(np, "rows int64", bins))
        wide = bins if arrays.dtype_name(bins) == "int64" else arrays.cast(xp, bins, "int32")
        flat = wide + self._tables.get(xp, f"rows {arrays.dtype_name(wide)}", bins)
        return xp.reshape(xp.take(table, xp.reshape(flat, (-1,)), axis=0), bins.shape)

    def round_trip(self) -> tuple[bool, bool, int]:
        """See Properties: idempotent, injective, changed; over every bin of every dimension."""
        changed, injective = [], True
        for dtype in ("float32", "float64"):
            values = self.rule.values(dtype)
            again = self._encode(np, np.ascontiguousarray(values.T)).T
            changed.append(int((again != np.arange(self._spec.bins)).sum()))
            injective &= all(len(np.unique(row)) == self._spec.bins for row in values)
        return changed == [0, 0], injective, changed[0]

    def _table(self, name: str) -> npt.NDArray[Any]:
        what, _, dtype = name.partition(" ")
        if what == "values":
            return self.rule.values(dtype).reshape(-1)
        if what == "rows":
            return (np.arange(len(self._dims)) * self._spec.bins).astype(dtype)
        if what == "thresholds":
            return quantizers.thresholds(self.rule, dtype, len(self._dims))
        if what in ("lows", "highs"):
            return quantizers.round_inside(self.rule.limits[what == "highs"], dtype, up=what == "lows")
        if what in ("least", "most") and isinstance(self.rule, Uniform):
            return self.rule.reach(dtype)[what == "most"]
        return np.asarray(getattr(self.rule, what))
