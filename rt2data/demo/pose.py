"""Rotations and vectors of the demo world, in pure Python floats.

`rt2data.robot.rotation` has the same formulas for arrays. The demo data must have the same bytes on every machine, so
they must not depend on how numpy computes sines with the SIMD of the machine; and a scene has few vectors.

R = Rz(yaw) Ry(pitch) Rx(roll), pitch in [-pi/2, pi/2]. Base frame: x away from the robot, y to its left, z up; metres.
"""

from __future__ import annotations

import math
from typing import TypeAlias

Vector: TypeAlias = tuple[float, float, float]
Matrix: TypeAlias = tuple[Vector, Vector, Vector]

IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def from_rpy(roll: float, pitch: float, yaw: float) -> Matrix:
    """Convert roll, pitch, yaw in radians to a matrix: Rz(yaw) Ry(pitch) Rx(roll)."""
    cr, sr, cp, sp = math.cos(roll), math.sin(roll), math.cos(pitch), math.sin(pitch)
    cy, sy = math.cos(yaw), math.sin(yaw)
    return (
        (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
        (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
        (-sp, cp * sr, cp * cr),
    )


def to_rpy(r: Matrix) -> Vector:
    """Convert a matrix to roll, pitch, yaw; the inverse of `from_rpy` for pitch within (-pi/2, pi/2)."""
    return (
        math.atan2(r[2][1], r[2][2]),
        math.asin(max(-1.0, min(1.0, -r[2][0]))),
        math.atan2(r[1][0], r[0][0]),
    )


def dot(a: Vector, b: Vector) -> float:
    """Return the scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Vector, b: Vector) -> Vector:
    """Return the vector product."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def normalise(a: Vector) -> Vector:
    """Return the vector of length 1 in the direction of a."""
    length = math.sqrt(dot(a, a))
    return a[0] / length, a[1] / length, a[2] / length


def add(a: Vector, b: Vector, factor: float = 1.0) -> Vector:
    """Return a + factor b."""
    return a[0] + factor * b[0], a[1] + factor * b[1], a[2] + factor * b[2]


def transpose(r: Matrix) -> Matrix:
    """Transpose a matrix, which inverts a rotation."""
    (a, b, c), (d, e, f), (g, h, i) = r
    return (a, d, g), (b, e, h), (c, f, i)


def rotate(r: Matrix, v: Vector) -> Vector:
    """Return R v."""
    return dot(r[0], v), dot(r[1], v), dot(r[2], v)


def product(a: Matrix, b: Matrix) -> Matrix:
    """Return A B."""
    columns = transpose(b)
    rows = [(dot(row, columns[0]), dot(row, columns[1]), dot(row, columns[2])) for row in a]
    return rows[0], rows[1], rows[2]
