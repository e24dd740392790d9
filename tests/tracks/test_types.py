"""The JSON forms of values, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from rt2data.tracks import types
from rt2data.tracks.types import ValueProblem


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        ("text", "  pick up\nthe cup ", "pick up\nthe cup"),
        ("number", 3.0, "3"), ("number", -2.5, "-2.5"), ("flag", False, "false"),
        ("box", [1, 2.0, 3.5, 4], '{"box":[1,2,3.5,4]}'),
        ("box", {"size": [256, 256], "score": 0.5, "label": " cup ", "box": [0, 0, 9, 9]},
         '{"box":[0,0,9,9],"label":"cup","score":0.5,"size":[256,256]}'),
        ("box", {"box": [-1, 0, 9, 9], "label": None}, '{"box":[-1,0,9,9]}'),
        ("point", (3, 4), '{"point":[3,4]}'),
        ("trace", [[0, 1], [2, 3]], '{"trace":[[0,1],[2,3]]}'),
        ("pose_trace", [[0, 1, 2], [2, 3, 0.25]], '{"pose_trace":[[0,1,2],[2,3,0.25]]}'),
        ("tool_call", {"name": "say", "arguments": {"text": "Sure."}}, '{"name":"say","arguments":{"text":"Sure."}}'),
        ("tool_call", {"type": "function", "function": {"name": "say", "arguments": '{"text": "é"}'}},
         '{"name":"say","arguments":{"text":"é"}}'),
    ],
)  # fmt: skip
def test_stored(kind: str, value: Any, stored: str) -> None:
    assert types.stored(kind, value) == stored
    if not isinstance(value, (list, tuple)):
        assert types.infer(value) == kind


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("text", "  ", "'  '; expected a text"), ("text", 3, "int '3'; expected a text"),
        ("text", None, "nothing; expected a text"), ("text", "\ud800", "half of a surrogate pair"),
        ("text", "x" * 70_000, "a value of 70,000 characters; expected at most 64 KiB"),
        ("number", True, "bool 'True'; expected a number"), ("number", float("nan"), "expected a number"),
        ("flag", 1, "int '1'; expected true or false"),
        ("box", [1, 2, 3], r"a list of 3; expected \[x1, y1, x2, y2\]"),
        ("box", [5, 0, 1, 1], "the box .*; expected left"), ("box", {"point": [1, 2]}, "nothing; expected"),
        ("box", [0, 0, 1e9, 1], r"1e\+09 pixels; expected at most 65536"),
        ("box", {"box": [1, 2, 3, 4], "name": "cup"}, 'the key "name" in a box; expected box and label, score, size'),
        ("box", {"box": [1, 2, 3, 4], "size": [0, 5]}, "expected whole numbers above 0"),
        ("point", [1, None], "nothing; expected pixels"), ("trace", [], "a list of 0; expected a list of points"),
        ("pose_trace", [[1, 2, 3], [1, 2, 3, 4]], "poses of several lengths"), ("pose_trace", [[1, 2]], "a pose of 3"),
        ("pose_trace", {"pose_trace": [[1, 2, 3]], "label": "x"}, 'the key "label" in a pose_trace'),
        ("tool_call", {"name": "say", "to": 1}, "a mapping of 2; expected"),
        ("tool_call", {"name": "say", "arguments": "x"}, "arguments that are str 'x'"),
        ("tool_call", {"name": "", "arguments": {}}, "nothing; expected the name of a tool"),
        ("tool_call", {"name": "say", "arguments": {"n": 1 << 80}}, "what cannot be JSON"),
    ],
)  # fmt: skip
def test_what_is_no_value(kind: str, value: Any, message: str) -> None:
    with pytest.raises(ValueProblem, match=message):
        types.stored(kind, value)


@pytest.mark.parametrize("value", [None, [1, 2], {}, {"label": "cup"}])
def test_what_shows_no_type(value: Any) -> None:
    with pytest.raises(ValueProblem, match="without a type; expected type: one of text, box"):
        types.infer(value)
