"""One sample's conversation: texts, images, loss, and what is missing. LeRobot's recipes as kinds give its messages."""

from __future__ import annotations

from typing import Any

import pytest

from rt2data.errors import Rt2dataError
from rt2data.turns.conversation import Value, fill_kind
from rt2data.turns.kind_parser import parse_kinds
from rt2data.turns.kinds import Kind


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


def test_turns_of_other_steps() -> None:
    """Turns repeated for steps are those turns with the placeholders of each step, parts included."""
    inner: list[dict[str, Any]] = [
        {"user": "{image:a}{now_part} of {task}", "missing": "skip"}, {"assistant": "{action}", "loss": "none"},
    ]  # fmt: skip
    parts = {"now": "{subtask|next}"}
    one = kind({"each": {"frames": [-2, 1]}, "turns": inner}, {"assistant": "{action}"}, parts=parts)
    written = kind(
        {"user": "{image:a|step(-2)}{subtask|next|step(-2)} of {task|step(-2)}", "missing": "skip"},
        {"assistant": "{action|step(-2)}", "loss": "none"},
        {"user": "{image:a|step(1)}{subtask|next|step(1)} of {task|step(1)}", "missing": "skip"},
        {"assistant": "{action|step(1)}", "loss": "none"},
        {"assistant": "{action}"},
    )
    assert one.needed() == written.needed() == ["action|step(-2)", "action|step(1)"]
    assert one.steps() == written.steps() == {-2, 1}
    values: dict[str, Value] = {
        "subtask|next(1)|step(-2)": "lift", "subtask|next(1)|step(1)": "drop", "task|step(-2)": "pick",
        "task|step(1)": "pick", "action|step(-2)": "1", "action|step(1)": "2", "action": "3",
    }  # fmt: skip
    for given in (one, written):
        told = fill_kind(given, values, lambda slot: None if slot.step > 0 else [f"h{slot.step}"])
        assert spoken(told) == [("user", "lift of pick"), ("assistant", "1"), ("assistant", "2"), ("assistant", "3")]
        assert [turn["loss"] for turn in told] == ["none", "none", "none", "action"]
        assert told[0]["content"][0] == {"type": "image", "image": "h-2"}


def test_turns_of_a_step_are_skipped_together() -> None:
    skip: dict[str, Any] = {"missing": "skip"}
    marks: list[dict[str, Any]] = [{"user": "{image:a}{subtask}"} | skip, {"assistant": "<done>"} | skip]
    one = kind({"each": {"frames": [-1]}, "turns": marks}, {"assistant": "x"})
    known: dict[str, Value] = {"subtask|step(-1)": "go"}
    assert len(fill_kind(one, known, lambda _: ["jpg"])) == 3
    assert len(fill_kind(one, {}, lambda _: ["jpg"])) == len(fill_kind(one, known, lambda _: None)) == 1
    alone = kind({"each": {"frames": [-1]}, "turns": marks[1:]}, {"assistant": "x"})
    assert alone.steps() == {-1}
    assert len(fill_kind(alone, {"step|step(-1)": "4"}, lambda _: [])) == 2
    assert len(fill_kind(alone, {"step|step(-1)": None}, lambda _: [])) == 1
    either = kind({"each": {"frames": [-1]}, "turns": [{"assistant": "{subtask|or(go)}"} | skip]}, {"assistant": "x"})
    assert len(fill_kind(either, {"step|step(-1)": "4"}, lambda _: [])) == 2
    assert len(fill_kind(either, {"step|step(-1)": None}, lambda _: [])) == 1


def test_an_image_that_is_missing() -> None:
    def told(**missing: str) -> list[dict[str, Any]]:
        one = kind({"user": "{image:a|step(-1)}Go."} | missing, {"assistant": "x"})
        return fill_kind(one, {}, lambda _: None)

    with pytest.raises(KeyError, match=r"image:a\|step\(-1\)"):
        told()
    assert [turn["role"] for turn in told(missing="skip")] == ["assistant"]
    assert told(missing="empty")[0]["content"] == [{"type": "text", "text": "Go."}]


def test_what_of_a_part_is_learned() -> None:
    """Marks that stand for the action of a head are its loss; marks that are given are none."""
    parts = {
        "pads": {"text": "<pad><pad>", "loss": "action"}, "passes": {"text": "<pass>", "loss": "none"},
        "word": {"text": "{subtask}"},
    }  # fmt: skip
    one = kind({"assistant": "[{passes_part}]{word_part}[{pads_part}]"}, {"assistant": "{passes_part}"}, parts=parts)
    messages = fill(one, subtask="go")
    assert [turn["loss"] for turn in messages] == ["both", "none"]
    assert [(s["loss"], s["start"], s["end"]) for s in messages[0]["spans"]] == [
        ("text", 0, 1), ("text", 7, 11), ("action", 11, 21), ("text", 21, 22),
    ]  # fmt: skip
    assert messages[1]["spans"] == []
    acts = kind({"assistant": "[{pads_part}]", "loss": "action"}, parts=parts)
    assert [(s["loss"], s["start"], s["end"]) for s in fill(acts)[0]["spans"]] == [("action", 1, 11)]


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
        ({"turns": [{"each": {"frames": [1], "x": "vqa|all"}, "turns": [{"assistant": "a"}]}]}, "frames beside lists"),
        ({"turns": [{"each": {"frames": [-900]}, "turns": [{"assistant": "{state|step(-900)}"}]}]}, "the steps -1800"),
        (
            {"turns": [{"assistant": "{p_part}"}], "parts": {"p": {"text": "{action}", "loss": "none"}}},
            r"\{action\} in the part p",
        ),
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
