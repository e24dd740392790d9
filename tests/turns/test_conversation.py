"""One sample's conversation: texts, images, loss, and what is missing. LeRobot's recipes as kinds give its messages."""

from __future__ import annotations

from typing import Any

import pytest

from rt2data.errors import Rt2dataError
from rt2data.turns.conversation import Value, fill_kind
from rt2data.turns.kinds import Kind, parse_kinds


def kind(*turns: dict[str, Any], **fields: Any) -> Kind:
    return parse_kinds({"k": {"turns": list(turns)} | fields}, "r.yaml:1", lambda _: "r.yaml:2")[0]


def fill(one: Kind, /, **values: Value) -> list[dict[str, Any]]:
    return fill_kind(one, {key.replace("__", "|"): value for key, value in values.items()}, lambda _: ["jpg"])


def spoken(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(m["role"], "".join(part.get("text", "") for part in m["content"])) for m in messages]


def test_a_turn_of_text_and_action() -> None:
    messages = fill(
        kind({"user": "{images}{task}"}, {"assistant": "Plan: {plan}. Action: {action}"}),
        task="pick", plan="reach", action="1 2 3",
    )  # fmt: skip
    assert messages == [
        {"role": "user", "content": [{"type": "image", "image": "jpg"}, {"type": "text", "text": "pick"}],
         "loss": "none", "end": False, "spans": []},
        {"role": "assistant", "content": [{"type": "text", "text": "Plan: reach. Action: 1 2 3"}], "loss": "both",
         "end": True, "spans": [{"start": 0, "end": 21, "loss": "text"}, {"start": 21, "end": 26, "loss": "action"}]},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "stated", "spans"),
    [
        (None, "both", [("text", 0, 3), ("action", 3, 6)]),
        ("text", "text", [("text", 0, 3)]),
        ("action", "action", [("action", 3, 6)]),
        ("none", "none", []),
    ],
)
def test_loss_says_which_spans_are_learned(loss: str | None, stated: str, spans: list[Any]) -> None:
    turn = {"assistant": "ab {action}"} | ({"loss": loss} if loss else {})
    one = kind({"user": "q"}, turn, {"assistant": "x"})
    message = fill(one, action="1 2")[1]
    assert message["loss"] == stated
    assert [(s["loss"], s["start"], s["end"]) for s in message["spans"]] == spans
    assert message["end"] == (stated != "none")


def test_both_of_a_turn_that_has_one_of_them_is_that_one() -> None:
    assert [turn.loss for turn, _ in kind({"user": "a"}, {"assistant": "{action}"}).flat()] == ["none", "action"]
    assert [turn.loss for turn, _ in kind({"user": "a"}, {"assistant": "{subtask}"}).flat()] == ["none", "text"]


def test_action_without_a_string_is_that_of_an_action_head() -> None:
    message = fill(kind({"user": "{images}{task}", "loss": "action"}), task="pick")[0]
    assert (message["loss"], message["spans"], message["end"]) == ("action", [], True)


def test_images_divide_the_text() -> None:
    messages = fill(kind({"user": "front: {image:a} wrist: {image:b}\n{task}"}, {"assistant": "x"}), task="pick")
    assert messages[0]["content"] == [
        {"type": "text", "text": "front: "}, {"type": "image", "image": "jpg"},
        {"type": "text", "text": " wrist: "}, {"type": "image", "image": "jpg"}, {"type": "text", "text": "\npick"},
    ]  # fmt: skip


def test_turns_from_lists() -> None:
    one = kind(
        {"user": "{images}"},
        {"each": {"q": "vqa|all|role(user)", "a": "vqa|all|role(assistant)"},
         "turns": [{"user": "{q}"}, {"assistant": "{a}"}]},
    )  # fmt: skip
    values: dict[str, Value] = {"vqa|all|role(user)": ["1?", "2?"], "vqa|all|role(assistant)": ["one", "two"]}
    told = spoken(fill_kind(one, values, lambda _: ["jpg"]))
    assert told[1:] == [("user", "1?"), ("assistant", "one"), ("user", "2?"), ("assistant", "two")]


def test_parts_are_dropped_or_left_out() -> None:
    parts = {"plan": {"text": "PLAN: {plan} ", "drop": 0.5, "missing": "skip"}, "move": {"text": "MOVE: {move} "}}
    one = kind({"user": "q"}, {"assistant": "{plan_part}{move_part}ACTION: {action}"}, parts=parts)
    values: dict[str, Value] = {"plan": "go", "move": "left", "action": "7"}
    whole = fill_kind(one, values, lambda _: [])
    assert spoken(whole)[1] == ("assistant", "PLAN: go MOVE: left ACTION: 7")
    assert spoken(fill_kind(one, values, lambda _: [], dropped=frozenset({"plan"})))[1][1] == "MOVE: left ACTION: 7"
    assert spoken(fill_kind(one, values | {"plan": None}, lambda _: []))[1][1] == "MOVE: left ACTION: 7"
    with pytest.raises(KeyError, match="move"):
        fill_kind(one, values | {"move": None}, lambda _: [])
    assert one.needed() == ["move"]


# LeRobot's recipes (src/lerobot/configs/recipes of huggingface/lerobot@7427f31) as kinds, with the messages that its
# render_sample gives. Its `if_present` is `missing: skip`, a missing text without it `missing: empty`.
SKIP: Any = {"missing": "skip"}


def test_lerobot_memory_update() -> None:
    one = kind(
        {"user": "{task}"},
        {"assistant": "Previous memory: {memory|previous}", "loss": "none"} | SKIP,
        {"user": "Completed subtask: {subtask|previous}"} | SKIP,
        {"assistant": "{memory}"} | SKIP,
    )
    before: dict[str, Value] = {"task": "put the cup away", "memory": "nothing is done yet"}
    first = before | {"memory|previous(1)": None, "subtask|previous(1)": None}
    assert spoken(fill_kind(one, first, lambda _: [])) == [
        ("user", "put the cup away"),
        ("assistant", "nothing is done yet"),
    ]
    later = before | {"memory|previous(1)": "nothing", "subtask|previous(1)": "open the drawer", "memory": "it is open"}
    assert spoken(fill_kind(one, later, lambda _: [])) == [
        ("user", "put the cup away"),
        ("assistant", "Previous memory: nothing"),
        ("user", "Completed subtask: open the drawer"),
        ("assistant", "it is open"),
    ]


def test_lerobot_missing_texts_are_empty() -> None:
    one = kind(
        {"user": "{task}\nPlan: {plan}\nMemory: {memory}", "missing": "empty"}, {"assistant": "{subtask}"} | SKIP
    )
    values: dict[str, Value] = {"task": "put the cup away", "plan": None, "memory": None, "subtask": "pick up the cup"}
    assert spoken(fill_kind(one, values, lambda _: [])) == [
        ("user", "put the cup away\nPlan: \nMemory: "),
        ("assistant", "pick up the cup"),
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"turns": [{"user": "a"}]}, "no turn that is learned"),
        (
            {"turns": [{"user": "a"}, {"assistant": "{x_part}"}]},
            r"no part \{x_part\}; expected a part",
        ),
        ({"turns": [{"assistant": "a"}], "otherwise": "k"}, "otherwise: k"),
        ({"turns": [{"assistant": "a"}], "otherwise": "other"}, 'otherwise: "other"'),
        ({"turns": [{"assistant": "a"}], "weight": 1, "samples": 3}, "weight and samples together"),
        ({"turns": [{"user": ["{image:a}", "{image:b}"]}, {"assistant": "a"}]}, "a pool whose texts show other images"),
        ({"turns": [{"each": {"x": "vqa"}, "turns": [{"assistant": "{x}"}]}]}, r'each: "vqa"; expected a list'),
        ({"turns": [{"each": {"action": "vqa|all"}, "turns": [{"assistant": "a"}]}]}, 'each: "action"'),
        ({"turns": [{"assistant": "a"}], "parts": {"p": "{image:a}"}}, "an image slot in the part p"),
    ],
)
def test_kinds_that_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Rt2dataError, match=message):
        parse_kinds({"k": fields}, "r.yaml:1", lambda _: "r.yaml:2")


def test_names_that_keys_have_for_other_things() -> None:
    for name in ("v1", "c22"):
        with pytest.raises(Rt2dataError, match=f'a kind called "{name}"'):
            parse_kinds({name: {"turns": [{"assistant": "a"}]}}, "r.yaml:1", lambda _: "r.yaml:2")
    turns = {"turns": [{"assistant": "a"}]}
    with pytest.raises(Rt2dataError, match="repeat and weight mixed among kinds"):
        parse_kinds({"a": turns | {"weight": 1}, "b": turns | {"repeat": 1}}, "r.yaml:1", lambda _: "r.yaml:2")
