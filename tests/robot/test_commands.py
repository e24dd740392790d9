"""Steps that command a gripper without a defined displacement: they are kept, and what is no command is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rt2data.declarations import declaration, robot_parser
from rt2data.robot import actions
from rt2data.robot.fields import RobotFields

ARM = ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]
STATE = [
    {"field": "state", "columns": "0:3", "to": ARM[:3]},
    {"field": "state", "columns": "3:7", "ops": [{"quaternion": "xyzw"}], "to": ARM[3:6]},
]
POSE = [term | {"field": "target"} for term in STATE]
TRIGGER = {"field": "close", "ops": [{"subtract": "open"}, "relative_to_absolute"], "to": ["gripper"]}
OPENNESS = {"field": "openness", "to": ["gripper"]}
TARGETS = {"field": "target", "nonzero": True}


def declared(gripper: dict[str, Any], valid: Any = "all", terminate: Any = "none", **action: Any) -> RobotFields:
    """Targets against the state; a target of zeros has no rotation."""
    base = {"dims": ARM, "kind": "pose", "frame": "base", "unit": "m_rad", "gripper": "any", "state": STATE}
    raw = declaration.find_declaration("bridge").raw
    block = {key: value for key, value in (base | {"terms": [*POSE, gripper]} | action).items() if value is not None}
    raw = raw | {"action": block, "valid_action": valid, "terminate": terminate}
    return robot_parser.parse_robot_fields(raw, "toy.yaml", {(): 1})


def episode(target: list[int], **fields: list[float]) -> dict[str, np.ndarray[Any, Any]]:
    """A still arm, told to go 0.1 m up where `target` is 1, and a pose of zeros where it is 0."""
    state = np.tile(np.array([0.3, 0, 0.2, 0, 0, 0, 1], np.float32), (len(target), 1))
    goal = (state + np.array([0, 0, 0.1, 0, 0, 0, 0], np.float32)) * np.array(target, np.float32)[:, None]
    columns = {name: np.array(values, np.float32)[:, None] for name, values in fields.items()}
    nothing = np.zeros((len(target), 1), np.float32)
    return {"open": nothing, "close": nothing, "openness": nothing, "state": state, "target": goal} | columns


def computed(robot: RobotFields, fields: dict[str, Any]) -> actions.EpisodeActions:
    return actions.compute_episode(robot, fields.__getitem__, len(fields["state"]), "w")


def test_a_trigger_without_a_pose_is_a_step_at_rest_that_commands() -> None:
    found = computed(declared(TRIGGER), episode([0, 1, 0, 0, 1, 0], close=[0, 0, 1, 0, 0, 0]))
    assert found.known.tolist() == [False, True, True, False, True, False]
    assert found.values[2].tolist() == [0, 0, 0, 0, 0, 0, 0]
    assert found.values[[1, 4], 6].tolist() == [1, 0]
    assert found.values[[1, 4], 2] == pytest.approx([0.1, 0.1])


def test_the_first_step_and_the_last_may_command_too() -> None:
    fields = episode([0, 1, 0], open=[1, 0, 0], close=[0, 0, 1])
    found = computed(declared(TRIGGER), fields)
    assert found.known.all()
    assert found.values[:, 6].tolist() == [1, 1, 0]
    assert (found.values[[0, 2], :6] == 0).all()


def test_a_trigger_that_is_held_is_a_command_at_each_step() -> None:
    found = computed(declared(TRIGGER), episode([1, 0, 0, 0], close=[0, 1, 1, 0]))
    assert found.known.tolist() == [True, True, True, False]


def test_an_openness_commands_where_it_changes() -> None:
    found = computed(declared(OPENNESS), episode([1, 0, 0, 0, 1], openness=[1, 1, 0.5, 0, 0]))
    assert found.known.tolist() == [True, False, True, True, True]
    assert found.values[:, 6].tolist() == [1, 1, 0.5, 0, 0]


def test_what_is_not_a_number_is_no_command() -> None:
    found = computed(declared(OPENNESS), episode([1, 0, 0, 1], openness=[1, np.nan, 0, 0]))
    assert found.known.tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("valid", "trigger", "openness"),
    [
        (TARGETS, True, True),  # says that there is no pose
        ({"field": "target", "column": 2, "above": 0.1}, True, True),
        ({"field": "flag", "above": 0.5}, True, False),  # says that there is no action: a trigger of 0 keeps
        ({"field": "steps/is_last", "below": 0.5}, False, False),
        ("not_last", False, False),
    ],
)
@pytest.mark.parametrize("kind", ["trigger", "openness"])
def test_what_a_rule_says_of_the_gripper(valid: Any, trigger: bool, openness: bool, kind: str) -> None:
    """The last step closes, in all of them, and has no pose."""
    fields = episode([1, 1, 0], close=[0, 0, 1], openness=[1, 1, 0], flag=[1, 1, 0])
    last = np.array([False, False, True])
    fields |= {"steps/is_last": last}
    fields["target"][2] = fields["state"][2] * np.float32(valid == "not_last")
    found = computed(declared(TRIGGER if kind == "trigger" else OPENNESS, valid), fields)
    assert found.known.tolist() == [True, True, trigger if kind == "trigger" else openness]


def test_a_rule_that_looks_at_the_gripper_too_says_nothing_apart() -> None:
    whole = {"field": "a", "nonzero": True}
    terms = [{"field": "a", "columns": "0:6", "to": ARM[:6]}, {"field": "a", "columns": [6], "to": ["gripper"]}]
    a = np.ones((3, 7), np.float32)
    a[1] = 0
    for rule, known in ((whole, [True, False, True]), (whole | {"columns": "0:6"}, [True, True, True])):
        one = declared(OPENNESS, rule, kind="displacement", terms=terms, state=None)
        found = actions.compute_episode(one, {"a": a}.__getitem__, 3, "w")
        assert found.known.tolist() == known


def test_what_is_held_keeps_its_value_where_the_gripper_is_commanded() -> None:
    terms = [{"field": "a", "columns": [0], "to": ["joint_0"]}, {"field": "a", "columns": [1], "to": ["gripper"]}]
    absolute = {"kind": "absolute", "dims": ["joint_0", "gripper"], "units": {"joint_0": "rad"}}
    rule = {"field": "a", "column": 0, "nonzero": True}
    one = declared(OPENNESS, rule, **absolute, terms=terms, state=None, frame=None, unit=None)
    a = np.array([[2, 1], [0, 0], [3, 0]], np.float32)
    found = actions.compute_episode(one, {"a": a}.__getitem__, 3, "w")
    assert found.known.all()
    assert found.values.tolist() == [[2, 1], [2, 0], [3, 0]]
    nowhere = actions.compute_episode(one, {"a": a * np.float32([0, 1])}.__getitem__, 3, "w")
    assert not nowhere.known.any()  # what the joint is to do is nowhere known


def test_other_projects_leave_such_steps_out() -> None:
    for name in ("droid", "bridge_dataset"):
        for one in declaration.find_declaration(name).compat.values():
            assert one.robot is not None
            assert not one.robot.keep_commands
