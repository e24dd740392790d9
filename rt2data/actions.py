"""From a dataset's own fields to the canonical action of each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rt2data.declaration import Robot
from rt2data.errors import Rt2dataError

Array = npt.NDArray[Any]


def canonical(robot: Robot, read: Callable[[str], Array], steps: int, where: str) -> npt.NDArray[np.float64]:
    """The action of every step, as the declaration composes it.

    Args:
        robot: the declaration.
        read: gives a numeric field's values, shape (steps, ...).
        steps: length of the episode.
        where: dataset, part and episode, for errors.

    Returns:
        float64 (steps, D) in the order of ``robot.dims``; metres, radians, gripper openness for an arm.
    """
    out = np.empty((steps, len(robot.dims)), np.float64)
    for term in robot.terms:
        values = read(term.field)
        if values.dtype.kind not in "fiub" or values.ndim not in (1, 2) or len(values) != steps:
            expected = f"numbers of shape (T,) or (T, n), T = {steps}"
            raise Rt2dataError(where, f"{term.field} is {values.dtype} of shape {values.shape}", expected)
        table = values.reshape(steps, -1)
        columns = term.columns if term.columns is not None else tuple(range(table.shape[1]))
        if len(columns) != len(term.to) or (columns and max(columns) >= table.shape[1]):
            wanted = f"(T, {max(columns, default=0) + 1 if term.columns is not None else len(term.to)})"
            raise Rt2dataError(where, f"{term.field} has shape {values.shape}", wanted)
        for column, name in zip(columns, term.to, strict=True):
            out[:, robot.dims.index(name)] = table[:, column]
    return out


def terminate(robot: Robot, flags: Mapping[str, Array], steps: int) -> npt.NDArray[np.bool_]:
    """Whether each step ends the episode, bool (steps,). `flags` holds the RLDS flag that the rule names."""
    if robot.terminate in ("is_last", "is_terminal"):
        return np.asarray(flags[f"steps/{robot.terminate}"], np.bool_).reshape(steps)
    out = np.zeros(steps, np.bool_)
    if robot.terminate == "last_step":
        out[-1:] = True
    return out


def valid(robot: Robot, flags: Mapping[str, Array], steps: int) -> npt.NDArray[np.bool_]:
    """Whether each step's action means something, bool (steps,)."""
    if robot.valid_action == "not_last":
        return ~np.asarray(flags["steps/is_last"], np.bool_).reshape(steps)
    return np.ones(steps, np.bool_)


def flag_fields(robot: Robot) -> tuple[str, ...]:
    """The RLDS flags that `terminate` and `valid` need."""
    wanted = {f"steps/{robot.terminate}"} if robot.terminate in ("is_last", "is_terminal") else set[str]()
    wanted |= {"steps/is_last"} if robot.valid_action == "not_last" else set()
    return tuple(sorted(wanted))


def at_rest(robot: Robot, action: npt.NDArray[np.float64], ok: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """`action` with each row that is not `ok` replaced by rest: displacement 0 and the gripper of the step before.

    The first step has none before it and takes that of the first valid step; dimensions of an absolute action hold.
    """
    if ok.all():
        return action
    out = action.copy()
    gripper = [i for i, name in enumerate(robot.dims) if name == "gripper" or robot.kind == "absolute"]
    last = int(np.argmax(ok)) if ok.any() else -1
    for row in range(len(out)):
        if ok[row]:
            last = row
            continue
        out[row] = 0.0
        if last >= 0:
            out[row, gripper] = action[last, gripper]
    return out
