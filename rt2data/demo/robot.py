"""The robot arm of the demo world: its parts and their looks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rt2data.demo.pose import Matrix, Vector, add, cross, dot, normalise, rotate
from rt2data.demo.render import Body, Camera, Colour, Light, Stroke, draw_body, draw_tube, scale, tint
from rt2data.demo.shapes import Mesh, box, circle, darken_faces, prism

FINGER_GAP = 0.085  # metres between the fingers where openness is 1
FINGER_TIP = 0.014  # metres from the tool's point down to the finger tips
FINGER_BACK = 0.012  # metres from the tool's point to the fingers' flat side, along the tool's x
_FINGER = darken_faces(box((-FINGER_BACK, FINGER_BACK), (0.0, 0.012), (-FINGER_TIP, 0.050)), (0.0, -1.0, 0.0), 0.4)
_PALM = box((-0.022, 0.022), (-0.060, 0.060), (0.048, 0.074))
_HAND = box((-0.026, 0.026), (-0.034, 0.034), (0.074, 0.104))
_METAL: Colour = (158.0, 162.0, 170.0)
_RUBBER: Colour = (56.0, 58.0, 64.0)

_BASE: Vector = (-0.03, 0.0, 0.05)
FOOT = Body(prism(circle(0.105, 28), 0.035, top=0.82), _RUBBER, (-0.03, 0.0, 0.0))  # what the arm stands on
_SHOULDER: Vector = (-0.03, 0.0, 0.30)
_UPPER, _FORE = 0.42, 0.42  # lengths of the links, metres


@dataclass(frozen=True, slots=True)
class Arm:
    """The arm with its tool point at `position`; tool z points up, the fingers close along tool y."""

    position: Vector
    turn: Matrix
    openness: float
    colour: Colour

    def at(self, local: Vector) -> Vector:
        """Return a point of the tool frame in the world."""
        return add(self.position, rotate(self.turn, local))

    def fingers(self) -> list[Body]:
        """Return both fingers; their inner sides are dark rubber."""
        gap = self.openness * FINGER_GAP / 2
        a, b, c = self.turn
        # The other finger is the same one turned by half a circle about the tool's z.
        back: Matrix = (-a[0], -a[1], a[2]), (-b[0], -b[1], b[2]), (-c[0], -c[1], c[2])
        return [Body(_FINGER, _METAL, add(self.position, rotate(t, (0.0, gap, 0.0))), t) for t in (self.turn, back)]

    def hand(self) -> list[Body]:
        """Return the parts that the fingers are fixed to."""
        return [self._part(_HAND, _METAL), self._part(_PALM, _RUBBER)]

    def _part(self, mesh: Mesh, colour: Colour) -> Body:
        return Body(mesh, colour, self.position, self.turn)

    def links(self, camera: Camera, light: Light) -> list[list[Stroke]]:
        """Draw the arm from its shoulder to the hand, link by link."""
        wrist = self.at((0.0, 0.0, 0.140))
        points = (_SHOULDER, _elbow(wrist), wrist, self.at((0.0, 0.0, 0.104)))
        shoulder, elbow, end, flange = (camera.pixel(p) for p in points)
        colour, metal = _shade(self.colour, light), _shade(_METAL, light)
        upper, fore = draw_tube(shoulder, elbow, (0.052, 0.044), colour), draw_tube(elbow, end, (0.043, 0.033), colour)
        return [upper, fore, draw_tube(end, flange, (0.034, 0.031), metal)]


def draw_pillar(colour: Colour, camera: Camera, light: Light) -> list[Stroke]:
    """Draw what never moves of the arm: its foot and the link up to the shoulder."""
    link = draw_tube(camera.pixel(_SHOULDER), camera.pixel(_BASE), (0.055, 0.066), _shade(colour, light))
    return draw_body(FOOT, camera, light) + link


def _shade(colour: Colour, light: Light) -> Colour:
    return scale(tint(colour, light), light.ambient + 0.55 * light.lamp)


def _elbow(wrist: Vector) -> Vector:
    """Place the elbow in the upright plane through shoulder and wrist, above the line between them."""
    line = add(wrist, _SHOULDER, -1.0)
    reach = math.sqrt(dot(line, line))
    along = (_UPPER * _UPPER - _FORE * _FORE + reach * reach) / (2 * reach)
    height = math.sqrt(max(_UPPER * _UPPER - along * along, 0.0))
    ahead = scale(line, 1 / reach)
    up = normalise(cross(ahead, normalise((-line[1], line[0], 0.0))))
    return add(add(_SHOULDER, ahead, along), scale(up, -1.0) if up[2] < 0 else up, height)
