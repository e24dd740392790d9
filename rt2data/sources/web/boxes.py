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
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rt2data.declarations.web import UNITS, Boxes
from rt2data.errors import Rt2dataError
from rt2data.images.orientation import SIDEWAYS
from rt2data.tokenizer import ActionTokenizer

_SIDES = ("y0", "x0", "y1", "x1")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?", re.ASCII)
_NEXT = re.compile(r"; (?=\d+ \d+ \d+ \d+(?: |;|$))")


MIN_INSIDE = 0.5
"""A box of which less than this share lies in the image was not drawn in it: it has another unit, or another size."""

LARGEST_FRACTION = 1.5
"""Where no corner of an image's boxes is beyond it, the numbers are no pixels, percent or thousandths but fractions."""

_KEYS = (
    ("xywh", ("x", "y", "w", "h")), ("xywh", ("x", "y", "width", "height")),
    ("xywh", ("left", "top", "width", "height")), ("cxcywh", ("cx", "cy", "w", "h")),
    ("cxcywh", ("cx", "cy", "width", "height")),
    ("xyxy", ("x1", "y1", "x2", "y2")), ("xyxy", ("xmin", "ymin", "xmax", "ymax")), ("xyxy", ("x0", "y0", "x1", "y1")),
    ("xyxy", ("left", "top", "right", "bottom")),
)  # fmt: skip


class Box(NamedTuple):
    """Corners, y down and x right, in pixels or what is said; and what is inside, "" where that has no word."""

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


def read(stored: Any, label: str, form: str) -> Box | str:
    """Read a box as a corpus stores it, in its own unit; else ``empty`` (no area) or ``bad_box``, which is no box.

    A box is bad where it has not four finite numbers, or where the corner that should be the second lies before the
    first: its width is below 0, or it has another form.

    Args:
        stored: four numbers, also as text; or an object with x, y and w or width, h or height; with cx and cy; or with
            the corners x1, y1, x2, y2 or xmin, ymin, xmax, ymax. Names of corners and centres go before `form`.
        label: its text; "" where it has none.
        form: as `rt2data.declarations.web.Boxes` says.
    """
    if not isinstance(stored, (list, dict, str)):
        return "bad_box"
    if isinstance(stored, dict):
        form, stored = next(
            ((form if own == "xywh" and form == "cxcywh" else own, [stored[key] for key in keys])
             for own, keys in _KEYS if all(key in stored for key in keys)),
            (form, None),
        )  # fmt: skip
    numbers = [_number(value) for value in (_words(stored) if isinstance(stored, str) else stored or ())]
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        return "bad_box"
    a, b, c, d = numbers
    y0, x0, y1, x1 = {
        "xywh": (b, a, b + d, a + c),
        "xyxy": (b, a, d, c),
        "yxyx": (a, b, c, d),
        "cxcywh": (b - d / 2, a - c / 2, b + d / 2, a + c / 2),
    }[form]
    if y1 < y0 or x1 < x0:
        return "bad_box"
    return Box(y0, x0, y1, x1, " ".join(label.replace(";", ",").split())) if y1 > y0 and x1 > x0 else "empty"


def listed(stored: Any) -> list[Any]:
    """List the boxes of a value: a list of boxes, or one box."""
    if not isinstance(stored, list):
        return [] if stored is None or stored == "" else [stored]
    first = stored[0] if stored else []
    return (
        stored if isinstance(first, (list, dict)) or (isinstance(first, str) and len(_words(first)) > 1) else [stored]
    )


def _words(text: str) -> list[str]:
    """Split a text of numbers, as tables of texts hold a box: ``1 2 3 4``, ``[1, 2, 3, 4]``."""
    return text.strip(" []()").replace(",", " ").split()


def _number(value: Any) -> float:
    """Return a number, also one that is stored as text; NaN for anything else."""
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value.strip()) else math.nan
    return float(value) if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) else math.nan


class Placed(NamedTuple):
    """Boxes in an image as its samples show it: upright, corners as shares of its sides, in [0, 1].

    `clipped` of them reached beyond its edges by more than an integer. `reason` (of `index.REASONS`) says why the boxes
    cannot be used, or is "".
    """

    boxes: list[Box]
    clipped: int = 0
    reason: str = ""


def place(boxes: Sequence[Box], rule: Boxes, stated: tuple[int, int], upright: tuple[int, int], turn: int) -> Placed:
    """Place boxes in an image.

    Args:
        boxes: in the declared unit.
        rule: as declared.
        stated: width and height that the corpus states of the image, (0, 0) where it does not.
        upright: width and height of the image itself, in pixels, after it was turned.
        turn: its EXIF orientation, 2 to 8; 0 where it has none.
    """
    corners = np.array([box[:4] for box in boxes], np.float64).reshape(-1, 4)
    turned = turn and not _drawn_upright(rule, stated, upright, turn)
    side = UNITS[rule.unit]
    own = upright[::-1] if turned and turn in SIDEWAYS else upright
    width, height = (side, side) if side is not None else stated if all(stated) else own
    if max(width, height) > 2 and len(corners) and 0 < corners.max() <= LARGEST_FRACTION:
        return Placed([], reason="box_units")
    corners /= np.array([height, width, height, width], np.float64)
    inside = np.clip(corners, 0.0, 1.0)
    if np.any(_area(inside) < MIN_INSIDE * _area(corners)):
        return Placed([], reason="box_outside")
    clipped = int(np.count_nonzero(np.abs(inside - corners).max(axis=1, initial=0) > 1 / rule.bins))
    if turned:
        inside = _turned(inside, turn)
    return Placed(
        [
            box._replace(y0=y0, x0=x0, y1=y1, x1=x1)
            for (y0, x0, y1, x1), box in zip(inside.tolist(), boxes, strict=True)
        ],
        clipped,
    )


def _area(corners: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray((corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1]))


def _drawn_upright(rule: Boxes, stated: tuple[int, int], upright: tuple[int, int], turn: int) -> bool:
    """Whether boxes belong to the image as it is shown, and not to its stored pixels: as declared, else by its size."""
    if rule.pixels is not None or turn not in SIDEWAYS or not all(stated):
        return rule.pixels == "upright"
    wanted, width, height = math.log(stated[0] / stated[1]), *upright
    return abs(wanted - math.log(width / height)) < abs(wanted - math.log(height / width))


def _turned(corners: npt.NDArray[np.float64], turn: int) -> npt.NDArray[np.float64]:
    """Turn corners (n, 4) of stored pixels as their image is turned. Shares of the sides: y0, x0, y1, x1."""
    y0, x0, y1, x1 = corners.T
    left, top = (1 - x1, 1 - x0), (1 - y1, 1 - y0)  # counted from the other side
    across, down = {
        2: (left, (y0, y1)), 3: (left, top), 4: ((x0, x1), top), 5: ((y0, y1), (x0, x1)),
        6: (top, (x0, x1)), 7: (top, left), 8: ((y0, y1), left),
    }[turn]  # fmt: skip
    return np.stack([down[0], across[0], down[1], across[1]], axis=1)


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
    return "; ".join(f"{four} {boxes[i].label}".rstrip() for four, i in zip(numbers, order.tolist(), strict=True))


def parse(line: str, size: tuple[int, int], bins: int) -> list[Box]:
    """Parse the boxes of a text: corners are centres of bins, in pixels of an image of `size` (width, height).

    Raises:
        Rt2dataError: a text that is not boxes.
    """
    tok, parsed = tokenizer(bins), []
    for piece in _NEXT.split(line):
        words = piece.split(" ", 4)
        four, label = words[:4], words[4] if len(words) > 4 else ""
        if len(four) < 4:
            raise Rt2dataError("boxes", f'"{piece}"', "four integers and perhaps a label")
        corners: npt.NDArray[Any] = np.asarray(tok.decode(tok.parse(" ".join(four)), dtype="float64").actions).reshape(
            4
        )
        y0, x0, y1, x1 = (corners * [size[1], size[0], size[1], size[0]]).tolist()
        parsed.append(Box(y0, x0, y1, x1, label))
    return parsed
