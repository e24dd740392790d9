"""The operations of a declaration's action terms: small functions on float64 arrays.

Each takes the columns of a term, (T, n) for the T steps of an episode, and its argument, and returns (T, n). Each
docstring says what becomes of one number x. Rotations are in `rt2data.robot.rotation`.

The operations of THRESHOLDS compare in the type in which numbers are stored, as Octo and OpenVLA do: a float32 of 0.1
is not above 0.1, though its exact value is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.floating[Any]]

# Thresholds of Octo and OpenVLA.
TRIGGER = 0.1  # of `relative_to_absolute`: a larger gripper command closes, one below the negative opens
OPEN, CLOSED = 0.95, 0.05  # of `binarize`


def scale(values: Floats, factor: Floats) -> Floats:
    """Scale: x * factor, one factor or one per column."""
    return values * factor


def offset(values: Floats, amount: Floats) -> Floats:
    """Shift: x + amount, one amount or one per column."""
    return values + amount


def clip(values: Floats, limits: Floats) -> Floats:
    """Clip: min(max(x, low), high)."""
    return np.clip(values, limits[0], limits[1])


def invert(values: Floats) -> Floats:
    """Invert: 1 - x."""
    return 1.0 - values


def negate(values: Floats) -> Floats:
    """Negate: -x."""
    return -values


def threshold(values: Numbers, limit: Floats) -> Floats:
    """Threshold: 1 where x > limit, else 0; a NaN stays."""
    return np.where(np.isnan(values), np.nan, (values > limit.astype(values.dtype)).astype(np.float64))


def wrap(values: Floats) -> Floats:
    """Wrap an angle into [-pi, pi): x - 2 pi n."""
    return values - 2.0 * np.pi * np.floor((values + np.pi) / (2.0 * np.pi))


def following(values: Floats) -> Floats:
    """Take x of the next step; the last step keeps its own."""
    return np.concatenate([values[1:], values[-1:]])


def difference(values: Floats) -> Floats:
    """Take x of the next step minus x; 0 at the last step."""
    return following(values) - values


def binarize(values: Numbers) -> Floats:
    """Binarize openness: 1 where x > 0.95, 0 where x < 0.05, between them whichever the episode reaches next.

    Where it reaches neither again: the episode's last value, as stored. A NaN stays.
    """
    opens, closes = values > values.dtype.type(OPEN), values < values.dtype.type(CLOSED)
    state = np.where(opens, 1.0, np.where(closes, 0.0, np.nan))
    steps = np.arange(len(values))[:, None]
    decided = np.where(np.isnan(state), len(values) - 1, steps)
    reached = np.minimum.accumulate(decided[::-1], axis=0)[::-1]  # the first decided step from here on, else the last
    state[-1:] = np.where(np.isnan(state[-1:]), values[-1:], state[-1:])
    return np.where(np.isnan(values), np.nan, np.take_along_axis(state, reached, axis=0))


def is_trigger(values: Numbers) -> npt.NDArray[np.bool_]:
    """Say where x is a gripper trigger: x > 0.1 or x < -0.1."""
    return np.asarray(np.abs(values) > values.dtype.type(TRIGGER))


def relative_to_absolute(values: Numbers) -> Floats:
    """Turn gripper triggers x into openness: x > 0.1 closes (0), x < -0.1 opens (1), else the state stays.

    Before the first trigger the gripper is in the opposite state. Without any it is open. A NaN is no trigger.
    """
    state = np.where(is_trigger(values), np.where(values > 0, 0.0, 1.0), np.nan)
    steps = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(np.isnan(state), -1, steps), axis=0)  # the last trigger up to here
    first = 1.0 - np.take_along_axis(state, np.argmax(~np.isnan(state), axis=0)[None], axis=0)
    first = np.where(np.isnan(first), 1.0, first)
    return np.where(last < 0, first, np.take_along_axis(state, np.maximum(last, 0), axis=0))


# Name in a declaration: (function, how many numbers its argument has: 0, 1, 2, or None for one or one per column;
# whether it works on a single column only).
OPERATIONS: dict[str, tuple[Callable[..., Floats], int | None, bool]] = {
    "scale": (scale, None, False),
    "offset": (offset, None, False),
    "clip": (clip, 2, False),
    "invert": (invert, 0, False),
    "negate": (negate, 0, False),
    "threshold": (threshold, 1, False),
    "wrap": (wrap, 0, False),
    "next": (following, 0, False),
    "binarize": (binarize, 0, True),
    "relative_to_absolute": (relative_to_absolute, 0, True),
    "euler_difference": (difference, 0, False),
}

THRESHOLDS = ("threshold", "binarize", "relative_to_absolute")


def turn_back(values: Floats, heading: Floats) -> Floats:
    """Rotate (x, y) by minus `heading` (T, 1), in radians: into the frame of a body with that heading."""
    x, y, angle = values[:, 0], values[:, 1], heading[:, 0]
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([x * cos + y * sin, y * cos - x * sin], axis=1)


# Those that take another field's values of the same steps: (function, columns of the term, columns of the other field);
# None where the term may have any number, or the other field as many as the term.
TWO_FIELDS: dict[str, tuple[Callable[[Any, Any], Floats], int | None, int | None]] = {
    "add": (np.add, None, None),
    "subtract": (np.subtract, None, None),
    "turn_back": (turn_back, 2, 1),
}


def comparable(values: npt.NDArray[Any], stored: npt.DTypeLike) -> Numbers:
    """Convert numbers to the type in which they meet a threshold: that of `stored` if it is a float, else float64."""
    kind = np.dtype(stored)
    return values.astype(kind if kind.kind == "f" else np.float64)


def apply_operation(
    name: str, values: Floats, numbers: tuple[float, ...], stored: npt.DTypeLike = np.float64
) -> Floats:
    """Apply operation `name` (a key of OPERATIONS) to `values` (T, n), whose field is `stored` in that type."""
    if not len(values):
        return values
    function, count, _ = OPERATIONS[name]
    operands: Numbers = comparable(values, stored) if name in THRESHOLDS else values
    return function(operands) if count == 0 else function(operands, np.array(numbers, np.float64))
