"""Instructions: where the text is, how it is stored, and what counts as none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rt2data.rlds.features import Field
from rt2data.robot import instruction
from rt2data.robot.fields import Instruction


def declared(*fields: str, **changes: Any) -> Instruction:
    return Instruction(fields, **({"codes": False, "dummy": (), "table": None, "text": None} | changes))


def texts(one: Instruction, steps: int, **values: Any) -> list[str | None]:
    return instruction.read_instructions(one, values.__getitem__, steps)


def pools(one: Instruction, steps: int, **values: Any) -> list[instruction.Pool]:
    return instruction.read_pools(one, values.__getitem__, steps, {})


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


@pytest.mark.parametrize(
    ("stored", "text", "recoded"),
    [
        (b"pon el caf\xe9", "pon el café", True),
        (b"\xd6ffne die T\xfcr \x96 schnell", "Öffne die Tür \u2013 schnell", True),
        ("pon el café".encode(), "pon el café", False),
        ("\ufefflift it".encode(), "lift it", False),
        (b"lift it\0\0\0", "lift it", False),
        (b"lift\r\nit", "lift\r\nit", False),
        ("把杯子放在盘子上".encode("gbk"), None, False),
        ("カップを置く".encode("shift_jis"), None, False),
        ("поставь".encode("cp1251"), None, False),
        ("the café".encode()[:-1], None, False),
        (b"\xe9\x81", None, False),
    ],
)  # fmt: skip
def test_bytes_of_another_encoding(stored: bytes, text: str | None, recoded: bool) -> None:
    (pool,) = pools(declared("t"), 1, t=[stored])
    assert pool == ((text,) if text else (), recoded, text is None)
    assert pools(declared("t", "u"), 1, t=[stored], u=[b"lift"])[0].texts == ((text,) if text else ()) + ("lift",)


def test_the_first_field_that_is_not_empty() -> None:
    found = texts(declared("a", "b", "c"), 4, a=[b"a", b"", b"", b""], b=[b"x", b"b", b"", b" "], c=b"c")
    assert found == ["a", "b", "c", "c"]


def test_other_fields_are_read_where_the_first_say_nothing() -> None:
    assert texts(declared("a", otherwise=("not there",)), 1, a=[b"a"]) == ["a"]
    one = declared("a", otherwise=("b", "c"))
    assert [pool.texts for pool in pools(one, 3, a=[b"a", b"", b""], b=[b"x", b"b", b""], c=b"c")] == [
        ("a",),
        ("b",),
        ("c",),
    ]


def test_several_fields_are_paraphrases() -> None:
    one = declared("a", "b", "c", dummy=("none",))
    found = pools(one, 4, a=[b"lift it", b"", b"none", b""], b=[b" lift it ", b"hold", b"take", b""], c=b"pick it up")
    assert [pool.texts for pool in found] == [("lift it", "pick it up"), ("hold", "pick it up"), ("take", "pick it up"),
                                              ("pick it up",)]  # fmt: skip


def test_a_field_may_hold_a_list_of_texts() -> None:
    one, step = declared("t"), Field("t", "text", "string", (None,), per_step=True)
    episode = Field("t", "text", "string", (None,), per_step=False)
    lists = [[b"lift", b"take", b"lift"], [], [b"", b"hold"]]
    told = [("lift", "take"), (), ("hold",)]
    assert [pool.texts for pool in instruction.read_pools(one, {"t": lists}.__getitem__, 3, {"t": step})] == told
    said = {"t": [b"lift", b"take", b"hold"]}  # as many as there are steps
    found = instruction.read_pools(one, said.__getitem__, 3, {"t": episode})
    assert [pool.texts for pool in found] == [("lift", "take", "hold")] * 3
    fixed = {"t": np.array([[b"a", b"b"], [b"c", b""]], object)}
    assert [p.texts for p in instruction.read_pools(one, fixed.__getitem__, 2, {"t": step})] == [("a", "b"), ("c",)]
    whole = instruction.read_pools(one, {"t": np.array([b"a", b"b"], object)}.__getitem__, 2, {"t": episode})
    assert [pool.texts for pool in whole] == [("a", "b")] * 2


def test_an_optional_field_that_is_not_there() -> None:
    assert texts(declared("t"), 2, t=None) == [None, None]


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
