"""Draw lines into pixels exactly as OpenCV's `line` does (`LINE_AA`, `LINE_8`), with numpy alone.

Pictures with a trace in them are training data: a model that was shown one rasteriser's lines should meet the same at
serving, and a mixture should not change with the version of a library. The rules are those of OpenCV 4 and 5, in whole
numbers with 16 bits behind the point: a line of more than one pixel is a filled rectangle with a round end at both
points, and a filled outline is the outline's edges and then the rows between them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Pixels: TypeAlias = npt.NDArray[np.uint8]
Ints: TypeAlias = npt.NDArray[np.int64]
Place: TypeAlias = tuple[int, int]  # x, y

MAX_WIDTH = 32
_BITS = 16
_ONE, _HALF = 1 << _BITS, 1 << (_BITS - 1)

# What OpenCV's antialiased edges are weighted by: for a slope, and for a distance of up to two pixels, both in 32nds.
_SLOPES = [
    181, 181, 181, 182, 182, 183, 184, 185, 187, 188, 190, 192, 194, 196, 198, 201,
    203, 206, 209, 211, 214, 218, 221, 224, 227, 231, 235, 238, 242, 246, 250, 254,
]  # fmt: skip
_WEIGHTS = np.array([
    168, 177, 185, 194, 202, 210, 218, 224, 231, 236, 241, 246, 249, 252, 254, 254,
    254, 254, 252, 249, 246, 241, 236, 231, 224, 218, 210, 202, 194, 185, 177, 168,
    158, 149, 140, 131, 122, 114, 105, 97, 89, 82, 75, 68, 62, 56, 50, 45,
    40, 36, 32, 28, 25, 22, 19, 16, 14, 12, 11, 9, 8, 7, 5, 5,
])  # fmt: skip


def draw_lines(
    pixels: Pixels,
    lines: Sequence[Sequence[Sequence[int]]],
    color: Sequence[int],
    width: int,
    *,
    antialiased: bool,
) -> None:
    """Draw lines from point to point into an image, in place.

    Args:
        pixels: uint8 (height, width, 3).
        lines: of each the points (x, y) within the image, in pixels. A line of one point is nothing, one that ends
            where it begins is a dot.
        color: three numbers, 0 to 255, in the order of the image's channels.
        width: of the lines in pixels, 1 to MAX_WIDTH.
        antialiased: as `LINE_AA` of OpenCV, else as `LINE_8`.
    """
    pen = _Pen(pixels, np.array(color, np.int64), antialiased=antialiased)
    for line in lines:
        for (x1, y1), (x2, y2) in pairwise(line):
            pen.line((int(x1), int(y1)), (int(x2), int(y2)), width)


class _Pen:
    """A colour and an image to draw into."""

    def __init__(self, pixels: Pixels, color: Ints, *, antialiased: bool) -> None:
        self.pixels, self.color, self.antialiased = pixels, color, antialiased
        self.height, self.width = pixels.shape[:2]

    def line(self, p: Place, q: Place, width: int) -> None:
        """Draw from p to q, in whole pixels."""
        if width == 1 and not self.antialiased:
            self._thin(p, q)
            return
        begin, end = (p[0] << _BITS, p[1] << _BITS), (q[0] << _BITS, q[1] << _BITS)
        if width == 1:
            self._edge(begin, end)
            return
        radius = width << (_BITS - 1)
        dx, dy = p[0] - q[0], q[1] - p[1]
        if dx or dy:
            scale = (radius + (width & 1) * _HALF) / math.sqrt(dx * dx + dy * dy)
            x, y = round(dy * scale), round(dx * scale)
            self.fill([(begin[0] + x, begin[1] + y), (begin[0] - x, begin[1] - y),
                        (end[0] - x, end[1] - y), (end[0] + x, end[1] + y)])  # fmt: skip
        for place in (p, q):
            if self.antialiased:
                self._soft_end(place, width)
            else:
                self._disc(place, (radius + _HALF) >> _BITS)

    def _soft_end(self, center: Place, width: int) -> None:
        """An antialiased round end. Away from the image's edges what it makes of each pixel is looked up."""
        (x, y), reach = center, _reach(width)
        if not (reach <= x < self.width - reach and reach <= y < self.height - reach):
            self.fill(_outline((x << _BITS, y << _BITS), width << (_BITS - 1)))
            return
        block = self.pixels[y - reach : y + reach + 1, x - reach : x + reach + 1]
        table = _end(width, tuple(self.color.tolist()))
        block[:] = np.take_along_axis(table, block[..., None].astype(np.intp), 3)[..., 0]

    def _thin(self, p: Place, q: Place) -> None:
        """A line of one pixel, of which each step is one column, or one row where it is steep (Bresenham)."""
        (x1, y1), (x2, y2) = (p, q) if p[0] <= q[0] else (q, p)
        dx, dy = x2 - x1, abs(y2 - y1)
        long, short = max(dx, dy), min(dx, dy)
        step = np.arange(long + 1)
        aside = (2 * short * step + long - 1) // (2 * long) if long else step
        xs, ys = (aside, step) if dy > dx else (step, aside)
        self._set(x1 + xs, y1 + ys * (1 if y2 >= y1 else -1))

    def fill(self, corners: list[Place]) -> None:
        """A convex outline and what it encloses; corners with 16 bits behind the point."""
        for a, b in zip([corners[-1], *corners[:-1]], corners, strict=True):
            self._edge(a, b)
        rows = [(y + _HALF) >> _BITS for _, y in corners]
        columns = [(x + _HALF) >> _BITS for x, _ in corners]
        low, high = min(rows), min(max(rows), self.height - 1)
        if max(columns) < 0 or max(rows) < 0 or min(columns) >= self.width or low >= self.height:
            return
        ys = [y for _, y in corners]
        sides = [_Side(ys.index(min(ys)), way, low) for way in (1, len(corners) - 1)]
        left, y, spans = len(corners), low, list[Ints]()
        while y <= high:  # as far as neither side reaches a corner
            if not self.antialiased or y < high or y == low:
                for side in sides:
                    left = side.turn(corners, rows, y, left)
            until = min([side.until for side in sides if side.until > y] + [high + 1])
            n = np.arange(min(until, high + 1) - y)
            spans.append(np.sort([side.x + side.step * n for side in sides], axis=0))
            for side in sides:
                side.x += side.step * len(n)
            y += len(n)
        first, last = np.concatenate(spans, axis=1)
        begin, end = (_ONE - 1, 0) if self.antialiased else (_HALF, _HALF)
        self._rows(low, (first + begin) >> _BITS, (last + end) >> _BITS)

    def _rows(self, low: int, first: Ints, last: Ints) -> None:
        """Fill rows from `low` on, each from its first to its last column."""
        first, last = np.maximum(first, 0), np.minimum(last, self.width - 1)
        sizes = np.where(np.arange(len(first)) >= -low, np.maximum(last - first + 1, 0), 0)
        ys = np.repeat(np.arange(low, low + len(first)), sizes)
        xs = np.arange(sizes.sum()) + np.repeat(first - np.cumsum(sizes) + sizes, sizes)
        self.pixels[ys, xs] = self.color

    def _edge(self, p: Place, q: Place) -> None:
        """An edge of one pixel, between points with 16 bits behind the point, of which what lies outside is cut off."""
        clipped = _clip(self.width << _BITS, self.height << _BITS, p, q)
        if clipped is None:
            return
        (x1, y1), (x2, y2) = clipped
        steep = abs(x2 - x1) <= abs(y2 - y1)
        if steep:
            x1, y1, x2, y2 = y1, x1, y2, x2
        if x2 < x1:
            x1, y1, x2, y2 = x2, y2, x1, y1
        step = _divide((y2 - y1) << _BITS, (x2 - x1) | 1)
        if self.antialiased:
            self._soft_edge(x1, y1, x2 + _ONE, step, steep=steep)
            return
        n = np.arange(((x2 - x1) >> _BITS) + 1)
        xs = np.append(((x1 + _HALF) >> _BITS) + n, (x2 + _HALF) >> _BITS)
        ys = np.append((y1 + _HALF + step * n) >> _BITS, (y2 + _HALF) >> _BITS)
        self._set(*((ys, xs) if steep else (xs, ys)))

    def _soft_edge(self, x1: int, y1: int, x2: int, step: int, *, steep: bool) -> None:
        """An antialiased edge: of each column three pixels take the colour by their distance, the ends' less."""
        count = (x2 >> _BITS) - (x1 >> _BITS)
        y1 += ((step * -(x1 & (_ONE - 1))) >> _BITS) + _HALF
        tilt = (step >> (_BITS - 5)) & 63
        tilt ^= 63 if step < 0 else 0
        full = 256 if tilt & 32 else _SLOPES[tilt]
        start, stop = (x1 >> (_BITS - 7)) & 120, (x2 >> (_BITS - 7)) & 120
        short, whole = ((stop - start) & 120) | 4, full << 7
        first, last = ((120 - start) | 4) * full, (stop | 4) * full
        ends = [
            0, short * full, first,
            short * full, (((stop - start) + 128) | 4) * full, first + whole,
            last, last + whole, full << 8,
        ]  # fmt: skip
        n = np.arange(count + 1)
        weight = np.array([(value >> 8) & 511 for value in ends])[np.minimum(n, 2) * 3 + np.minimum(count - n, 2)]
        x, y = (x1 >> _BITS) + n, y1 + step * n
        distance = (y >> (_BITS - 5)) & 31
        xs = np.concatenate([x, x, x])
        ys = np.concatenate([(y >> _BITS) + k for k in (-1, 0, 1)])
        near = np.concatenate([_WEIGHTS[distance + 32], _WEIGHTS[distance], _WEIGHTS[63 - distance]])
        self._blend(*((ys, xs) if steep else (xs, ys)), ((np.tile(weight, 3) * near) >> 8) & 255)

    def _disc(self, center: Place, radius: int) -> None:
        """A filled circle in whole pixels."""
        x, y = center
        error, dx, dy, plus, minus = 0, radius, 0, 1, 2 * radius - 1
        while dx >= dy:
            for row, half in ((y - dy, dx), (y + dy, dx), (y - dx, dy), (y + dx, dy)):
                if 0 <= row < self.height:
                    self.pixels[row, max(x - half, 0) : max(x + half + 1, 0)] = self.color
            dy, error, plus = dy + 1, error + plus, plus + 2
            if error > 0:
                dx, error, minus = dx - 1, error - minus, minus - 2

    def _set(self, xs: Ints, ys: Ints) -> None:
        inside = (xs >= 0) & (xs < self.width) & (ys >= 0) & (ys < self.height)
        self.pixels[ys[inside], xs[inside]] = self.color

    def _blend(self, xs: Ints, ys: Ints, weight: Ints) -> None:
        """Move different pixels towards the colour by `weight`, of 256, twice."""
        inside = (xs >= 0) & (xs < self.width) & (ys >= 0) & (ys < self.height)
        xs, ys, weight = xs[inside], ys[inside], weight[inside][:, None]
        value = self.pixels[ys, xs].astype(np.int64)
        for _ in range(2):
            value += ((self.color - value) * weight + 127) >> 8
        self.pixels[ys, xs] = value


def _reach(width: int) -> int:
    """How far from its middle a round end changes pixels, at most."""
    return width // 2 + 3


@lru_cache(maxsize=16)
def _end(width: int, color: tuple[int, ...]) -> Pixels:
    """What a round end makes of each value of each pixel around its middle: uint8 (side, side, channels, 256)."""
    reach = _reach(width)
    side = 2 * reach + 1
    every = np.tile(np.arange(256, dtype=np.uint8), (side, side, len(color)))  # each value is a channel of its own
    pen = _Pen(every, np.repeat(np.array(color, np.int64), 256), antialiased=True)
    middle = reach << _BITS
    pen.fill(_outline((middle, middle), width << (_BITS - 1)))
    return every.reshape(side, side, len(color), 256)


class _Side:
    """One of two sides of an outline, down which the rows of its filling run.

    `corner` is the one that it comes from, `way` how far on in the list the next one is, `until` the row of that one,
    and `x` and `step`, with 16 bits behind the point, where the side is and how far it goes in a row.
    """

    __slots__ = ("corner", "step", "until", "way", "x")

    def __init__(self, corner: int, way: int, until: int) -> None:
        self.corner, self.way, self.until = corner, way, until
        self.x, self.step = -_ONE, 0

    def turn(self, corners: list[Place], rows: list[int], y: int, left: int) -> int:
        """Go on to the next corner below row `y`, where one is reached; `left`, and what it returns, are the edges that
        no side has taken.
        """
        if y < self.until:
            return left
        here = self.corner
        while left > 0:
            left -= 1
            there = (here + self.way) % len(corners)
            if rows[there] > y:
                down = rows[there] - y
                self.step = _divide(2 * (corners[there][0] - corners[here][0]) + down, 2 * down)
                self.x, self.until, self.corner = corners[here][0], rows[there], there
                return left
            here = there
        return left


def _outline(center: Place, radius: int) -> list[Place]:
    """The corners by which a round end is drawn, from 4 to 73, with 16 bits behind the point."""
    pixels = (radius + _HALF) >> _BITS
    every = 90 if pixels < 3 else 30 if pixels < 10 else 18 if pixels < 15 else 5  # degrees
    places = []
    for angle in range(0, 361, every):
        sine, cosine = (round(f(math.radians(angle)), 7) for f in (math.sin, math.cos))
        places.append((round(center[0] + radius * cosine), round(center[1] + radius * sine)))
    return places


def _clip(width: int, height: int, p: Place, q: Place) -> tuple[Place, Place] | None:
    """The part of a line that lies in an image; None where there is none. First above and below, then at the sides."""
    (x1, y1), (x2, y2) = p, q
    right, bottom = width - 1, height - 1
    if max(x1, x2) < 0 or max(y1, y2) < 0 or min(x1, x2) > right or min(y1, y2) > bottom:
        return None
    if not 0 <= y1 <= bottom:
        edge = 0 if y1 < 0 else bottom
        x1, y1 = x1 + int(float(edge - y1) * (x2 - x1) / (y2 - y1)), edge
    if not 0 <= y2 <= bottom:
        edge = 0 if y2 < 0 else bottom
        x2, y2 = x2 + int(float(edge - y2) * (x2 - x1) / (y2 - y1)), edge
    if max(x1, x2) < 0 or min(x1, x2) > right:
        return None
    if not 0 <= x1 <= right:
        edge = 0 if x1 < 0 else right
        x1, y1 = edge, y1 + int(float(edge - x1) * (y2 - y1) / (x2 - x1))
    if not 0 <= x2 <= right:
        edge = 0 if x2 < 0 else right
        x2, y2 = edge, y2 + int(float(edge - x2) * (y2 - y1) / (x2 - x1))
    return (x1, y1), (x2, y2)


def _divide(a: int, b: int) -> int:
    """Divide as whole numbers of C are divided, without what is behind the point; b is positive."""
    return a // b if a >= 0 else -(-a // b)
