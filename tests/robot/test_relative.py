"""Relative chunks: against what openpi, LeRobot and GR00T compute, and against a second computation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import scalar_relative

from rt2data.declarations.declaration import find_declaration
from rt2data.errors import Rt2dataError
from rt2data.robot import origins, relative, rotation

ARM = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
MASKED = ("subtract",) * 6 + ("none",)

# Physical-Intelligence/openpi@15a9616 DeltaActions with make_bool_mask(6, -1); LeRobot's to_relative_actions
# (huggingface/lerobot@7427f31) gives the same.
STATE = [-0.953125, -0.8046875, 1.2578125, -1.6328125, 0.3984375, 0.9140625, -1.25]
ACTIONS = [
    [-0.796875, -0.75, 1.1484375, -1.4375, 0.3359375, 0.8515625, -1.40625],
    [-0.7109375, -0.765625, 1.2578125, -1.5625, 0.359375, 0.671875, -1.2421875],
]
DELTA = [
    [0.15625, 0.0546875, -0.109375, 0.1953125, -0.0625, -0.0625, -1.40625],
    [0.2421875, 0.0390625, 0.0, 0.0703125, -0.0390625, -0.2421875, -1.2421875],
]

# arnavinator/Isaac-GR00T@0078914 (N1.6), state_action_processor.py: xyz and the rotation vector, EEF, relative.
GR00T_STATE = [-0.12890625, 0.46875, 0.4296875, -0.51953125, -0.14062500000000003, 1.3320312500000002]
GR00T_ACTION = [0.44140625, 0.1640625, -0.3671875, -0.5, 0.11718749999999999, -1.28515625]
GR00T_RELATIVE = [
    0.005725079058710725, -0.20158670313191862, -1.0061961093781249, 0.012104137262398663, 1.0026132428795997,
    -2.3942447964973796,
]  # fmt: skip


@pytest.fixture(scope="module")
def goldens() -> Path:
    """The folder of whole golden files: facts/goldens below RT2DATA_SHARED; the test is skipped where it is unset."""
    folder = Path(os.environ.get("RT2DATA_SHARED", "")) / "facts" / "goldens"
    if "RT2DATA_SHARED" not in os.environ or not folder.is_dir():
        pytest.skip("RT2DATA_SHARED does not name a folder with facts/goldens")
    return folder


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def numbers(raw: Any, dtype: Any = np.float32) -> Any:
    return np.vectorize(float)(np.array(raw, object)).astype(dtype)


def seen_from(state: Any, actions: Any, form: str) -> Any:
    """GR00T's relative keys: xyz with a rotation as the first two rows of its matrix, or as a vector."""

    def pose(values: Any) -> relative.Pose:
        six = values[:, 3:].shape[1] == 6
        turn = rotation.from_6d(values[:, 3:], "rows") if six else rotation.from_axis_angle(values[:, 3:])
        return relative.Pose(values[:, :3], turn)

    out = relative.relative_pose(pose(actions), pose(np.repeat(state, len(actions), axis=0)), relative.POSE_TOOL)
    rows = out.turn[:, :2].reshape(-1, 6)
    turned = rows if form == "rows" else rotation.rpy_to_axis_angle(rotation.to_rpy(out.turn))
    return np.concatenate([out.position, turned], axis=1)


def test_subtraction_is_openpis_and_lerobots() -> None:
    state, actions = np.array(STATE, np.float32), np.array(ACTIONS, np.float32)
    delta = relative.make_relative(actions, state, MASKED)
    np.testing.assert_array_equal(delta, np.array(DELTA, np.float32))
    assert delta.dtype == np.float32
    np.testing.assert_array_equal(relative.make_absolute(delta, state, MASKED), actions)
    np.testing.assert_array_equal(actions, np.array(ACTIONS, np.float32))  # not in place, as openpi's is


def test_an_exempt_number_of_the_state_is_not_looked_at() -> None:
    """As in openpi; LeRobot's product with the mask makes a NaN of it."""
    state = np.array([*STATE[:6], np.nan], np.float32)
    np.testing.assert_array_equal(
        relative.make_relative(np.array(ACTIONS, np.float32), state, MASKED), np.array(DELTA, np.float32)
    )


def test_a_pose_in_the_frame_of_the_tool_is_gr00ts() -> None:
    found = seen_from(np.array([GR00T_STATE]), np.array([GR00T_ACTION]), "vector")
    np.testing.assert_allclose(found, [GR00T_RELATIVE], rtol=0, atol=1e-14)


def test_the_goldens_of_openpi_lerobot_and_gr00t(goldens: Path) -> None:
    file = read(goldens / "relative_actions.json")
    own = file["openpi"]
    state, actions = numbers(own["state"]), numbers(own["actions"])
    delta = relative.make_relative(actions, state, MASKED)
    np.testing.assert_array_equal(delta, numbers(own["delta_float32"]))
    np.testing.assert_array_equal(delta, numbers(file["lerobot"]["relative"]))
    np.testing.assert_array_equal(relative.make_absolute(delta, state, MASKED), numbers(own["absolute_float32"]))
    unknown = file["nan_state"]
    np.testing.assert_array_equal(
        relative.make_relative(actions, numbers(unknown["state"]), MASKED), numbers(unknown["openpi"])
    )
    groot = read(goldens / "gr00t_starvla.json")
    for form, name in (("rows", "xyz+rot6d"), ("vector", "xyz+rotvec")):
        one = groot[name]
        found = seen_from(np.array([one["state"]]), np.array(one["absolute"]), form)
        np.testing.assert_allclose(found, one["relative"], rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", relative.RULES)
def test_against_the_second_computation(rule: str, dtype: Any) -> None:
    rng = np.random.default_rng(5)
    dims = [f"{arm}_{name}" for arm in ("left", "right") for name in ARM]
    rules = [rule if not name.endswith("gripper") else "none" for name in dims]
    state, chunk = (rng.uniform(-1.4, 1.4, size).astype(dtype) for size in ((6, 14), (6, 5, 14)))
    found = relative.make_relative(chunk, state, rules, dims)
    wanted = [scalar_relative.make_relative(c, s, rules, dims) for c, s in zip(chunk, state, strict=True)]
    atol = 1e-6 if dtype is np.float32 else 1e-13
    np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)
    assert found.dtype == dtype
    back = relative.make_absolute(found, state, rules, dims)
    np.testing.assert_allclose(back, chunk, rtol=0, atol=2 * atol)  # of a pitch below a right angle


@pytest.mark.parametrize("rule", relative.POSES)
def test_composed_displacements_against_the_second_computation(rule: str) -> None:
    rng = np.random.default_rng(6)
    rules = [rule] * 6 + ["none"]
    chunk = rng.uniform(-0.6, 0.6, (4, 6, 7))
    found = relative.compose_displacements(chunk, rules, ARM)
    wanted = [scalar_relative.compose(c, rules, ARM) for c in chunk]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(found[:, 0], chunk[:, 0])  # the first step keeps its bits
    np.testing.assert_array_equal(found[..., 6], chunk[..., 6])


def test_composing_and_seeing_from_the_start_are_the_same_where_a_robot_follows() -> None:
    """Displacements from each pose reached: their composition is the pose reached, seen from the start."""
    rng = np.random.default_rng(7)
    moves, start = rng.uniform(-0.5, 0.5, (5, 7)), rng.uniform(-1, 1, 7)
    for rule in relative.POSES:
        rules = [rule] * 6 + ["none"]
        at, reached = start, []
        for move in moves:
            at = relative.make_absolute(move[None], at, rules, ARM)[0]
            reached.append(at)
        np.testing.assert_allclose(
            relative.make_relative(np.array(reached), start, rules, ARM),
            relative.compose_displacements(moves[None], rules, ARM)[0],
            rtol=0,
            atol=1e-13,
        )


def test_angles_and_matrices_are_different_rules() -> None:
    state, action = np.array([*GR00T_STATE, 0.0]), np.array([[*GR00T_ACTION, 1.0]])
    minus = relative.make_relative(action, state, MASKED, ARM)
    turned = relative.make_relative(action, state, ("pose_base",) * 6 + ("none",), ARM)
    np.testing.assert_array_equal(minus[..., :3], turned[..., :3])
    assert np.abs(minus[..., 3:6] - turned[..., 3:6]).max() > 0.1


def test_what_cannot_be_relative_is_refused() -> None:
    one, state = np.zeros((2, 7)), np.zeros(7)
    for bad, why in (
        (lambda: relative.make_relative(one.astype(np.int64), state, MASKED), "actions of int64"),
        (lambda: relative.make_relative(one, state[:3], MASKED), r"a state of shape \(3,\)"),
        (lambda: relative.make_relative(one, state, MASKED[:6]), r"\(\.\.\., H, 6\)"),
        (lambda: relative.make_relative(one, state, ("difference",) * 7), 'the rule "difference"'),
        (lambda: relative.make_relative(one, state, ("pose_base",) * 7, ARM), '"gripper" by pose_base'),
        (
            lambda: relative.make_relative(one, state, ("pose_base", "pose_tool", *("none",) * 5), ARM),
            "x, y by pose_base and pose_tool",
        ),
        (
            lambda: relative.make_relative(one, state, (*("none",) * 3, "pose_base", "pose_base", "none", "none"), ARM),
            "without the other angles",
        ),
        (lambda: relative.make_relative(one, state, ("pose_tool",) * 3 + ("none",) * 4, ARM), "needs all six"),
    ):
        with pytest.raises(Rt2dataError, match=why):
            bad()


def refusal(name: str, word: str, exempt: tuple[str, ...] = ("gripper",)) -> str | None:
    robot = find_declaration(name, "test").robot
    assert robot is not None
    return origins.explain_refusal(robot, origins.choose_rules(robot, word, exempt))


def test_which_declarations_can_do_which() -> None:
    assert refusal("bridge_dataset", "pose") is None  # displacements
    assert "no pose to subtract" in str(refusal("bridge_dataset", "subtract"))
    assert refusal("aloha_mobile", "subtract") is None  # joints, and the state of the same names
    assert "hold no pose" in str(refusal("aloha_mobile", "pose"))
    assert "left_gripper is computed" in str(refusal("aloha_mobile", "subtract", ()))
    assert "no number left_joint_0" in str(refusal("aloha_static_dataset", "subtract"))
    assert "no unit" in str(refusal("robo_set", "subtract"))
    assert "no dimension is left" in str(refusal("gnm_dataset", "subtract"))  # changes of a base
    assert refusal("droid", "pose") is None  # target poses against a state that the proprioception holds
    assert refusal("droid", "subtract") is None
    assert refusal("toto", "pose") is None  # against the previous target: it telescopes
    assert "no pose to subtract" in str(refusal("toto", "subtract"))
    assert "exempt from a pose" in str(refusal("bridge_dataset", "pose", ("gripper", "z")))
    assert "exempt from a pose" in str(refusal("droid", "subtract", ("gripper", "roll")))


def test_the_frame_of_displacements_must_be_known() -> None:
    robot = find_declaration("bridge_dataset", "test").robot
    assert robot is not None
    from dataclasses import replace

    unknown = replace(robot, frame="unverified")
    assert "unverified" in str(origins.explain_refusal(unknown, origins.choose_rules(unknown, "pose", ["gripper"])))
    controller = replace(robot, units=("controller",) * 6 + ("openness",))
    assert "controller" in str(origins.explain_refusal(controller, origins.choose_rules(controller, "pose", [])))
    assert origins.choose_rules(replace(robot, frame="tool"), "pose", ["gripper"])[0] == "pose_tool"


def test_the_state_is_read_from_the_stored_proprioception() -> None:
    """bc_z keeps its pose in two fields, the rotation as a vector; mt_opt a quaternion, of which zeros are no state."""
    robot = find_declaration("bc_z", "test").robot
    assert robot is not None
    rules = origins.choose_rules(robot, "pose", ["gripper"])
    stored = np.array([[0.1, 0.2, 0.3, *GR00T_STATE[3:], 0.5], [0.1, 0.2, 0.3, np.nan, 0, 0, 0.5]], np.float32)
    found, known = origins.read_origins(robot, rules, stored)
    turn = rotation.from_rpy(found[:1, 3:6].astype(np.float64))
    np.testing.assert_allclose(turn, rotation.from_axis_angle(stored[:1, 3:6].astype(np.float64)), atol=1e-6)
    np.testing.assert_array_equal(found[0, :3], stored[0, :3])
    assert (known.tolist(), found[0, 6]) == ([True, False], 0.0)
    robot = find_declaration("mt_opt_rlds", "test").robot
    assert robot is not None
    stored = np.zeros((2, len(robot.proprio_dims)), np.float32)
    stored[0, 6] = 1.0
    assert origins.read_origins(robot, rules, stored)[1].tolist() == [True, False]
