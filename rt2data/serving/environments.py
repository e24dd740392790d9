"""Convert canonical actions to the commands of simulated environments, and back.

Canonical: x y z in metres, roll pitch yaw in radians (Rz(yaw) Ry(pitch) Rx(roll)), gripper 0 closed and 1 open. Results
are float64 numpy arrays. Numbers beyond what an environment takes are left as they are: the environments clip them. NaN
stays NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rt2data.robot import rotation
from rt2data.tokenizer import ActionError, Decoded

if TYPE_CHECKING:
    import numpy.typing as npt

# What 1 means to robosuite's OSC_POSE, and to the pd_ee_delta_pose controllers of ManiSkill's Panda.
LIBERO_SCALE = {"translation": 0.05, "rotation": 0.5}
MANISKILL_SCALE = 0.1


def to_widowx(actions: Any, terminate: Any = False, *, binarise: bool = True) -> dict[str, npt.NDArray[np.float64]]:
    """Convert canonical actions to the fields of SimplerEnv's WidowX environments.

    Args:
        actions: (..., 7).
        terminate: bool (...).
        binarise: whether the gripper is -1 or 1, 1 above an openness of 0.5, as SimplerEnv's policies send it; else
            2 * openness - 1.

    Returns:
        ``world_vector`` (..., 3) in metres; ``rot_axangle`` (..., 3), the axis times the angle in radians; ``gripper``
        (..., 1), 1 to open; ``terminate_episode`` (..., 1), 0 or 1. `env.step` takes the first three, one behind the
        other.

    Raises:
        ActionError: actions of another width than 7.

    Source: simpler-env/SimplerEnv@4ab7178, simpler_env/policies/octo/octo_model.py (widowx_bridge).
    """
    x = _arm(actions)
    opened = np.where(np.isnan(x[..., 6:7]), np.nan, x[..., 6:7] > 0.5) if binarise else x[..., 6:7]
    gripper = 2.0 * opened - 1.0
    return _fields(x, gripper, terminate)


def from_widowx(fields: Mapping[str, Any]) -> Decoded:
    """Convert fields of SimplerEnv's WidowX to canonical actions: the inverse of `to_widowx` without `binarise`.

    Returns:
        Actions (..., 7) float64, pitch in [-pi/2, pi/2], and terminate (...) bool.

    Raises:
        ActionError: a field that is missing or has another width.
    """
    parts = _checked(fields)
    return _canonical(parts, (parts["gripper"] + 1.0) / 2.0)


class GoogleRobot:
    """Convert canonical actions to the fields of SimplerEnv's Google Robot environments, step after step.

    Its gripper takes changes, positive to close: the openness of the step before minus that of this one, 0 at the first
    step. A change of more than 0.5 is sticky: it is sent for `repeat` steps, whatever comes meanwhile.

    Source: simpler-env/SimplerEnv@4ab7178, simpler_env/policies/octo/octo_model.py (google_robot).

    Args:
        repeat: how many steps a large change is sent for; SimplerEnv's policies take 15.

    Raises:
        ActionError: fewer than 1.
    """

    def __init__(self, repeat: int = 15) -> None:
        if repeat < 1:
            raise ActionError("repeat", str(repeat), "a step or more")
        self._repeat = repeat
        self._before: npt.NDArray[np.float64] | None = None
        self._held, self._sent = np.zeros(0), np.zeros(0, np.int64)

    def __call__(self, actions: Any, terminate: Any = False) -> dict[str, npt.NDArray[np.float64]]:
        """Convert the actions of one step.

        Args:
            actions: (..., 7); the leading axes are environments, the same at each step.
            terminate: bool (...).

        Returns:
            The fields of `to_widowx`, with that gripper.

        Raises:
            ActionError: actions of another width than 7, or of other environments than the step before.
        """
        x = _arm(actions)
        openness = x[..., 6]
        before = np.full(openness.shape, np.nan) if self._before is None else self._before
        if self._before is None:
            self._held, self._sent = np.zeros(openness.shape), np.zeros(openness.shape, np.int64)
        if before.shape != openness.shape:
            raise ActionError("actions", f"shape {x.shape}", f"{(*before.shape, 7)}", "Call reset() in between")
        change = np.where(np.isnan(before), openness, before) - openness
        self._before = np.where(np.isnan(openness), before, openness)
        sticky = self._sent > 0
        self._held = np.where(~sticky & (np.abs(change) > 0.5), change, self._held)
        sticky = sticky | (np.abs(change) > 0.5)
        gripper = np.where(sticky, self._held, change)
        self._sent = np.where(sticky, self._sent + 1, 0)
        self._sent[self._sent == self._repeat] = 0
        return _fields(x, gripper[..., None], terminate)

    def reset(self, rows: npt.ArrayLike | None = None) -> None:
        """Forget the gripper: of all environments, or where `rows`, bool of the leading shape, is True."""
        if rows is None:
            self._before = None
        elif self._before is not None:
            chosen = np.asarray(rows, np.bool_)
            self._before[chosen], self._sent[chosen] = np.nan, 0


def from_google_robot(fields: Mapping[str, Any], openness: Any) -> Decoded:
    """Convert fields of SimplerEnv's Google Robot to canonical actions.

    Args:
        fields: as `GoogleRobot` gives them.
        openness: (...), that of the action before, in [0, 1].

    Returns:
        Actions (..., 7) float64, the gripper what the change makes of the openness, in [0, 1]: where the change is
        repeated, it is at its end already. Pitch in [-pi/2, pi/2]. And terminate (...) bool.

    Raises:
        ActionError: a field that is missing or has another width.
    """
    parts = _checked(fields)
    before = np.asarray(openness, np.float64)[..., None]
    return _canonical(parts, np.clip(before - parts["gripper"], 0.0, 1.0))


def to_libero(actions: Any, *, controller_units: bool = False, binarise: bool = True) -> npt.NDArray[np.float64]:
    """Convert canonical actions to the commands of LIBERO: robosuite's OSC_POSE, and the gripper -1 open, 1 closed.

    Args:
        actions: (..., 7).
        controller_units: whether x to yaw are the controller's numbers already, as OpenVLA's models of LIBERO give them
            (this project's ``compat: openvla``). Else they are metres and radians, as the declared dataset has them.
        binarise: whether the gripper is -1 or 1 (0, which holds it, at an openness of 0.5), as OpenVLA sends it; else
            1 - 2 * openness.

    Returns:
        (..., 7): x y z in units of 0.05 m, axis times angle in units of 0.5 rad, in the frame of the base; the gripper.

    Raises:
        ActionError: actions of another width than 7.

    Source: robosuite 1.4.0, controllers/config/osc_pose.json, controllers/osc.py; openvla/openvla@c8f03f4,
    experiments/robot/robot_utils.py and libero/run_libero_eval.py. OpenVLA turns LIBERO's pictures by 180 degrees.
    """
    x = _arm(actions)
    gripper = 1.0 - 2.0 * x[..., 6:7]
    arm = x[..., :6]
    if not controller_units:
        turn = rotation.rpy_to_axis_angle(x[..., 3:6]) / LIBERO_SCALE["rotation"]
        arm = np.concatenate([x[..., :3] / LIBERO_SCALE["translation"], turn], axis=-1)
    return np.concatenate([arm, np.sign(gripper) if binarise else gripper], axis=-1)


def from_libero(commands: Any, *, controller_units: bool = False) -> npt.NDArray[np.float64]:
    """Convert commands of LIBERO to canonical actions: the inverse of `to_libero` without `binarise`.

    Returns:
        (..., 7) float64, pitch in [-pi/2, pi/2].

    Raises:
        ActionError: commands of another width than 7.
    """
    x = _arm(commands)
    arm = x[..., :6]
    if not controller_units:
        turn = rotation.axis_angle_to_rpy(x[..., 3:6] * LIBERO_SCALE["rotation"])
        arm = np.concatenate([x[..., :3] * LIBERO_SCALE["translation"], turn], axis=-1)
    return np.concatenate([arm, (1.0 - x[..., 6:7]) / 2.0], axis=-1)


def to_maniskill(
    actions: Any, *, release: int = 3, translation: float = MANISKILL_SCALE, turn: float | None = None
) -> npt.NDArray[np.float64]:
    """Convert canonical actions to commands of ManiSkill's ``pd_ee_delta_pose`` (and ``target``) in the root's frame.

    In release 3 the controller reads a rotation as Euler angles about moving axes, Rx Ry Rz, and scales them by its
    *lower* bound: 1 turns by -0.1 rad (mani-skill/ManiSkill#1469, open when this was written). In release 2, and in
    SimplerEnv's fork of it, it is an axis times an angle, and 1 turns by 0.1 rad. Both shrink a rotation of a length
    above 1 to 1.

    Args:
        actions: (..., 7).
        release: of ManiSkill, 2 or 3.
        translation: what 1 means in metres, the bound of the robot's controller; 0.1 for the Panda.
        turn: what 1 means in radians; by default -0.1 for release 3 and 0.1 for release 2. Where release 3 is repaired,
            0.1.

    Returns:
        (..., 7): x y z, rotation, and the gripper 2 * openness - 1.

    Raises:
        ActionError: actions of another width than 7, or another release.

    Source: mani_skill 3.0.1, agents/controllers/pd_ee_pose.py and agents/robots/panda/panda.py;
    simpler-env/ManiSkill2_real2sim@ef7a4d4, agents/controllers/pd_ee_pose.py.
    """
    x, scale = _arm(actions), _turn_scale(release, turn)
    if release == 2:
        angles = rotation.rpy_to_axis_angle(x[..., 3:6])
    else:  # the inverse of Rx(a) Ry(b) Rz(c) is Rz(-c) Ry(-b) Rx(-a)
        matrices = rotation.from_rpy(x[..., 3:6].reshape(-1, 3))
        angles = -rotation.to_rpy(rotation.transpose(matrices)).reshape(x[..., 3:6].shape)
    return np.concatenate([x[..., :3] / translation, angles / scale, 2.0 * x[..., 6:7] - 1.0], axis=-1)


def from_maniskill(
    commands: Any, *, release: int = 3, translation: float = MANISKILL_SCALE, turn: float | None = None
) -> npt.NDArray[np.float64]:
    """Convert commands of ManiSkill to canonical actions: the inverse of `to_maniskill`.

    Returns:
        (..., 7) float64, pitch in [-pi/2, pi/2].

    Raises:
        ActionError: commands of another width than 7, or another release.
    """
    x, scale = _arm(commands), _turn_scale(release, turn)
    angles = x[..., 3:6] * scale
    if release == 2:
        angles = rotation.axis_angle_to_rpy(angles)
    else:
        angles = rotation.to_rpy(rotation.from_euler(angles.reshape(-1, 3), "XYZ")).reshape(angles.shape)
    return np.concatenate([x[..., :3] * translation, angles, (x[..., 6:7] + 1.0) / 2.0], axis=-1)


def _arm(actions: Any) -> npt.NDArray[np.float64]:
    x = np.asarray(actions, np.float64)
    if x.ndim == 0 or x.shape[-1] != 7:
        raise ActionError("actions", f"shape {x.shape}", "(..., 7): x y z, a rotation of three numbers, gripper")
    return x


def _turn_scale(release: int, turn: float | None) -> float:
    if release not in (2, 3):
        raise ActionError("release", repr(release)[:60], "2 or 3")
    return turn if turn is not None else MANISKILL_SCALE if release == 2 else -MANISKILL_SCALE


def _fields(x: npt.NDArray[np.float64], gripper: Any, terminate: Any) -> dict[str, npt.NDArray[np.float64]]:
    flags = np.broadcast_to(np.asarray(terminate, np.float64), x.shape[:-1])
    return {
        "world_vector": x[..., :3].copy(),
        "rot_axangle": rotation.rpy_to_axis_angle(x[..., 3:6]),
        "gripper": gripper,
        "terminate_episode": flags[..., None].copy(),
    }


def _checked(fields: Mapping[str, Any]) -> dict[str, npt.NDArray[np.float64]]:
    parts = {}
    for name, width in (("world_vector", 3), ("rot_axangle", 3), ("gripper", 1), ("terminate_episode", 1)):
        if name not in fields or np.shape(fields[name])[-1:] != (width,):
            fault = f"shape {np.shape(fields[name])}" if name in fields else "missing"
            raise ActionError(name, fault, f"(..., {width})")
        parts[name] = np.asarray(fields[name], np.float64)
    return parts


def _canonical(parts: Mapping[str, npt.NDArray[np.float64]], gripper: npt.NDArray[np.float64]) -> Decoded:
    angles = rotation.axis_angle_to_rpy(parts["rot_axangle"])
    actions = np.concatenate([parts["world_vector"], angles, gripper], axis=-1)
    return Decoded(actions, parts["terminate_episode"][..., 0] > 0.5)
