"""From declared fields to canonical actions: terms, poses, rules, and what a step whose action is undefined gets."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rt2data.declarations import declaration, robot_parser
from rt2data.errors import Rt2dataError
from rt2data.robot import actions
from rt2data.robot.fields import Op, Ref, RobotFields, Rule, Term

_BRIDGE = declaration.find_declaration("bridge").robot
assert _BRIDGE is not None
BRIDGE: RobotFields = _BRIDGE
DIMS = BRIDGE.dims


def fields(**values: Any) -> Callable[[str], Any]:
    return lambda name: np.asarray(values[name])


def declared(**action: Any) -> RobotFields:
    """A robot of an `action` block, over Bridge's other fields."""
    base = {"kind": "displacement", "frame": "base", "unit": "m_rad", "gripper": "1 = open"}
    raw = declaration.find_declaration("bridge").raw | {
        "action": {k: v for k, v in (base | action).items() if v is not None}
    }
    return robot_parser.parse_robot_fields(raw, "toy.yaml", {(): 1})


def degrees(*angles: float) -> list[float]:
    return [math.radians(a) for a in angles]


def test_columns_go_where_the_terms_say() -> None:
    one = replace(
        BRIDGE,
        terms=(
            Term("b", (2, 0), ("yaw", "z")),
            Term("a", None, ("x", "y", "roll", "pitch")),
            Term("g", None, ("gripper",)),
        ),
    )
    b, a, g = np.arange(6).reshape(2, 3), np.arange(8.0).reshape(2, 4), np.array([True, False])
    found = actions.compute_actions(one, fields(a=a, b=b, g=g), 2, "w")
    assert found.values.dtype == np.float64
    assert found.known.tolist() == [True, True]
    assert dict(zip(DIMS, found.values.T.tolist(), strict=True)) == {
        "x": [0, 4],
        "y": [1, 5],
        "z": [0, 3],
        "roll": [2, 6],
        "pitch": [3, 7],
        "yaw": [2, 5],
        "gripper": [1, 0],
    }


def test_float32_is_kept_exactly() -> None:
    values = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    found = actions.compute_actions(BRIDGE, lambda _: values, 5, "w").values
    assert found.astype(np.float32).tobytes() == values.tobytes()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 6), np.float32), "w: steps/action has shape (2, 6); expected at least 7 columns."),
        (np.zeros(2, np.float32), "w: steps/action has shape (2,); expected at least 7 columns."),
        (np.zeros((2, 7), "S4"), "w: steps/action is |S4 of shape (2, 7); expected numbers of shape (T, ...), T = 2."),
        (np.zeros((3, 7)), "w: steps/action is float64 of shape (3, 7); expected numbers of shape (T, ...), T = 2."),
    ],
)
def test_another_shape_is_refused(values: Any, message: str) -> None:
    one = replace(BRIDGE, terms=(Term("steps/action", (0, 1, 2, 3, 4, 5, 6), DIMS),))
    with pytest.raises(Rt2dataError, match=f"^{re.escape(message)}$"):
        actions.compute_actions(one, lambda _: values, 2, "w")


def test_a_term_without_columns_takes_all_of_them() -> None:
    one = replace(BRIDGE, terms=(Term("a", None, DIMS),))
    with pytest.raises(Rt2dataError, match=re.escape("w: a has shape (2, 8); expected (T, 7).")):
        actions.compute_actions(one, fields(a=np.zeros((2, 8))), 2, "w")


def test_a_matrix_of_a_step_is_its_columns_row_by_row() -> None:
    one = declared(
        dims=["x", "y", "z"], terms=[{"field": "pose", "columns": [3, 7, 11], "to": ["x", "y", "z"]}], gripper=None
    )
    pose = np.arange(32.0).reshape(2, 4, 4)
    assert actions.compute_actions(one, fields(pose=pose), 2, "w").values.tolist() == [[3, 7, 11], [19, 23, 27]]


def test_the_unit_comes_before_the_operations() -> None:
    terms = [
        {"field": "a", "columns": "0:3", "ops": [{"offset": 1}], "to": ["x", "y", "z"]},
        {"field": "a", "columns": "3:6", "ops": ["negate"], "to": ["roll", "pitch", "yaw"]},
        {"field": "a", "columns": [6], "to": ["gripper"]},
    ]
    a = np.array([[1.0, 2, 3, 4, 5, 6, 0.5]])
    one = declared(dims=list(DIMS), terms=terms, unit="controller", scale={"translation": 0.05, "rotation": 0.5})
    assert one.units == ("m", "m", "m", "rad", "rad", "rad", "openness")
    assert not one.controller
    assert actions.compute_actions(one, fields(a=a), 1, "w").values[0].tolist() == pytest.approx(
        [1.05, 1.1, 1.15, -2, -2.5, -3, 0.5]
    )
    one = declared(dims=list(DIMS), terms=terms, unit="m_rad_per_s")  # at Bridge's 5 Hz
    assert actions.compute_actions(one, fields(a=a), 1, "w").values[0].tolist() == pytest.approx(
        [1.2, 1.4, 1.6, -0.8, -1, -1.2, 0.5]
    )
    one = declared(dims=list(DIMS), terms=terms, unit="controller", scale={"rotation": 0.5})
    assert one.controller
    assert one.units[:4] == ("controller", "controller", "controller", "rad")


def test_another_field_is_added_and_subtracted() -> None:
    one = declared(
        dims=["x", "y", "z", "gripper"],
        terms=[
            {"field": "a", "ops": [{"add": {"field": "s", "columns": "1:4"}}], "to": ["x", "y", "z"]},
            {"field": "close", "ops": [{"subtract": "open"}, "relative_to_absolute"], "to": ["gripper"]},
        ],
    )
    read = fields(
        a=np.ones((3, 3)),
        s=np.arange(15.0).reshape(3, 5),
        close=np.array([0, 1, 0], bool),
        open=np.array([0, 0, 1], bool),
    )
    assert actions.compute_actions(one, read, 3, "w").values.tolist() == [[2, 3, 4, 1], [7, 8, 9, 0], [12, 13, 14, 1]]


POSE: dict[str, Any] = {
    "dims": ["x", "y", "z", "roll", "pitch", "yaw", "gripper"],
    "kind": "pose",
    "terms": [
        {"field": "t", "columns": "0:3", "to": ["x", "y", "z"]},
        {"field": "t", "columns": "3:6", "to": ["roll", "pitch", "yaw"]},
        {"field": "t", "columns": [6], "to": ["gripper"]},
    ],
    "state": [
        {"field": "s", "columns": "0:3", "to": ["x", "y", "z"]},
        {"field": "s", "columns": "3:6", "to": ["roll", "pitch", "yaw"]},
    ],
}


def test_a_pose_becomes_the_displacement_that_leads_to_it() -> None:
    # The hand looks along base y (yaw 90 degrees); the target is 10 cm further along y, turned by 30 degrees about z.
    state = np.array([[0.5, 0, 0, *degrees(0, 0, 90)]])
    target = np.array([[0.5, 0.1, 0, *degrees(0, 0, 120), 1.0]])
    base = actions.compute_actions(declared(**POSE), fields(t=target, s=state), 1, "w").values[0]
    assert base.tolist() == pytest.approx([0, 0.1, 0, 0, 0, math.radians(30), 1], abs=1e-15)
    tool = actions.compute_actions(declared(**POSE | {"frame": "tool"}), fields(t=target, s=state), 1, "w").values[0]
    assert tool.tolist() == pytest.approx([0.1, 0, 0, 0, 0, math.radians(30), 1], abs=1e-15)


def test_the_rotation_of_a_pose_is_no_difference_of_angles() -> None:
    state, target = np.zeros((1, 6)), np.zeros((1, 7))
    state[0, 3:] = degrees(0, 0, 90)
    target[0, 3:6] = degrees(20, 0, 90)  # a turn by 20 degrees about the tool's x axis, which is base y
    base = actions.compute_actions(declared(**POSE), fields(t=target, s=state), 1, "w").values[0, 3:6]
    assert base.tolist() == pytest.approx(degrees(0, 20, 0), abs=1e-15)
    tool = actions.compute_actions(declared(**POSE | {"frame": "tool"}), fields(t=target, s=state), 1, "w").values[
        0, 3:6
    ]
    assert tool.tolist() == pytest.approx(degrees(20, 0, 0), abs=1e-15)


def test_a_turn_across_the_end_of_the_angles_is_small() -> None:
    state, target = np.zeros((1, 6)), np.zeros((1, 7))
    state[0, 5], target[0, 5] = degrees(179, -179)
    assert actions.compute_actions(declared(**POSE), fields(t=target, s=state), 1, "w").values[0, 5] == pytest.approx(
        math.radians(2)
    )


def test_a_pose_against_other_targets() -> None:
    terms = [{"field": "p", "to": ["x", "y", "z"]}]
    p = np.array([[0.0, 0, 0], [1, 0, 0], [3, 0, 0]])
    for against, wanted, known in (
        ("previous_target", [0, 1, 2], [False, True, True]),
        ("next_target", [1, 2, 0], [True, True, False]),
    ):
        one = declared(dims=["x", "y", "z"], kind="pose", terms=terms, against=against, gripper=None)
        found = actions.compute_actions(one, fields(p=p), 3, "w")
        assert found.values[:, 0].tolist() == wanted
        assert found.known.tolist() == known
        assert actions.compute_actions(one, fields(p=p[:1]), 1, "w").known.tolist() == [False]


def test_a_zero_quaternion_is_missing_wherever_the_displacement_needs_it() -> None:
    terms = [
        {"field": "p", "to": ["x", "y", "z"]},
        {"field": "q", "ops": [{"quaternion": "xyzw"}], "to": ["roll", "pitch", "yaw"]},
    ]
    dims = ["x", "y", "z", "roll", "pitch", "yaw"]
    q = np.array([[0.0, 0, 0, 0], [0, 0, 0, 2], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]])
    read = fields(p=np.zeros((5, 3)), q=q, s=np.zeros((5, 3)))
    known = {
        "displacement": [False, True, True, False, True],
        "previous_target": [False, False, True, False, False],
        "next_target": [False, True, False, False, False],
    }
    for what, wanted in known.items():
        pose = {} if what == "displacement" else {"kind": "pose", "against": what}
        found = actions.compute_actions(declared(dims=dims, terms=terms, gripper=None, **pose), read, 5, "w")
        assert found.known.tolist() == wanted
        assert np.isfinite(found.values[found.known]).all()


def test_two_arms() -> None:
    arm = ["x", "y", "z", "roll", "pitch", "yaw"]
    sides = [f"{side}_{name}" for side in ("left", "right") for name in arm]
    terms = [
        {"field": "t", "columns": [k + i for i in range(n)], "ops": ops, "to": sides[d : d + 3]}
        for k, n, ops, d in (
            (0, 3, [{"scale": 1}], 0),
            (3, 4, [{"quaternion": "wxyz"}], 3),
            (7, 3, [{"scale": 1}], 6),
            (10, 4, [{"quaternion": "wxyz"}], 9),
        )
    ]
    state = [term | {"field": "s"} for term in terms]
    one = declared(dims=sides, kind="pose", terms=terms, state=state, frame="tool", gripper=None)
    turn = [math.cos(0.1), 0, 0, math.sin(0.1)]  # 0.2 rad about z
    half = [math.sqrt(0.5), 0, 0, math.sqrt(0.5)]  # 90 degrees about z
    s = np.array([[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, *half]])
    t = np.array([[1, 0, 0, *turn, 1, 0, 0, *half]])
    found = actions.compute_actions(one, fields(t=t, s=s), 1, "w").values[0]
    assert found.tolist() == pytest.approx([1, 0, 0, 0, 0, 0.2, 0, -1, 0, 0, 0, 0], abs=1e-15)


FLAGS = {"steps/is_last": np.array([0, 0, 1], bool), "steps/is_terminal": np.array([0, 1, 0], bool)}
FIELD = {"f": np.array([[0.0, 0.7], [0.0, 0.0], [1.0, float("nan")]]), "g": np.array([0, 3, -1])}


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("is_last", [False, False, True]),
        ("is_terminal", [False, True, False]),
        ("last_step", [False, False, True]),
        ("none", [False, False, False]),
        (Rule("f", (0,), 0.5, None), [False, False, True]),
        (Rule("f", (1,), 0.5, None), [True, False, False]),
        (Rule("f", (1,), None, 0.5), [False, True, False]),
        (Rule("g", None, None, 0), [False, False, True]),
        (Rule("f", None, None, None), [True, False, True]),
        (Rule("f", (0,), None, None), [False, False, True]),
    ],
)
def test_terminate(rule: str | Rule, wanted: list[bool]) -> None:
    read = (FLAGS | FIELD).__getitem__
    assert actions.find_terminations(replace(BRIDGE, terminate=rule), read, 3).tolist() == wanted
    if isinstance(rule, Rule):
        assert actions.find_valid(replace(BRIDGE, valid_action=rule), read, 3).tolist() == wanted


def test_a_rule_on_one_column_of_several_is_refused() -> None:
    with pytest.raises(Rt2dataError, match=re.escape("w: f has shape (3, 2); expected (T, 1).")):
        actions.evaluate_rule(Rule("f", None, 0.5, None), FIELD.__getitem__, 3, "w")


def test_valid() -> None:
    assert actions.find_valid(replace(BRIDGE, valid_action="all"), FLAGS.__getitem__, 3).tolist() == [True] * 3
    assert actions.find_valid(replace(BRIDGE, valid_action="not_last"), FLAGS.__getitem__, 3).tolist() == [
        True,
        True,
        False,
    ]


def test_the_fields_that_a_declaration_reads() -> None:
    one = replace(
        BRIDGE,
        terminate=Rule("steps/end", None, 0.5, None),
        valid_action="not_last",
        state=(Term("steps/pose", None, ("x",)),),
        terms=(Term("steps/action", None, ("x",), (Op("add", other=Ref("steps/more", None)),)),),
    )
    assert {"steps/action", "steps/more", "steps/pose", "steps/end", "steps/is_last", "steps/observation/state"} < set(
        one.fields
    )
    assert "steps/is_terminal" not in one.fields


def test_a_step_at_rest_has_no_displacement_and_the_gripper_before() -> None:
    action = np.arange(1.0, 29.0).reshape(4, 7)
    ok = np.array([False, True, True, False])
    found = actions.replace_by_rest(BRIDGE, action, ok)
    assert found[1:3].tolist() == action[1:3].tolist()
    assert found[3].tolist() == [0] * 6 + [action[2, 6]]
    assert found[0].tolist() == [0] * 6 + [action[1, 6]]  # nothing before it: that of the first valid step
    assert action[0, 0] == 1  # the input is as it was


def test_an_absolute_action_holds_but_for_its_rates() -> None:
    one = declared(
        dims=["joint_0", "gripper", "forward"],
        kind="absolute",
        units={"joint_0": "rad", "forward": "m/s"},
        rates=["forward"],
        terms=[{"field": "a", "to": ["joint_0", "gripper", "forward"]}],
        frame=None,
        unit=None,
    )
    found = actions.replace_by_rest(one, np.arange(1.0, 7.0).reshape(2, 3), np.array([True, False]))
    assert found.tolist() == [[1, 2, 3], [1, 2, 0]]


def test_no_valid_step_at_all() -> None:
    found = actions.replace_by_rest(BRIDGE, np.full((2, 7), np.nan), np.array([False, False]))
    assert found.tolist() == [[0.0] * 7] * 2


def test_an_episode_without_steps() -> None:
    assert actions.compute_actions(
        declared(**POSE), fields(t=np.zeros((0, 7)), s=np.zeros((0, 6))), 0, "w"
    ).values.shape == (
        0,
        7,
    )


def test_a_rule_compares_in_the_type_that_is_stored() -> None:
    """A float32 of 0.1 is not above 0.1, as Octo and OpenVLA compare; its exact value would be."""
    single, double = {"f": np.array([[0.1]], np.float32)}, {"f": np.array([[0.1 + 1e-9]])}
    for values, wanted in ((single, False), (double, True)):
        assert actions.evaluate_rule(Rule("f", None, 0.1, None), values.__getitem__, 1, "w").tolist() == [wanted]
    whole = {"f": np.array([[0], [1]], np.uint8)}
    assert actions.evaluate_rule(Rule("f", None, 0.5, None), whole.__getitem__, 2, "w").tolist() == [False, True]
    assert actions.evaluate_rule(Rule("f", None, None, 0.7), single.__getitem__, 1, "w").tolist() == [True]


TRIGGERED = [
    "fractal20220817_data",
    "kuka",
    "jaco_play",
    "berkeley_autolab_ur5",
    "nyu_door_opening_surprising_effectiveness",
]


@pytest.mark.parametrize("name", TRIGGERED)
def test_a_stored_tenth_is_no_trigger(name: str) -> None:
    one = declaration.find_declaration(name)
    for declared_one in (one, *one.compat.values()):
        robot = declared_one.robot
        assert robot is not None
        term = next(term for term in robot.terms if term.to == ("gripper",))
        assert term.ops[0].name == "relative_to_absolute"
        for tenth in (0.1, -0.1):
            stored = np.array([[0.0], [tenth], [0.0], [1.0]], np.float32)
            known = np.ones(4, np.bool_)
            found, _ = actions.evaluate_terms([term], lambda _, table=stored: table, 4, "w", known)  # type: ignore[misc]
            assert found["gripper"].tolist() == [1, 1, 1, 0]
