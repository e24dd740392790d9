"""A second computation of relative chunks: a step is a list of numbers, taken one at a time, in plain Python.

It shares no code with rt2data. Rotations are roll, pitch, yaw with R = Rz(yaw) Ry(pitch) Rx(roll).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Matrix = list[list[float]]
Pose = tuple[list[float], Matrix]
POSE = ("x", "y", "z", "roll", "pitch", "yaw")


def make_relative(chunk: Sequence[Sequence[float]], state: Sequence[float], rules: Sequence[str], dims: Any) -> Any:
    """The steps of a chunk of absolute actions against the state at its start."""
    out = []
    for step in chunk:
        one = [a - s if rule == "subtract" else a for a, s, rule in zip(step, state, rules, strict=True)]
        for arm, rule in arms(dims, rules).items():
            at, origin = pose(step, dims, arm), pose(state, dims, arm)
            seen = between(origin, at, tool=rule == "pose_tool")
            put(one, seen, dims, arm)
        out.append(one)
    return out


def compose(chunk: Sequence[Sequence[float]], rules: Sequence[str], dims: Any) -> Any:
    """The steps of a chunk of displacements, each against the step before, as displacements from its start."""
    out = [list(chunk[0])]
    for number, step in enumerate(chunk[1:], 1):
        one = list(step)
        for arm, rule in arms(dims, rules).items():
            whole = pose(chunk[0], dims, arm)
            for later in chunk[1 : number + 1]:
                whole = after(whole, pose(later, dims, arm), tool=rule == "pose_tool")
            put(one, whole, dims, arm)
        out.append(one)
    return out


def target(state: Sequence[float], move: Sequence[float], dims: Any, *, tool: bool) -> list[float]:
    """The absolute pose of each arm that a displacement from `state` commands; other dimensions as in `move`."""
    out = list(move)
    for arm in arms(dims, ["pose_base" if last(name) in POSE else "none" for name in dims]):
        put(out, after(pose(state, dims, arm), pose(move, dims, arm), tool=tool), dims, arm)
    return out


def arms(dims: Sequence[str], rules: Sequence[str]) -> dict[str, str]:
    return {name.rpartition("_")[0]: rule for name, rule in zip(dims, rules, strict=True) if rule.startswith("pose")}


def last(name: str) -> str:
    return name.rpartition("_")[2]


def pose(values: Sequence[float], dims: Sequence[str], arm: str) -> Pose:
    own = {last(name): float(v) for name, v in zip(dims, values, strict=True) if name.rpartition("_")[0] == arm}
    roll, pitch, yaw = (own.get(name, 0.0) for name in POSE[3:])
    turn = product(product(about(2, yaw), about(1, pitch)), about(0, roll))
    return [own.get(name, 0.0) for name in POSE[:3]], turn


def put(step: list[float], at: Pose, dims: Sequence[str], arm: str) -> None:
    turn = at[1]
    angles = [
        math.atan2(turn[2][1], turn[2][2]),
        math.asin(max(-1.0, min(1.0, -turn[2][0]))),
        math.atan2(turn[1][0], turn[0][0]),
    ]
    for i, name in enumerate(dims):
        if name.rpartition("_")[0] == arm and last(name) in POSE:
            step[i] = [*at[0], *angles][POSE.index(last(name))]


def after(start: Pose, move: Pose, *, tool: bool) -> Pose:
    way = rotated(start[1], move[0]) if tool else move[0]
    turn = product(start[1], move[1]) if tool else product(move[1], start[1])
    return [a + b for a, b in zip(start[0], way, strict=True)], turn


def between(start: Pose, end: Pose, *, tool: bool) -> Pose:
    back = [list(row) for row in zip(*start[1], strict=True)]
    way = [b - a for a, b in zip(start[0], end[0], strict=True)]
    return (rotated(back, way), product(back, end[1])) if tool else (way, product(end[1], back))


def about(axis: int, angle: float) -> Matrix:
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out = [[float(a == b) for b in range(3)] for a in range(3)]
    out[i][i] = out[j][j] = math.cos(angle)
    out[j][i], out[i][j] = math.sin(angle), -math.sin(angle)
    return out


def product(a: Matrix, b: Matrix) -> Matrix:
    return [[sum(a[i][k] * b[k][j] for k in range(3)) for j in range(3)] for i in range(3)]


def rotated(a: Matrix, v: Sequence[float]) -> list[float]:
    return [sum(a[i][k] * v[k] for k in range(3)) for i in range(3)]
