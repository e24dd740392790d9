"""The objects of the demo world as meshes: flat faces in local coordinates, metres, standing on z = 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from rt2data.demo.pose import Vector, add, cross, dot, normalise

Floats: TypeAlias = npt.NDArray[np.float64]
Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Mesh:
    """Flat faces, each counter-clockwise as seen from outside.

    Attributes:
        vertices: x, y and z, float64 (n,) each.
        faces: vertex numbers of m faces.
        normals, centres: x, y and z, float64 (m,) each.
        offsets: normal times centre, (m,).
        shades: 1, or less where a face is darker than its colour, (m,).
        convex: whether no face that looks towards a camera can hide another.
        middle: centre of the mesh's box.
    """

    vertices: tuple[Floats, Floats, Floats]
    faces: tuple[tuple[int, ...], ...]
    normals: tuple[Floats, Floats, Floats]
    centres: tuple[Floats, Floats, Floats]
    offsets: Floats
    shades: Floats
    convex: bool
    middle: Vector


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of object: its mesh, its height, the radius of its footprint and the width of the grip, metres.

    `turn` is the angle in radians after which the two equal fingers meet the same shape again; 0 means any angle.
    """

    name: str
    mesh: Mesh
    height: float
    radius: float
    grip: float
    turn: float


def _mesh(vertices: Sequence[Vector], faces: Sequence[tuple[int, ...]], *, convex: bool, dark: int = 0) -> Mesh:
    """Make a mesh whose last `dark` faces are dark."""
    normals, centres = [], []
    for face in faces:
        corners = [vertices[v] for v in face]
        total: Vector = (0.0, 0.0, 0.0)  # Newell's normal, right for faces that are not convex
        for a, b in zip(corners, [*corners[1:], corners[0]], strict=True):
            total = add(total, cross(a, b))
        normals.append(normalise(total))
        x, y, z = zip(*corners, strict=True)
        centres.append((sum(x) / len(x), sum(y) / len(y), sum(z) / len(z)))
    offsets = np.array([dot(n, c) for n, c in zip(normals, centres, strict=True)])
    shades = np.array([1.0] * (len(faces) - dark) + [0.55] * dark)
    x, y, z = zip(*vertices, strict=True)
    middle = (min(x) + max(x)) / 2, (min(y) + max(y)) / 2, (min(z) + max(z)) / 2
    return Mesh(_axes(vertices), tuple(faces), _axes(normals), _axes(centres), offsets, shades, convex, middle)


def _axes(points: Sequence[Vector]) -> tuple[Floats, Floats, Floats]:
    x, y, z = np.ascontiguousarray(np.array(points, np.float64).T)
    return x, y, z


def prism(outline: Sequence[Point], height: float, top: float = 1.0, base: float = 0.0, convex: bool = True) -> Mesh:
    """Extrude an outline from z = base to height; `top` scales the upper outline."""
    if sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(outline, [*outline[1:], outline[0]], strict=True)) < 0:
        outline = outline[::-1]
    n = len(outline)
    vertices = [(x, y, base) for x, y in outline] + [(x * top, y * top, height) for x, y in outline]
    sides = [(i, (i + 1) % n, n + (i + 1) % n, n + i) for i in range(n)]
    return _mesh(vertices, [*sides, tuple(range(n, 2 * n)), tuple(reversed(range(n)))], convex=convex)


def box(x: Point, y: Point, z: Point) -> Mesh:
    """Make a box between the given coordinates."""
    return prism([(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])], z[1], base=z[0])


def darken_faces(mesh: Mesh, normal: Vector, shade: float) -> Mesh:
    """Return the mesh with the faces of the given normal drawn darker."""
    same = np.array([dot(normal, n) > 0.99 for n in zip(*mesh.normals, strict=True)])
    return replace(mesh, shades=np.where(same, shade, mesh.shades))


def circle(radius: float, n: int, phase: float = 0.0) -> list[Point]:
    """Return a regular n-gon, counter-clockwise."""
    return [_polar(radius, phase + 2 * math.pi * i / n) for i in range(n)]


def _polar(radius: float, angle: float) -> Point:
    return radius * math.cos(angle), radius * math.sin(angle)


def _cup() -> Mesh:
    """Make a cup with its handle at -x, where fingers, which close along y, do not touch it."""
    n, height, low, high, floor = 20, 0.056, 0.021, 0.029, 0.012
    rings = [(low, 0.0), (high, height), (high - 0.003, height), (low - 0.001, floor)]
    vertices: list[Vector] = [(x, y, z) for radius, z in rings for x, y in circle(radius, n)]

    def ring(a: int, b: int) -> list[tuple[int, ...]]:
        return [(a * n + i, a * n + (i + 1) % n, b * n + (i + 1) % n, b * n + i) for i in range(n)]

    arc = [math.pi * (0.5 + i / 6) for i in range(7)]
    handle: list[tuple[int, ...]] = []
    for i, angle in enumerate(arc):
        start = len(vertices)
        for radius, y in ((0.0185, -0.0035), (0.0185, 0.0035), (0.0125, 0.0035), (0.0125, -0.0035)):
            vertices.append((-0.0235 + radius * math.cos(angle), y, 0.030 + radius * math.sin(angle)))
        if i:
            a, b = start - 4, start
            handle += [(a + j, b + j, b + (j + 1) % 4, a + (j + 1) % 4) for j in range(4)]
    # The floor of the cup and its inner wall come last: they are dark.
    faces = [*ring(0, 1), *ring(1, 2), *handle, *ring(2, 3), tuple(range(3 * n, 4 * n))]
    return _mesh(vertices, faces, convex=False, dark=n + 1)


def _star() -> list[Point]:
    return [_polar((0.037, 0.0165)[i % 2], 2 * math.pi * i / 10) for i in range(10)]


def _heart() -> list[Point]:
    points = []
    for i in range(28):
        t = 2 * math.pi * i / 28
        across = 16 * math.sin(t) ** 3
        along = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((-0.00205 * (along + 2.5), 0.00205 * across))
    return points


def _moon() -> list[Point]:
    """Return a crescent: a circle minus another one."""
    outer = [_polar(0.035, math.radians(-130 + 13 * i)) for i in range(21)]
    tip = outer[-1]
    reach = math.atan2(tip[1], tip[0] + 0.016)
    radius = math.sqrt((tip[0] + 0.016) ** 2 + tip[1] ** 2)
    inner = [_polar(radius, reach - 2 * reach * i / 15) for i in range(1, 15)]
    return [(x - 0.006, y) for x, y in outer + [(x - 0.016, y) for x, y in inner]]


def _shapes() -> dict[str, Shape]:
    quarter, any_turn = math.pi / 2, 0.0
    shapes = [
        Shape("cube", box((-0.026, 0.026), (-0.026, 0.026), (0, 0.052)), 0.052, 0.034, 0.052, quarter),
        Shape("cup", _cup(), 0.056, 0.032, 0.054, math.pi),
        Shape("ball", prism(circle(0.027, 16), 0.054), 0.054, 0.027, 0.052, any_turn),
        Shape("cylinder", prism(circle(0.024, 24), 0.062), 0.062, 0.024, 0.048, any_turn),
        Shape("star", prism(_star(), 0.028, convex=False), 0.028, 0.035, 0.044, 2 * math.pi / 5),
        Shape("heart", prism(_heart(), 0.028, convex=False), 0.028, 0.034, 0.056, math.pi),
        Shape("moon", prism(_moon(), 0.028, convex=False), 0.028, 0.034, 0.060, math.pi),
        Shape("hexagon", prism(circle(0.031, 6, math.pi / 6), 0.030), 0.030, 0.031, 0.054, math.pi / 3),
    ]
    return {shape.name: shape for shape in shapes}


BALL_RADIUS = 0.027
SHAPES = _shapes()
PLATE = prism(circle(0.046, 40), 0.010, top=1.36)
PLATE_RADIUS, PLATE_FLOOR = 0.0626, 0.0102
PLATE_INNER = [(x, y, PLATE_FLOOR) for x, y in circle(0.045, 40)]
