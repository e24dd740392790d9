"""Tool calls of a track as text: what is said, and calls that say nothing."""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from support import small_corpora

from rt2data.errors import Rt2dataError
from rt2data.recipes import recipe
from rt2data.samples import objects
from rt2data.turns.template import parse_slot


def say(text: Any, name: str = "say") -> str:
    return json.dumps({"name": name, "arguments": {"text": text}})


def written(tmp_path: Any, calls: list[list[str]]) -> list[str | None]:
    """The calls of each row as text."""
    source = recipe.read_recipe(small_corpora.write_recipe(tmp_path / "r.yaml")).sources[0]
    table = pa.table({"step": pa.array(range(len(calls)), pa.int32()), "episode": ["e"] * len(calls)})
    sizes = np.array([len(own) for own in calls])
    values = pa.array([call for own in calls for call in own], pa.string())
    slot = parse_slot("speech|all|form(say)", "here")
    return cast("list[str | None]", objects.write(
        table, source, slot, np.arange(len(calls)), sizes, values, None).to_pylist())  # fmt: skip


def test_what_calls_of_say_say(tmp_path: Any) -> None:
    """Several of one step one after the other, as huggingface/lerobot@086db51 writes them."""
    found = written(tmp_path, [[say("Sure.")], [], [say("A <b>"), say("l1\r\nl2")]])
    assert found == ["<say>Sure.</say>", None, "<say>A <b></say><say>l1\nl2</say>"]


@pytest.mark.parametrize("call", [say("x", "grasp"), say(""), say(3), say("a</say>b"), '{"name":"say","arguments":{}}'])
def test_calls_that_say_nothing_are_refused(tmp_path: Any, call: str) -> None:
    with pytest.raises(Rt2dataError, match=r"step 1 of e: .* a call of .*; expected calls of say with a text"):
        written(tmp_path, [[], [call]])
