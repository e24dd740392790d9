"""Rotations of six numbers, by rows and by columns: published numbers, a plain computation, and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.goldens import read_goldens

from rt2data.robot import rotation
from rt2data.serving import from_rotation_6d, rotation_6d_dims, to_rotation_6d
from rt2data.tokenizer import ActionError

# arnavinator/Isaac-GR00T@0078914 (N1.6), gr00t/data/state_action/pose.py: a matrix and its six numbers, by rows.
MATRIX = [
    [0.24701666970645503, -0.8881798399788586, -0.38745236706240593],
    [0.9495061909734493, 0.1420330782429708, 0.2797581062059112],
    [-0.1934444576363558, -0.43699333695144066, 0.8784167947334689],
]
ROWS = [*MATRIX[0], *MATRIX[1]]
COLUMNS = [row[i] for i in (0, 1) for row in MATRIX]  # thu-ml/RDT2@0797b4c, pose_util.py: the first two columns

ANGLE = st.floats(-3.14, 3.14)
PITCH = st.floats(-1.5, 1.5)


def matrix(roll: float, pitch: float, yaw: float) -> list[list[float]]:
    """Rz(yaw) Ry(pitch) Rx(roll), written out."""
    (cr, sr), (cp, sp), (cy, sy) = ((math.cos(a), math.sin(a)) for a in (roll, pitch, yaw))
    return [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]


def test_published_numbers() -> None:
    roll, pitch, yaw = rotation.to_rpy(np.array([MATRIX]))[0]
    action = [0.1, 0.2, 0.3, roll, pitch, yaw, 1.0]
    for layout, six in (("rows", ROWS), ("columns", COLUMNS)):
        found = to_rotation_6d(action, layout)
        assert found.tolist() == pytest.approx([0.1, 0.2, 0.3, *six, 1.0], abs=1e-14)
        assert from_rotation_6d(found, layout).tolist() == pytest.approx(action, abs=1e-14)


@given(ANGLE, PITCH, ANGLE, st.sampled_from(["rows", "columns"]))
def test_against_a_plain_computation(roll: float, pitch: float, yaw: float, layout: str) -> None:
    full = matrix(roll, pitch, yaw)
    vectors = full if layout == "rows" else [list(column) for column in zip(*full, strict=True)]
    found = to_rotation_6d(np.array([[0.0, 0.0, 0.0, roll, pitch, yaw, 0.5]]), layout)
    assert found[0, 3:9].tolist() == pytest.approx([*vectors[0], *vectors[1]], abs=1e-14)
    assert from_rotation_6d(found, layout)[0, 3:6].tolist() == pytest.approx([roll, pitch, yaw], abs=1e-9)


@given(st.lists(st.floats(-2, 2), min_size=6, max_size=6), st.sampled_from(["rows", "columns"]))
def test_what_a_model_writes_becomes_a_rotation(six: list[float], layout: str) -> None:
    a, b = six[:3], six[3:]
    cross = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    if math.hypot(*cross) < 1e-3:
        return
    action = from_rotation_6d([0, 0, 0, *six, 0], layout)
    again = to_rotation_6d(action, layout)[3:9]
    # The first vector keeps its direction, the second its side of the first: Gram-Schmidt.
    length = math.hypot(*a)
    first = [v / length for v in a]
    along = sum(u * v for u, v in zip(first, b, strict=True))
    second = [v - along * u for u, v in zip(first, b, strict=True)]
    length = math.hypot(*second)
    assert again.tolist() == pytest.approx([*first, *(v / length for v in second)], abs=1e-6)


def test_two_arms_keep_their_order() -> None:
    dims = ["left_x", "left_roll", "left_pitch", "left_yaw", "left_gripper", "roll", "pitch", "yaw"]
    six = [f"rot6d_{i}" for i in range(6)]
    assert rotation_6d_dims(dims) == ("left_x", *(f"left_{n}" for n in six), "left_gripper", *six)
    chunk = np.random.default_rng(0).uniform(-1, 1, (5, 2, 8))
    there = to_rotation_6d(chunk, "columns", dims)
    assert there.shape == (5, 2, 14)
    np.testing.assert_allclose(from_rotation_6d(there, "columns", dims), chunk, atol=1e-12)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ActionError, match="rows or columns"):
        to_rotation_6d(np.zeros(7), "row")
    with pytest.raises(ActionError, match=r"\(\.\.\., 7\): x y z roll"):
        to_rotation_6d(np.zeros((2, 6)), "rows")
    with pytest.raises(ActionError, match=r"\(\.\.\., 10\): x y z rot6d_0"):
        from_rotation_6d(np.zeros(7), "rows")
    with pytest.raises(ActionError, match="one after the other"):
        rotation_6d_dims(["roll", "yaw", "pitch"])
    assert np.isnan(from_rotation_6d(np.zeros(10), "rows")[3:6]).all()


def test_the_whole_file_of_published_numbers() -> None:
    stored = read_goldens("gr00t_starvla.json")
    layout = next(part["rot6d_layout"] for part in (stored, *stored.values()) if "rot6d_layout" in part)
    angles = rotation.to_rpy(np.array([layout["matrix"]]))[0]
    found = to_rotation_6d([0.0, 0.0, 0.0, *angles, 0.0], "rows")
    assert found[3:9].tolist() == pytest.approx(layout["rot6d"], abs=1e-14)
