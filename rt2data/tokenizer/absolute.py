"""Decoded actions that are relative to a state, made absolute."""

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
    out = relative.make_absolute(chunks, origin, rules, [dim.name for dim in spec.dims]).reshape(host.shape)
    return arrays.constant(xp, out, actions)
