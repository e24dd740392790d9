"""A second computation of drift: one episode, one step at a time. It shares no code with rt2data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from support.scalar_steps import matrix

Actions = Sequence[Sequence[float]]

POSE = ("x", "y", "z", "roll", "pitch", "yaw")
BASE = {"base_forward": "x", "base_left": "y", "base_turn": "yaw"}


def end_errors(robot: Any, stored: Actions, decoded: Actions, hz: float | None) -> dict[str, float]:
    """The errors of one episode by name, where they follow from its actions."""
    errors: dict[str, float] = {}

    def add(name: str, value: float) -> None:
        errors[name] = max(errors.get(name, 0.0), value)

    left = {i for i, name in enumerate(robot.dims) if not name.endswith("gripper")}
    for columns, tool, last in bodies(robot):
        left -= set(columns.values())
        ways = {robot.units[columns[name]] for name in POSE[:3] if name in columns}
        turns = {robot.units[columns[name]] for name in POSE[3:] if name in columns}
        base = any(name.startswith("base_") for name in robot.dims) and tool and not last and len(columns) < 4
        (p, a), (q, b) = (
            followed(columns, [actions[-1]] if last else actions, tool=tool) for actions in (stored, decoded)
        )
        if ways == {"m"} and (last or not tool or turns == {"rad"} or (not turns and not base)):
            add("position_mm", 1000 * math.dist(p, q))
        if turns == {"rad"}:
            add("rotation_deg", math.degrees(2 * math.asin(min(1.0, float(np.linalg.norm(a - b)) / math.sqrt(8)))))
    for i in left:
        unit, apart = robot.units[i], [d[i] - s[i] for s, d in zip(stored, decoded, strict=True)]
        if unit == "controller":
            continue
        if robot.dims[i] not in robot.rates:
            add("unit." + unit, abs(apart[-1]))
        elif unit.endswith("/s"):
            if hz:
                add("unit." + unit[:-2], abs(sum(apart)) / hz)
        else:
            add("unit." + unit, abs(sum(apart)))
    return errors


def bodies(robot: Any) -> list[tuple[dict[str, int], bool, bool]]:
    """Of each arm and base the columns, whether they are in its own frame, and whether they are its pose itself."""
    arms: dict[str, dict[str, int]] = {}
    for i, name in enumerate(robot.dims):
        arm, _, which = name.rpartition("_")
        if which in POSE:
            arms.setdefault(arm, {})[which] = i
    found = [(columns, robot.frame == "tool", robot.kind == "absolute") for columns in arms.values()]
    base = {
        BASE[name]: i
        for i, name in enumerate(robot.dims)
        if name in BASE and name in robot.rates and not robot.units[i].endswith("/s")
    }
    return [*found, (base, True, False)] if len(base) > 1 else found


def followed(columns: dict[str, int], actions: Actions, *, tool: bool) -> tuple[Any, Any]:
    """The last position and rotation of a body that takes some actions."""
    place, turn = np.zeros(3), np.eye(3)
    for action in actions:
        full = [float(action[columns[name]]) if name in columns else 0.0 for name in POSE]
        moved, turned = np.array(full[:3]), matrix(*full[3:])
        place = place + (turn @ moved if tool else moved)
        turn = turn @ turned if tool else turned @ turn
    return place, turn
