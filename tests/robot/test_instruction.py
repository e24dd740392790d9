"""Instructions: where the text is, how it is stored, and what counts as none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rt2data.robot import instruction
from rt2data.robot.fields import Instruction


def declared(*fields: str, **changes: Any) -> Instruction:
    return Instruction(fields, **({"codes": False, "dummy": (), "table": None, "text": None} | changes))


def texts(one: Instruction, steps: int, **values: Any) -> list[str | None]:
    return instruction.read_instructions(one, values.__getitem__, steps)


def codes(*rows: str) -> Any:
    return np.stack([np.frombuffer(row.encode().ljust(12, b"\0"), np.uint8) for row in rows]).astype(np.int32)


def test_a_text_of_each_step_or_of_the_episode() -> None:
    assert texts(declared("t"), 3, t=[b"a", b" b ", "привет".encode()]) == ["a", " b ", "привет"]  # as stored
    assert texts(declared("t"), 3, t=b"a") == ["a"] * 3
    assert texts(declared("t"), 3, t=np.array(b"a", object)) == ["a"] * 3


@pytest.mark.parametrize("nothing", [b"", b"  ", b"\n\t", b" none ", b"none"])
def test_what_says_nothing(nothing: bytes) -> None:
    assert texts(declared("t", dummy=("none",)), 2, t=[nothing, b"lift it"]) == [None, "lift it"]
    assert texts(declared("t", dummy=("none",)), 2, t=nothing) == [None, None]


def test_bytes_that_are_no_text_are_kept_visibly() -> None:
    assert texts(declared("t"), 1, t=[b"a\xff"]) == ["a\\xff"]


def test_the_first_field_that_is_not_empty() -> None:
    found = texts(declared("a", "b", "c"), 4, a=[b"a", b"", b"", b""], b=[b"x", b"b", b"", b" "], c=b"c")
    assert found == ["a", "b", "c", "c"]


def test_later_fields_are_not_read_where_the_first_says_it_all() -> None:
    assert texts(declared("a", "not there"), 1, a=[b"a"]) == ["a"]


def test_integers_are_the_bytes_of_a_text() -> None:
    assert texts(declared("t", codes=True), 3, t=codes("push it", "", "тащи")) == ["push it", None, "тащи"]
    assert texts(declared("t", codes=True), 2, t=codes("push it")[0]) == ["push it"] * 2  # of the episode
    strange = np.array([[104, 105, 300, -1, 0, 0]], np.int64)
    assert texts(declared("t", codes=True), 1, t=strange) == ["hi??"]


def test_a_table_of_codes() -> None:
    table = {"7": "pick up the can", "lift": "lift it"}
    assert texts(declared("t", table=table), 3, t=np.array([7, 8, 7])) == ["pick up the can", None, "pick up the can"]
    assert texts(declared("t", table=table), 2, t=np.array(7)) == ["pick up the can"] * 2
    assert texts(declared("t", table=table), 2, t=b"lift") == ["lift it"] * 2
    assert texts(declared("t", table=table), 1, t=[b"pick up the can"]) == [None]  # not a code


def test_a_constant_text_and_none_at_all() -> None:
    assert texts(declared(text="wipe the table"), 2) == ["wipe the table"] * 2
    assert texts(declared(), 2) == [None, None]


def test_one_step_with_one_code_of_the_episode() -> None:
    assert texts(declared("t", codes=True), 1, t=codes("go")) == ["go"]
    assert texts(declared("t", codes=True), 1, t=codes("go")[0]) == ["go"]
