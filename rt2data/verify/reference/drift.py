"""How far a replay of decoded actions ends from one of stored actions: one episode, one step at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

Json = dict[str, Any]
Numbers = Sequence[float]
Matrix = tuple[Numbers, Numbers, Numbers]

_WAY, _TURN = ("x", "y", "z"), ("roll", "pitch", "yaw")
_BASE = {"base_forward": "x", "base_left": "y", "base_turn": "yaw"}


class Body(NamedTuple):
    """An arm or a base: the column of each of x y z roll pitch yaw that it has.

    `absolute`: they are its pose itself. `position` and `rotation`: whether these follow from the numbers.
    """

    columns: dict[str, int]
    tool: bool
    absolute: bool
    position: bool
    rotation: bool


class Replay:
    """Replays episodes of a source.

    Args:
        dims, units: of its actions.
        drift: what the manifest states, of which ``frame`` and ``last_step`` are taken as they are.
        seconds: duration of a step; 0 where it is not known.
    """

    def __init__(self, dims: Sequence[str], units: Sequence[str], drift: Json, seconds: float) -> None:
        self.dims, self.units, self.seconds = dims, units, seconds
        self.absolute, self.tool = set(drift["last_step"]), drift["frame"] == "tool"
        self.followed = [i for i, name in enumerate(dims) if name.rpartition("_")[2] != "gripper"]
        self.bodies = self._bodies()

    def _bodies(self) -> list[Body]:
        arms: dict[str, dict[str, int]] = {}
        for i, name in enumerate(self.dims):
            arm, _, last = name.rpartition("_")
            if last in _WAY + _TURN:
                arms.setdefault(arm, {})[last] = i
        bodies = []
        for columns in arms.values():
            absolute = any(self.dims[i] in self.absolute for i in columns.values())
            ways, turns = ({self.units[i] for w, i in columns.items() if w in which} for which in (_WAY, _TURN))
            free = absolute or not self.tool or turns <= {"rad"}
            position, rotation = ways == {"m"} and free, turns == {"rad"}
            bodies.append(Body(columns, self.tool, absolute, position, rotation))
        base = {
            _BASE[name]: i
            for i, name in enumerate(self.dims)
            if name in _BASE and name not in self.absolute and not self.units[i].endswith("/s")
        }
        if len(base) > 1:
            ways, turns = ({self.units[i] for w, i in base.items() if w in which} for which in (_WAY, _TURN))
            bodies.append(Body(base, True, False, ways == {"m"} and turns == {"rad"}, turns == {"rad"}))
        return bodies

    def errors(self, stored: list[Numbers], decoded: list[Numbers]) -> dict[str, float]:
        """The error at the end of an episode, by the names of the manifest; of other dimensions by ``unit UNIT``."""
        errors: dict[str, float] = {}

        def keep(name: str, value: float) -> None:
            errors[name] = max(value, errors.get(name, 0.0))

        rest = set(self.followed)
        for body in self.bodies:
            rest -= set(body.columns.values())
            first = -1 if body.absolute else 0
            (here, turned), (there, other) = _follow(body, stored[first:]), _follow(body, decoded[first:])
            if body.position:
                keep("position_mm", 1000 * math.dist(here, there))
            if body.rotation:
                # The distance between two rotations as matrices is 2 sqrt(2) sin(angle / 2).
                size = math.sqrt(sum(math.dist(a, b) ** 2 for a, b in zip(turned, other, strict=True)))
                keep("rotation_deg", math.degrees(2 * math.asin(min(1.0, size / math.sqrt(8)))))
        for i in rest:
            unit = self.units[i]
            apart = [b[i] - a[i] for a, b in zip(stored, decoded, strict=True)]
            if unit == "controller":
                continue
            if self.dims[i] in self.absolute:
                keep(f"unit {unit}", abs(apart[-1]))
            elif not unit.endswith("/s"):
                keep(f"unit {unit}", abs(math.fsum(apart)))
            elif self.seconds:
                keep(f"unit {unit.removesuffix('/s')}", abs(math.fsum(apart)) * self.seconds)
        return errors


def _follow(body: Body, actions: list[Numbers]) -> tuple[Numbers, Matrix]:
    """Where a body is after some actions, and how it is turned."""
    place: Numbers = (0.0, 0.0, 0.0)
    turn: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    for action in actions:
        moved = [action[body.columns[name]] if name in body.columns else 0.0 for name in _WAY]
        angles = [action[body.columns[name]] if name in body.columns else 0.0 for name in _TURN]
        if body.tool:
            moved = [sum(a * b for a, b in zip(row, moved, strict=True)) for row in turn]
        place = [a + b for a, b in zip(place, moved, strict=True)]
        if any(angles):
            turned = _matrix(*angles)
            turn = _product(turn, turned) if body.tool else _product(turned, turn)
    return place, turn


def _matrix(roll: float, pitch: float, yaw: float) -> Matrix:
    (cr, cp, cy), (sr, sp, sy) = ([f(angle) for angle in (roll, pitch, yaw)] for f in (math.cos, math.sin))
    return (
        (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
        (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
        (-sp, cp * sr, cp * cr),
    )


def _product(a: Matrix, b: Matrix) -> Matrix:
    x, y, z = ([sum(p * q for p, q in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a)
    return x, y, z


def quantile(ordered: list[float], share: float) -> float:
    """The value at a share of sorted values, linear between the two nearest."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
