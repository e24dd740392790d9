"""Rotations: each representation by hand and against the scalar computation; angles at and near the gimbal lock."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import scalar_actions

from rt2data.robot import rotation

EYE = np.eye(3)
ORDERS = rotation.REPRESENTATIONS["euler"][1]
SCIPY = [0.22911262273937028, 0.27868939479433985, 0.10194650505404561]


def random(n: int, width: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(n, width))


def assert_rotations(found: Any) -> None:
    assert np.allclose(found @ found.transpose(0, 2, 1), EYE, atol=1e-14)
    assert np.allclose(np.linalg.det(found), 1.0, atol=1e-14)


def test_the_convention() -> None:
    """Rz(yaw) Ry(pitch) Rx(roll): roll acts first."""
    q = math.pi / 2
    for angles, wanted in [
        ((q, 0, 0), [[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
        ((0, q, 0), [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
        ((0, 0, q), [[0, -1, 0], [1, 0, 0], [0, 0, 1]]),
        ((q, 0, q), [[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    ]:
        assert np.allclose(rotation.from_rpy(np.array([angles])), [wanted], atol=1e-15)


def scalar(name: str, values: Any, argument: str) -> Any:
    """The matrices of the second computation, one at a time."""
    return np.array([scalar_actions.ROTATIONS[name](row, argument) for row in values.tolist()])


@pytest.mark.parametrize("order", ORDERS)
def test_euler_angles_are_turns_one_after_the_other(order: str) -> None:
    angles = random(50, 3)
    found = rotation.from_euler(angles, order)
    assert_rotations(found)
    assert np.allclose(found, scalar("euler", angles, order), atol=1e-14)


def test_the_order_of_letters() -> None:
    angles = random(20, 3)
    for word in ("xyz", "zxy", "zyx", "yzx"):  # about fixed axes is about moving axes backwards
        assert np.allclose(
            rotation.from_euler(angles, word), rotation.from_euler(angles[:, ::-1], word[::-1].upper()), atol=1e-15
        )
    assert np.allclose(rotation.from_rpy(angles), rotation.from_euler(angles[:, ::-1], "ZYX"), atol=1e-15)
    # scipy 1.17.1: Rotation.from_euler("zxy", [0.1, 0.2, 0.3]).as_euler("xyz")
    assert rotation.to_rpy(rotation.from_euler(np.array([[0.1, 0.2, 0.3]]), "zxy"))[0].tolist() == pytest.approx(
        SCIPY, abs=1e-15
    )


def test_quaternions_and_vectors_are_those_of_the_scalar_computation() -> None:
    q, v = random(50, 4), random(50, 3) * 2
    found = rotation.from_quaternion(q, "xyzw")
    assert_rotations(found)
    assert np.allclose(found, scalar("quaternion", q, "xyzw"), atol=1e-14)
    assert np.allclose(rotation.from_quaternion(q[:, [3, 0, 1, 2]], "wxyz"), found, atol=1e-14)
    assert np.allclose(rotation.from_axis_angle(v), scalar("axis_angle", v, ""), atol=1e-14)


def test_a_quaternion_by_hand() -> None:
    half = math.sqrt(0.5)
    quarter_turn_about_z = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    for scale in (1.0, -1.0, 1e-30, 1e150, 1e-200):  # any length, and both signs, are one rotation
        q = np.array([[0, 0, half, half]]) * scale
        assert np.allclose(rotation.from_quaternion(q, "xyzw"), [quarter_turn_about_z], atol=1e-15)
        assert np.allclose(rotation.from_quaternion(q[:, [3, 0, 1, 2]], "wxyz"), [quarter_turn_about_z], atol=1e-15)


@pytest.mark.parametrize("size", [0.0, 5e-324, 1e-200, 1e-160, 1e-12, 1e-8, 1e-4])
def test_small_rotation_vectors(size: float) -> None:
    found = rotation.from_axis_angle(np.array([[0.0, 0.0, size]]))
    c, s = math.cos(size), math.sin(size)
    assert np.allclose(found, [[[c, -s, 0], [s, c, 0], [0, 0, 1]]], rtol=1e-15, atol=0)
    assert found[0, 1, 0] == pytest.approx(math.sin(size), rel=1e-15)


def test_6d_is_the_first_two_columns_or_rows_made_orthogonal() -> None:
    matrices = rotation.from_quaternion(random(20, 4), "xyzw")
    columns = np.concatenate([matrices[:, :, 0], matrices[:, :, 1]], axis=1)
    rows = np.concatenate([matrices[:, 0], matrices[:, 1]], axis=1)
    assert np.allclose(rotation.from_6d(columns, "columns"), matrices, atol=1e-14)
    assert np.allclose(rotation.from_6d(rows, "rows"), matrices, atol=1e-14)
    skew = np.array([[2.0, 0, 0, 1, 3, 0]])  # neither unit nor orthogonal
    assert np.allclose(rotation.from_6d(skew, "columns"), [EYE], atol=1e-15)
    assert_rotations(rotation.from_6d(random(20, 6), "columns"))


@pytest.mark.parametrize(
    ("name", "width", "word"), [("quaternion", 4, "wxyz"), ("rotation_6d", 6, "rows"), ("matrix", 9, "")]
)
def test_zeros_are_missing_data(name: str, width: int, word: str) -> None:
    values = np.concatenate([np.zeros((1, width)), np.eye(3).reshape(1, 9)[:, :width], np.full((1, width), -0.0)])
    found, known = rotation.to_matrices(values, name, word)
    assert known.tolist() == [False, True, False]
    assert found[0].tolist() == EYE.tolist()


@pytest.mark.parametrize(("name", "word"), [("axis_angle", ""), ("euler", "zxy")])
def test_three_zeros_are_no_rotation(name: str, word: str) -> None:
    found, known = rotation.to_matrices(np.zeros((2, 3)), name, word)
    assert known.all()
    assert found.tolist() == [EYE.tolist()] * 2


@pytest.mark.parametrize("name", rotation.REPRESENTATIONS)
def test_what_is_not_finite_stays_so(name: str) -> None:
    width, words, _ = rotation.REPRESENTATIONS[name]
    for bad in (math.nan, math.inf):
        values = np.full((1, width), bad)
        found, known = rotation.to_matrices(values, name, words[0] if words else "")
        assert known.all()
        assert not np.isfinite(rotation.to_rpy(found)).all()


@pytest.mark.parametrize("name", rotation.REPRESENTATIONS)
def test_no_rows(name: str) -> None:
    width, words, _ = rotation.REPRESENTATIONS[name]
    found, known = rotation.to_matrices(np.zeros((0, width)), name, words[0] if words else "")
    assert found.shape == (0, 3, 3)
    assert known.shape == (0,)
    assert rotation.to_rpy(found).shape == (0, 3)


ANGLE = st.floats(-math.pi, math.pi)


@settings(max_examples=300, deadline=None)
@given(ANGLE, st.floats(-math.pi / 2, math.pi / 2), ANGLE)
def test_rpy_there_and_back(roll: float, pitch: float, yaw: float) -> None:
    turn = rotation.from_rpy(np.array([[roll, pitch, yaw]]))
    angles = rotation.to_rpy(turn)
    assert abs(angles[0, 1]) <= math.pi / 2
    assert np.allclose(rotation.from_rpy(angles), turn, atol=3e-8)  # at the lock half of the digits are left
    if abs(pitch) < 1.5:
        assert np.allclose(rotation.from_rpy(angles), turn, atol=1e-14)
        assert angles[0, 1] == pytest.approx(pitch, abs=1e-14)


@pytest.mark.parametrize(
    "pitch", [math.pi / 2, -math.pi / 2, math.pi / 2 - 1e-9, -math.pi / 2 + 1e-12, math.pi / 2 - 1e-7]
)
def test_the_gimbal_lock(pitch: float) -> None:
    turn = rotation.from_rpy(np.array([[0.3, pitch, 1.1]]))
    angles = rotation.to_rpy(turn)
    assert np.allclose(rotation.from_rpy(angles), turn, atol=3e-8)
    assert angles[0, 1] == pytest.approx(pitch, abs=1e-7)
    if math.cos(pitch) < rotation.GIMBAL:
        assert angles[0, 0] == 0.0


def test_products_are_those_of_numpy() -> None:
    a, b, v = random(30, 9).reshape(-1, 3, 3), random(30, 9, 1).reshape(-1, 3, 3), random(30, 3)
    assert np.allclose(rotation.product(a, b), a @ b, atol=1e-14)
    assert np.allclose(rotation.rotate(a, v), (a @ v[:, :, None])[:, :, 0], atol=1e-14)
    turns = rotation.from_quaternion(random(30, 4), "xyzw")
    assert np.allclose(rotation.product(rotation.transpose(turns), turns), EYE, atol=1e-14)
