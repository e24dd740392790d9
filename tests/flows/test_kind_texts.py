"""Kinds whose texts are drawn, all taken, dropped or replaced, and kinds that a share of the steps gives."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import builds, small_corpora, spoken_mixture
from support.damaged_mixtures import edit_sample, failing
from support.spoken_mixture import EPISODES, said

from rt2data.errors import Rt2dataError
from rt2data.serving import KindPrompt
from rt2data.turns.conversation import fill_kind
from rt2data.turns.kind_parser import parse_kinds
from rt2data.turns.reading import read_reply
from rt2data.verify import verify
from rt2data.verify.reference import keys

Build = Callable[..., dict[str, Any]]

QUESTIONS = ["{images}One?", "{images}Two?", "{images}Three?"]
ANSWERS = ["{subtask}", "now {subtask}"]
KINDS: dict[str, Any] = {
    "asked": {"weight": 0.4, "pools": "all", "turns": [{"user": QUESTIONS}, {"assistant": ANSWERS}]},
    "fading": {
        "weight": 0.2, "share": [0.9, 0.2], "over": "subtask",
        "turns": [{"user": "{image:primary}"}, {"assistant": "{subtask}"}],
    },
    "some": {"weight": 0.1, "share": 0.5, "turns": [{"user": "{images}"}, {"assistant": "{subtask}"}]},
    "dropped": {
        "weight": 0.3,
        "parts": {
            "task": {"text": "{instruction|or(Perform the task.)|lower}", "drop": 0.4, "otherwise": "Do \"{{it}}\"."},
            "memory": {"text": " ({memory})", "missing": "skip", "otherwise": " [none]"},
        },
        "turns": [
            {"user": "{images}{task_part}{memory_part}"},
            {"assistant": "{memory|or(No_news!)|no_punctuation|lower} {vqa|all|role(user)|join( )|or(-)}"},
        ],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    recipe = spoken_mixture.write(folder, kinds=KINDS)
    small_corpora.build(recipe, folder / "out", data_root=folder / "data", work=folder / "work")
    return folder / "out"


def spoken(out: Path) -> list[tuple[keys.Key, dict[str, Any]]]:
    every = [one["json"] for split in ("train", "val") for one in builds.samples(out, split)]
    parsed = [(keys.parse(one["key"]), one) for one in every if one["kind"] == "robot"]
    return [(key._replace(source="bridge_dataset"), one) for key, one in parsed if key is not None]


def test_every_sample_has_the_texts_of_its_key(built: Path) -> None:
    parsed = {kind.name: kind for kind in parse_kinds(KINDS, "", lambda _: "")}
    dropped: Counter[bool] = Counter()
    for key, one in spoken(built):
        values = dict.fromkeys(parsed[key.kind].values()) | said(one["episode"], one["step"])
        values["instruction"] = one["instruction"].replace("\0", "")
        gone = key.kind == "dropped" and keys.hash64("drop task", 5, key) < 0.4 * 2**64
        dropped[gone] += key.kind == "dropped"
        drawn = {0: key.variant // 2, 1: key.variant % 2} if key.kind == "asked" else {}
        shown = {"images": one["images"], "image": one["images"]}
        wanted = fill_kind(
            parsed[key.kind], values, lambda slot, shown=shown: shown[slot.name], drawn,  # type: ignore[misc]
            frozenset(["task"] if gone else []),
        )  # fmt: skip
        assert one["messages"] == wanted
        if key.kind == "dropped":
            told = wanted[0]["content"][-1]["text"]
            assert told.startswith('Do "{it}".') == gone
            assert told.endswith(" [none]") == (values["memory"] is None)
            answer = one["target"].partition(" ")[0]
            assert (answer == "no_news") == (values["memory"] is None)
            assert one["target"].endswith(" -") == (values["vqa|all|role(user)"] is None)
    assert min(dropped.values()) > 2


def test_each_text_of_the_pools_is_a_sample(built: Path) -> None:
    of_step: dict[tuple[str, int], Counter[str]] = {}
    for key, one in spoken(built):
        if key.kind == "asked":
            of_step.setdefault((one["episode"], one["step"]), Counter())[f"{one['prompt']} {one['target']}"] += 1
            assert f"-asked-v{key.variant}" in one["key"]
        else:
            assert key.variant == -1
    manifest = json.loads((built / "manifest.json").read_text())
    asked = manifest["sources"][0]["kinds"]["asked"]
    assert asked["usable"]["train"] == 6 * manifest["sources"][0]["steps"]["train"]
    whole = [texts for (episode, _), texts in of_step.items() if len(texts) == 6]
    assert whole
    step = whole[0]
    assert {text.split("?")[0] for text in step} == {"One", "Two", "Three"}
    assert sum(" now " in text for text in step) == 3


def test_the_share_of_steps_falls_over_a_segment(built: Path) -> None:
    """A step gives a sample where its hash is below 0.9 - 0.7 * (step - start) / (end - start), as Fanqi-Lin/OneTwoVLA
    draws by chance."""
    found = {name: {(key.digest, key.step) for key, _ in spoken(built) if key.kind == name} for name in KINDS}
    digests = {one["episode"]: key for key, one in spoken(built)}
    val = {one["episode"] for _, one in spoken(built) if one["split"] == "val"}
    given = 0
    for episode, steps in EPISODES.items():
        key = digests[episode]._replace(variant=-1, copy=0)
        for step in range(steps):
            start, end = (0, 2) if step < 2 else (2, steps)
            share = 0.9 - (0.9 - 0.2) * (step - start) / (end - start)
            for kind, least in (("fading", share), ("some", 0.5)):
                hashed = keys.hash64("share", 5, key._replace(step=step, kind=kind))
                gives = hashed < round(least * 2.0**64)
                if (key.digest, step) in found[kind]:
                    assert gives
                    given += 1
                else:  # val has every sample, train those that its quota draws
                    assert not (gives and episode in val)
    assert 20 < given < 2 * sum(EPISODES.values()) - 20


def test_verify_holds_and_finds_other_texts(built: Path, tmp_path: Path) -> None:
    report = verify(built, data_root=built.parent / "data")
    assert report.ok, report.text()
    assert not [note for note in report.notes if "any text was taken" in note]  # all of it was computed again

    def other(sample: dict[str, Any]) -> None:
        text = sample["messages"][-1]["content"][-1]
        text["text"] = text["text"][:-1] + "#"

    shutil.copytree(built, tmp_path / "copy")
    edit_sample(tmp_path / "copy", other)
    assert "turns" in failing(verify(tmp_path / "copy", data_root=built.parent / "data"))


@pytest.mark.parametrize(("old", "new"), [('"share":[0.9,0.2]', '"share":[0.2,0.0]'), ('"share":0.5', '"share":0.1')])
def test_verify_finds_steps_beyond_the_share(built: Path, tmp_path: Path, old: str, new: str) -> None:
    shutil.copytree(built, tmp_path / "copy")
    manifest = tmp_path / "copy" / "manifest.json"
    text = json.dumps(json.loads(manifest.read_text()), separators=(",", ":"))
    assert old in text
    manifest.write_text(text.replace(old, new))
    assert "turns" in failing(verify(tmp_path / "copy", data_root=built.parent / "data"))


def test_replies_with_a_part_or_what_stands_in_for_it() -> None:
    parts = {"plan": {"text": "Plan: {plan}. ", "drop": 0.5, "otherwise": "No plan. "}}
    (kind,) = parse_kinds(
        {"k": {"parts": parts, "turns": [{"assistant": "{plan_part}Go {subtask}"}]}}, "", lambda _: ""
    )
    (turn,) = (turn for turn, _ in kind.flat())

    def read(text: str) -> list[dict[str, str]]:
        return [reading.values for reading in read_reply(kind, turn, text, None)]

    assert read("No plan. Go left") == [{"subtask": "left"}]
    assert read("Plan: a. b. Go left") == [{"plan": "a. b", "subtask": "left"}]
    assert read("Go left") == []


def test_serving_makes_and_reads_the_same_texts(built: Path) -> None:
    prompt = KindPrompt(built, "bridge_dataset", "dropped")
    pictures = {"primary": b"1", "secondary": b"2"}
    messages = prompt("Pick UP", images=pictures)
    assert messages[0]["content"][-1]["text"] == "pick up [none]"
    assert prompt("Pick UP", images=pictures, values={"memory": "it"})[0]["content"][-1]["text"] == "pick up (it)"
    assert prompt("", images=pictures)[0]["content"][-1]["text"] == "perform the task. [none]"
    assert prompt.parse_reply("nonews -").text == "nonews -"


def test_ahead_and_a_kind_that_only_stands_in(tmp_path: Path, build: Build) -> None:
    kinds = {
        "ahead": {
            "otherwise": "stand_in",
            "turns": [{"user": "{images}"}, {"assistant": "{subtask|ahead(3)|join(, )}; {memory}"}],
        },
        "stand_in": {"weight": 0, "turns": [{"user": "{images}"}, {"assistant": "{subtask|ahead(2)|lower}"}]},
    }
    recipe = spoken_mixture.write(tmp_path, kinds=kinds)
    manifest = build(recipe, tmp_path / "out", data_root=tmp_path / "data", work=tmp_path / "work")
    report = verify(tmp_path / "out", data_root=tmp_path / "data")
    assert report.ok, report.text()
    robots = [one for _, one in spoken(tmp_path / "out")]
    for one in robots:
        steps = EPISODES[one["episode"]]
        coming = [said(one["episode"], min(one["step"] + n, steps - 1))["subtask"] for n in range(3)]
        memory = said(one["episode"], one["step"]).get("memory")
        wanted = f"{', '.join(coming)}; {memory}" if memory else ", ".join(coming[:2]).lower()
        assert one["target"].replace("\n", " ") == wanted.replace("\n", " ")
        assert one["recipe_kind"] == "ahead"
    stand_in = manifest["sources"][0]["kinds"]["stand_in"]
    assert (stand_in["mix"], stand_in["usable"]) == (0, {"train": 0, "val": 0})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight": 0, "turns": [{"assistant": "b"}]}, "weight: 0; expected more, or another kind whose otherwise"),
        ({"turns": [{"assistant": "{subtask|ahead(0)}"}]}, r"ahead\(0\) in"),
        ({"pools": "all", "turns": [{"user": "a"}, {"assistant": "b"}]}, "whose pools combine to 1 texts"),
        ({"pools": "all", "turns": [{"user": [f"{n}" for n in range(40)]}] * 2 + [{"assistant": "b"}]}, "to 1,600"),
        ({"pools": "all", "otherwise": "o", "turns": [{"user": ["a", "b"]}, {"assistant": "b"}]}, "and otherwise: o"),
        ({"share": [0.1, 0.5], "turns": [{"assistant": "b"}]}, "and no over; expected share: "),
        ({"share": 0.5, "over": "subtask", "turns": [{"assistant": "b"}]}, "share: 0.5, and over"),
        ({"parts": {"p": {"text": "a", "otherwise": "b"}}, "turns": [{"assistant": "b"}]}, "the part p, which is al"),
        ({"parts": {"p": {"text": "a", "drop": 1, "otherwise": "{x}"}}, "turns": [{"assistant": "b"}]}, "a placeholde"),
        ({"turns": [{"assistant": "{subtask|lower(x)}"}]}, "lower without an argument"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Rt2dataError, match=message):
        parse_kinds({"k": fields, "o": {"turns": [{"assistant": "x"}]}}, "r.yaml:1", lambda _: "r.yaml:2")


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ({"choose": "one_kind_per_step"}, {"pools": "all"}, "pools: all on the kind k, and choose"),
        ({"instructions": "all"}, {"pools": "all"}, "and instructions: all"),
        ({}, {"share": [0.1, 0.2], "over": "subtsk"}, r"\{subtsk\}, and no track of this name"),
    ],
)
def test_what_a_source_cannot_have(
    tmp_path: Path, build: Build, source: dict[str, Any], kind: dict[str, Any], message: str
) -> None:
    kinds = {"k": {"turns": [{"user": ["a", "b"]}, {"assistant": "c"}]} | kind}
    recipe = spoken_mixture.write(tmp_path, kinds=kinds, **source)
    with pytest.raises(Rt2dataError, match=message):
        build(recipe, tmp_path / "out", data_root=tmp_path / "data", work=tmp_path / "work")
