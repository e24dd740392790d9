"""Drift: how far decoded actions have led away from the stored ones by the end of an episode.

The steps of an episode are composed twice from one pose, as they are stored and as they decode, in the frame of the
action (`rt2data.robot.compose`); the two last poses are compared. Absolute poses and values do not add up: there the
last steps are compared. Grippers, and numbers in units of a controller, have no part in it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from rt2data.robot import compose, rotation
from rt2data.robot.compose import PLANE, Body
from rt2data.robot.fields import TRANSLATION, RobotFields, split_dimension

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

POSITION, ROTATION, UNIT = "position_mm", "rotation_deg", "unit."


def list_followed(robot: RobotFields) -> list[int]:
    """The positions of the dimensions that drift or can be clipped: all but the grippers."""
    return [i for i, name in enumerate(robot.dims) if split_dimension(name)[1] != "gripper"]


def list_absolute(robot: RobotFields) -> list[str]:
    """The names of the dimensions whose error is that of an episode's last step: absolute ones."""
    return [robot.dims[i] for i in list_followed(robot) if i in robot.held]


def end_errors(
    robot: RobotFields, stored: Floats, decoded: Floats, heads: Ints, sizes: Ints, hz: float | None = None
) -> dict[str, Floats]:
    """Compute the error at the end of each episode.

    Args:
        robot: what the dimensions mean.
        stored: float64 (T, D), the actions of many episodes, one episode after the other.
        decoded: float64 (T, D), what their bins decode to.
        heads: first row of each episode.
        sizes: rows of each episode, at least 1.
        hz: steps per second; None where it is not known, and velocities are left aside.

    Returns:
        float64 (episodes,) by name: POSITION in mm and ROTATION in degrees, the largest of the arms and the base; and
        for dimensions that belong to none of them, by UNIT and their unit, the largest error of one, such as
        ``unit.rad`` of joints. What the action does not say is not there.
    """
    errors: dict[str, Floats] = {}
    both = np.concatenate([stored, decoded])
    bodies = list(_bodies(robot))
    for body, absolute in bodies:
        begin, count = (heads + sizes - 1, np.ones_like(sizes)) if absolute else (heads, sizes)
        place, turn = compose.compose_displacement(
            body, both, np.concatenate([begin, begin + len(stored)]), np.concatenate([count, count])
        )
        if _knows_position(robot, body, absolute=absolute):
            _keep_largest(errors, POSITION, 1000.0 * _length(*np.split(place, 2)))
        if body.angles and _units(robot, body, body.angles) == {"rad"}:
            _keep_largest(errors, ROTATION, np.degrees(_angle(*np.split(turn, 2))))
    posed = {i for body, _ in bodies for i in body.columns.values()}
    for i in (i for i in list_followed(robot) if i not in posed):
        name, unit, apart = robot.dims[i], robot.units[i], decoded[:, i] - stored[:, i]
        if unit == "controller":
            continue
        if name not in robot.rates:
            _keep_largest(errors, UNIT + unit, np.abs(apart[heads + sizes - 1]))
        elif not unit.endswith("/s"):
            _keep_largest(errors, UNIT + unit, np.abs(np.add.reduceat(apart, heads)))
        elif hz:
            _keep_largest(errors, UNIT + unit.removesuffix("/s"), np.abs(np.add.reduceat(apart, heads)) / hz)
    return errors


def _bodies(robot: RobotFields) -> Iterator[tuple[Body, bool]]:
    """Yield the arms and the base, and whether the action holds their pose itself."""
    if robot.kind == "absolute":
        yield from ((arm, True) for arm in compose.list_arms(robot))
    yield from ((body, False) for body in compose.list_bodies(robot))


def _units(robot: RobotFields, body: Body, names: list[str]) -> set[str]:
    return {robot.units[body.columns[name]] for name in names}


def _knows_position(robot: RobotFields, body: Body, *, absolute: bool) -> bool:
    """Whether a body's way follows from its numbers: they are metres, and where it turns is known if that matters."""
    ways = [name for name in TRANSLATION if name in body.columns]
    if not ways or _units(robot, body, ways) != {"m"}:
        return False
    if absolute or not body.tool:
        return True
    if not body.angles:  # a base whose turn the action does not hold; an arm that does not turn
        return not PLANE.keys() >= {robot.dims[i] for i in body.columns.values()}
    return _units(robot, body, body.angles) == {"rad"}


def _keep_largest(errors: dict[str, Floats], name: str, values: Floats) -> None:
    errors[name] = np.maximum(errors[name], values) if name in errors else values


def _length(a: Floats, b: Floats) -> Floats:
    x, y, z = (b - a).T
    return np.asarray(np.sqrt(x * x + y * y + z * z))


def _angle(a: Floats, b: Floats) -> Floats:
    """The angle in radians, 0 to pi, between matrices (n, 3, 3); exact near 0, where an arc cosine is not."""
    between = rotation.product(rotation.transpose(a), b)
    x, y, z = (between[:, j, i] - between[:, i, j] for i, j in ((1, 2), (2, 0), (0, 1)))
    trace = between[:, 0, 0] + between[:, 1, 1] + between[:, 2, 2]
    return np.asarray(np.arctan2(np.sqrt(x * x + y * y + z * z), trace - 1.0))
