"""`KindPrompt`: the conversations that a server makes are those of the samples, and replies are read strictly."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import builds, spoken_mixture
from support.built_mixture import Built

from rt2data import ActionParseError, ActionTokenizer
from rt2data.errors import Rt2dataError
from rt2data.serving import KindPrompt
from rt2data.turns.kind_parser import parse_kinds
from rt2data.turns.reading import Reading, read_reply

ACTION = "1 128 91 241 5 101 127 217"


def robots(built: Built) -> list[dict[str, Any]]:
    found = [one["json"] for split in ("train", "val") for one in builds.samples(built.out, split)]
    return [one for one in found if one["kind"] == "robot"]


def plain(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"role": one["role"], "content": one["content"]} for one in messages]


def written(sample: dict[str, Any]) -> list[int]:
    return [n for n, one in enumerate(sample["messages"]) if one["role"] == "assistant" and one["loss"] != "none"]


def text(message: dict[str, Any]) -> str:
    return "".join(part["text"] for part in message["content"])


def test_a_server_asks_as_the_samples_do_and_reads_what_they_answer(spoken: Built) -> None:
    """Every sample: at each turn of the model the messages before it, and its text read back."""
    prompts = {kind: KindPrompt(spoken.out, "bridge", kind) for kind in spoken_mixture.KINDS}
    tokenizer = ActionTokenizer.from_pretrained(str(spoken.out)).for_source("bridge_dataset")
    seen: Counter[str] = Counter()
    for sample in robots(spoken):
        kind, messages = sample["recipe_kind"], sample["messages"]
        ask, values = prompts[kind], spoken_mixture.said(sample["episode"], sample["step"])
        used = ask.kind.values()
        given = {key: value for key, value in values.items() if key.replace("previous", "previous(1)") in used}
        images = dict.fromkeys(("primary", "secondary")) | {one["role"]: one["member"] for one in sample["cameras"]}
        replies: list[str] = []
        for at in written(sample):
            # What a later turn would say is not known yet.
            unknown = {"subtask", "subtask|previous", "memory"} if kind in ("subtask", "memory", "head") else set()
            known = {key: value for key, value in given.items() if key not in unknown and "assistant" not in key}
            asked = ask(sample["instruction"], sample["proprio"], images=images, values=known, replies=replies)
            assert asked == plain(messages[:at])
            reply = ask.parse_reply(text(messages[at])) if text(messages[at]) else None
            if kind in ("act", "recall"):
                assert reply is not None
                assert reply.bins is not None
                assert reply.bins.tolist() == sample["bins"]
                assert tokenizer.decode(reply.bins).actions.shape == (7,)
            elif reply is not None:
                assert reply.bins is None
                wanted = {"questions": {"a": f"a{len(replies)}"}, "memory": {"memory": values.get("memory")}}
                subtask = {"subtask": values["subtask"]}
                if "subtask|previous" in values and kind == "subtask":
                    subtask["subtask|previous(1)"] = values["subtask|previous"]
                assert reply.values == wanted.get(kind, subtask)
            replies.append(text(messages[at]))
            seen[kind] += 1
        if kind == "head":  # what its action head is given
            asked = ask(sample["instruction"], sample["proprio"], images=images, values=known, replies=replies)
            assert asked == plain(messages)
    assert set(seen) == set(spoken_mixture.KINDS)
    assert seen["questions"] > sum(one["recipe_kind"] == "questions" for one in robots(spoken))  # several of a sample


def test_what_is_missing_and_what_is_not_the_kinds(spoken: Built) -> None:
    act = KindPrompt(spoken.out, "bridge_dataset", "act")
    state, images = [0.0] * 7, {"primary": "x"}
    with pytest.raises(Rt2dataError, match=r"no \{subtask\}, which a turn says; .*values=\{'subtask'"):
        act("move it", state, images=images)
    with pytest.raises(Rt2dataError, match=r"no \{state\}"):
        act("move it", images=images, values={"subtask": "reach"})
    with pytest.raises(Rt2dataError, match="no image of the camera primary; given: wrist"):
        act("move it", state, images={"wrist": "x"}, values={"subtask": "reach"})
    with pytest.raises(Rt2dataError, match=r'a value for \{subtsk\}.*Did you mean "subtask"'):
        act("move it", state, images=images, values={"subtsk": "reach"})
    with pytest.raises(Rt2dataError, match="expected a text"):
        act("move it", state, images=images, values={"subtask": ["reach"]})
    with pytest.raises(Rt2dataError, match="1 replies, and no turn behind"):
        act("move it", state, images=images, values={"subtask": "reach"}, replies=["Go."])
    with pytest.raises(Rt2dataError, match=r'no kind "atc"; .*Did you mean "act"'):
        KindPrompt(spoken.out, "bridge", "atc")
    with pytest.raises(Rt2dataError, match='no source "coco_captions"'):
        KindPrompt(spoken.out, "coco_captions", "act")
    questions = KindPrompt(spoken.out, "bridge", "questions")
    with pytest.raises(Rt2dataError, match="no list to repeat turns for"):
        questions("move it", images={"secondary": "x"})
    asked = questions("move it", images={"secondary": b"jpeg"}, values={"vqa|all|role(user)": ["what?"]})
    assert asked == [
        {"role": "user", "content": [{"type": "image", "image": b"jpeg"}]},
        {"role": "user", "content": [{"type": "text", "text": "what?"}]},
    ]


def other_recipe(spoken: Built, folder: Path, **kinds: Any) -> dict[str, Any]:
    """Copy what a server reads into a folder, and return the manifest with further kinds."""
    for name in ("tokenizer.json", "proprio.json"):
        (folder / name).write_bytes((spoken.out / name).read_bytes())
    manifest: dict[str, Any] = json.loads((spoken.out / "manifest.json").read_text())
    manifest["recipe"]["sources"][0]["kinds"] |= kinds
    return manifest


def test_observation_history(spoken: Built, tmp_path: Path) -> None:
    """The manifest says how many images of each camera there are: those of one time together, the present first."""
    manifest = other_recipe(spoken, tmp_path)
    manifest["recipe"]["history"] = 2
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    ask = KindPrompt(tmp_path, "bridge", "subtask")
    asked = ask("move it", images={"primary": ["p0", "p1"], "secondary": ["s0", None]})
    assert [part.get("image") for part in asked[0]["content"]] == ["p0", "s0", "p1", None]
    with pytest.raises(Rt2dataError, match=r"images\['primary'\]; expected a list of 2, the present first"):
        ask("move it", images={"primary": "p0", "secondary": "s0"})


def test_other_steps_are_given_by_the_caller(spoken: Built, tmp_path: Path) -> None:
    """Past turns from what was done then, in place of a part of the conversation that the model writes."""
    given: list[dict[str, Any]] = [
        {"user": "{image:primary}{task}: {state}", "missing": "skip"},
        {"assistant": "Go. {action}", "loss": "none", "missing": "skip"},
    ]
    look = {
        "turns": [
            {"each": {"frames": [-20, -10]}, "turns": given},
            {"user": "{images|frames(-1,0)}{subtask|every|join( )}{memory|step(-1)}"},
            {"assistant": "Go. {action}"},
        ]
    }
    manifest = other_recipe(spoken, tmp_path, look=look)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    ask = KindPrompt(tmp_path, "bridge", "look")
    assert len(ask.turns) == 1
    images = {"primary": "p0", "secondary": "s0", "primary|step(-1)": "p1", "secondary|step(-1)": None}
    values: dict[str, Any] = {"subtask|every": ["reach", "lift"], "memory|step(-1)": "!"}
    asked = ask("move it", images=images, values=values)
    assert asked == [
        {"role": "user", "content": [*({"type": "image", "image": one} for one in ("p1", "p0", "s0")),
                                     {"type": "text", "text": "reach lift!"}]},
    ]  # fmt: skip
    values |= {"state|step(-10)": [0.0] * 7, "action|step(-10)": ACTION}
    asked = ask("move it", images=images | {"primary|step(-10)": "p10"}, values=values)
    act = KindPrompt(spoken.out, "bridge", "act")
    asking = act("x", [0.0] * 7, images={"primary": "p"}, values={"subtask": ""})[1]["content"]
    state = asking[-1]["text"].partition("State: ")[2]
    assert asked[0]["content"][0] == {"type": "image", "image": "p10"}
    assert [text(turn) for turn in plain(asked)[1:2]] == [f"Go. {ACTION}"]
    assert asked[0]["content"][1]["text"] == f"move it: {state}"
    with pytest.raises(Rt2dataError, match=r"no image of the camera primary\|step\(-1\)"):
        ask("move it", images={"primary": "p0", "secondary": "s0"}, values=values)
    with pytest.raises(Rt2dataError, match=r"no \{memory\|step\(-1\)\}"):
        ask("move it", images=images, values={"subtask|every": ["reach"]})
    reply = ask.parse_reply(f"Go. {ACTION}")
    assert reply.bins is not None
    assert reply.bins.tolist() == [int(n) for n in ACTION.split()]


def test_parts_pools_and_several_turns_of_the_model(spoken: Built, tmp_path: Path) -> None:
    think = {
        "parts": {"old": {"text": "Old: {memory}. ", "drop": 0.5}, "sub": "Sub: {subtask}. "},
        "turns": [
            {"user": ["{old_part}{sub_part}Plan?", "Other"]},
            {"assistant": ["I {plan}.", "We {plan}."]},
            {"user": "Act."},
            {"assistant": "{old_part}{action}"},
            {"assistant": "", "loss": "action"},
        ],
    }
    manifest = other_recipe(spoken, tmp_path, think=think)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    ask = KindPrompt(tmp_path, "bridge", "think")
    assert len(ask.turns) == 2
    (asked,) = ask("move it", values={"subtask": "reach"})
    assert asked["content"] == [{"type": "text", "text": "Sub: reach. Plan?"}]
    (asked,) = ask("move it", values={"subtask": "reach", "memory": "a\r\nb"})
    assert asked["content"] == [{"type": "text", "text": "Old: a\nb. Sub: reach. Plan?"}]
    with pytest.raises(Rt2dataError, match=r"no \{subtask\}"):
        ask("move it")
    reply = ask.parse_reply("We lift.")
    assert reply.values == {"plan": "lift"}
    asked_again = ask("move it", values={"subtask": "reach"}, replies=[reply.text])
    assert [message["role"] for message in asked_again] == ["user", "assistant", "user"]
    assert asked_again[1]["content"] == [{"type": "text", "text": "We lift."}]
    for text in (ACTION, f"Old: x. {ACTION}"):
        bins = ask.parse_reply(text, turn=1).bins
        assert bins is not None
        assert bins.tolist() == [int(n) for n in ACTION.split()]
    with pytest.raises(ActionParseError):
        ask.parse_reply(f"Old. {ACTION}", turn=1)
    with pytest.raises(Rt2dataError, match=r"turn 2 of the 2 that the model writes; expected one of"):
        ask.parse_reply(f"Old. {ACTION}", turn=2)


def test_a_conversation_of_which_every_turn_is_left_out(spoken: Built, tmp_path: Path) -> None:
    plan = {"turns": [{"user": "{subtask}?", "missing": "skip"}, {"assistant": "{plan}"}]}
    (tmp_path / "manifest.json").write_text(json.dumps(other_recipe(spoken, tmp_path, plan=plan)))
    ask = KindPrompt(tmp_path, "bridge", "plan")
    assert ask("move it", values={"subtask": "reach"})[0]["content"] == [{"type": "text", "text": "reach?"}]
    with pytest.raises(Rt2dataError, match=r"kind plan: no turn, since each lacks a value"):
        ask("move it")


def test_a_turn_and_a_state_that_there_are_not(spoken: Built) -> None:
    head = KindPrompt(spoken.out, "bridge", "head")
    with pytest.raises(Rt2dataError, match=r"kind head: turn 1 of the 1 that the model writes"):
        head.parse_reply(ACTION, turn=1)
    pictures = {"primary": 0, "wrist": 0}
    with pytest.raises(Rt2dataError, match=r"kind head: a state of shape \(3,\); expected \(7,\): x y z"):
        head("move it", [0.0, 1.0, 2.0], images=pictures)


def test_a_reply_that_is_no_action(spoken: Built) -> None:
    act = KindPrompt(spoken.out, "bridge", "act")
    assert np.array_equal(act.parse_reply(f" Go. {ACTION} Done.").bins, [int(n) for n in ACTION.split()])  # type: ignore[arg-type]
    with pytest.raises(ActionParseError, match=r"field 4.*is above 255|field 4.*256"):
        act.parse_reply("Go. 1 128 91 256 5 101 127 217 Done.")
    for wrong in (
        ACTION, f"Go. {ACTION}", f"Go {ACTION} Done.", f"Go. {ACTION}  Done.", f"Go. {ACTION} Done. ",
        f"go. {ACTION} Done.",
        f"Go. {ACTION} 3 Done.", "Go.  Done.", "", f"  Go. {ACTION} Done.", "Go. 1 128 91 Done.", "x" * 30_000,
    ):  # fmt: skip
        with pytest.raises(ActionParseError):
            act.parse_reply(wrong)
    subtask = KindPrompt(spoken.out, "bridge", "subtask")
    for tail, end in (("\n", ""), ("<|im_end|>", "<|im_end|>"), ("<|im_end|>\n", "<|im_end|>")):
        ended = act.parse_reply(f"Go. {ACTION} Done.{tail}", end=end)
        assert ended.text == f"Go. {ACTION} Done."
        assert ended.bins is not None
        assert subtask.parse_reply(f"Now: lift{tail}", end=end).values == {"subtask": "lift"}
    for tail in ("\n\n", "<|im_end|>", " "):
        with pytest.raises(ActionParseError):
            act.parse_reply(f"Go. {ACTION} Done.{tail}")
    reply = subtask.parse_reply("Now: lift")
    assert (reply.text, reply.values, reply.bins) == ("Now: lift", {"subtask": "lift"}, None)
    with pytest.raises(Rt2dataError, match=r'"lift"; expected "\{before_part\}Now: \{subtask\}"'):
        subtask.parse_reply("lift")
    with pytest.raises(Rt2dataError):
        subtask.parse_reply("Now: ")


def readings(pool: str | list[str], reply: str, **more: Any) -> list[Reading]:
    kinds = parse_kinds({"k": {"turns": [{"user": "x"}, {"assistant": pool}]} | more}, "", lambda _: "")
    turn = kinds[0].turns[1]
    import re

    return read_reply(kinds[0], turn, reply, re.compile("[0-9]( [0-9]){2}").fullmatch)  # type: ignore[arg-type]


def test_only_what_can_be_read_in_one_way_is_read() -> None:
    assert readings("{a} and {b}", "x and y") == [Reading(None, {"a": "x", "b": "y"})]
    assert readings("{a} and {b}", "x and y and z") == [Reading(None, {})]
    assert readings("{a}{b}", "xy") == [Reading(None, {"a": "x", "b": "y"})]
    assert readings("{a}, {a}", "x, x") == [Reading(None, {"a": "x"})]
    assert readings("{a}, {a}", "x, y") == [Reading(None, {})]
    assert readings("{a}: {action}", "go: 1 2 3") == [Reading((4, 9), {"a": "go"})]
    assert readings("{action}{a}", "1 2 3 go") == [Reading((0, 5), {"a": " go"})]
    assert [one.action for one in readings("{a}{action}{b}", "x 1 2 3 4 y")] == [(2, 7), (4, 9)]
    assert [one.action for one in readings("{a}{action}", "x 1 2 3 4")] == [(4, 9)]
    assert readings(["Do {a}", "{a}"], "Do it") == [Reading(None, {})]
    assert readings(["Do {a}.", "Say {a}."], "Say it.") == [Reading(None, {"a": "it"})]
    plan = {"parts": {"plan": {"text": "PLAN: {plan} ", "drop": 0.5}, "move": {"text": "MOVE: {move} ", "drop": 0.5}}}
    both = "{plan_part}{move_part}ACTION: {action}"
    assert readings(both, "ACTION: 1 2 3", **plan) == [Reading((8, 13), {})]
    assert readings(both, "MOVE: up ACTION: 1 2 3", **plan) == [Reading((17, 22), {"move": "up"})]
    assert readings(both, "PLAN: a b MOVE: up ACTION: 1 2 3", **plan)[0].action == (27, 32)
    # "MOVE: up" may be of the plan.
    assert readings(both, "PLAN: a b MOVE: up ACTION: 1 2 3", **plan)[0].values == {}
    assert readings(both, "ACTION: 1 2 3 ", **plan) == []
    assert readings("{a}{action}{b}", "1" * 20_000) == []  # no time is spent on it
