"""Lines are drawn as OpenCV draws them, pixel by pixel; what its `line` makes of these cases was written down."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from rt2data.images.drawing import draw_lines
from rt2data.tokenizer.grounding import Box, GroundingTokenizer, Point, Trace, to_lines
from rt2data.verify.reference.drawing import distances

SIZES = ((64, 48), (37, 90), (1, 5), (200, 150))

# SHA-256 of the pixels that cv2.line makes of `cases`, first digits; the same with OpenCV 4.10.0 and 5.0.0.
OPENCV = {
    (1, True): "a22311d6ef0431a8", (2, True): "347e1368da26e9c5", (3, True): "d56a2e4381554df4",
    (5, True): "db5104d138a52981", (18, True): "336d42c6f6693f96", (29, True): "8720dfe2eaaa4adf",
    (1, False): "fdfe2837b47d78f8", (2, False): "bee22adb4134125a", (3, False): "bc1da6877b37faf4",
    (5, False): "98fe526587596bfc", (18, False): "4f43f7c78ad8ec78", (29, False): "48fe9d073bdd97d4",
}  # fmt: skip
COLOR = (0, 255, 255)


def cases() -> list[tuple[Any, list[list[int]]]]:
    """Images of noise and lines through them, one of which ends where it begins."""
    out = []
    for number in range(24):
        rng = np.random.default_rng(number)
        width, height = SIZES[number % 4]
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        line = [[int(x) % width, int(y) % height] for x, y in rng.integers(0, 1000, (6, 2))]
        line[3] = line[2]
        out.append((pixels, line))
    return out


@pytest.mark.parametrize(("width", "soft"), OPENCV)
def test_lines_are_those_of_opencv(width: int, soft: bool) -> None:
    digest = hashlib.sha256()
    for pixels, line in cases():
        draw_lines(pixels, [line], COLOR, width, antialiased=soft)
        digest.update(pixels.tobytes())
    assert digest.hexdigest()[:16] == OPENCV[width, soft]


@pytest.mark.parametrize(("width", "soft"), OPENCV)
def test_lines_are_those_of_the_opencv_that_is_here(width: int, soft: bool) -> None:
    cv2 = pytest.importorskip("cv2")
    for pixels, line in cases():
        theirs = pixels.copy()
        for p, q in pairwise(line):
            cv2.line(theirs, p, q, COLOR, width, cv2.LINE_AA if soft else cv2.LINE_8)
        draw_lines(pixels, [line], COLOR, width, antialiased=soft)
        assert (theirs == pixels).all()


@pytest.mark.parametrize("soft", [True, False])
def test_what_is_near_a_line_has_its_colour_and_nothing_else_changes(soft: bool) -> None:
    for pixels, line in cases():
        before = pixels.copy()
        draw_lines(pixels, [line], COLOR, 6, antialiased=soft)
        away = distances([line], pixels.shape[1::-1])
        assert (pixels[away <= 2] == COLOR).all()
        assert (pixels[away > 5.5] == before[away > 5.5]).all()


def test_objects_are_lines() -> None:
    assert to_lines([Trace(((0, 0), (9.6, 4.5), (99, -3)))], (64, 48)) == [[(0, 0), (10, 4), (63, 0)]]
    assert to_lines([Trace(((3, 3),)), Point(5.5, 7)], (64, 48)) == [[(6, 7), (6, 7)]]
    box = [(10, 20), (30, 20), (30, 40), (10, 40), (10, 20)]
    assert to_lines([Box(10, 20, 30, 40, "cup")], (64, 48)) == [box]


def test_a_form_says_where_a_trace_lies() -> None:
    """MolmoAct's numbers n are drawn at rint(n (size - 1) / 255), in float32 (allenai/molmoact@622ad08)."""
    form = GroundingTokenizer.from_pretrained("molmoact-trace")
    for size in ((320, 180), (640, 480), (256, 256), (16, 12)):
        points = tuple((size[0] * i / 40, size[1] * (i % 7) / 7) for i in range(40))
        numbers = form.encode([Trace(points, "")], size)[0].numbers
        scale = ((np.array(size) - 1) / 255.0).astype(np.float32)
        wanted = np.rint(np.array(numbers, np.float32).reshape(-1, 2) * scale).astype(int)
        assert to_lines([Trace(points, "a hand")], size, form) == [[tuple(xy) for xy in wanted.tolist()]]
