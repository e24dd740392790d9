"""Draw traces, boxes and points into an image, as the samples of a mixture have them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rt2data.errors import Rt2dataError
from rt2data.images.drawing import MAX_WIDTH, draw_lines
from rt2data.tokenizer.grounding import Box, GroundingTokenizer, Point, Trace, to_lines
from rt2data.turns.drawings import DEFAULTS


def draw_objects(
    image: Any,
    objects: Iterable[Box | Point | Trace],
    *,
    color: Sequence[int] = DEFAULTS["color"],
    width: int = DEFAULTS["width"],
    antialiased: bool = DEFAULTS["antialiased"],
    form: str = "",
) -> Any:
    """Return an image with objects drawn into it; the image itself stays as it is.

    A trace is a line from point to point, a box its outline, a point a dot; a trace of one point is nothing.

    Args:
        image: a PIL image, or an array, uint8 (height, width, 3), of the size that samples store.
        objects: in pixels of the image.
        color: in the order of the image's channels, 0 to 255.
        width: of the lines in pixels, 1 to 32.
        antialiased: as OpenCV's ``LINE_AA``, else as its ``LINE_8``.
        form: a grounding form, in whose numbers the objects are written (``molmoact-trace``); "" for whole pixels.

    Returns:
        A PIL image (RGB) or an array, as `image` is one.

    Raises:
        Rt2dataError: no such image, or another colour or width.
        ActionError: an object that is none, or that the form cannot write.
    """
    is_array = isinstance(image, np.ndarray)
    if not (is_array and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3) and (
        is_array or not (hasattr(image, "convert") and hasattr(image, "size"))
    ):
        found = f"an array {image.dtype} {image.shape}" if is_array else f"a {type(image).__name__}"
        raise Rt2dataError("image", found, "a PIL image, or an array uint8 (height, width, 3)")
    named = isinstance(color, (Sequence, np.ndarray)) and len(color) == 3
    if not named or not all(_is_whole(value, 0, 255) for value in color) or not _is_whole(width, 1, MAX_WIDTH):
        expected = f"3 whole numbers of 0..255, and one of 1..{MAX_WIDTH}"
        raise Rt2dataError("draw_objects", f"color {color!r}, width {width!r}"[:120], expected)
    shown = image if is_array else image.convert("RGB")
    pixels = np.array(shown)
    lines = to_lines(objects, pixels.shape[1::-1], GroundingTokenizer.from_pretrained(form) if form else None)
    draw_lines(pixels, lines, color, width, antialiased=antialiased)
    if is_array:
        return pixels
    shown = shown.copy()
    shown.frombytes(pixels.tobytes())
    return shown


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, (int, np.integer)) and least <= int(value) <= most
