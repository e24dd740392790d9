"""Convert canonical actions to the fields of SimplerEnv and other users of ManiSkill2, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rt2data.robot.rotation import axis_angle_to_rpy, rpy_to_axis_angle
from rt2data.tokenizer import ActionError, Decoded

if TYPE_CHECKING:
    import numpy.typing as npt


def to_simpler(actions: Any, terminate: Any = False) -> dict[str, npt.NDArray[np.float64]]:
    """Convert canonical arm actions to the fields of SimplerEnv.

    Args:
        actions: (..., 7): x y z in metres, roll pitch yaw in radians, gripper openness in [0, 1].
        terminate: bool (...).

    Returns:
        float64 numpy arrays: ``world_vector`` (..., 3) in metres; ``rot_axangle`` (..., 3), the axis times the angle in
        radians of Rz(yaw) Ry(pitch) Rx(roll); ``gripper`` (..., 1) from -1 (closed) to 1 (open); ``terminate_episode``
        (..., 1), 0 or 1. WidowX environments take `gripper` as it is. Google Robot environments take changes instead,
        positive to close: the openness before minus the openness now.

    Raises:
        ActionError: actions of another width than 7.

    Source: simpler-env/SimplerEnv, simpler_env/policies/openvla/openvla_model.py, which rounds the gripper to -1 or 1.
    """
    x = np.asarray(actions, np.float64)
    if x.ndim == 0 or x.shape[-1] != 7:
        raise ActionError("actions", f"shape {x.shape}", "(..., 7): x y z roll pitch yaw gripper")
    flags = np.broadcast_to(np.asarray(terminate, np.float64), x.shape[:-1])
    return {
        "world_vector": x[..., :3].copy(),
        "rot_axangle": rpy_to_axis_angle(x[..., 3:6]),
        "gripper": 2 * x[..., 6:7] - 1,
        "terminate_episode": flags[..., None].copy(),
    }


def from_simpler(fields: Mapping[str, Any]) -> Decoded:
    """Convert fields of SimplerEnv to canonical actions: the inverse of `to_simpler`.

    Returns:
        Actions (..., 7) float64, pitch in [-pi/2, pi/2], and terminate (...) bool.

    Raises:
        ActionError: a field that is missing or has another width.
    """
    parts = {}
    for name, width in (("world_vector", 3), ("rot_axangle", 3), ("gripper", 1), ("terminate_episode", 1)):
        if name not in fields or np.shape(fields[name])[-1:] != (width,):
            fault = f"shape {np.shape(fields[name])}" if name in fields else "missing"
            raise ActionError(name, fault, f"(..., {width})")
        parts[name] = np.asarray(fields[name], np.float64)
    angles = axis_angle_to_rpy(parts["rot_axangle"])
    actions = np.concatenate([parts["world_vector"], angles, (parts["gripper"] + 1) / 2], axis=-1)
    return Decoded(actions, parts["terminate_episode"][..., 0] > 0.5)
