"""A scene of the demo world: what is on the table, its light, and the images of both cameras."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFilter

from rt2data.demo.pose import Matrix, Vector, add, cross, normalise, rotate
from rt2data.demo.render import (
    SCALE,
    Body,
    Box,
    Camera,
    Colour,
    Light,
    Stroke,
    boxes_overlap,
    draw_body,
    join_boxes,
    paint,
    shadow_outline,
    strokes_box,
)
from rt2data.demo.robot import FOOT, Arm, draw_pillar
from rt2data.demo.shapes import BALL_RADIUS, PLATE, PLATE_INNER, SHAPES, Point
from rt2data.demo.surface import TABLES, make_table_top, make_wall

PRIMARY, WRIST = (320, 256), (96, 96)  # width and height of the two cameras' images
SEEN = 30  # pixels of an object from which it counts as seen
COLOURS: dict[str, Colour] = {
    "red": (208.0, 44.0, 40.0),
    "orange": (242.0, 128.0, 26.0),
    "yellow": (246.0, 208.0, 46.0),
    "green": (46.0, 152.0, 72.0),
    "blue": (44.0, 94.0, 204.0),
    "purple": (132.0, 66.0, 174.0),
}
_SHADOW = (16, 15, 20)
_LAST = 255  # the number of the plate, after those of all objects
_PLATE: Colour = (226.0, 228.0, 230.0)
# The table's texture: pixels across, pixels per metre, and x and y in metres of its first pixel.
_TEXTURE, _DENSITY, _X, _Y = 1024, 640.0, -0.45, -0.80
_EDGE = ((-0.24, -0.66), (-0.24, 0.66), (0.98, 0.66), (0.98, -0.66))  # the table's corners, metres
_PAINTS = (
    (236.0, 236.0, 232.0),
    (228.0, 126.0, 46.0),
    (84.0, 92.0, 106.0),
    (214.0, 204.0, 90.0),
    (120.0, 160.0, 196.0),
)
_TINTS = ((1.0, 1.0, 1.0), (1.03, 1.0, 0.94), (0.96, 0.99, 1.04), (1.02, 0.99, 0.97))


@dataclass(frozen=True, slots=True)
class Thing:
    """An object: names of its shape and colour, position of its foot (metres), and orientation."""

    shape: str
    colour: str
    position: Vector
    turn: Matrix

    def body(self) -> Body:
        ball = BALL_RADIUS if self.shape == "ball" else 0.0
        return Body(SHAPES[self.shape].mesh, COLOURS[self.colour], self.position, self.turn, ball)


class _Piece(NamedTuple):
    """What is drawn as one: how far away it is, its strokes and their box in the large image, and its object's number.

    Number 0 is the robot's.
    """

    depth: float
    marks: list[Stroke]
    box: Box
    number: int = 0


def make_camera(rng: Random) -> Camera:
    """Draw a primary camera: before the table, higher than the objects, facing the robot."""
    side = rng.uniform(-0.30, 0.30)
    position = rng.uniform(1.04, 1.14), side, rng.uniform(0.56, 0.68)
    target = rng.uniform(0.41, 0.43), side * 0.1, 0.10
    return Camera.looking(position, target, (0.0, 0.0, 1.0), rng.uniform(390.0, 414.0), PRIMARY)


class Scene:
    """A lit table with objects that stand `still` and perhaps a plate; images add the robot and what moves.

    `paint` is the colour of the robot.
    """

    def __init__(
        self,
        rng: Random,
        camera: Camera,
        tables: Mapping[str, Image.Image],
        still: Sequence[Thing],
        plate: Vector | None = None,
    ) -> None:
        self.camera, self.still = camera, [thing.body() for thing in still]
        self.plate = Body(PLATE, _PLATE, plate) if plate else None
        towards = normalise((rng.uniform(-0.1, 0.6), rng.uniform(-0.7, 0.7), 1.0))
        self.light = Light(towards, rng.uniform(0.52, 0.62), rng.uniform(0.44, 0.56), rng.choice(_TINTS))
        self.paint = rng.choice(_PAINTS)
        self._texture = self._table(tables[rng.choice(sorted(tables))])
        self._still = [self._piece(body, number) for number, body in enumerate(self.still, 1)]
        self._under = [self._piece(self.plate, _LAST)] if self.plate else []
        self._known: dict[tuple[int, Box], Box | None] = {}  # boxes of objects that nothing hides
        self._mask = Image.new("L", (camera.width * SCALE, camera.height * SCALE))  # black, but while a box is sought
        self._base = self._background(rng)

    def _table(self, style: Image.Image) -> Image.Image:
        """Return the table's texture with the shadows of what stands still."""
        texture = style.copy()
        for body in [FOOT, *self.still, *([self.plate] if self.plate else [])]:
            outline = [((x - _X) * _DENSITY, (y - _Y) * _DENSITY) for x, y in shadow_outline(body, self.light)]
            _darken(texture, [outline], 2, 2.2)
        return texture

    def _background(self, rng: Random) -> Image.Image:
        """Draw all that never moves as the primary camera sees it, large."""
        width, height = self.camera.width * SCALE, self.camera.height * SCALE
        image = make_wall(rng, width, height)
        mask = Image.new("L", (width, height), 0)
        corners = [self.camera.pixel((x, y, 0.0))[:2] for x, y in _EDGE]
        ImageDraw.Draw(mask).polygon(corners, fill=255)
        image.paste(self._plane(self.camera, SCALE, Image.Resampling.NEAREST), (0, 0), mask)
        draw = ImageDraw.Draw(image)
        self._draw_plate(draw, self.camera)
        paint(draw, draw_pillar(self.paint, self.camera, self.light))
        for piece in sorted(self._still, key=_nearness):
            paint(draw, piece.marks)
        return image

    def _piece(self, body: Body, number: int = 0) -> _Piece:
        marks = draw_body(body, self.camera, self.light)
        return _Piece(self.camera.depth(body_middle(body)), marks, strokes_box(marks), number)

    def _draw_plate(self, draw: ImageDraw.ImageDraw, camera: Camera) -> None:
        if self.plate:
            paint(draw, draw_body(self.plate, camera, self.light))
            x, y, _ = self.plate.position
            inner = [camera.pixel((x + a, y + b, c))[:2] for a, b, c in PLATE_INNER]
            draw.polygon(inner, fill=(206, 208, 212))

    def _plane(self, camera: Camera, scale: int, resample: Image.Resampling) -> Image.Image:
        """Draw the table's plane as a camera sees it, `scale` times the size of the finished image."""
        half, f = scale / 2, camera.focal * scale / SCALE
        columns = []  # of the homography from texture pixels to the image's
        origin = add((_X, _Y, 0.0), camera.position, -1.0)
        for v in ((1 / _DENSITY, 0.0, 0.0), (0.0, 1 / _DENSITY, 0.0), origin):
            x, y, z = rotate(camera.axes, v)
            columns.append((f * x + camera.width * half * z, f * y + camera.height * half * z, z))
        a, b, c = columns
        inverse = [*cross(b, c), *cross(c, a), *cross(a, b)]
        coefficients = [v / inverse[8] for v in inverse[:8]]
        size, kind = (camera.width * scale, camera.height * scale), Image.Transform.PERSPECTIVE
        return self._texture.transform(size, kind, coefficients, resample, fillcolor=(60, 56, 54))

    def render_primary(self, arm: Arm, moving: Sequence[Thing]) -> Image.Image:
        """Render the image of the primary camera."""
        bodies, hand = [thing.body() for thing in moving], [*arm.fingers(), *arm.hand()]
        return self._primary(arm, bodies, hand, [shadow_outline(body, self.light) for body in (*bodies, *hand)])[0]

    def render(self, arm: Arm, moving: Sequence[Thing]) -> tuple[Image.Image, Image.Image, list[Box | None]]:
        """Render the images of the primary and the wrist camera.

        Returns:
            both images; and the boxes of what the primary one shows of each thing that stands still, each that moves,
            and the plate, where there is one: left, top, right, bottom in whole pixels, the last not included. None
            where less than `SEEN` pixels are to be seen.
        """
        bodies, fingers, hand = [thing.body() for thing in moving], arm.fingers(), arm.hand()
        shadows = [shadow_outline(body, self.light) for body in (*bodies, *fingers, *hand)]
        primary, drawn = self._primary(arm, bodies, [*fingers, *hand], shadows)
        return primary, self._wrist(arm, bodies, fingers, shadows), self._seen(drawn)

    def _primary(
        self, arm: Arm, bodies: list[Body], hand: list[Body], shadows: list[list[Point]]
    ) -> tuple[Image.Image, list[_Piece]]:
        """Return the image, and what was drawn over all that never moves, in its order."""
        image = self._base.copy()
        camera, light = self.camera, self.light
        box = _darken(image, [camera.ground(outline) for outline in shadows], 4, 1.6)
        parts = [self._piece(body) for body in hand]
        behind = max(part.depth for part in parts) + 0.001
        links = [_Piece(behind, marks, strokes_box(marks)) for marks in arm.links(camera, light)]
        first = len(self.still) + 1
        loose = [*(self._piece(body, number) for number, body in enumerate(bodies, first)), *links, *parts]
        for piece in loose:
            box = join_boxes(box, piece.box)
        # What stands still is in the base already; it is drawn again where what moves may hide it.
        near = [still for still in self._still if boxes_overlap(box, still.box)]
        draw, drawn = ImageDraw.Draw(image), sorted([*near, *loose], key=_nearness)
        for piece in drawn:
            paint(draw, piece.marks)
        return image.reduce(SCALE), drawn

    def _seen(self, drawn: list[_Piece]) -> list[Box | None]:
        """Find what is to be seen of each object, in the order of their numbers."""
        again = {piece.number for piece in drawn}
        base = sorted((piece for piece in self._still if piece.number not in again), key=_nearness)
        pieces = [*self._under, *base, *drawn]
        found = {}
        for place, piece in enumerate(pieces):
            if piece.number:
                after = pieces[place + 1 :]  # edges are drawn wider than their box
                hiding = [other for other in after if boxes_overlap(piece.box, other.box, -2.0)]
                key = piece.number, piece.box
                if hiding or key not in self._known:
                    found[piece.number] = self._find_box(piece, hiding)
                    if not hiding:
                        self._known[key] = found[piece.number]
                else:
                    found[piece.number] = self._known[key]
        return [found[number] for number in sorted(found)]

    def _find_box(self, piece: _Piece, hiding: list[_Piece]) -> Box | None:
        """Paint an object white, what hides it black, and return the box of what is left, in pixels of the image."""
        width, height = self._mask.size
        left, top, right, bottom = piece.box
        area = max(0, int(left) - 1), max(0, int(top) - 1), min(width, int(right) + 2), min(height, int(bottom) + 2)
        draw = ImageDraw.Draw(self._mask)
        paint(draw, piece.marks, 255)
        for other in hiding:
            paint(draw, other.marks, 0)
        mask = self._mask.crop(area)
        self._mask.paste(0, area)
        inner = mask.getbbox()
        if inner is None or mask.histogram()[255] < SEEN * SCALE * SCALE:
            return None
        left, top, right, bottom = inner
        left, top, right, bottom = left + area[0], top + area[1], right + area[0], bottom + area[1]
        return left // SCALE, top // SCALE, -(-right // SCALE), -(-bottom // SCALE)

    def _wrist(self, arm: Arm, bodies: list[Body], fingers: list[Body], shadows: list[list[Point]]) -> Image.Image:
        camera = make_wrist_camera(arm)
        # The table has no sharp edges here: it is drawn in the final size, smoothly, and enlarged for the rest.
        plane = self._plane(camera, 1, Image.Resampling.BILINEAR)
        image = plane.resize((SCALE * plane.width, SCALE * plane.height), Image.Resampling.NEAREST)
        draw = ImageDraw.Draw(image)
        self._draw_plate(draw, camera)
        _darken(image, [camera.ground(outline) for outline in shadows], 4, 1.6)
        near = [b for b in (*self.still, *bodies) if camera.sees(body_middle(b), 0.045)]
        for body in sorted([*near, *fingers], key=lambda b: -camera.depth(body_middle(b))):
            paint(draw, draw_body(body, camera, self.light))
        return image.reduce(SCALE)


def _darken(image: Image.Image, outlines: list[list[Point]], scale: int, blur: float) -> Box:
    """Darken an image inside of outlines, softly; returns the box that changed.

    The mask is made `scale` times smaller and enlarged, for speed.
    """
    xs, ys = [x for o in outlines for x, _ in o], [y for o in outlines for _, y in o]
    left, top = max(0, int(min(xs) / scale) - 5), max(0, int(min(ys) / scale) - 5)
    right = min(image.width // scale, int(max(xs) / scale) + 6)
    bottom = min(image.height // scale, int(max(ys) / scale) + 6)
    box = (left * scale, top * scale, right * scale, bottom * scale)
    if left >= right or top >= bottom:
        return box
    mask = Image.new("L", (right - left, bottom - top), 0)
    draw = ImageDraw.Draw(mask)
    for outline in outlines:
        draw.polygon([(x / scale - left, y / scale - top) for x, y in outline], fill=115)
    mask = mask.filter(ImageFilter.BoxBlur(blur))
    mask = mask.resize((mask.width * scale, mask.height * scale), Image.Resampling.BILINEAR)
    image.paste(_SHADOW, box, mask)
    return box


def _nearness(piece: _Piece) -> float:
    return -piece.depth


def body_middle(body: Body) -> Vector:
    """Return the centre of a body in the world."""
    return add(body.position, rotate(body.turn, body.mesh.middle))


def make_wrist_camera(arm: Arm) -> Camera:
    """Make the camera on the hand's +x side, which looks down past the fingers."""
    up = rotate(arm.turn, (-1.0, 0.0, 0.4))
    return Camera.looking(arm.at((0.070, 0.0, 0.085)), arm.at((0.012, 0.0, -0.045)), up, 69.0, WRIST)


@functools.lru_cache(maxsize=2)
def make_tables(seed: int) -> dict[str, Image.Image]:
    """Make one texture per style; they are slow to make, so scenes share them and none changes them."""
    return {style: make_table_top(style, seed + 100 * i, _TEXTURE) for i, style in enumerate(TABLES)}
