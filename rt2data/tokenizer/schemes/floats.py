"""``float``: actions that are no text, for flow and diffusion heads. No bins; `rt2data.tokenizer.floats` normalises."""

from __future__ import annotations

import numpy as np

from rt2data.tokenizer import arrays
from rt2data.tokenizer.arrays import Array, Namespace
from rt2data.tokenizer.floats import make_normaliser
from rt2data.tokenizer.spec import Spec, no_bins


class NoBins:
    """The codec of the scheme: no bins, and where values lie outside the bounds."""

    __slots__ = ("_normaliser", "_spec")

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._normaliser = make_normaliser(spec)

    @property
    def faults(self) -> tuple[str, ...]:
        rule = self._normaliser.rule
        lines = ["no bins: an action is floats, and its text is empty"]
        if rule.epsilon != rule.epsilon_back:
            lines.append(f"normalising adds {rule.epsilon:g} to the width and undoing it adds {rule.epsilon_back:g}")
        if rule.clip is not None:
            lines.append(f"normalised values are clipped to {rule.clip:g} on either side")
        return tuple(lines)

    def encode(self, xp: Namespace, x: Array) -> Array:
        """Bins (..., 0), int32, of actions (..., D)."""
        return arrays.cast(xp, x[..., :0], "int32")

    def clipped(self, xp: Namespace, x: Array) -> Array:
        """Where actions (..., D) lie below (-1) or above (+1) the bounds, as int8; a z-score has none."""
        bounds = self._normaliser.rule.kind == "bounds"
        low = np.array([d.low if bounds else -np.inf for d in self._spec.dims])
        high = np.array([d.high if bounds else np.inf for d in self._spec.dims])
        kind = arrays.widest_float(xp, x)
        y = arrays.cast(xp, x, kind)
        least, most = (arrays.constant(xp, side.astype(kind), x) for side in (low, high))
        return arrays.cast(xp, y > most, "int8") - arrays.cast(xp, y < least, "int8")

    def decode(self, xp: Namespace, bins: Array, dtype: str) -> Array:
        """Raises ActionError: there are no bins to decode."""
        raise no_bins(self._spec)

    def round_trip(self) -> tuple[bool, bool, int]:
        """See Properties; holds of no bins."""
        return True, True, 0
