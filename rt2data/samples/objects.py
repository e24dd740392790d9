"""Boxes, points and traces of tracks as text in the form that a placeholder names, or as lines to draw; both for the
images that are stored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from rt2data import index
from rt2data.errors import Rt2dataError
from rt2data.recipes.recipe import RecipeSource
from rt2data.samples import selection
from rt2data.tokenizer import ActionError, Box, GroundingTokenizer, Point, Trace
from rt2data.tokenizer.grounding import to_lines, to_stored
from rt2data.turns.drawings import Drawing
from rt2data.turns.kinds import Kind
from rt2data.turns.template import Slot

Ints = npt.NDArray[np.int64]
TYPES = ("box", "point", "trace")  # of tracks whose values are objects


def check_form(source: RecipeSource, kind: Kind, slot: Slot, kind_of_track: str) -> list[Rt2dataError]:
    """An error where a placeholder of a track names no form and needs one, or one that does not have such objects."""
    where = f"{source.where}: {source.name}, kind {kind.name}"
    if kind_of_track not in TYPES:
        found = f"{{{slot.key}}}: form of a track of type {kind_of_track}"
        return [Rt2dataError(where, found, f"a track of {', '.join(TYPES)}")] if slot.form else []
    if not slot.form:
        found = f"{{{slot.key}}}: a {kind_of_track} without a form"
        return [Rt2dataError(where, found, f"{{{slot.key}|form(NAME)}}", "docs/grounding.md lists the forms")]
    known = _open(slot.form).kinds
    found = f"{{{slot.key}}}: a {kind_of_track}, which the form {slot.form} does not have"
    return [] if kind_of_track in known else [Rt2dataError(where, found, f"one of {', '.join(known)}")]


def check_drawing(source: RecipeSource, kind: Kind, drawing: Drawing, kind_of_track: str) -> list[Rt2dataError]:
    """An error where a drawing's track has nothing that can be drawn, or its form does not have such objects."""
    if kind_of_track in TYPES:
        return check_form(source, kind, drawing.slot, kind_of_track) if drawing.slot.form else []
    found = f"the drawing {drawing.name} of a track of type {kind_of_track}"
    return [Rt2dataError(f"{source.where}: {source.name}, kind {kind.name}", found, f"a track of {', '.join(TYPES)}")]


@lru_cache(maxsize=32)
def _open(name: str) -> GroundingTokenizer:
    return GroundingTokenizer.from_pretrained(name)


def write(
    table: pa.Table,
    source: RecipeSource,
    slot: Slot,
    rows: Ints,
    sizes: Ints,
    values: pa.Array,
    size: tuple[int, int] | None,
) -> pa.Array:
    """Write the objects of rows in the form that a placeholder names.

    Args:
        table: the index of a whole part.
        source: whose it is.
        slot: the placeholder; the image is that of its camera, else of the source's first.
        rows: of the table, (n,).
        sizes: how many objects each row has, (n,).
        values: of all objects as JSON, row after row.
        size: width and height of the images of samples; None where they are as stored.

    Returns:
        Strings (n,), null where a row has no object.
    """
    form, camera = _open(slot.form), dict(slot.selects).get("camera") or selection.cameras(source)[0]

    def say(objects: list[Any], image: tuple[int, int]) -> str:
        return form.format(objects, size=image)

    return _each(table, source, f"{{{slot.key}}}", camera, (rows, sizes, values, size), say)


def lines(
    table: pa.Table,
    source: RecipeSource,
    slot: Slot,
    drawing: Drawing,
    rows: Ints,
    sizes: Ints,
    values: pa.Array,
    size: tuple[int, int] | None,
) -> pa.Array:
    """The lines that show the objects of rows in an image, as `to_lines` gives them.

    Args:
        table, source, rows, sizes, values, size: as of `write`.
        slot: the image slot, which names the camera.
        drawing: what is drawn.

    Returns:
        JSON, strings (n,), null where a row has no object.
    """
    form = _open(drawing.slot.form) if drawing.slot.form else None

    def say(objects: list[Any], image: tuple[int, int]) -> str:
        return orjson.dumps(to_lines(objects, image, form)).decode() if all(image) else "[]"  # a sample without it

    return _each(table, source, f"{{{slot.key}}}", slot.argument, (rows, sizes, values, size), say)


def _each(
    table: pa.Table,
    source: RecipeSource,
    named: str,
    camera: str,
    objects: tuple[Ints, Ints, pa.Array, tuple[int, int] | None],
    say: Callable[[list[Any], tuple[int, int]], str],
) -> pa.Array:
    """What `say` makes of the objects of each row, and of the size of its image of a camera; null where it has none."""
    rows, sizes, values, size = objects
    widths, heights = (index.numbers(table, f"{camera}.{name}")[rows] for name in ("width", "height"))
    texts: list[str | None] = []
    at, every = 0, values.to_pylist()
    for row, number in enumerate(sizes.tolist()):
        own = [orjson.loads(text) for text in every[at : at + number]]
        at += number
        image = int(widths[row]), int(heights[row])
        if not own:
            texts.append(None)
            continue
        try:
            texts.append(say([_placed(one, image, size or image) for one in own], size or image))
        except ActionError as error:
            step = index.numbers(table, "step")[rows[row]]
            where = f"{source.where}: {source.name}, step {step} of {table.column('episode')[int(rows[row])].as_py()}"
            raise Rt2dataError(where, f"{named}: {error}", "objects that can be written so") from None
    return pa.array(texts, pa.string())


def _placed(value: dict[str, Any], image: tuple[int, int], stored: tuple[int, int]) -> Any:
    """An object of a track, in pixels of the stored image."""
    label, annotated = value.get("label", ""), value.get("size")
    one: Box | Point | Trace
    if "box" in value:
        x1, y1, x2, y2 = value["box"]
        one = Box(x1, y1, x2, y2, label)
    elif "point" in value:
        x, y = value["point"]
        one = Point(x, y, label)
    else:
        one = Trace(tuple((x, y) for x, y in value["trace"]), label)
    seen = (int(annotated[0]), int(annotated[1])) if annotated else image
    return one if seen == stored else to_stored([one], seen, stored)[0]
