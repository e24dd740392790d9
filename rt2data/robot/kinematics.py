"""Forward kinematics: from the joint angles of an arm to its end-effector pose in the base frame.

The Denavit-Hartenberg parameters of the Franka Emika robot (Panda, Research 3) are those that Franka publishes: Franka
Control Interface documentation, "Robot and interface specifications", in Craig's convention. Each twist is 0 or a
quarter turn, which is an exact swap of columns. Rotations about joints are those of `rotation`, without BLAS: the
numbers reach the shards.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rt2data.robot import rotation

Floats = npt.NDArray[np.float64]


class Link(NamedTuple):
    """A row of Craig's table: `a` metres along x, `twist` quarter turns about x, then `d` metres along z."""

    a: float
    d: float
    twist: int


FRANKA = (
    Link(0.0, 0.333, 0),
    Link(0.0, 0.0, -1),
    Link(0.0, 0.316, 1),
    Link(0.0825, 0.0, 1),
    Link(-0.0825, 0.384, -1),
    Link(0.0, 0.0, 1),
    Link(0.088, 0.0, 1),
)
FLANGE = 0.107  # metres from joint 7 to the flange
HAND = 0.1034  # metres from the flange to the point between the fingertips of the Franka Hand, which is turned by -pi/4

# Name in a declaration: (metres from joint 7 along its axis, radians about it). RoboHive's `end_effector` is that of
# `franka_hand` to 0.2 mm, whatever gripper is mounted.
TOOLS: dict[str, tuple[float, float]] = {"franka": (FLANGE, 0.0), "franka_hand": (FLANGE + HAND, -math.pi / 4)}
JOINTS = len(FRANKA)


def forward_kinematics(joints: Floats, tool: str) -> tuple[Floats, Floats]:
    """Compute the pose of a tool.

    Args:
        joints: (n, 7), radians, joint 1 to joint 7 in Franka's convention (joint 4 is always negative).
        tool: a key of TOOLS.

    Returns:
        Position (n, 3) in metres and rotation matrix (n, 3, 3), in the frame of the robot's base. Both are NaN where a
        joint is not finite.
    """
    ahead, angle_of_tool = TOOLS[tool]
    finite = np.asarray(np.isfinite(joints).all(axis=1))
    joints = np.where(finite[:, None], joints, 0.0)
    position = np.zeros((len(joints), 3))
    turn = np.broadcast_to(np.eye(3), (len(joints), 3, 3))
    for link, angle in zip(FRANKA, joints.T, strict=True):
        position = position + turn[:, :, 0] * link.a
        turn = _quarter(turn, link.twist)
        position = position + turn[:, :, 2] * link.d
        turn = _about_z(turn, angle)
    position = position + turn[:, :, 2] * ahead
    turn = _about_z(turn, np.full(len(joints), angle_of_tool)) if angle_of_tool else turn
    return np.where(finite[:, None], position, np.nan), np.where(finite[:, None, None], turn, np.nan)


def _quarter(turn: Floats, sign: int) -> Floats:
    """Rotate `turn` by `sign` quarter turns about its x axis: an exact swap of columns."""
    return turn if sign == 0 else np.stack([turn[:, :, 0], sign * turn[:, :, 2], -sign * turn[:, :, 1]], axis=2)


def _about_z(turn: Floats, angle: Floats) -> Floats:
    zero = np.zeros((len(angle), 2))
    return rotation.product(turn, rotation.from_rpy(np.concatenate([zero, angle[:, None]], axis=1)))
