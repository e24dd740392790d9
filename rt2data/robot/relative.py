"""Action chunks relative to the state at their start, and back.

Three rules. Each dimension of an action has one, or none, and then keeps its value:

- ``subtract``: action - state, number by number, angles as they are. That of openpi's `DeltaActions`
  (Physical-Intelligence/openpi@15a9616) and of LeRobot (huggingface/lerobot@7427f31, `to_relative_actions`).
- ``pose_base``: by matrices, in the frame of the robot's base: p - p0, R R0^-1.
- ``pose_tool``: by matrices, in the frame of the tool at the start: R0^-1 (p - p0), R0^-1 R, which is inverse(T0) T.
  That of GR00T's end-effector keys (NVIDIA/Isaac-GR00T, N1.6) and of UMI.

A rotation is roll, pitch, yaw (`rt2data.robot.rotation`). For angles of a radian the first rule and the others differ
by tenths of a radian, which is why no rule is called "relative" alone. Computed in float64 without BLAS, and rounded
once to the type of the actions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rt2data.errors import Rt2dataError
from rt2data.robot import rotation
from rt2data.robot.fields import ROTATION, TRANSLATION, split_dimension

__all__ = ["Pose", "absolute_pose", "compose_displacements", "make_absolute", "make_relative", "relative_pose"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

SUBTRACT, POSE_BASE, POSE_TOOL, NONE = "subtract", "pose_base", "pose_tool", "none"
RULES = (SUBTRACT, POSE_BASE, POSE_TOOL)
POSES = (POSE_BASE, POSE_TOOL)


class Pose(NamedTuple):
    """Poses: `position` float64 (n, 3) in metres, `turn` rotation matrices float64 (n, 3, 3)."""

    position: Floats
    turn: Floats


class Arm(NamedTuple):
    """An arm whose pose is relative: the column of each of x y z roll pitch yaw that it has, and the rule."""

    columns: dict[str, int]
    rule: str


def make_relative(actions: Array, state: Array, rules: Sequence[str], dims: Sequence[str] = ()) -> Array:
    """Make absolute actions relative to a state.

    Args:
        actions: float (..., H, D), the steps of chunks.
        state: float (..., D), that at each chunk's start, in the units of the actions. What it holds for a dimension
            without a rule is not looked at.
        rules: of each dimension, one of RULES, or ``none``.
        dims: names of the dimensions, which say what belongs to a pose: ``x`` to ``yaw``, ``left_x``. Only the rules
            of poses need them.

    Returns:
        The chunks, in the shape and type of `actions`.

    Raises:
        Rt2dataError: other shapes, integers, or dimensions that make no pose.
    """
    return _changed(actions, state, rules, dims, back=False)


def make_absolute(relative: Array, state: Array, rules: Sequence[str], dims: Sequence[str] = ()) -> Array:
    """Make relative actions absolute again: the inverse of `make_relative`, with the same arguments."""
    return _changed(relative, state, rules, dims, back=True)


def compose_displacements(chunks: Array, rules: Sequence[str], dims: Sequence[str]) -> Array:
    """Compose displacements, each against the step before, into displacements against the chunk's start.

    In the base frame p = p + dp, R = R(d) R; in the tool's p = p + R dp, R = R R(d). The first step keeps its numbers.

    Args:
        chunks: float (..., H, D).
        rules, dims: as for `make_relative`; dimensions by one of POSES are composed, the others keep their values.

    Returns:
        The chunks, in the shape and type of `chunks`.
    """
    values = chunks.astype(np.float64).reshape(-1, *chunks.shape[-2:])
    out = values.copy()
    for arm in list_arms(dims, rules):
        pose = read_pose(arm, values[:, 0])
        for step in range(1, values.shape[1]):
            move = read_pose(arm, values[:, step])
            # In the frame of the tool the move is seen from the pose before it; in the base's both are in one frame.
            pose = absolute_pose(move, pose, arm.rule)
            write_pose(arm, pose, out[:, step])
    return out.reshape(chunks.shape).astype(chunks.dtype)


def relative_pose(target: Pose, origin: Pose, rule: str) -> Pose:
    """Return `target` as seen from `origin`, by one of POSES."""
    moved, back = target.position - origin.position, rotation.transpose(origin.turn)
    if rule == POSE_TOOL:
        return Pose(rotation.rotate(back, moved), rotation.product(back, target.turn))
    return Pose(moved, rotation.product(target.turn, back))


def absolute_pose(relative: Pose, origin: Pose, rule: str) -> Pose:
    """Return the pose that is `relative` to `origin`: the inverse of `relative_pose`."""
    if rule == POSE_TOOL:
        moved = rotation.rotate(origin.turn, relative.position)
        return Pose(origin.position + moved, rotation.product(origin.turn, relative.turn))
    return Pose(origin.position + relative.position, rotation.product(relative.turn, origin.turn))


def list_arms(dims: Sequence[str], rules: Sequence[str]) -> Iterator[Arm]:
    """Yield the arms whose dimensions have one of POSES.

    Raises:
        Rt2dataError: dimensions that are no pose: of two rules, or of angles that cannot be turned by themselves.
    """
    arms: dict[str, dict[str, int]] = {}
    for i, (name, rule) in enumerate(zip(dims, rules, strict=True)):
        arm, which = split_dimension(name)
        if rule in POSES:
            if which not in (*TRANSLATION, *ROTATION):
                raise Rt2dataError("relative", f'"{name}" by {rule}', "x y z roll pitch yaw of an arm")
            arms.setdefault(arm, {})[which] = i
    for columns in arms.values():
        own = {rules[i] for i in columns.values()}
        names = ", ".join(dims[i] for i in columns.values())
        if len(own) > 1:
            raise Rt2dataError("relative", f"{names} by {' and '.join(sorted(own))}", "one rule for the pose of an arm")
        (rule,) = own
        fault = explain_refusal(set(columns), rule)
        if fault:
            raise Rt2dataError("relative", f"{names} by {rule}: {fault}", "dimensions that make a pose")
        yield Arm(columns, rule)


def explain_refusal(which: set[str], rule: str) -> str | None:
    """Say why the dimensions `which` of an arm, of x y z roll pitch yaw, make no pose; None where they do."""
    angles = [name for name in ROTATION if name in which]
    if angles not in ([], ["roll"], ["yaw"], list(ROTATION)):
        return f"{' and '.join(angles)} without the other angles"
    if rule == POSE_TOOL and which != {*TRANSLATION, *ROTATION}:
        return "the frame of a tool needs all six"
    return None


def read_pose(arm: Arm, values: Floats) -> Pose:
    """Return the poses of an arm in rows (n, D); what it lacks is 0."""
    zero = np.zeros(len(values))
    columns = {name: values[:, i] for name, i in arm.columns.items()}
    position = np.stack([columns.get(name, zero) for name in TRANSLATION], axis=1)
    return Pose(position, rotation.from_rpy(np.stack([columns.get(name, zero) for name in ROTATION], axis=1)))


def write_pose(arm: Arm, pose: Pose, into: Array) -> None:
    """Write the poses of an arm into its columns of rows (n, D)."""
    angles = rotation.to_rpy(pose.turn)
    for name, i in arm.columns.items():
        into[:, i] = (
            pose.position[:, TRANSLATION.index(name)] if name in TRANSLATION else angles[:, ROTATION.index(name)]
        )


def _changed(actions: Array, state: Array, rules: Sequence[str], dims: Sequence[str], *, back: bool) -> Array:
    width = len(rules)
    for name, array in (("actions", actions), ("state", state)):
        if array.dtype.kind != "f":
            raise Rt2dataError("relative", f"{name} of {array.dtype}", "floats")
    if actions.ndim < 2 or actions.shape[-1] != width or state.shape != (*actions.shape[:-2], width):
        found = f"actions of shape {actions.shape}, a state of shape {state.shape}"
        raise Rt2dataError("relative", found, f"(..., H, {width}) and (..., {width})")
    for rule in rules:
        if rule not in (*RULES, NONE):
            raise Rt2dataError("relative", f'the rule "{rule}"', f"one of {', '.join((*RULES, NONE))}")
    values = actions.astype(np.float64).reshape(-1, width)
    origin = np.broadcast_to(state[..., None, :], actions.shape).astype(np.float64).reshape(-1, width)
    out = values.copy()
    minus = [i for i, rule in enumerate(rules) if rule == SUBTRACT]
    out[:, minus] = values[:, minus] + origin[:, minus] if back else values[:, minus] - origin[:, minus]
    if any(rule in POSES for rule in rules):
        with np.errstate(invalid="ignore"):
            for arm in list_arms(dims, rules):
                pose = (absolute_pose if back else relative_pose)(
                    read_pose(arm, values), read_pose(arm, origin), arm.rule
                )
                write_pose(arm, pose, out)
    with np.errstate(over="ignore"):
        return out.reshape(actions.shape).astype(actions.dtype)
