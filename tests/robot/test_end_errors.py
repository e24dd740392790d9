"""The error at the end of an episode, against a second computation in plain Python and by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from support import scalar_drift

from rt2data.declarations import declaration
from rt2data.robot import drift
from rt2data.robot.fields import RobotFields


def robots() -> dict[str, RobotFields]:
    """One declared robot of each kind: dimensions, units, frame."""
    found: dict[Any, tuple[str, RobotFields]] = {}
    for one in declaration.list_declarations().values():
        if robot := one.robot:
            found.setdefault((robot.dims, robot.units, robot.frame, robot.kind, robot.rates), (one.name, robot))
    return dict(found.values())


ROBOTS = robots()
NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
UNITS = ("m",) * 3 + ("rad",) * 3 + ("openness",)
ARM = next(one for one in ROBOTS.values() if (one.dims, one.units, one.frame) == (NAMES, UNITS, "base"))


def errors(robot: RobotFields, stored: Any, decoded: Any, hz: float | None = None) -> dict[str, float]:
    """Of one episode."""
    one, other = np.array(stored, np.float64), np.array(decoded, np.float64)
    found = drift.end_errors(robot, one, other, np.array([0]), np.array([len(one)]), hz)
    return {name: float(value) for name, (value,) in found.items()}


@pytest.mark.parametrize("name", ROBOTS)
@pytest.mark.parametrize("hz", [5.0, None])
def test_errors_are_those_of_the_second_computation(name: str, hz: float | None) -> None:
    robot, rng = ROBOTS[name], np.random.default_rng(len(name))
    sizes = np.array([1, 7, 3, 20, 2])
    heads = np.cumsum(sizes) - sizes
    stored = rng.normal(scale=0.3, size=(int(sizes.sum()), len(robot.dims)))
    decoded = stored + rng.normal(scale=0.02, size=stored.shape)
    found = drift.end_errors(robot, stored, decoded, heads, sizes, hz)
    for number, (head, size) in enumerate(zip(heads, sizes, strict=True)):
        cut = slice(head, head + size)
        wanted = scalar_drift.end_errors(robot, stored[cut].tolist(), decoded[cut].tolist(), hz)
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert float(found[key][number]) == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_the_frame_decides() -> None:
    """A turn that is 10 degrees off bends what comes after it in the tool's frame, and nothing in the base frame."""
    turn, go = [0, 0, 0, 0, 0, math.radians(90), 1], [1, 0, 0, 0, 0, 0, 1]
    off = [0, 0, 0, 0, 0, math.radians(100), 0]
    base = errors(ARM, [turn, go], [off, go])
    assert base == {"position_mm": 0, "rotation_deg": pytest.approx(10)}
    tool = errors(dataclasses.replace(ARM, frame="tool"), [turn, go], [off, go])
    assert tool == {"position_mm": pytest.approx(2000 * math.sin(math.radians(5))), "rotation_deg": pytest.approx(10)}


def test_errors_of_opposite_sign_cancel_and_others_add_up() -> None:
    step = [0.1, 0, 0, 0, 0, 0, 1]
    more, less = [0.101, 0, 0, 0, 0, 0, 1], [0.099, 0, 0, 0, 0, 0, 1]
    assert errors(ARM, [step] * 4, [more, less] * 2)["position_mm"] == pytest.approx(0, abs=1e-9)
    assert errors(ARM, [step] * 4, [more] * 4)["position_mm"] == pytest.approx(4)


def test_absolute_values_do_not_add_up() -> None:
    """Of joints the last step counts, in their unit, and no pose is stated."""
    joints = dataclasses.replace(
        ARM, dims=("joint_0", "joint_1", "gripper"), units=("rad", "rad", "openness"), kind="absolute", frame=None
    )
    found = errors(joints, [[1, 1, 0], [1, 2, 0]], [[9, 9, 1], [1.25, 2.5, 1]])
    assert found == {"unit.rad": pytest.approx(0.5)}
    assert drift.list_absolute(joints) == ["joint_0", "joint_1"]
    pose = dataclasses.replace(ARM, kind="absolute", frame=None)
    found = errors(pose, [[9] * 7, [1, 0, 0, 0, 0, 0, 0]], [[0] * 7, [1, 0.003, 0.004, 0, 0, 0.1, 1]])
    assert found == {"position_mm": pytest.approx(5), "rotation_deg": pytest.approx(math.degrees(0.1))}


def test_units_of_a_controller_have_no_millimetres() -> None:
    step, off = [1.0] * 7, [1.5] * 7
    rough = dataclasses.replace(ARM, units=("controller",) * 6 + UNITS[6:])
    assert errors(rough, [step], [off]) == {}
    turned = dataclasses.replace(ARM, units=UNITS[:3] + ("controller",) * 3 + UNITS[6:])
    assert errors(turned, [step] * 2, [off] * 2) == {"position_mm": pytest.approx(1000 * math.sqrt(3))}
    # In the tool's frame a way depends on turns that nobody knows.
    assert errors(dataclasses.replace(turned, frame="tool"), [step], [off]) == {}


def test_of_two_arms_the_larger_error_counts() -> None:
    arms = [f"{arm}_{name}" for arm in ("left", "right") for name in NAMES]
    pair = dataclasses.replace(ARM, dims=tuple(arms), units=ARM.units * 2)
    off = np.zeros(14)
    off[0], off[7], off[12] = 0.001, 0.002, 0.5  # left x, right x, right yaw
    found = errors(pair, [np.zeros(14)], [off])
    assert found == {"position_mm": pytest.approx(2), "rotation_deg": pytest.approx(math.degrees(0.5))}


@pytest.mark.parametrize("angle", [1e-9, 1e-4, 1.0, math.pi - 1e-9])
def test_an_angle_is_exact_near_its_ends(angle: float) -> None:
    """An arc cosine would lose 1e-9 rad altogether."""
    found = errors(ARM, [[0] * 7], [[0, 0, 0, 0, 0, angle, 0]])
    assert math.radians(found["rotation_deg"]) == pytest.approx(angle, rel=1e-6)
