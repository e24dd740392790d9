"""From declared fields to canonical actions: columns, flags, and what a step whose action is undefined gets."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rt2data import actions, declaration
from rt2data.declaration import Robot, Term
from rt2data.errors import Rt2dataError

BRIDGE = declaration.find("bridge").robot
assert BRIDGE is not None
DIMS = BRIDGE.dims


def robot(**changes: Any) -> Robot:
    assert BRIDGE is not None
    return replace(BRIDGE, **changes)


def fields(**values: Any) -> Callable[[str], Any]:
    return lambda name: np.asarray(values[name])


def test_columns_go_where_the_terms_say() -> None:
    one = robot(terms=(Term("b", (2, 0), ("yaw", "z")), Term("a", None, ("x", "y", "roll", "pitch")), Term("g", None, ("gripper",))))
    b, a, g = np.arange(6).reshape(2, 3), np.arange(8.0).reshape(2, 4), np.array([True, False])
    found = actions.canonical(one, fields(a=a, b=b, g=g), 2, "w")
    assert found.dtype == np.float64
    assert dict(zip(DIMS, found.T.tolist(), strict=True)) == {
        "x": [0, 4], "y": [1, 5], "z": [0, 3], "roll": [2, 6], "pitch": [3, 7], "yaw": [2, 5], "gripper": [1, 0]
    }  # fmt: skip


def test_float32_is_kept_exactly() -> None:
    values = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    found = actions.canonical(robot(), lambda _: values, 5, "w")
    assert found.astype(np.float32).tobytes() == values.tobytes()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 6), np.float32), "w: steps/action has shape (2, 6); expected (T, 7)."),
        (np.zeros(2, np.float32), "w: steps/action has shape (2,); expected (T, 7)."),
        (np.zeros((2, 7, 1), np.float32), "w: steps/action is float32 of shape (2, 7, 1); expected numbers of shape (T,) or (T, n), T = 2."),
        (np.zeros((2, 7), "S4"), "w: steps/action is |S4 of shape (2, 7); expected numbers of shape (T,) or (T, n), T = 2."),
        (np.zeros((3, 7), np.float32), "w: steps/action is float32 of shape (3, 7); expected numbers of shape (T,) or (T, n), T = 2."),
    ],
)
def test_another_shape_is_refused(values: Any, message: str) -> None:
    one = robot(terms=(Term("steps/action", (0, 1, 2, 3, 4, 5, 6), DIMS),))
    with pytest.raises(Rt2dataError, match=f"^{re.escape(message)}$"):
        actions.canonical(one, lambda _: values, 2, "w")


def test_a_term_without_columns_takes_all_of_them() -> None:
    one = robot(terms=(Term("a", None, DIMS),))
    with pytest.raises(Rt2dataError, match=re.escape("w: a has shape (2, 8); expected (T, 7).")):
        actions.canonical(one, fields(a=np.zeros((2, 8))), 2, "w")


FLAGS = {"steps/is_last": np.array([0, 0, 1], bool), "steps/is_terminal": np.array([0, 1, 0], bool)}


@pytest.mark.parametrize(
    ("rule", "wanted", "needs"),
    [
        ("is_last", [False, False, True], ("steps/is_last",)),
        ("is_terminal", [False, True, False], ("steps/is_terminal",)),
        ("last_step", [False, False, True], ()),
        ("none", [False, False, False], ()),
    ],
)
def test_terminate(rule: str, wanted: list[bool], needs: tuple[str, ...]) -> None:
    one = robot(terminate=rule)
    assert actions.terminate(one, FLAGS, 3).tolist() == wanted
    assert actions.flag_fields(one) == needs


def test_valid() -> None:
    assert actions.valid(robot(valid_action="all"), FLAGS, 3).tolist() == [True] * 3
    assert actions.valid(robot(valid_action="not_last"), FLAGS, 3).tolist() == [True, True, False]
    assert actions.flag_fields(robot(valid_action="not_last", terminate="is_terminal")) == ("steps/is_last", "steps/is_terminal")


def test_a_step_at_rest_has_no_displacement_and_the_gripper_before() -> None:
    action = np.arange(1.0, 29.0).reshape(4, 7)
    ok = np.array([False, True, True, False])
    found = actions.at_rest(robot(), action, ok)
    assert found[1:3].tolist() == action[1:3].tolist()
    assert found[3].tolist() == [0] * 6 + [action[2, 6]]
    assert found[0].tolist() == [0] * 6 + [action[1, 6]]  # nothing before it: that of the first valid step
    assert action[0, 0] == 1  # the input is as it was


def test_an_absolute_action_holds() -> None:
    action = np.arange(1.0, 15.0).reshape(2, 7)
    found = actions.at_rest(robot(kind="absolute"), action, np.array([True, False]))
    assert found[1].tolist() == action[0].tolist()


def test_no_valid_step_at_all() -> None:
    found = actions.at_rest(robot(), np.full((2, 7), np.nan), np.array([False, False]))
    assert found.tolist() == [[0.0] * 7] * 2
