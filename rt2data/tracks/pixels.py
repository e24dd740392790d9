"""Where a gripper is in the image of a camera, from the stored states of an index and the calibration of the camera.

The stored position p is taken into the frame of the camera, q = R p + t, and to pixels by the model of a pinhole
camera: x = fx (q1 / q3) + cx, y = fy (q2 / q3) + cy. The frame is OpenCV's, x right, y down and z forward
(opencv/opencv@352f92e, modules/calib3d/include/opencv2/calib3d.hpp); lenses without distortion. Numbers are float64,
added from left to right one by one, and x and y are rounded to hundredths of a pixel, half to even: the same bytes on
every processor.

A step has no point where the position is not finite, where it is not before the camera (q3 > 0), or where the rounded
point is not in the image, 0 <= x < width and 0 <= y < height.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from rt2data import index
from rt2data.recipes.tracks import GripperPixels
from rt2data.tracks import types
from rt2data.tracks.times import Ints

_PARTS = 100  # of a pixel
_SIDE = types.MAX_PIXEL * _PARTS  # how many values a coordinate in an image can have
COUNT = _SIDE * _SIDE  # of numbers that points can have


def project(rule: GripperPixels, table: pa.Table) -> tuple[Ints, Ints]:
    """Find the rows of an index that have a point, int64 (n,), and the numbers of their points, int64 (n,)."""
    state = index.matrix(table.column("proprio"))[:, list(rule.position)].astype(np.float64)
    p1, p2, p3 = state.T
    fx, fy, cx, cy = rule.intrinsics
    with np.errstate(all="ignore"):  # what is no number is in no image
        q1, q2, q3 = (((a * p1 + b * p2) + c * p3) + t for a, b, c, t in rule.camera_from_base)
        before = np.isfinite(state).all(axis=1) & (q3 > 0)
        depth = np.where(before, q3, 1)
        x = np.rint((fx * (q1 / depth) + cx) * _PARTS)
        y = np.rint((fy * (q2 / depth) + cy) * _PARTS)
    width, height = rule.size or (
        index.numbers(table, f"{rule.camera}.{side}").astype(np.float64) for side in ("width", "height")
    )
    inside = (x >= 0) & (x < width * _PARTS) & (y >= 0) & (y < height * _PARTS)
    rows = np.flatnonzero(before & inside)
    return rows, x[rows].astype(np.int64) * _SIDE + y[rows].astype(np.int64)


def texts(rule: GripperPixels, codes: Ints) -> list[str]:
    """The points of numbers, as JSON."""
    size = {"size": list(rule.size)} if rule.size else {}
    points = ([x / _PARTS, y / _PARTS] for x, y in (divmod(code, _SIDE) for code in codes.tolist()))
    return [types.stored("point", {"point": point} | size) for point in points]
