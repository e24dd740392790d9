"""Absolute actions made relative to a state before they are encoded, and absolute again when they are decoded."""

from __future__ import annotations

import numpy as np

from rt2data.robot import relative
from rt2data.tokenizer import arrays
from rt2data.tokenizer.arrays import Array, Namespace
from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.spec import Spec


def add_state(spec: Spec, xp: Namespace, actions: Array, state: Array) -> Array:
    """Return decoded actions (..., horizon, D), or (..., D) of a horizon of 1, as they are with a state (..., D).

    Raises:
        ActionError: a tokenizer without relative dimensions, or a state of another shape.
    """
    return _changed(spec, xp, actions, state, back=True)


def remove_state(spec: Spec, xp: Namespace, actions: Array, state: Array) -> Array:
    """Return absolute actions relative to a state, in the same shape and type: the inverse of `add_state`."""
    exact = arrays.dtype_name(actions) in ("float32", "float64")
    return _changed(spec, xp, actions if exact else arrays.cast(xp, actions, "float32"), state, back=False)


def _changed(spec: Spec, xp: Namespace, actions: Array, state: Array, *, back: bool) -> Array:
    rules = [dim.relative or relative.NONE for dim in spec.dims]
    if set(rules) == {relative.NONE}:
        found = f'a state for the tokenizer "{spec.name}"'
        raise ActionError("state", found, "one whose actions are relative", "Its actions need no state: leave it out")
    host, origin = arrays.to_numpy(actions), arrays.to_numpy(state).astype(np.float64)
    chunks = host if spec.horizon > 1 else host[..., None, :]
    wanted = (*chunks.shape[:-2], len(spec.dims))
    if origin.shape != wanted:
        names = " ".join(dim.name for dim in spec.dims[:16])
        raise ActionError("state", f"shape {origin.shape}", f"{wanted}: {names}")
    change = relative.make_absolute if back else relative.make_relative
    out = change(chunks, origin, rules, [dim.name for dim in spec.dims]).reshape(host.shape)
    return arrays.constant(xp, out, actions)
