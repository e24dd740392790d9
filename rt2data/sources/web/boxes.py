"""Boxes as text, in the manner of Pix2Seq (arXiv 2109.10852, section 2.1): ``y x y x label``, integers first.

>>> line = text([Box(10, 20, 30, 40, "cup")], (100, 200), Boxes("Which things are where?"))
>>> line
'50 200 150 400 cup'
>>> parse(line, (100, 200), 1000)[0].x0
20.05

The integers are bins of the action tokenizer's uniform scheme over [0, 1], so that `parse` gives a box back to within
half a bin. Boxes are joined by "; ".
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rt2data.declarations.web import Boxes
from rt2data.errors import Rt2dataError
from rt2data.tokenizer import ActionTokenizer

_SIDES = ("y0", "x0", "y1", "x1")
_NEXT = re.compile(r"; (?=\d+ \d+ \d+ \d+ )")


class Box(NamedTuple):
    """Corners in pixels, y down and x right, and what is inside."""

    y0: float
    x0: float
    y1: float
    x1: float
    label: str


@cache
def tokenizer(bins: int) -> ActionTokenizer:
    """Make the tokenizer of corners: four numbers in [0, 1], `bins` bins each."""
    dims = [{"name": side, "low": 0.0, "high": 1.0, "unit": "1"} for side in _SIDES]
    raw = {
        "format": "rt2data.tokenizer/1",
        "name": "boxes",
        "scheme": "uniform",
        "bins": bins,
        "horizon": 1,
        "dims": dims,
    }
    return ActionTokenizer.from_dict(raw)


def read(stored: Any, label: Any, form: str) -> Box | None:
    """Read a box as a corpus stores it; None for what is no box: fewer than four numbers, no area, no label.

    Args:
        stored: four numbers, or an object with x, y and w or width, h or height.
        label: its text.
        form: ``xywh`` (COCO), ``xyxy``, or ``yxyx``.
    """
    if isinstance(stored, dict):
        keys = ("x", "y", "w" if "w" in stored else "width", "h" if "h" in stored else "height")
        stored = [stored.get(key) for key in keys]
    if not (isinstance(stored, list) and len(stored) == 4 and isinstance(label, str)):
        return None
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in stored):
        return None
    a, b, c, d = map(float, stored)
    y0, x0, y1, x1 = {"xywh": (b, a, b + d, a + c), "xyxy": (b, a, d, c), "yxyx": (a, b, c, d)}[form]
    words = " ".join(label.replace(";", ",").split())
    return Box(y0, x0, y1, x1, words) if y1 > y0 and x1 > x0 and words else None


def text(boxes: Sequence[Box], size: tuple[int, int], rule: Boxes) -> str:
    """Format boxes in an image of `size` (width, height) pixels. Corners outside it are moved to its edge.

    The order of boxes is the largest first, or as given (`rule.order`); ties keep their order.
    """
    width, height = size
    scale = np.array([height, width, height, width], np.float64)
    corners = np.array([box[:4] for box in boxes], np.float64).reshape(-1, 4) / scale
    corners = np.clip(corners, 0.0, 1.0)
    area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    order = np.argsort(-area, kind="stable") if rule.order == "area" else np.arange(len(boxes))
    tok = tokenizer(rule.bins)
    numbers = tok.format(tok.encode(corners[order]))
    return "; ".join(f"{four} {boxes[i].label}" for four, i in zip(numbers, order.tolist(), strict=True))


def parse(line: str, size: tuple[int, int], bins: int) -> list[Box]:
    """Parse the boxes of a text: corners are centres of bins, in pixels of an image of `size` (width, height).

    Raises:
        Rt2dataError: a text that is not boxes.
    """
    tok, parsed = tokenizer(bins), []
    for piece in _NEXT.split(line):
        *four, label = piece.split(" ", 4)
        if len(four) < 4 or not label:
            raise Rt2dataError("boxes", f'"{piece}"', "four integers and a label")
        corners: npt.NDArray[Any] = np.asarray(tok.decode(tok.parse(" ".join(four)), dtype="float64").actions).reshape(
            4
        )
        y0, x0, y1, x1 = (corners * [size[1], size[0], size[1], size[0]]).tolist()
        parsed.append(Box(y0, x0, y1, x1, label))
    return parsed
