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
        ("{subtask|previous|next}", "several times"),
        ("{images|lower}", "functions of an image slot"),
        ("x" * 20_001, "20,001 characters"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(Rt2dataError, match=message):
        parse_template(text, "x.yaml:3")


def test_slots_are_in_order() -> None:
    assert slots(parse_template("{image:a}x{b}", "")) == [Slot("image", "a"), Slot("b")]
