"""Which rows a step is given: against the scalar rules, and against LeRobot's resolvers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import scalar_tracks

from rt2data.errors import Rt2dataError
from rt2data.tracks import times
from rt2data.tracks.times import Ambiguous, Binding, Lane, Steps, find_plain

RULES = [("active", 1), ("emitted", 1), ("previous", 1), ("previous", 3), ("next", 1), ("next", 2), ("all", 1),
         ("remaining", 1), ("every", 1)]  # fmt: skip
Episode = tuple[list[tuple[int, int | None]], list[int]]

rows = st.lists(st.tuples(st.integers(0, 12), st.none() | st.integers(1, 5)), max_size=6)
episodes = st.lists(st.tuples(rows, st.lists(st.integers(0, 15), max_size=6).map(sorted)), max_size=4)


def flat(found: list[Episode]) -> tuple[Lane, Steps]:
    lane = [(g, start, -1 if end is None else end) for g, (own, _) in enumerate(found) for start, end in own]
    steps = [(g, step) for g, (_, asked) in enumerate(found) for step in asked]
    group, start, until = np.array(lane, np.int64).reshape(-1, 3).T
    of, step = np.array(steps, np.int64).reshape(-1, 2).T
    return Lane(group, start, until, start / 10), Steps(of, step, step / 10)


def sorted_rows(own: list[tuple[int, int | None]]) -> list[tuple[int, int | None]]:
    return sorted(((start, None if end is None else start + end) for start, end in own), key=lambda row: row[0])


@pytest.mark.parametrize(("rule", "count"), RULES)
@given(episodes)
def test_every_rule_is_the_scalar_one(rule: str, count: int, drawn: list[Episode]) -> None:
    """Any rows, ends or none, several of one time, several episodes side by side."""
    made = [(sorted_rows(own), asked) for own, asked in drawn]
    lane, steps = flat(made)
    found = times.find(lane, steps, Binding("t", rule, count))
    begins = np.cumsum([0, *(len(own) for own, _ in made)])
    wanted = [
        [int(begins[g]) + n for n in scalar_tracks.find(own, step, rule, count)]  # type: ignore[arg-type]
        for g, (own, asked) in enumerate(made)
        for step in asked
    ]
    got = [found.rows[a:b].tolist() for a, b in zip(found.offsets[:-1], found.offsets[1:], strict=True)]
    assert got == wanted


@given(episodes, st.sampled_from([0.0, 0.1, 0.25, 0.30000000000000004]))
def test_a_tolerance_is_in_seconds(drawn: list[Episode], tolerance: float) -> None:
    made = [(sorted_rows(own), asked) for own, asked in drawn]
    lane, steps = flat(made)
    found = times.find(lane, steps, Binding("t", "emitted", tolerance=tolerance), reach=5)
    number = 0
    for g, (own, asked) in enumerate(made):
        first = sum(len(rows) for rows, _ in made[:g])
        for step in asked:
            wanted = [first + n for n, (start, _) in enumerate(own) if abs(start / 10 - step / 10) <= tolerance]
            assert found.rows[found.offsets[number] : found.offsets[number + 1]].tolist() == wanted
            number += 1


def say(style: str, content: str, time: float, **more: Any) -> dict[str, Any]:
    return {"track": style, "value": content, "time": time} | more


# The rows and answers of huggingface/lerobot@7427f31, src/lerobot/datasets/language_render.py, as that code ran.
PERSISTENT = [
    say("subtask", "open the drawer", 0.0), say("subtask", "pick up the cup", 2.5), say("subtask", "close", 5.0),
    say("plan", "1. open 2. place 3. close", 0.0), say("memory", "nothing is done yet", 0.0),
    say("memory", "the drawer is open", 2.5), say("memory", "the cup is in the drawer", 5.0),
]  # fmt: skip
SWEEP = [-0.1, 0.0, 2.4999, 2.5, 4.0, 5.0, 99.0]


def values(rows: list[dict[str, Any]], found: list[list[int]]) -> list[str | None]:
    return [rows[one[0]]["value"] if one else None for one in found]


@pytest.mark.parametrize(
    ("binding", "wanted"),
    [
        (Binding("subtask"), [None, *["open the drawer"] * 2, *["pick up the cup"] * 2, "close", "close"]),
        (Binding("memory", "previous"), [None] * 3 + ["nothing is done yet"] * 2 + ["the drawer is open"] * 2),
        (Binding("memory", "next"),
         ["nothing is done yet", *["the drawer is open"] * 2, *["the cup is in the drawer"] * 2, None, None]),
    ],
)  # fmt: skip
def test_lerobots_persistent_rows(binding: Binding, wanted: list[str | None]) -> None:
    assert values(PERSISTENT, find_plain(PERSISTENT, SWEEP, binding)) == wanted


def test_times_are_compared_as_float64() -> None:
    """LeRobot stores float32 2.4, which is after 2.4 of float64; its tolerance of 0.1 s is one of float64."""
    rows = [say("subtask", "early", float(np.float32(2.4)))]
    assert find_plain(rows, [2.4, float(np.float32(2.4))], Binding("subtask")) == [[], [0]]
    within = Binding("subtask", "emitted", tolerance=0.1)
    rows = [say("subtask", "one", 2.5)]
    assert find_plain(rows, [2.4, 2.6, 2.45, float(np.float32(2.4))], within) == [[], [], [0], [0]]


def test_lerobots_events() -> None:
    """Events belong to their frame; two cameras are ambiguous until one is named; they are never active."""
    front, wrist = "observation.images.front", "observation.images.wrist"
    rows = [
        say("vqa", "Where is the cup?", 7.0, role="user", camera=front, event=True),
        say("vqa", "[250, 500]", 7.0, role="assistant", camera=front, event=True),
        say("vqa", "How many cups?", 7.0, role="user", camera=wrist, event=True),
    ]
    with pytest.raises(Ambiguous, match=r'time 7: 2 rows of "vqa" with role "user" .* expected one'):
        find_plain(rows, [7.0], Binding("vqa", "emitted", role="user"))
    assert find_plain(rows, [7.0], Binding("vqa", "emitted", role="user", camera=front)) == [[0]]
    assert find_plain(rows, [7.0], Binding("vqa", "emitted", role="user", camera="observation.images.top")) == [[]]
    assert find_plain(rows, [7.0, 8.0], Binding("vqa", "all", camera=front)) == [[0, 1], []]
    with pytest.raises(
        Rt2dataError, match='the rule "active" for "vqa", a track of events; expected emitted, all or every'
    ):
        find_plain(rows, [7.0], Binding("vqa"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rule": "latest"}, 'the rule "latest"; expected one of active, emitted'),
        ({"count": 2}, "count 2 with active"),
        ({"rule": "previous", "count": 0}, "count 0 with previous"),
        ({"tolerance": 0.1}, "tolerance 0.1 with active"),
        ({"rule": "emitted", "tolerance": -1.0}, "tolerance -1 with emitted"),
    ],
)
def test_bindings_that_mean_nothing(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Rt2dataError, match=message):
        Binding("subtask", **fields)


# --- every golden of the resolvers ------------------------------------------------------------------------------------

OURS = {"active_at": "active", "emitted_at": "emitted", "nth_prev": "previous", "nth_next": "next"}


def goldens() -> list[Any]:
    folder = os.environ.get("RT2DATA_SHARED")
    path = Path(folder or "nowhere") / "facts" / "goldens" / "recipes.json"
    if not path.is_file():
        return [pytest.param(None, marks=pytest.mark.skip(reason="RT2DATA_SHARED names no folder of goldens"))]
    cases = json.loads(path.read_text("utf-8"))["goldens"]
    own = [case for case in cases if case["id"].split(".")[1] in OURS]
    return [pytest.param(case, id=case["id"]) for case in own]


@pytest.mark.parametrize("case", goldens())
def test_goldens(case: dict[str, Any]) -> None:
    given, rule = case["input"], OURS[case["id"].split(".")[1]]
    persistent = [row | {"track": row["style"], "time": row["timestamp"]} for row in given.get("persistent", [])]
    at = given.get("t", 0.0)
    events = [row | {"track": row["style"], "time": at, "event": True} for row in given.get("events", [])]
    known = {row["track"] for row in persistent}
    rows = persistent + events or [{"track": given["style"], "time": 0.0, "event": True}]
    if given["style"] not in known | {row["track"] for row in events}:
        rows.append({"track": given["style"], "time": 0.0, "event": True})
    several = {key: given[key] for key in ("t", "camera") if isinstance(given.get(key), list)}
    key, asked = next(iter(several.items()), ("t", [at]))
    wanted = case["output"] if several else [case["output"]]
    for value, expected in zip(asked, wanted, strict=True):
        chosen = {name: given.get(name) for name in ("role", "camera")} | ({key: value} if key == "camera" else {})
        time = value if key == "t" else at
        binding = Binding(given["style"], rule, given.get("offset", 1), **chosen,
                          tolerance=0.1 if rule == "emitted" and persistent else None)  # fmt: skip
        if isinstance(expected, dict) and "raises" in expected:
            with pytest.raises(Rt2dataError):
                find_plain(rows, [time], binding)
            continue
        found = find_plain(rows, [time], binding)[0]
        said = rows[found[0]]["content"] if found else None
        assert said == (expected["value"] if isinstance(expected, dict) else expected)
