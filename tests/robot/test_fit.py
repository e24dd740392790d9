"""A declaration held to a layout: each way in which it may not fit is said, with the field."""

from __future__ import annotations

from typing import Any

import pytest
from support import rlds_layouts

from rt2data.declarations import robot_parser
from rt2data.robot import match
from rt2data.robot.fields import RobotFields

LAYOUT = {
    "steps/observation/image": "image[480, 640, 3] jpeg",
    "steps/action": "float32[7]",
    "steps/language_instruction": "text",
    "steps/is_last": "bool",
    "steps/state": "float64[4, 4]",
    "steps/code": "int32[512]",
    "steps/task": "int64",
    "episode_metadata/file_path": "text",
    "success": "bool",
}
RAW: dict[str, Any] = {
    "episode_id": ["episode_metadata/file_path"],
    "cameras": {"primary": {"field": "steps/observation/image", "valid": {"field": "success"}}},
    "instruction": "steps/language_instruction",
    "proprio": {"field": "steps/state", "columns": "0:2", "dims": ["a", "b"]},
    "action": {
        "dims": ["x", "y", "z", "gripper"],
        "kind": "displacement",
        "frame": "base",
        "unit": "m_rad",
        "gripper": "1 = open",
        "terms": [
            {"field": "steps/action", "columns": "0:3", "to": ["x", "y", "z"]},
            {"field": "steps/action", "columns": [6], "to": ["gripper"]},
        ],
    },
    "terminate": "is_last",
    "valid_action": {"field": "steps/action", "nonzero": True},
}


def problems(layout: dict[str, str] = LAYOUT, **changes: Any) -> list[str]:
    declared: RobotFields = robot_parser.parse_robot_fields(RAW | changes, "toy.yaml", {(): 1})
    fields = {path: rlds_layouts.field(path, text) for path, text in layout.items()}
    return [str(problem) for problem in match.find_mismatches(declared, fields, "toy 1.0.0", "toy.yaml")]


def test_what_fits() -> None:
    assert problems() == []
    assert problems(instruction={"field": "steps/code", "encoding": "codes"}) == []
    assert problems(instruction={"field": "steps/task", "table": {"1": "go"}}) == []
    assert problems(proprio={"field": "steps/state", "dims": [str(n) for n in range(16)]}) == []


FRAME = {key: RAW["action"][key] for key in ("kind", "frame", "unit")}


def term(**changes: Any) -> dict[str, Any]:
    terms = [RAW["action"]["terms"][0] | changes, RAW["action"]["terms"][1]]
    return RAW["action"] | {"terms": terms}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"instruction": "steps/language_instructions"},
            (
                'no field "steps/language_instructions" in features.json; expected the field that toy.yaml names. '
                'Did you mean "steps/language_instruction"?'
            ),
        ),
        (
            {"instruction": "steps/action"},
            '"steps/action" is float32 (7) per step; expected a text, or a list of texts.',
        ),
        ({"instruction": "steps/task"}, '"steps/task" is int64 () per step; expected a text, or a list of texts.'),
        (
            {"instruction": {"field": "steps/task", "encoding": "codes"}},
            '"steps/task" is int64 () per step; expected integers of shape (n,).',
        ),
        (
            {"cameras": {"primary": {"field": "steps/state"}}},
            '"steps/state" is float64 (4, 4) per step; expected an image of three colours per step.',
        ),
        (
            {"episode_id": ["steps/task"]},
            '"steps/task" is int64 () per step; expected one text or number per episode.',
        ),
        (
            {"action": term(columns=[0, 1, 7])},
            '"steps/action" is float32 (7) per step; expected numbers of at least 8 columns.',
        ),
        (
            {"action": {"dims": ["x"], "terms": [{"field": "steps/action", "to": ["x"]}], **FRAME}},
            '"steps/action" is float32 (7) per step; expected numbers of shape (1,).',
        ),
        (
            {"action": term(ops=[{"add": {"field": "steps/state", "columns": [0, 1, 16]}}])},
            '"steps/state" is float64 (4, 4) per step; expected numbers of at least 17 columns.',
        ),
        (
            {"action": term(field="steps/language_instruction")},
            '"steps/language_instruction" is text () per step; expected numbers of shape (3,).',
        ),
        (
            {"proprio": {"field": "steps/action", "dims": ["a"]}},
            '"steps/action" is float32 (7) per step; expected numbers of shape (1,).',
        ),
        (
            {"terminate": {"field": "steps/action"}},
            '"steps/action" is float32 (7) per step; expected numbers of shape (1,).',
        ),
    ],
)
def test_what_does_not(changes: dict[str, Any], message: str) -> None:
    assert problems(**changes) == [f"toy 1.0.0: {message}"]


def test_every_problem_is_said() -> None:
    layout = {path: text for path, text in LAYOUT.items() if path not in ("steps/is_last", "success")}
    assert len(problems(layout)) == 2
