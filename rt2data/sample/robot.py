"""The robot arm of the tabletop world: its parts and how they look."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rt2data.sample.pose import Matrix, Vector, add, cross, dot, turned, unit
from rt2data.sample.render import Body, Camera, Colour, Light, Stroke, lit, scaled, tube
from rt2data.sample.shapes import Mesh, box, shaded

FINGER_GAP = 0.085  # metres between the fingers where openness is 1
FINGER_TIP = 0.014  # metres from the tool's point down to the finger tips
FINGER_BACK = 0.012  # metres from the tool's point to the fingers' flat side, along the tool's x
_FINGER = shaded(box((-FINGER_BACK, FINGER_BACK), (0.0, 0.012), (-FINGER_TIP, 0.050)), (0.0, -1.0, 0.0), 0.4)
_PALM = box((-0.022, 0.022), (-0.060, 0.060), (0.048, 0.074))
_HAND = box((-0.026, 0.026), (-0.034, 0.034), (0.074, 0.104))
_RUBBER: Colour = (56.0, 58.0, 64.0)

_BASE: Vector = (-0.03, 0.0, 0.0)
_SHOULDER: Vector = (-0.03, 0.0, 0.30)
_UPPER, _FORE = 0.42, 0.42  # lengths of the links, metres


@dataclass(frozen=True, slots=True)
class Arm:
    """The arm with its tool's point at `position`; tool z points up, the fingers close along tool y."""

    position: Vector
    turn: Matrix
    openness: float
    colour: Colour
    metal: Colour

    def at(self, local: Vector) -> Vector:
        """A point of the tool's frame in the world."""
        return add(self.position, turned(self.turn, local))

    def fingers(self) -> list[Body]:
        """Both fingers, their inner sides dark with rubber."""
        gap = self.openness * FINGER_GAP / 2
        a, b, c = self.turn
        # The other finger is the same one turned by half a circle about the tool's z.
        back: Matrix = (-a[0], -a[1], a[2]), (-b[0], -b[1], b[2]), (-c[0], -c[1], c[2])
        parts = []
        for turn in (self.turn, back):
            parts.append(Body(_FINGER, self.metal, add(self.position, turned(turn, (0.0, gap, 0.0))), turn))
        return parts

    def hand(self) -> list[Body]:
        return [self._part(_HAND, self.metal), self._part(_PALM, _RUBBER)]

    def _part(self, mesh: Mesh, colour: Colour) -> Body:
        return Body(mesh, colour, self.position, self.turn)

    def links(self, camera: Camera, light: Light) -> list[Stroke]:
        """The arm from its base to the hand."""
        flange, wrist = self.at((0.0, 0.0, 0.104)), self.at((0.0, 0.0, 0.140))
        base, shoulder, elbow, end, last = (camera.pixel(p) for p in (_BASE, _SHOULDER, _elbow(wrist), wrist, flange))
        colour = scaled(lit(self.colour, light), light.ambient + 0.55 * light.lamp)
        metal = scaled(lit(self.metal, light), light.ambient + 0.55 * light.lamp)
        found = tube(base, shoulder, (0.075, 0.055), colour)
        found += tube(shoulder, elbow, (0.052, 0.044), colour)
        found += tube(elbow, end, (0.043, 0.033), colour)
        return found + tube(end, last, (0.034, 0.031), metal)


def _elbow(wrist: Vector) -> Vector:
    """Where the elbow is: in the upright plane through shoulder and wrist, above the line between them."""
    line = add(wrist, _SHOULDER, -1.0)
    reach = math.sqrt(dot(line, line))
    along = (_UPPER * _UPPER - _FORE * _FORE + reach * reach) / (2 * reach)
    height = math.sqrt(max(_UPPER * _UPPER - along * along, 0.0))
    ahead = scaled(line, 1 / reach)
    up = unit(cross(ahead, unit((-line[1], line[0], 0.0))))
    return add(add(_SHOULDER, ahead, along), scaled(up, -1.0) if up[2] < 0 else up, height)
