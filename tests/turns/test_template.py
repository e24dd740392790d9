"""Templates: what is parsed, and what is refused."""

from __future__ import annotations

import pytest

from rt2data.errors import Rt2dataError
from rt2data.turns.template import Slot, parse_slot, parse_template, slots, write_template


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("pick up", ["pick up"]),
        ("{images}{instruction}.", ["images", "instruction", "."]),
        ("{image:left_wrist} {subtask|previous}", ["image:left_wrist", " ", "subtask|previous(1)"]),
        ('{{"action": {action}}}', ['{"action": ', "action", "}"]),
        ("{vqa|role(user)|all}", ["vqa|all|role(user)"]),
        ("{subtask|lower|next(3)}", ["subtask|next(3)"]),
        ("{subtask|step(-10)|previous}{state|step(+3)}", ["subtask|previous(1)|step(-10)", "state|step(3)"]),
        ("{state|step(0)}{image:a|frames(-20, 0,5)}", ["state", "image:a|frames(-20,0,5)"]),
        ("{subtask|every|join( )}", ["subtask|every"]),
    ],
)
def test_templates_are_literals_and_placeholders(text: str, pieces: list[str]) -> None:
    parsed = parse_template(text, "x.yaml:1")
    assert [piece if isinstance(piece, str) else piece.key for piece in parsed] == pieces
    assert parse_template(write_template(parsed), "x.yaml:1") == parsed


def test_edits_are_no_part_of_the_key() -> None:
    plain, edited = parse_slot("subtask", ""), parse_slot("subtask|lower|no_final_stop", "")
    assert plain.key == edited.key == "subtask"
    assert edited.edit("Pick Up The Cup.") == "pick up the cup"
    assert parse_slot("subtask|remaining|join(; )", "").edit(["a", "b"]) == "a; b"
    assert parse_slot("subtask|remaining", "").edit(["a", "b"]) == "a, b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{subtask", r'x.yaml:3: a single "\{" in the template "\{subtask"; expected "\{\{" for a brace'),
        ("}", r'a single "\}"'),
        ("{}", r"the placeholder \{\}"),
        ("{a b}", r"the placeholder \{a b\}"),
        ("{instruction[0]}", r"the placeholder \{instruction\[0\]\}"),
        ("{subtask|upper}", r'the function "upper" in \{subtask\|upper\}; expected one of previous, next'),
        ("{subtask|previous(0)}", r"previous\(0\) .* expected a whole number from 1 to 1000"),
        ("{subtask|at(3)}", r"at\(3\)"),
        ("{subtask|role}", "role without a name"),
        ("{subtask|previous|next}", "previous and next in"),
        ("{images|lower}", "functions of an image slot"),
        ("{images|all}", "functions of an image slot"),
        ("{state|step}", r"step\(\) in .* expected a whole number from -1000 to 1000"),
        ("{state|step(1001)}", "different whole numbers from -1000 to 1000"),
        ("{images|frames(1,1)}", "different whole numbers"),
        ("{images|frames(1)|step(2)}", "frames in"),
        ("{state|frames(1,2)}", "frames of .images. or .image:CAMERA."),
        ("{instruction|step(-1)}", "instruction. alone: it is the same at each step"),
        ("{subtask|all|every}", "all and every in"),
        ("{subtask|step(1)|step(2)}", "step twice in"),
        ("x" * 20_001, "20,001 characters"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(Rt2dataError, match=message):
        parse_template(text, "x.yaml:3")


def test_slots_are_in_order() -> None:
    assert slots(parse_template("{image:a}x{b}", "")) == [Slot("image", "a"), Slot("b")]


def test_a_placeholder_of_another_step() -> None:
    def moved(text: str, steps: int) -> str:
        return parse_slot(text, "").shifted(steps).key

    assert moved("state", -10) == "state|step(-10)"
    assert moved("state|step(-10)", 10) == "state"
    assert moved("subtask|previous|step(2)", -10) == "subtask|previous(1)|step(-8)"
    assert moved("image:a|frames(-1,0)", -10) == "image:a|frames(-11,-10)"
    assert moved("images", -10) == "images|step(-10)"
    assert moved("hz", -10) == "hz"


def test_the_images_of_a_slot() -> None:
    """Those of one time together; with `frames`, and a history, the nearest stands in where there is none."""

    def shown(text: str, history: int = 1) -> list[tuple[str, bool]]:
        return [(one.name, one.padded) for one in parse_slot(text, "").pictures(["a", "b"], history)]

    assert shown("images") == [("a", False), ("b", False)]
    assert shown("images", 2) == [("a", False), ("b", False), ("a.h1", True), ("b.h1", True)]
    assert shown("image:b|step(-2)", 2) == [("b.h2", False)]
    assert shown("images|frames(-2,0,1)")[::2] == [("a.h2", True), ("a", False), ("a.f1", True)]
