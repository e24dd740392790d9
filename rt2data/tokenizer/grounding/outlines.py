"""Boxes, points and traces as lines to draw: whole pixels of the image, from point to point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from rt2data.tokenizer.grounding.values import Object, check_size, coordinates

if TYPE_CHECKING:
    from rt2data.tokenizer.grounding.tokenizer import GroundingTokenizer

Lines: TypeAlias = list[list[tuple[int, int]]]


def to_lines(objects: Iterable[Object], size: Sequence[int], form: GroundingTokenizer | None = None) -> Lines:
    """Return the lines that show objects in an image: a trace its points, a box its outline, a point a dot.

    A trace of one point is nothing. Coordinates are rounded half to even and moved into the image. With a form they are
    those of the form's numbers: MolmoAct's are 0 to 255, where 255 is the last pixel.

    >>> from rt2data.tokenizer.grounding import Box
    >>> to_lines([Box(10, 20, 30, 40)], (64, 48))
    [[(10, 20), (30, 20), (30, 40), (10, 40), (10, 20)]]

    Args:
        objects: in pixels of the image.
        size: its width and height.
        form: in whose numbers they are written.

    Raises:
        ActionError: an object that is none, or that the form cannot write.
    """
    width, height = check_size((size[0], size[1]))
    shown: Iterable[Object] = objects
    if form is not None:
        named = form.labels != "none"
        shown = [item if named else item._replace(label="") for item in objects]
        shown = form.decode(form.encode(shown, (width, height)), (width, height))
    lines: Lines = []
    for number, item in enumerate(shown):
        kind, flat = coordinates(item, f"objects[{number}]")
        xs = [min(max(round(x), 0), width - 1) for x in flat[::2]]
        ys = [min(max(round(y), 0), height - 1) for y in flat[1::2]]
        if kind == "box":
            (left, right), (top, bottom) = xs, ys
            lines.append([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])
        elif kind == "point":
            lines.append([(xs[0], ys[0])] * 2)
        elif len(xs) > 1:
            lines.append(list(zip(xs, ys, strict=True)))
    return lines
