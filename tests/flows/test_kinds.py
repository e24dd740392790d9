"""Kinds of sample: a source gives several, each with an exact quota, and all of an episode stay in one split."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import builds, small_corpora, spoken_mixture
from support.damaged_mixtures import edit_sample, failing
from support.spoken_mixture import EPISODES

from rt2data.errors import Rt2dataError
from rt2data.turns.conversation import fill_kind
from rt2data.turns.kind_parser import parse_kinds
from rt2data.verify import verify

Build = Callable[..., dict[str, Any]]

KINDS: dict[str, Any] = {
    "subtask": {
        "weight": 0.3,
        "requires": ["subtask"],
        "turns": [{"user": "{images}{instruction|lower}"}, {"assistant": "{subtask}"}],
    },
    "act": {
        "weight": 0.4,
        "otherwise": "plain",
        "turns": [
            {"system": "You act."},
            {"user": ["{image:primary}{subtask}", "{image:primary}Now: {subtask}"]},
            {"assistant": "Go. {action}"},
        ],
    },
    "plain": {"weight": 0.2, "turns": [{"user": "{images}{task}: {state}"}, {"assistant": "{action}"}]},
    "memory": {
        "weight": 0.1,
        "requires": ["subtask"],
        "parts": {"done": {"text": "Done: {subtask|previous}. ", "drop": 0.5, "missing": "skip"}},
        "turns": [
            {"user": "{done_part}Step {step} of {steps}."},
            {"assistant": "Old: {memory|previous}", "loss": "none", "missing": "skip"},
            {"assistant": "{memory}", "missing": "empty", "end": False},
        ],
    },
    "questions": {
        "weight": 0.1,
        "requires": ["vqa|all|role(user)"],
        "turns": [
            {"user": "{image:secondary}"},
            {"each": {"q": "vqa|all|role(user)", "a": "vqa|all|role(assistant)"},
             "turns": [{"user": "{q}"}, {"assistant": "{a}"}]},
        ],
    },
}  # fmt: skip


def notes() -> list[dict[str, Any]]:
    """The annotations of `spoken_mixture` but for each fourth episode, and two boxes in the first steps."""
    without = list(EPISODES)[3::4]
    rows = [row for row in spoken_mixture.notes() if row["episode"] not in without]
    for episode in (one for one in EPISODES if one not in without):
        for label, box in (("pot", [1, 2, 5, 8]), ("lid", [0, 0, 16, 12])):  # of pictures of 16 x 12
            value = {"box": box, "label": label}
            rows.append({"episode": episode, "track": "box", "step": 0, "until": 2, "type": "box", "value": value})
    return rows


def said(episode: str, step: int) -> dict[str, Any]:
    """The values of a step by the keys of placeholders, from the annotations, row by row."""
    rows = [row for row in notes() if row["episode"] == episode]
    of = {name: [r for r in rows if r["track"] == name and r["step"] <= step] for name in ("subtask", "memory")}
    asked = [r for r in rows if r["track"] == "vqa" and r["step"] == step]
    values: dict[str, Any] = {}
    for role in ("user", "assistant"):
        values[f"vqa|all|role({role})"] = [r["value"] for r in asked if r["role"] == role] or None
    for name, known in of.items():
        values[name] = known[-1]["value"] if known else None
        values[f"{name}|previous(1)"] = known[-2]["value"] if len(known) > 1 else None
    return values


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny corpora with annotations of the robot's episodes; not to be changed."""
    root = small_corpora.write_corpora(tmp_path_factory.mktemp("data"))
    (root / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in notes()))
    return root


@pytest.fixture
def made(data: Path, tmp_path: Path, build: Build) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Build a mixture of the robot's episodes and captions, and verify it."""

    def run(kinds: dict[str, Any], name: str = "k", **source: Any) -> tuple[Path, dict[str, Any]]:
        robot = {"source": "bridge_dataset", "weight": 3, "kinds": kinds} | source
        robot.setdefault("annotations", [{"file": "notes.jsonl", "format": "rows"}])
        captions: dict[str, Any] = {"source": "coco_captions", "weight": 1}
        if "repeat" in source:
            del robot["weight"]
            captions = {"source": "coco_captions", "repeat": 1}
        recipe = {
            "name": name, "seed": 5, "samples_per_shard": 40, "cameras": ["primary", "secondary"],
            "splits": {"train": 0.7, "val": 0.3},
            "sources": [robot, captions],
        }  # fmt: skip
        (tmp_path / f"{name}.yaml").write_text(json.dumps(recipe))
        manifest = build(tmp_path / f"{name}.yaml", tmp_path / name, data_root=data, work=tmp_path / "work")
        report = verify(tmp_path / name)
        assert report.ok, report.text()
        return tmp_path / name, manifest

    return run


def every(out: Path) -> list[dict[str, Any]]:
    return [one["json"] for split in ("train", "val") for one in builds.samples(out, split)]


def test_each_kind_has_its_quota_and_its_words(made: Any) -> None:
    out, manifest = made(KINDS)
    source = manifest["sources"][0]
    seen = every(out)
    robots = [one for one in seen if one["kind"] == "robot"]
    counted = Counter(one["recipe_kind"] for one in robots if one["split"] == "train")
    quota = source["mix"]
    assert sum(counted.values()) == quota
    assert {k: abs(n - quota * KINDS[k]["weight"] / 1.1) < 1 for k, n in counted.items()} == dict.fromkeys(KINDS, True)
    homes: dict[str, set[str]] = {}
    for one in robots:
        homes.setdefault(one["episode"], set()).add(one["split"])
        assert one["key"].split("-")[3] == one["recipe_kind"]
    assert all(len(splits) == 1 for splits in homes.values())  # whatever the kind
    parsed = {kind.name: kind for kind in parse_kinds(KINDS, "", lambda _: "")}
    turns: Counter[str] = Counter()
    for one in robots:
        values = said(one["episode"], one["step"])
        values |= {"instruction": one["instruction"].replace("\0", ""), "step": str(one["step"])}
        values |= {"steps": str(one["steps"]), "task": values["instruction"]}
        kind = parsed[one["recipe_kind"]]
        if kind.name == "act" and values["subtask"] is None:
            kind = parsed["plain"]
        last = one["messages"][-1]
        if "action" in kind.values():
            values["action"] = last["content"][-1]["text"].removeprefix("Go. ")
        if kind.name == "plain":
            values["state"] = one["messages"][0]["content"][-1]["text"].rsplit(": ")[-1]
            assert len(values["state"].split()) == 7
        shown = {"images": one["images"], "image": one["images"][:1]}
        fits = [
            fill_kind(kind, values, lambda slot, shown=shown: shown[slot.name], {1: n}, dropped)  # type: ignore[misc]
            for n in range(2 if kind.name == "act" else 1)
            for dropped in (frozenset[str](), frozenset({"done"}))
        ]
        assert one["messages"] in fits
        turns[kind.name] += 1
    assert min(turns.values()) > 5
    assert turns["act"] < sum(one["recipe_kind"] == "act" for one in robots)  # others have the turns of plain
    first = next(one for one in robots if one["recipe_kind"] == "plain")
    assert first["prompt"] == first["messages"][0]["content"][-1]["text"]
    assert first["target"] == first["messages"][1]["content"][0]["text"]
    assert all(one["prompt"] is one["target"] is None for one in robots if one["recipe_kind"] == "questions")
    assert all(one["images"] == [] for one in robots if one["recipe_kind"] == "memory")
    captions = [one for one in seen if one["kind"] == "caption"]
    assert {one["recipe_kind"] for one in captions} == {None}
    assert all(one["messages"][1]["content"][0]["text"] == one["target"] for one in captions)


def test_what_is_missing_is_refused_with_its_number(made: Any) -> None:
    with pytest.raises(Rt2dataError) as refused:
        made({"a": {"turns": [{"user": "{images}"}, {"assistant": "{subtask}"}]}})
    steps = sum(n for i, n in enumerate(EPISODES.values()) if i % 4 == 3)
    text = str(refused.value)
    assert f"{{subtask}} is missing at {steps} of {sum(EPISODES.values())} steps" in text
    assert "first at step 0 of episode /data/" in text
    assert "Say requires: [subtask] on the kind" in text
    assert "No step has it" not in text


def test_what_no_step_has_is_looked_for_in_the_annotations(made: Any) -> None:
    with pytest.raises(Rt2dataError, match=r"No step has it: look at its rows above, and at episode: of its annot"):
        made({"a": {"turns": [{"user": "{images}{subtask|next(900)}"}, {"assistant": "{action}"}]}})


def test_a_name_that_is_no_track(made: Any) -> None:
    with pytest.raises(Rt2dataError, match=r"\{subtsk\}, and no track of this name; .* Did you mean \"subtask\""):
        made({"a": {"turns": [{"user": "{images}"}, {"assistant": "{subtsk}"}]}})
    with pytest.raises(Rt2dataError, match=r"\{instruction\|previous\(1\)\}, and instruction is no track"):
        made({"a": {"turns": [{"user": "{images}"}, {"assistant": "{instruction|previous}"}]}})


def test_one_kind_per_step(made: Any) -> None:
    kinds = {
        "plain": {"weight": 0.7, "turns": [{"user": "{images}{task}"}, {"assistant": "{action}"}]},
        "say": {"weight": 0.3, "requires": ["vqa|all|role(user)"], "turns": [{"user": "{images}"}, {"assistant": "x"}]},
    }
    out, manifest = made(kinds, choose="one_kind_per_step")
    source = manifest["sources"][0]
    steps = source["steps"]
    assert steps["train"] + steps["val"] == sum(EPISODES.values())
    usable = {name: kind["usable"]["train"] for name, kind in source["kinds"].items()}
    assert usable == {"plain": round(0.7 * steps["train"]), "say": steps["train"] - round(0.7 * steps["train"])}
    robots = [one for one in every(out) if one["kind"] == "robot"]
    taken: dict[tuple[str, int], set[str]] = {}
    for one in robots:
        taken.setdefault((one["episode"], one["step"]), set()).add(one["recipe_kind"])
    assert all(len(kinds_of_step) == 1 for kinds_of_step in taken.values())
    assert len(taken) == sum(EPISODES.values())
    for one in robots:
        if one["recipe_kind"] == "say":
            assert said(one["episode"], one["step"])["vqa|all|role(user)"]


def test_a_share_that_steps_cannot_fill(made: Any) -> None:
    kinds = {
        "plain": {"weight": 0.1, "turns": [{"user": "{images}{task}"}, {"assistant": "{action}"}]},
        "say": {"weight": 0.9, "requires": ["vqa|all|role(user)"], "turns": [{"user": "{images}"}, {"assistant": "x"}]},
    }
    with pytest.raises(
        Rt2dataError, match=r"kind say: \d+ free steps that it fits, for a share of \d+ of \d+; expected"
    ):
        made(kinds, choose="one_kind_per_step")


@pytest.mark.parametrize("amount", ["repeat", "samples"])
def test_kinds_by_passes_and_by_number(made: Any, amount: str) -> None:
    kinds = {
        "plain": {amount: 2, "turns": [{"user": "{images}{task}"}, {"assistant": "{action}"}]},
        "say": {amount: 3, "requires": ["subtask"], "turns": [{"user": "{images}"}, {"assistant": "{subtask}"}]},
    }
    out, manifest = made(kinds, name="p", repeat=1)
    source = manifest["sources"][0]
    for name, kind in source["kinds"].items():
        times = kinds[name][amount]
        assert kind["mix"] == (times if amount == "samples" else times * kind["usable"]["train"])
    assert sum(one["kind"] == "robot" and one["split"] == "train" for one in every(out)) == source["mix"]


def test_a_number_of_each_kind_and_a_weight_of_the_source(made: Any) -> None:
    kinds = {"plain": {"samples": 2, "turns": [{"user": "{images}{task}"}, {"assistant": "{action}"}]}}
    with pytest.raises(Rt2dataError, match='"weight" on a source whose kinds say how often'):
        made(kinds)


def test_verify_finds_other_words(made: Any) -> None:
    out, _ = made(KINDS)

    def other(sample: dict[str, Any]) -> None:
        sample["messages"][-1]["content"][-1]["text"] += "."

    edit_sample(out, other)
    assert "turns" in failing(verify(out))


def test_boxes_in_the_form_of_a_model(made: Any) -> None:
    kinds = {
        "locate": {
            "requires": ["box|all|form(qwen3-vl)"],
            "turns": [{"user": "{images}Locate all."}, {"assistant": "{box|all|form(qwen3-vl)}"}],
        }
    }
    out, _ = made(kinds, name="boxes")
    told = [one for one in every(out) if one["kind"] == "robot"]
    assert {one["step"] for one in told} == {0, 1}
    boxes = json.loads(told[0]["target"])
    assert [(box["label"], box["bbox_2d"]) for box in boxes] == [
        ("pot", [62, 167, 312, 667]),
        ("lid", [0, 0, 1000, 1000]),
    ]


def test_boxes_need_a_form_that_has_them(made: Any) -> None:
    def refused(text: str, message: str) -> None:
        with pytest.raises(Rt2dataError, match=message):
            made({"a": {"turns": [{"user": "{images}"}, {"assistant": text}]}})

    refused("{box|all}", r"a box without a form; expected \{box\|all\|form\(NAME\)\}")
    refused(
        "{box|all|form(molmoact-trace)}", r"a box, which the form molmoact-trace does not have; expected one of trace"
    )
    refused("{subtask|form(qwen3-vl)}", "form of a track of type text")
    refused("{box|form(qwen9)}", r"form\(qwen9\)")
    refused("{subtask|form(say)}", r"form\(say\) of a track of type text; expected a track of type tool_call")
