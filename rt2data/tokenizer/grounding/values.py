"""Boxes, points and traces: what a grounding tokenizer formats, and what it decodes to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rt2data.tokenizer.errors import ActionError

KINDS = ("box", "point", "trace")

MAX_SIDE = 100_000
MAX_COORDINATE = 1e9
MAX_POINTS = 10_000


class Box(NamedTuple):
    """A rectangle in pixels: x runs right and y down, from the upper left corner of the image's first pixel.

    So the lower right corner of an image of width W and height H is (W, H). `label` is "" where there is none.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    label: str = ""


class Point(NamedTuple):
    """A point in pixels, as the corner of a `Box`."""

    x: float
    y: float
    label: str = ""


class Trace(NamedTuple):
    """Points in order, such as the way of a gripper: at least one (x, y) in pixels."""

    points: tuple[tuple[float, float], ...]
    label: str = ""


Object = Box | Point | Trace


class Parsed(NamedTuple):
    """An object as its text has it.

    Attributes:
        kind: "box", "point" or "trace".
        numbers: the numbers of the form, x before y whatever the order in the text: (x1, y1, x2, y2) of a box, (x, y)
            of a point, (x, y, x, y, ...) of a trace. An offset of the form is taken off.
        label: the text; "" where there is none.
    """

    kind: str
    numbers: tuple[float, ...]
    label: str


def coordinates(value: Object, where: str) -> tuple[str, tuple[float, ...]]:
    """Return the kind of an object and its coordinates, x before y.

    Raises:
        ActionError: no object, no finite numbers, a box whose second corner lies before the first, an empty trace.
    """
    if isinstance(value, Box):
        _check_numbers(value[:4], where)
        if value.x2 < value.x1 or value.y2 < value.y1:
            fault = f"corners ({value.x1:g}, {value.y1:g}) and ({value.x2:g}, {value.y2:g})"
            raise ActionError(where, fault, "the upper left corner, then the lower right one")
        return "box", value[:4]
    if isinstance(value, Point):
        _check_numbers(value[:2], where)
        return "point", value[:2]
    if isinstance(value, Trace):
        if not 1 <= len(value.points) <= MAX_POINTS or any(len(point) != 2 for point in value.points):
            raise ActionError(where, f"{len(value.points)} points", f"1 to {MAX_POINTS} points (x, y)")
        flat = tuple(c for point in value.points for c in point)
        _check_numbers(flat, where)
        return "trace", flat
    raise ActionError(where, f"a {type(value).__name__}", "a Box, a Point or a Trace")


def to_object(kind: str, flat: Sequence[float], label: str) -> Object:
    """Return the object of a kind with these coordinates, x before y."""
    if kind == "box":
        x1, y1, x2, y2 = flat
        return Box(x1, y1, x2, y2, label)
    if kind == "point":
        return Point(flat[0], flat[1], label)
    return Trace(tuple(zip(flat[::2], flat[1::2], strict=True)), label)


def check_size(size: object, where: str = "size") -> tuple[int, int]:
    """Return the width and height of an image in pixels.

    Raises:
        ActionError: not two integers in 1..MAX_SIDE.
    """
    if isinstance(size, (tuple, list)) and len(size) == 2:
        width, height = (side.item() if hasattr(side, "item") else side for side in size)
        if all(type(side) is int and 1 <= side <= MAX_SIDE for side in (width, height)):
            return width, height
    raise ActionError(where, repr(size)[:60], f"(width, height) in pixels, two integers in 1..{MAX_SIDE}")


def _check_numbers(numbers: Sequence[float], where: str) -> None:
    for number in numbers:
        try:
            good = -MAX_COORDINATE <= number <= MAX_COORDINATE and not isinstance(number, (bool, str))
        except TypeError:
            good = False
        if not good or math.isnan(number):
            raise ActionError(where, f"the coordinate {number!r}"[:80], f"finite numbers within {MAX_COORDINATE:g}")
