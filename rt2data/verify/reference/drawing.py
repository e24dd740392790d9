"""Whether an image shows lines, told from the distance of each pixel to them: nothing is drawn here.

A pixel on the pen's way has the pen's colour; one beyond its edge has what the camera's own image has there, where that
is in the sample too. Formats with losses are compared on the average, since they spread a colour over some pixels.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from rt2data.verify.reference.images import decode

Json = dict[str, Any]
Distances = npt.NDArray[np.float64]

EDGE = 2.5  # pixels beside a line, beyond half its width, that an antialiased edge or a round end may still change
SPREAD = 16  # pixels around a line whose block of a JPEG it lies in, and the smoothing of colours between blocks
THIN = 128  # of 255, what the soft edge of a line of one or two pixels may lack of its colour
LOSSY = 32  # of 255, what a format with losses may change on average; twice as much on a line of one or two pixels


def find_fault(data: bytes, source: bytes | None, lines: list[list[list[int]]], rule: Json) -> str:
    """Say what of an image is not as its lines and the recipe's drawing say; "" where all is.

    Args:
        data: the encoded image with the lines.
        source: that of the same camera without them; None where the sample has none.
        lines: points (x, y) in pixels.
        rule: `color` and `width` of the recipe.

    Raises:
        ValueError: bytes that do not decode.
    """
    image = decode(data)
    lossless = image.format == "PNG"
    pixels = np.asarray(image.convert("RGB")).astype(np.int64)
    height, width = pixels.shape[:2]
    if any(x >= width or y >= height for line in lines for x, y in line):
        return f"a line beyond its {width} x {height} pixels"
    away = distances(lines, (width, height))
    half = float(rule["width"]) / 2
    on = away <= max(half - 1, 0.0)
    if on.any():
        fault = _other_color(pixels[on], np.array(rule["color"]), lossless=lossless, thin=rule["width"] < 3)
        if fault:
            return fault
    if source is None:
        return ""
    taken = decode(source)
    if (taken.width, taken.height, taken.format) != (image.width, image.height, image.format):
        return f"{image.format} of {width} x {height} beside {taken.format} of {taken.width} x {taken.height}"
    rest = away > half + EDGE + (0 if lossless else SPREAD)
    change = np.abs(pixels - np.asarray(taken.convert("RGB")).astype(np.int64)).max(axis=2)[rest]
    if change.size and (change.max() > 0 if lossless else change.mean() > LOSSY):
        return f"pixels away from its lines that differ by up to {change.max()} from the camera's own image"
    return ""


def _other_color(pixels: npt.NDArray[np.int64], color: npt.NDArray[np.int64], *, lossless: bool, thin: bool) -> str:
    """What is wrong with the pixels on lines; "" where nothing is."""
    if lossless:
        off = int(np.abs(pixels - color).max())
        return f"a colour on its lines that is up to {off} from {color.tolist()}" if off > THIN * thin else ""
    # A JPEG has half as many values of colour as of light, each way.
    light = np.array([0.299, 0.587, 0.114])
    off = int(np.abs((pixels - color) @ light).mean())
    return f"lines whose light is {off} from that of {color.tolist()} on average" if off > LOSSY * (1 + thin) else ""


def distances(lines: list[list[list[int]]], size: tuple[int, int]) -> Distances:
    """How far each pixel of an image is from the nearest line, in pixels; infinite without lines."""
    width, height = size
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float64)
    nearest = np.full((height, width), np.inf)
    for line in lines:
        for (x1, y1), (x2, y2) in pairwise(line):
            dx, dy = x2 - x1, y2 - y1
            along = np.clip(((xs - x1) * dx + (ys - y1) * dy) / max(dx * dx + dy * dy, 1), 0, 1)
            nearest = np.minimum(nearest, np.hypot(xs - x1 - along * dx, ys - y1 - along * dy))
    return nearest
