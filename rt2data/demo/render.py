"""Draw meshes as flat-shaded polygons, back to front, with Pillow at twice the size, to be reduced afterwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import ImageDraw

from rt2data.demo.pose import IDENTITY, Matrix, Vector, add, cross, dot, normalise, product, rotate, transpose
from rt2data.demo.shapes import Mesh, Point

Colour: TypeAlias = tuple[float, float, float]  # red, green, blue, each in [0, 255]
# A polygon of three or more corners, or the box of an ellipse as two corners; and its fill.
Stroke: TypeAlias = tuple[list[Point], tuple[int, int, int]]
Box: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom

SCALE = 2  # images are drawn this many times larger and reduced, which smooths edges


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera. Pixels are those of the large image, but for `width` and `height`.

    Attributes:
        axes: unit vectors right, down and forward.
        focal: focal length in pixels of the large image.
        width, height: of the finished image.
    """

    position: Vector
    axes: Matrix
    focal: float
    width: int
    height: int

    @classmethod
    def looking(cls, position: Vector, target: Vector, up: Vector, focal: float, size: tuple[int, int]) -> Camera:
        """Make a camera at `position` with `target` in the centre; `focal` in pixels of the finished image."""
        forward = normalise(add(target, position, -1.0))
        right = normalise(cross(forward, up))
        return cls(position, (right, cross(forward, right), forward), focal * SCALE, *size)

    def pixel(self, point: Vector) -> tuple[float, float, float]:
        """Project a point; returns x, y and the pixels per metre there."""
        x, y, z = rotate(self.axes, add(point, self.position, -1.0))
        k = self.focal / max(z, 0.02)
        return x * k + self.width, y * k + self.height, k

    def ground(self, points: Sequence[Point]) -> list[Point]:
        """Project points x, y on the table."""
        px, py, pz = self.position
        (ra, rb, rc), (da, db, dc), (fa, fb, fc) = self.axes
        pixels = []
        for x, y in points:
            x, y = x - px, y - py
            k = self.focal / max(fa * x + fb * y - fc * pz, 0.02)
            across, down = (ra * x + rb * y - rc * pz) * k, (da * x + db * y - dc * pz) * k
            pixels.append((across + self.width, down + self.height))
        return pixels

    def sees(self, point: Vector, radius: float) -> bool:
        """Return whether something of `radius` metres around a point may be in the image."""
        x, y, k = self.pixel(point)
        margin = radius * k
        return -margin < x < 2 * self.width + margin and -margin < y < 2 * self.height + margin

    def depth(self, point: Vector) -> float:
        """Return the distance of a point along the camera's forward axis, metres."""
        return dot(self.axes[2], add(point, self.position, -1.0))


@dataclass(frozen=True, slots=True)
class Light:
    """A far lamp: unit vector towards it, shares of ambient and lamp light, and colour (1 is white)."""

    towards: Vector
    ambient: float
    lamp: float
    tint: Colour


@dataclass(frozen=True, slots=True)
class Body:
    """A mesh at a pose in the world; `ball` is the radius of a ball, which is drawn as discs, else 0."""

    mesh: Mesh
    colour: Colour
    position: Vector
    turn: Matrix = IDENTITY
    ball: float = 0.0


def to_fill(colour: Colour) -> tuple[int, int, int]:
    """Convert a colour to that of Pillow; channels may be above 255, not below 0."""
    r, g, b = colour
    return min(255, int(r + 0.5)), min(255, int(g + 0.5)), min(255, int(b + 0.5))


def scale(v: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    """Multiply a vector or colour by a number."""
    return v[0] * factor, v[1] * factor, v[2] * factor


def tint(colour: Colour, light: Light) -> Colour:
    """Return a colour under the tint of the light."""
    return colour[0] * light.tint[0], colour[1] * light.tint[1], colour[2] * light.tint[2]


def draw_disc(x: float, y: float, radius: float, colour: Colour) -> Stroke:
    """Draw a filled circle."""
    return [(x - radius, y - radius), (x + radius, y + radius)], to_fill(colour)


def draw_body(body: Body, camera: Camera, light: Light) -> list[Stroke]:
    """Draw the faces of a body that look towards the camera, far ones first where they could hide each other."""
    if body.ball:
        return _ball_strokes(body, camera, light)
    mesh, back = body.mesh, transpose(body.turn)
    nx, ny, nz = mesh.normals
    # Eye, lamp and the light from above in the body's own frame: its faces need not be turned.
    ex, ey, ez = rotate(back, add(camera.position, body.position, -1.0))
    lx, ly, lz = rotate(back, light.towards)
    ax, ay, az = rotate(back, (0.0, 0.07 * light.ambient, 0.14 * light.ambient))
    facing = (nx * ex + ny * ey + nz * ez > mesh.offsets).tolist()
    lamp = np.maximum(nx * lx + ny * ly + nz * lz, 0.0) * light.lamp
    shade = (lamp + (nx * ax + ny * ay + nz * az + 0.86 * light.ambient)) * mesh.shades
    gloss = np.maximum(shade - 0.95, 0.0) * 120 + 0.5  # bright faces go towards white
    bands = [np.minimum(shade * c + gloss, 255.0).astype(np.int64).tolist() for c in tint(body.colour, light)]
    colours = list(zip(*bands, strict=True))
    corners = _project(body, camera)
    order: Sequence[int] = range(len(facing))
    if not mesh.convex:
        cx, cy, cz = mesh.centres
        far = (cx - ex) * (cx - ex) + (cy - ey) * (cy - ey) + (cz - ez) * (cz - ez)
        order = np.argsort(-far, kind="stable").tolist()
    faces = mesh.faces
    return [([corners[v] for v in faces[i]], colours[i]) for i in order if facing[i]]


def _project(body: Body, camera: Camera) -> list[Point]:
    """Project a body's vertices."""
    x, y, z = body.mesh.vertices
    px, py, pz = rotate(camera.axes, add(body.position, camera.position, -1.0))
    # Sums are written out, here and above: BLAS would round differently from machine to machine.
    (ra, rb, rc), (da, db, dc), (fa, fb, fc) = product(camera.axes, body.turn)
    k = camera.focal / np.maximum(fa * x + fb * y + fc * z + pz, 0.02)
    across, down = (ra * x + rb * y + rc * z + px) * k, (da * x + db * y + dc * z + py) * k
    return list(zip((across + camera.width).tolist(), (down + camera.height).tolist(), strict=True))


def _ball_strokes(body: Body, camera: Camera, light: Light) -> list[Stroke]:
    """Draw a ball as discs from dark and large to bright and small, moving towards the lamp."""
    x, y, k = camera.pixel(add(body.position, rotate(body.turn, (0.0, 0.0, body.ball))))
    radius = body.ball * k
    base = tint(body.colour, light)
    across, down = dot(camera.axes[0], light.towards), dot(camera.axes[1], light.towards)
    discs = []
    for i in range(14):
        t = i / 13
        shade = light.ambient * (0.72 + 0.4 * t) + light.lamp * min(1.0, 0.1 + 1.1 * t)
        gloss = 420.0 * max(0.0, t - 0.76)
        colour = (base[0] * shade + gloss, base[1] * shade + gloss, base[2] * shade + gloss)
        size = radius * math.sqrt(1.0 - t * t * 0.985)
        discs.append(
            draw_disc(x + across * radius * 0.58 * t, y + down * radius * 0.58 * t, size * (1 - 0.25 * t), colour)
        )
    return discs


def draw_tube(
    a: tuple[float, float, float], b: tuple[float, float, float], radii: Point, colour: Colour
) -> list[Stroke]:
    """Draw a tapered round bar between two projected points (Camera.pixel), with a lighter stripe and round ends."""
    ra, rb = radii[0] * a[2], radii[1] * b[2]
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = math.sqrt(dx * dx + dy * dy) or 1.0
    nx, ny = -dy / length, dx / length
    side = 1.0 if nx < 0 or (nx == 0 and ny < 0) else -1.0  # the stripe is on the left of the image
    drawn: list[Stroke] = []
    for t, shade in ((1.0, 0.64), (0.85, 0.77), (0.66, 0.89), (0.42, 1.0), (0.16, 1.08)):
        off = side * (1 - t) * 0.5
        ax, ay, wa = a[0] + nx * ra * off, a[1] + ny * ra * off, ra * t
        bx, by, wb = b[0] + nx * rb * off, b[1] + ny * rb * off, rb * t
        tone = scale(colour, shade)
        corners = [(ax + nx * wa, ay + ny * wa), (bx + nx * wb, by + ny * wb)]
        corners += [(bx - nx * wb, by - ny * wb), (ax - nx * wa, ay - ny * wa)]
        drawn += [(corners, to_fill(tone)), draw_disc(bx, by, wb, tone)]
        if t > 0.6:  # the narrow stripes meet those of the link before
            drawn.append(draw_disc(ax, ay, wa, tone))
    return drawn


def body_box(body: Body, camera: Camera) -> Box:
    """Return the box of a body, in pixels of the finished image."""
    x, y = zip(*_project(body, camera), strict=True)
    return min(x) / SCALE, min(y) / SCALE, max(x) / SCALE, max(y) / SCALE


def strokes_box(drawn: Sequence[Stroke]) -> Box:
    """Return the box of strokes."""
    x, y = zip(*[point for points, _ in drawn for point in points], strict=True)
    return min(x), min(y), max(x), max(y)


def join_boxes(a: Box, b: Box) -> Box:
    """Return the box around two boxes."""
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def boxes_overlap(a: Box, b: Box, margin: float = 0.0) -> bool:
    """Return whether two boxes share more than `margin` pixels across and down."""
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return across > margin and down > margin


def paint(draw: ImageDraw.ImageDraw, drawn: Sequence[Stroke], grey: int | None = None) -> None:
    """Paint strokes in their order, with their own fills or all in one grey."""
    for points, colour in drawn:
        if len(points) > 2:
            draw.polygon(points, fill=colour if grey is None else grey)
        else:
            draw.ellipse(points, fill=colour if grey is None else grey)


def shadow_outline(body: Body, light: Light) -> list[Point]:
    """Return the outline of a body's shadow on the table, x and y in metres."""
    x, y, z = body.mesh.vertices
    across, along, up = body.turn
    sx, sy = light.towards[0] / light.towards[2], light.towards[1] / light.towards[2]
    # The world's x less its z times the lamp's slope, for all vertices at once; the same for y.
    (xa, xb, xc), (ya, yb, yc) = add(across, up, -sx), add(along, up, -sy)
    px, py = body.position[0] - sx * body.position[2], body.position[1] - sy * body.position[2]
    xs, ys = (xa * x + xb * y + xc * z + px).tolist(), (ya * x + yb * y + yc * z + py).tolist()
    return convex_hull(list(zip(xs, ys, strict=True)))


def convex_hull(points: Sequence[Point]) -> list[Point]:
    """Return the convex hull of points in the plane, counter-clockwise (Andrew's monotone chain)."""

    def half(ordered: Sequence[Point]) -> list[Point]:
        chain: list[Point] = []
        for p in ordered:
            while len(chain) > 1:
                a, b = chain[-2], chain[-1]
                if (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]) > 0:
                    break
                chain.pop()
            chain.append(p)
        return chain[:-1]

    ordered = sorted(set(points))
    return half(ordered) + half(ordered[::-1]) if len(ordered) > 2 else ordered
