"""The Franka's forward kinematics: against published poses, a robot model inside real logs, and other libraries."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rt2data.declarations import declaration
from rt2data.errors import Rt2dataError
from rt2data.robot import actions, kinematics, rotation

PI = math.pi
OFFSET = np.array([0, 0, 0, 0, 0, PI / 2, PI / 4])  # RoboHive's joints 6 and 7 are counted from there
ANGLES = st.lists(st.floats(-2.8, 2.8), min_size=7, max_size=7)


def pose(*joints: float, tool: str = "franka") -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    position, turn = kinematics.forward_kinematics(np.array([joints]), tool)
    return position[0], turn[0]


def scalar(joints: list[float], tool: str) -> tuple[list[float], list[list[float]]]:
    """The same from the table as Franka prints it, with general matrices and trigonometry of the twists."""
    table = [
        (0, 0.333, 0),
        (0, 0, -PI / 2),
        (0, 0.316, PI / 2),
        (0.0825, 0, PI / 2),
        (-0.0825, 0.384, -PI / 2),
        (0, 0, PI / 2),
        (0.088, 0, PI / 2),
    ]
    rows = [(a, d, twist, angle) for (a, d, twist), angle in zip(table, joints, strict=True)]
    rows.append((0, 0.107, 0, 0))
    if tool == "franka_hand":
        rows.append((0, 0.1034, 0, -PI / 4))
    now = [[float(i == j) for j in range(4)] for i in range(4)]
    for a, d, twist, angle in rows:
        ct, st_, ca, sa = math.cos(angle), math.sin(angle), math.cos(twist), math.sin(twist)
        step = [[ct, -st_, 0, a], [st_ * ca, ct * ca, -sa, -d * sa], [st_ * sa, ct * sa, ca, d * ca], [0, 0, 0, 1]]
        now = [[sum(now[i][k] * step[k][j] for k in range(4)) for j in range(4)] for i in range(4)]
    return [row[3] for row in now[:3]], [row[:3] for row in now[:3]]


@given(joints=ANGLES, tool=st.sampled_from(sorted(kinematics.TOOLS)))
def test_the_table_as_franka_prints_it(joints: list[float], tool: str) -> None:
    position, turn = pose(*joints, tool=tool)
    expected, expected_turn = scalar(joints, tool)
    np.testing.assert_allclose(position, expected, atol=1e-14)
    np.testing.assert_allclose(turn, expected_turn, atol=1e-14)


def test_poses_that_others_publish() -> None:
    # Straight up: 0.333 + 0.316 + 0.384 - 0.107 metres high, 0.088 ahead, looking down.
    position, turn = pose(0, 0, 0, 0, 0, 0, 0)
    np.testing.assert_allclose(position, [0.088, 0, 0.926], atol=1e-15)
    np.testing.assert_array_equal(turn, np.diag([1.0, -1.0, -1.0]))
    # The "ready" posture of MoveIt's configuration, and panda_link8 there as its users print it.
    position, turn = pose(0, -PI / 4, 0, -3 * PI / 4, 0, PI / 2, PI / 4)
    np.testing.assert_allclose(position, [0.306891, 0, 0.590282], atol=1e-6)
    np.testing.assert_allclose(
        turn, rotation.from_quaternion(np.array([[0.92388, -0.382683, 0, 0]]), "xyzw")[0], atol=1e-5
    )
    # With the Franka Hand the fingertips are 0.1034 m lower, and the hand is square to the base.
    position, turn = pose(0, -PI / 4, 0, -3 * PI / 4, 0, PI / 2, PI / 4, tool="franka_hand")
    np.testing.assert_allclose(position, [0.306891, 0, 0.486882], atol=1e-6)
    np.testing.assert_allclose(turn, np.diag([1.0, -1.0, -1.0]), atol=1e-15)


def test_a_joint_that_is_no_number_gives_no_pose() -> None:
    joints = np.zeros((3, 7))
    joints[1, 6] = np.nan
    joints[2, 0] = np.inf
    position, turn = kinematics.forward_kinematics(joints, "franka")
    assert np.isfinite(position).all(axis=1).tolist() == [True, False, False]
    assert np.isfinite(turn).all(axis=(1, 2)).tolist() == [True, False, False]
    position, turn = kinematics.forward_kinematics(np.empty((0, 7)), "franka")
    assert position.shape == (0, 3)
    assert turn.shape == (0, 3, 3)


def trace(shared: Path, name: str) -> Any:
    h5py = pytest.importorskip("h5py")
    path = shared / "roboset" / name
    if not path.is_file():
        pytest.skip(f"no {name}")
    return h5py.File(path)


def test_the_robot_model_inside_a_real_log(shared_data: Path) -> None:
    """RoboHive logs its MuJoCo model: seven bodies with their places and turns. With two offsets it is this arm."""
    with trace(shared_data, "robohive_random_policy20230302-070139_trace.h5") as file:
        state = file["Trial0/env_infos/state"]
        places, turns = state["body_pos"][0, 3:10], rotation.from_quaternion(state["body_quat"][0, 3:10], "wxyz")
        moved = state["qpos"][:, :7]
    for joints in moved:
        position, turn = np.zeros((1, 3)), np.eye(3)[None]
        for i, angle in enumerate(joints):
            position = position + rotation.rotate(turn, places[i : i + 1])
            turn = rotation.product(
                rotation.product(turn, turns[i : i + 1]), rotation.from_rpy(np.array([[0, 0, angle]]))
            )
        mine, mine_turn = pose(*(joints + OFFSET))
        flange = position[0] + turn[0, :, 2] * kinematics.FLANGE
        np.testing.assert_allclose(mine, flange, atol=5e-4)  # the model's quaternions have four digits
        np.testing.assert_allclose(mine_turn, turn[0], atol=4e-3)
        far, _ = pose(*joints)
        assert np.abs(far - flange).max() > 0.02  # without the offsets it is elsewhere


def test_a_logged_end_effector_of_the_roboset_environment(shared_data: Path) -> None:
    """pos_ee and rot_ee of `robohive_real_one_step.h5` are those of the posture RoboHive starts from, in float16."""
    with trace(shared_data, "robohive_real_one_step.h5") as file:
        log = file["Trial0/env_info/env_infos"]
        logged, turned = log["obs_dict/pos_ee"][0].astype(float), log["obs_dict/rot_ee"][0].astype(float).reshape(3, 3)
        base = log["state/body_pos"][0, 1].astype(float)
    start = np.array([0, 0, 0, -1.7359, 0, 0.2277, 0]) + OFFSET
    position, turn = pose(*start, tool="franka_hand")
    np.testing.assert_allclose(position, logged - base, atol=1e-3)
    np.testing.assert_allclose(turn, turned, atol=2e-3)


def test_ikpy() -> None:
    chain, link = pytest.importorskip("ikpy.chain"), pytest.importorskip("ikpy.link")
    places = [(0, 0, 0.333), (0, 0, 0), (0, -0.316, 0), (0.0825, 0, 0), (-0.0825, 0.384, 0), (0, 0, 0), (0.088, 0, 0)]
    twists = [0, -1, 1, 1, -1, 1, 1]  # quarter turns, as in Franka's URDF
    links = [
        link.URDFLink(f"joint{i + 1}", np.array(place), np.array([twist * PI / 2, 0, 0]), rotation=np.array([0, 0, 1]))
        for i, (place, twist) in enumerate(zip(places, twists, strict=True))
    ]
    flange = link.URDFLink("flange", np.array([0, 0, 0.107]), np.zeros(3), joint_type="fixed", rotation=None)
    arm = chain.Chain([*links, flange], active_links_mask=[True] * 7 + [False])
    for joints in np.random.default_rng(0).uniform(-2.5, 2.5, (40, 7)):
        found = arm.forward_kinematics([*joints, 0])
        position, turn = pose(*joints)
        np.testing.assert_allclose(found[:3, 3], position, atol=1e-9)
        np.testing.assert_allclose(found[:3, :3], turn, atol=1e-9)


RAW: dict[str, Any] = {
    "name": "toy",
    "id": "toy",
    "kind": "robot",
    "format": "rlds",
    "licence": "none",
    "cameras": {"primary": {"field": "steps/image"}},
    "instruction": "none",
    "terminate": "none",
    "valid_action": "all",
    "action": {
        "dims": ["x", "y", "z", "roll", "pitch", "yaw"],
        "kind": "pose",
        "frame": "tool",
        "unit": "m_rad",
        "terms": [
            {
                "field": "steps/action",
                "columns": "0:7",
                "ops": [{"offset": [0, 0, 0, 0, 0, 0.5, 0]}, {"forward_kinematics": "franka_hand"}],
                "to": ["x", "y", "z", "roll", "pitch", "yaw"],
            }
        ],
        "state": [
            {
                "field": "steps/state",
                "ops": [{"forward_kinematics": "franka_hand"}],
                "to": ["x", "y", "z", "roll", "pitch", "yaw"],
            }
        ],
    },
}


def declare(folder: Path, **changes: Any) -> Any:
    (folder / "toy.yaml").write_text(yaml.safe_dump(RAW | {"action": RAW["action"] | changes}))
    return declaration.read_declaration(folder / "toy.yaml")


def test_as_an_operation(tmp_path: Path) -> None:
    """Commanded angles against present ones: the displacement in the tool's frame leads from one pose to the other."""
    robot = declare(tmp_path).robot
    rng = np.random.default_rng(3)
    fields = {"steps/action": rng.uniform(-1, 1, (6, 8)), "steps/state": rng.uniform(-1, 1, (6, 7))}
    found = actions.compute_actions(robot, fields.__getitem__, 6, "toy")
    assert found.known.all()
    for t in range(6):
        goal, goal_turn = pose(*(fields["steps/action"][t, :7] + [0, 0, 0, 0, 0, 0.5, 0]), tool="franka_hand")
        here, here_turn = pose(*fields["steps/state"][t], tool="franka_hand")
        turn = rotation.from_rpy(found.values[t : t + 1, 3:6])[0]
        np.testing.assert_allclose(here + here_turn @ found.values[t, :3], goal, atol=1e-12)
        np.testing.assert_allclose(here_turn @ turn, goal_turn, atol=1e-12)


TERM = RAW["action"]["terms"][0]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"terms": [TERM | {"ops": [{"forward_kinematics": "ur5"}]}]},
            "forward_kinematics: ur5; expected forward_kinematics: one of franka, franka_hand",
        ),
        ({"terms": [TERM | {"ops": ["forward_kinematics"]}]}, "one of franka, franka_hand"),
        (
            {"terms": [TERM | {"columns": "0:6"}]},
            "offset with 7 numbers|6 columns for forward_kinematics; expected 7 columns",
        ),
        (
            {"terms": [TERM | {"ops": [{"offset": [0] * 6}, {"forward_kinematics": "franka"}]}]},
            "offset with 6 numbers; expected 1 or 7 numbers",
        ),
        (
            {"terms": [TERM | {"ops": [{"forward_kinematics": "franka"}, {"scale": 2}]}]},
            "operations after forward_kinematics",
        ),
        (
            {"terms": [TERM | {"to": ["roll", "pitch", "yaw", "x", "y", "z"]}]},
            "forward_kinematics gives roll, pitch, yaw, x, y, z",
        ),
        ({"kind": "displacement", "state": None}, "forward_kinematics in a displacement; expected kind pose"),
        ({"terms": [TERM | {"ops": ["forward_kinematic"]}]}, 'Did you mean "forward_kinematics"'),
    ],
)
def test_what_is_refused(changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    content = {k: v for k, v in (RAW["action"] | changes).items() if v is not None}
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(RAW | {"action": content}))
    with pytest.raises(Rt2dataError, match=text):
        declaration.read_declaration(tmp_path / "toy.yaml")
