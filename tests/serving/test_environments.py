"""Commands of simulated environments: what their own code makes of them, in numbers and by a plain computation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import scalar_actions
from support.scalar_serving import sticky_changes

from rt2data.serving import (
    GoogleRobot,
    from_google_robot,
    from_libero,
    from_maniskill,
    from_widowx,
    to_libero,
    to_maniskill,
    to_widowx,
)
from rt2data.tokenizer import ActionError, ActionTokenizer

ANGLE, PITCH = st.floats(-math.pi, math.pi), st.floats(-math.pi / 2, math.pi / 2)
ACTION = [0.02, -0.03, 0.05, 0.04, -0.05, 0.06, 1.0]

# What octo_model.py of simpler-env/SimplerEnv@4ab7178 sends a Google Robot's gripper for these, one a step.
OPENNESS = [1, 1, 0.9, 0.2, 0.2, 1, 1, *[0] * 11, 1, 1]
SENT = [0.0, 0.0, 0.1, *[0.7] * 15, -1.0, -1.0]


def turn(angles: Any) -> Any:
    """Rz(yaw) Ry(pitch) Rx(roll), by the plain computation."""
    return scalar_actions.euler(list(map(float, angles)), "xyz")


def same_turn(found: Any, wanted: Any, within: float = 1e-9) -> None:
    np.testing.assert_allclose(np.array(found), np.array(wanted), atol=within)


@settings(max_examples=100, deadline=None)
@given(ANGLE, PITCH, ANGLE)
def test_rotations_there_and_back(roll: float, pitch: float, yaw: float) -> None:
    action = [0.0, 0.0, 0.0, roll, pitch, yaw, 0.0]
    wanted = turn(action[3:6])
    vector = to_widowx(action)["rot_axangle"]
    same_turn(scalar_actions.axis_angle(vector.tolist(), None), wanted)
    libero = to_libero(action)
    same_turn(scalar_actions.axis_angle([0.5 * one for one in libero[3:6].tolist()], None), wanted)
    three, two = to_maniskill(action), to_maniskill(action, release=2)
    same_turn(scalar_actions.euler([-0.1 * one for one in three[3:6].tolist()], "XYZ"), wanted)
    same_turn(scalar_actions.axis_angle([0.1 * one for one in two[3:6].tolist()], None), wanted)
    maniskill = from_maniskill(three), from_maniskill(two, release=2)
    for back in (from_widowx(to_widowx(action)).actions, from_libero(libero), *maniskill):
        same_turn(turn(back[3:6]), wanted, 2e-6)
        assert abs(back[4]) <= math.pi / 2


def test_widowx() -> None:
    fields = to_widowx([0.01, 0.02, 0.03, 0.1, -0.2, 0.3, 0.6])  # and what octo_model.py makes of it
    assert fields["world_vector"].tolist() == [0.01, 0.02, 0.03]
    np.testing.assert_allclose(fields["rot_axangle"], [0.12892336, -0.1834258, 0.30874816], atol=1e-8)
    assert (fields["gripper"].tolist(), fields["terminate_episode"].tolist()) == ([1.0], [0.0])
    for openness, gripper in ((0, -1), (0.5, -1), (0.50001, 1), (1, 1)):
        assert to_widowx([0, 0, 0, 0, 0, 0, openness])["gripper"].tolist() == [gripper]
    none = np.full((1, 7), np.nan)  # of a reply that was no action
    assert all(np.isnan(made(none)["gripper"]).all() for made in (to_widowx, GoogleRobot(), GoogleRobot()))
    assert np.isnan([to_libero(none), to_maniskill(none)]).all()
    tok = ActionTokenizer.from_pretrained("rt2")
    bins = np.random.default_rng(0).integers(0, 256, (4, 5, 8))
    bins[..., 0] %= 2
    decoded = tok.decode(bins, dtype="float64")
    fields = to_widowx(*decoded, binarise=False)
    shapes = {"world_vector": 3, "rot_axangle": 3, "gripper": 1, "terminate_episode": 1}
    assert {name: value.shape for name, value in fields.items()} == {n: (4, 5, w) for n, w in shapes.items()}
    np.testing.assert_array_equal(tok.encode(*from_widowx(fields)), bins)


def test_the_google_robots_gripper() -> None:
    robot = GoogleRobot()
    sent = [float(robot([0, 0, 0, 0, 0, 0, openness])["gripper"][0]) for openness in OPENNESS]
    assert sent == pytest.approx(SENT)
    robot.reset()
    assert robot([0, 0, 0, 0, 0, 0, 0.3])["gripper"].tolist() == [0.0]
    fields = robot(ACTION, terminate=True)
    for name in ("world_vector", "rot_axangle"):
        np.testing.assert_array_equal(fields[name], to_widowx(ACTION)[name])
    assert fields["terminate_episode"].tolist() == [1.0]
    # A reply that was no action is passed on as such, and the gripper goes on from the action before it.
    robot.reset()
    sent = [float(robot([0, 0, 0, 0, 0, 0, openness])["gripper"][0]) for openness in (0.8, np.nan, 0.5)]
    assert sent == pytest.approx([0.0, np.nan, 0.3], nan_ok=True)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.51, 0.9, 1.0]), min_size=25, max_size=25), min_size=1,
                max_size=4), st.integers(1, 15), st.integers(0, 24))  # fmt: skip
def test_sticky_grippers_of_many(rows: list[list[float]], repeat: int, again: int) -> None:
    """Each environment by itself, the first of which begins anew in between."""
    robot, found = GoogleRobot(repeat), []
    for step, openness in enumerate(zip(*rows, strict=True)):
        if step == again:
            robot.reset([True, *[False] * (len(rows) - 1)])
        actions = np.zeros((len(rows), 7))
        actions[:, 6] = openness
        found.append(robot(actions)["gripper"][:, 0])
    for row, openness in enumerate(rows):
        wanted = sticky_changes(openness, repeat)
        if row == 0:
            wanted = sticky_changes(openness[:again], repeat) + sticky_changes(openness[again:], repeat)
        assert [one[row] for one in found] == pytest.approx(wanted)


def test_from_the_google_robot() -> None:
    robot, openness = GoogleRobot(), 1.0
    for wanted in (1.0, 0.8, 0.1, 0.1, 0.1):  # closes by more than half, and goes on to be sent that
        back = from_google_robot(robot([*ACTION[:6], wanted]), openness)
        np.testing.assert_allclose(back.actions[:6], ACTION[:6], atol=1e-12)
        openness = float(back.actions[6])
        assert openness == pytest.approx(wanted if wanted > 0.5 else openness)
        assert 0 <= openness <= 1
    assert openness == 0.0


def test_libero() -> None:
    """For a 1 robosuite 1.4.0 moves by 0.05 m and 0.5 rad; the gripper is as openvla/openvla@c8f03f4 sends it."""
    np.testing.assert_allclose(
        to_libero(ACTION),
        [0.4, -0.6, 1.0, 0.08295934671504754, -0.09755765129869606, 0.1219590053464523, -1.0],
        rtol=1e-12,
    )
    for openness, gripper in ((0, 1), (0.4, 1), (0.5, 0), (0.6, -1), (1, -1)):
        assert to_libero([*ACTION[:6], openness])[6] == gripper
    own = [0.3, -0.2, 0.1, 0.5, 0.6, -0.7, 0.25]
    assert to_libero(own, controller_units=True).tolist() == [*own[:6], 1.0]
    for units in (False, True):
        there = to_libero(np.array([[own]]), controller_units=units, binarise=False)
        assert there[0, 0, 6] == 0.5
        np.testing.assert_allclose(from_libero(there, controller_units=units), [[own]], atol=1e-12)


def test_maniskill() -> None:
    """mani_skill 3.0.1 multiplies rotations by the lower bound, -0.1: a turn of 0.1 about z is a -1."""
    np.testing.assert_allclose(to_maniskill([0, 0, 0, 0, 0, 0.1, 0]), [0, 0, 0, 0, 0, -1, -1], atol=1e-12)
    np.testing.assert_allclose(to_maniskill([0, 0, 0, 0, 0, 0.1, 0.5], release=2), [0, 0, 0, 0, 0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(to_maniskill([0.1, 0, 0, 0, 0, 0.1, 1], turn=0.1), [1, 0, 0, 0, 0, 1, 1], atol=1e-12)
    wanted = [0.2, -0.3, 0.5, -0.4297354723037837, 0.4746923227483713, -0.6202065083630354, 1.0]
    np.testing.assert_allclose(to_maniskill(ACTION), wanted, rtol=1e-12)
    for more in ({}, {"release": 2}, {"translation": 0.2, "turn": 0.3}):
        there = to_maniskill(np.tile(ACTION, (2, 3, 1)), **more)
        np.testing.assert_allclose(from_maniskill(there, **more), np.tile(ACTION, (2, 3, 1)), atol=1e-12)


def test_what_is_no_command() -> None:
    for convert in (to_widowx, to_libero, from_libero, to_maniskill, from_maniskill, GoogleRobot()):
        with pytest.raises(ActionError, match=r"\(\.\.\., 7\)"):
            convert([0, 0, 0])
    for back in (from_widowx, lambda fields: from_google_robot(fields, 1.0)):
        with pytest.raises(ActionError, match="rot_axangle: missing"):
            back({"world_vector": [0, 0, 0]})
    with pytest.raises(ActionError, match="release: 4; expected 2 or 3"):
        to_maniskill(ACTION, release=4)
    with pytest.raises(ActionError, match="a step or more"):
        GoogleRobot(0)
    robot = GoogleRobot()
    robot(np.zeros((2, 7)))
    with pytest.raises(ActionError, match=r"Call reset\(\)"):
        robot(np.zeros((3, 7)))
