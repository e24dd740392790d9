"""The bundled recipes of ECoT, RT-H, OneTwoVLA, GR00T, InternVLA-M1 and InstructVLA say what these systems' code says.

What a system draws at random is taken from its own output here, and the texts are compared. Published numbers of forms
of boxes and points are in `tests/tokenizer/test_grounding.py`; the ids of `IDS` that it holds are compared there too.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support import builds, small_corpora, small_demo
from support.goldens import read_goldens

from rt2data import resources
from rt2data.errors import Rt2dataError
from rt2data.recipes.recipe import read_recipe
from rt2data.rlds.writer import ImageSpec, write_rlds
from rt2data.samples import kinds
from rt2data.serving import KindPrompt
from rt2data.tokenizer import Box, GroundingTokenizer, Point, Trace
from rt2data.turns.conversation import Value, fill_kind
from rt2data.turns.kind_parser import parse_kinds
from rt2data.turns.kinds import Kind
from rt2data.verify import verify

Json = dict[str, Any]
Build = Callable[..., Json]

IDS = [
    *("groot.n17.language", "groot.n15.language.unknown"),
    *("onetwovla.tokens.act_outdated", "onetwovla.tokens.reason_outdated", "onetwovla.reason_probability"),
    *(f"instructvla.{name}" for name in ("stage1.seed0", "stage2.seed0", "stage2.seed2", "stage2.seed4")),
    *(f"instructvla.stage2.{name}" for name in ("seed6", "qa_turn", "missing_primitive")),
    *("ecot.dropout.p0.0.seed0", "ecot.dropout.p0.5.seed1"),
    *("internvla_m1.sampling_rate", "internvla_m1.action_prompt.plain"),
    *("qwen2.box_1000", "qwen2_5.box_pixels.large", "swift.normalise.none", "swift.form.Qwen2VLTemplate.legacy"),
    *("swift.form.Internvl2Template.legacy", "kosmos2.indices", "pix2seq.bins", "robointer.scale"),
]
DEPARTS = {"ecot.dropout.at_sign": "their code fails on an at sign in an annotation; here it is text"}
PREFIXES = {name.partition(".")[0] for name in IDS}
CAMERAS = small_corpora.CAMERAS


def bundled(name: str) -> Json:
    """A bundled recipe as it is written."""
    (path,) = [one for one in resources.files("mixtures", ".yaml") if one.stem == name]
    return dict(yaml.safe_load(path.read_text()))


def kinds_of(name: str) -> Json:
    raw = bundled(name)
    return dict(raw.get("kinds") or raw["sources"][0]["kinds"])


def kind(fields: Json) -> Kind:
    return parse_kinds({"k": {key: v for key, v in fields.items() if key not in ("otherwise", "weight")}},
                       "r.yaml:1", lambda _: "r.yaml:2")[0]  # fmt: skip


def fill(fields: Json, values: Mapping[str, Value], drawn: Mapping[int, int] | None = None) -> list[Json]:
    """The messages of one sample, with one picture; a part whose `drop` is 1 is left out."""
    one = kind(fields)
    gone = frozenset(part.name for part in one.parts if part.drop == 1)
    return fill_kind(one, values, lambda _: ["IMG"], drawn, gone)


def said(message: Json) -> str:
    return "".join(part.get("text", "") for part in message["content"])


def as_chat(messages: list[Json]) -> list[Json]:
    """Messages as InstructVLA's processor gets them."""
    out = []
    for message in messages:
        shown = any(part["type"] == "image" for part in message["content"])
        out.append({"role": message["role"], "content": said(message)} | ({"image": True} if shown else {}))
    return out


# ECoT: MichalZawalski/embodied-CoT@1813ad7, prismatic/vla/datasets/datasets.py, reasoning_dropout

TAGS = {
    "TASK:": "task",
    "PLAN:": "plan",
    "VISIBLE OBJECTS:": "objects",
    "SUBTASK REASONING:": "subtask_why",
    "SUBTASK:": "subtask",
    "MOVE REASONING:": "move_why",
    "MOVE:": "move",
    "GRIPPER POSITION:": "gripper",
}
KEYS = {"objects": "bboxes|all|form(ecot)", "gripper": "gripper_position|ahead(5)|form(ecot-trace)",
        "subtask_why": "subtask_reason", "move_why": "move_reason"}  # fmt: skip
REASONING: Json = {
    "task": "pick up the cup", "plan": "1. reach 2. grasp", "subtask_reason": "the hand is empty", "subtask": "reach",
    "move_reason": "it is left", "move": "move left",
}  # fmt: skip
FEATURES: Json = {
    "bboxes": [[[0.9, "cup", [1, 2, 3, 4]], [0.8, "lid", [5, 6, 7, 8]]]] * 2,
    "gripper_position": [[10, 20], [11, 21]],
}
WHOLE = (
    "TASK: pick up the cup PLAN: 1. reach 2. grasp VISIBLE OBJECTS: cup [1, 2, 3, 4], lid [5, 6, 7, 8] "
    "SUBTASK REASONING: the hand is empty SUBTASK: reach MOVE REASONING: it is left MOVE: move left "
    "GRIPPER POSITION: [10, 20, 11, 21, 11, 21, 11, 21, 11, 21] ACTION: "
)


def ecot(kept: set[str]) -> Json:
    """The bundled kind in the samples that have some tags and no others."""
    reason = json.loads(json.dumps(kinds_of("ecot")["reason"]))
    for name, part in reason["parts"].items():
        part["drop"] = int(name not in kept)
    return dict(reason)


def ecot_target(golden: Json) -> str:
    """The target of what they drew, in the recipe's words."""
    pieces = golden["input"]["reasoning"].split("@")
    said_by_tag = dict(zip(pieces[::2], pieces[1::2], strict=True))
    letters = {tag[0] + tag[-2]: name for tag, name in TAGS.items()}
    kept = {letters[one] for one in golden["output"]["subset"].strip("[]").split(", ") if one}
    values: dict[str, Value] = {KEYS.get(name, name): said_by_tag.get(tag) for tag, name in TAGS.items()}
    fields = ecot(kept) if kept else kinds_of("ecot")["bare"]
    return said(fill(fields, values | {"instruction": "x", "action": "{action}"})[1])


# OneTwoVLA: Fanqi-Lin/OneTwoVLA@2489662, models/tokenizer.py

_IDS = {"<loc1020>": "<BEGIN_OF_REASONING 257020>", "<loc1021>": "<BEGIN_OF_ACTION 257021>",
        "<loc1022>": "<END_OF_PREFIX 257022>"}  # fmt: skip
THOUGHTS: Json = {
    "act": [{"user": "{old}<loc1022>", "loss": "action", "end": False}, {"assistant": "<loc1021>", "end": False}],
    "act_outdated": [{"user": "{old}<loc1022>"}, {"assistant": "<loc1021>", "loss": "action", "end": False}],
    "reason": [{"user": "{old}<loc1022>"}, {"assistant": "<loc1020>{new}"}],
    "reason_outdated": [
        {"user": "{old}<loc1022>"},
        {"assistant": "<loc1020>", "end": False},
        {"assistant": "{new}", "loss": "none"},
    ],
}


def runs(messages: list[Json]) -> Json:
    """What of a conversation is learned, a character a token, as their tokenizer counts it with one token a character.

    A thought ends with <eos>, an answer that acts does not.
    """
    tokens: list[tuple[str, bool]] = [("<bos>", False)]
    for message in messages:
        text, learned = said(message), set()
        for span in message["spans"]:
            learned |= set(range(span["start"], span["end"]))
        every = re.finditer(r"<loc\d{4}>|.", text)
        tokens += [(_IDS.get(found[0], "t"), found.start() in learned) for found in every]
    if "<loc1020>" in "".join(map(said, messages)):
        tokens.append(("<eos>", messages[-1]["end"]))
    head = any(message["loss"] == "action" for message in messages)
    counted = [[*one, len(list(group))] for one, group in groupby(tokens)]
    return {"runs_token_loss_count": counted, "action_loss": head}


def thought_kind(given: Json) -> str:
    name = "reason" if len(given["thought"]) > 1 else "act"
    late = given["think_with_outdated_thought"] if name == "reason" else given["act_with_outdated_thought"]
    return f"{name}_outdated" if late else name


def thoughts(given: Json) -> Json:
    values = dict(zip(("old", "new"), given["thought"], strict=False))
    return runs(fill({"turns": THOUGHTS[thought_kind(given)]}, values))


def shares(given: Json, wanted: Json) -> Json:
    """The chance of the old thought at steps of a segment, by its two ends."""
    start, end = (np.array(one) for one in given["segment"])
    return {name: kinds.share_at(tuple(given[name]), np.array(given["steps"]), start, end).tolist() for name in wanted}


# InstructVLA: InternRobotics/InstructVLA@dc3b8c7, vla/instructvla_eagle_dual_sys_v2_meta_query_v2.py


def instructvla(given: Json, wanted: list[Json]) -> list[Json]:
    """The conversation of the kind that they drew, with two of its query tokens."""
    notes = given.get("reasonings") or given
    values = instruct_values(notes, given.get("language_instruction", "Put the CUP away"))
    asked, drawn = wanted[1]["content"], {}
    if len(wanted) == 5:
        others = notes["alt_instruction"]["QA"]
        name = "qa" if asked in [pair["question"] for pair in others] else "caption"
        pool = kinds_of("instructvla")["caption"]["turns"][1]["user"]
        drawn = {1: pool.index("{images}" + asked)} if name == "caption" else {}
        pairs = [pair for pair in others if pair["question"] == asked]
        values |= {f"qa|all|role({role})": [pair[key] for pair in pairs] for role, key in ROLES}
    elif asked.endswith("First answer my question."):
        named = {pair["question"]: name for name in ("CC", "CR") for pair in notes["alt_instruction"].get(name) or []}
        about = asked.removeprefix("What action should the robot take to ").partition("? First")[0]
        name = named[about].lower()
        pair = next(one for one in notes["alt_instruction"][named[about]] if one["question"] == about)
        values |= {f"{name}|role({role})": pair[key] for role, key in ROLES}
    else:
        name = "primitive" if "Give both" in asked else "plain"
    fields = kinds_of("instructvla")[name] | {"parts": {"queries": "<new_token_0><new_token_1>"}}
    return as_chat(fill(fields, values, drawn))


ROLES = (("user", "question"), ("assistant", "answer"))


def instruct_values(notes: Json, instruction: str) -> dict[str, Value]:
    other = notes["alt_instruction"] or {}
    return {"instruction": instruction, "move_primitive": notes["move_primitive"], "caption": other.get("Caption")}


# GR00T: huggingface/lerobot@7427f31, policies/groot/utils.py, prepare_n1_7_language_batch; InternVLA-M1@949223b


def groot(text: str, *, formal: bool) -> str:
    fields = json.loads(json.dumps(kinds_of("groot")["act"]))
    if not formal:
        language = fields["parts"]["language"]
        language["text"] = language["text"].replace("|lower|no_punctuation", "")
    return said(fill(fields, {"instruction": text})[0])


def internvla(given: Json) -> list[Json]:
    """Its only turn, with the prompt of its configuration or the bare instruction."""
    fields = json.loads(json.dumps(kinds_of("internvla_m1")["act"]))
    turn = fields["turns"][0]
    own = given["vla_data"].get("CoT_prompt")
    turn["user"] = "{images}" + (own if own is not None else "{instruction}")
    message = fill(fields, {"instruction": given["instruction"]})[0]
    return [{"role": message["role"], "content": message["content"]}]


def rates(names: list[str], folder: Path) -> list[float]:
    """The share of a corpus that a recipe takes for ``NAME%SHARE``, as its repetitions."""
    out = []
    for name in names:
        _, _, share = name.partition("%")
        recipe = {"name": "r", "sources": [{"source": "coco_captions", "repeat": int(share or 100) / 100}]}
        (folder / "r.yaml").write_text(json.dumps(recipe))
        out.append(float(read_recipe(folder / "r.yaml").sources[0].repeat or 0))
    return out


# Forms of boxes and points: modelscope/ms-swift@3602360, InternRobotics/RoboInter@481acfb


SWIFT = {"Qwen2VLTemplate": "qwen2-vl", "Internvl2Template": "internvl", "QwenVLTemplate": "qwen-vl"}


def shape(numbers: list[Any], label: str = "") -> Any:
    if isinstance(numbers[0], list):
        points = tuple((x, y) for x, y in numbers)
        numbers = [*points[0], *points[1]]
        if len(points) > 2:
            return Trace(points)
    return Box._make([*numbers, label]) if len(numbers) == 4 else Point._make([*numbers, label])


def swift_form(template: str, given: Json) -> Json:
    """A label, a box and a point, told apart by their texts."""
    form, size = GroundingTokenizer.from_pretrained(SWIFT[template]), (1000, 1000)
    whole, bare = (form.format([shape(given["box"], label)], size) for label in (given["ref"], ""))
    assert whole.endswith(bare)
    point = form.format([shape(given["point"])], size)
    return {"ref": [whole.removesuffix(bare)], "box": [bare], "point": [point]}


def swift_numbers(given: Json) -> Json:
    """In thousandths, or in pixels of the resized picture without a limit."""
    size = (given["objects"]["width"][0], given["objects"]["height"][0])
    form = GroundingTokenizer.from_pretrained("qwen2-vl")
    if given["norm_bbox"] == "none":
        pixels = GroundingTokenizer.from_pretrained("qwen2.5-vl").to_dict() | {"numbers": {"scale": "pixels"}}
        form = GroundingTokenizer.from_dict(pixels)
        assert list(form.form.resized(*size)) == given["resized image"]
    numbers = [list(one.numbers) for one in form.encode([shape(one) for one in given["objects"]["bbox"]], size)]
    pairs = [zip(one[::2], one[1::2], strict=True) for one in numbers]
    return {"bbox": numbers, "text": [",".join(f"({x},{y})" for x, y in one) for one in pairs]}


def robointer(given: Json) -> list[Any]:
    """Numbers of pictures of 320 x 180 in their resized ones, in the nesting that they are given in."""
    form, size = GroundingTokenizer.from_pretrained("robointer"), (320, 180)
    scale = [round(new / old, 4) for new, old in zip(form.form.resized(*size), size, strict=True)]
    assert scale == given["scale"]
    out = []
    for value in given["values"]:
        one = Trace(((value[0], value[1]),)) if len(value) == 2 and not isinstance(value[0], list) else shape(value)
        numbers = list(form.encode([one], size)[0].numbers)
        pairs = [list(pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
        out.append(pairs if isinstance(value[0], list) else numbers)
    return out


# Their numbers and texts, each through the bundled recipe


def test_ecot_drops_tags_each_on_its_own() -> None:
    values: dict[str, Value] = REASONING | {
        KEYS["objects"]: "cup [1, 2, 3, 4], lid [5, 6, 7, 8]", "instruction": "Put it AWAY", "action": "<0>",
        KEYS["gripper"]: "[10, 20, 11, 21, 11, 21, 11, 21, 11, 21]",
    }  # fmt: skip
    asked, target = fill(ecot(set(TAGS.values())), values)
    assert said(asked) == "What action should the robot take to put it away?"
    assert said(target) == WHOLE + "<0>"
    assert asked["spans"] == [{"start": 0, "end": len(said(asked)), "loss": "text"}]  # the prompt is learned as well
    assert said(fill(ecot({"plan"}), values)[1]) == "PLAN: 1. reach 2. grasp ACTION: <0>"
    only = {"instruction": "x", "action": "<0>", "task": "mail a@b.c"}
    assert said(fill(ecot({"task", "objects", "gripper"}), only)[1]) == (
        "TASK: mail a@b.c VISIBLE OBJECTS:  GRIPPER POSITION:  ACTION: <0>"
    )
    assert said(fill(kinds_of("ecot")["bare"], only)[1]) == " ACTION: <0>"


def test_onetwovla_learns_what_follows_the_prompt() -> None:
    given: Json = {"act_with_outdated_thought": False, "think_with_outdated_thought": False}
    prefix: list[Any] = [["<bos>", False, 1], ["t", False, 9], ["<END_OF_PREFIX 257022>", False, 1]]
    act, reason = ["<BEGIN_OF_ACTION 257021>"], ["<BEGIN_OF_REASONING 257020>"]
    assert thoughts(given | {"thought": ["Old plan."]}) == {
        "runs_token_loss_count": [*prefix, [*act, True, 1]], "action_loss": True,
    }  # fmt: skip
    assert thoughts(given | {"thought": ["Old plan."], "act_with_outdated_thought": True}) == {
        "runs_token_loss_count": [*prefix, [*act, False, 1]], "action_loss": True,
    }  # fmt: skip
    assert thoughts(given | {"thought": ["Old plan.", "New plan."]}) == {
        "runs_token_loss_count": [*prefix, [*reason, True, 1], ["t", True, 9], ["<eos>", True, 1]],
        "action_loss": False,
    }
    assert thoughts(given | {"thought": ["Old plan.", "New plan."], "think_with_outdated_thought": True}) == {
        "runs_token_loss_count": [*prefix, [*reason, True, 1], ["t", False, 9], ["<eos>", False, 1]],
        "action_loss": False,
    }
    for name, case in (("act", "act"), ("act_on_old", "act_outdated"), ("reason", "reason")):
        assert shape_of(kinds_of("onetwovla")[name]["turns"]) == shape_of(THOUGHTS[case])


def shape_of(turns: list[Json]) -> list[Json]:
    """Turns without their texts."""
    return [{key: key if key in ("user", "assistant") else value for key, value in turn.items()} for turn in turns]


NOTES: Json = {
    "move_primitive": "move forward",
    "alt_instruction": {
        "Caption": "A cup on a table.", "QA": [{"question": "What colour is it?", "answer": "Red."}],
        "CC": [{"question": "store the mug", "answer": "It is the red one."}], "CR": [],
    },
}  # fmt: skip
TOKENS = "<new_token_0><new_token_1>"
ACT = "What action should the robot take to put the cup away?"
INSTRUCT: list[list[str]] = [
    [ACT, TOKENS],
    [f"{ACT} Give both move primitive and action.", f"move forward {TOKENS}"],
    ["What action should the robot take to store the mug? First answer my question.", f"It is the red one. {TOKENS}"],
    ["Tell me what you see on the table, not the robot.", "A cup on a table.", ACT, TOKENS],
    ["What colour is it?", "Red.", ACT, TOKENS],
]


def conversation(texts: list[str]) -> list[Json]:
    turns = [("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(texts)]
    chat: list[Json] = [{"role": "system", "content": "You are a helpful assistant."}]
    return chat + [{"role": r, "content": t} | ({"image": True} if i == 0 else {}) for i, (r, t) in enumerate(turns)]


@pytest.mark.parametrize("texts", INSTRUCT)
def test_instructvla_has_one_of_five_conversations(texts: list[str]) -> None:
    wanted = conversation(texts)
    assert instructvla({"reasonings": NOTES, "language_instruction": "Put the CUP away"}, wanted) == wanted


def test_instructvla_says_none_where_no_primitive_is_known() -> None:
    wanted = conversation([f"{ACT} Give both move primitive and action.", f"None {TOKENS}"])
    assert instructvla({"move_primitive": None, "alt_instruction": None}, wanted) == wanted
    turns = kinds_of("instructvla")["plain"]["parts"]["queries"]
    assert turns == "".join(f"<new_token_{n}>" for n in range(64))


def test_groot_formalises_its_sentence() -> None:
    texts = ["Pick up the red cup, then place it!", "", "move_arm to (x, y)"]
    assert [groot(text, formal=True) for text in texts] == [
        "pick up the red cup then place it", "perform the task", "move_arm to x y",
    ]  # fmt: skip
    assert [groot(text, formal=False) for text in texts] == [texts[0], "Perform the task.", texts[2]]
    fields = json.loads(json.dumps(kinds_of("groot")["act"]))
    fields["parts"]["language"]["drop"] = 1
    assert said(fill(fields, {"instruction": "x"})[0]) == "Perform the default behavior."


def test_internvla_asks_and_has_no_answer(tmp_path: Path) -> None:
    assert internvla({"vla_data": {}, "instruction": "pick up the cup"}) == [
        {"role": "user", "content": [{"type": "image", "image": "IMG"}, {"type": "text", "text": "pick up the cup"}]}
    ]
    (message,) = fill(kinds_of("internvla_m1")["act"], {"instruction": "pick up the cup"})
    assert said(message) == (
        "Your task is pick up the cup. To identify the key objects for your task. "
        "Locate their bounding boxes in [x1,y1,x2,y2] format."
    )
    assert (message["loss"], message["spans"]) == ("action", [])
    assert rates(["sharegpt4v_coco", "sharegpt4v_coco%30", "x%150"], tmp_path) == [1.0, 0.3, 1.5]


def test_swift_and_robointer() -> None:
    cup = {"ref": "cup", "box": [228, 320, 961, 970], "point": [500, 500]}
    assert swift_form("Qwen2VLTemplate", cup) == {
        "ref": ["<|object_ref_start|>cup<|object_ref_end|>"], "box": ["<|box_start|>(228,320),(961,970)<|box_end|>"],
        "point": ["<|box_start|>(500,500)<|box_end|>"],
    }  # fmt: skip
    assert swift_form("Internvl2Template", cup) == {
        "ref": ["<ref>cup</ref>"], "box": ["<box>[[228, 320, 961, 970]]</box>"], "point": ["<box>[[500, 500]]</box>"],
    }  # fmt: skip
    objects = {"bbox": [[146, 137, 615, 415], [320, 214]], "width": [640], "height": [428]}
    assert swift_numbers({"objects": objects, "norm_bbox": "none", "resized image": [644, 420]}) == {
        "bbox": [[147, 134, 619, 407], [322, 210]], "text": ["(147,134),(619,407)", "(322,210)"],
    }  # fmt: skip
    values = [[[72, 102], [192, 179]], [110, 66], [[1, 1], [3, 3], [5, 5]], [1, 2, 3, 4]]
    assert robointer({"values": values, "scale": [0.9625, 0.9333]}) == [
        [[69, 95], [184, 167]], [105, 61], [[0, 0], [2, 2], [4, 4]], [0, 1, 2, 3],
    ]  # fmt: skip


def test_the_old_thought_is_shown_less_and_less() -> None:
    given: Json = {"segment": [10, 20], "steps": [10, 15, 19], "default": [0.8, 0.4], "outdated": [0.4, 0.0]}
    wanted = {"default": [0.8, 0.6000000000000001, 0.44000000000000006], "outdated": [0.4, 0.2, 0.040000000000000036]}
    assert shares(given, wanted) == wanted
    own = kinds_of("onetwovla")
    assert own["act"]["share"] == pytest.approx([1 - 0.8, 1 - 0.4])
    for shown, reasons, acts in zip((0.8, 0.4), own["reason"]["share"], own["act_on_old"]["share"], strict=True):
        assert (reasons, acts) == pytest.approx((shown * 0.7, shown * 0.3))


# Built mixtures: what the samples of the bundled recipes say, on small episodes with these annotations

INSTRUCTIONS = ("Put the CUP away", "pick up the cup", "Pick up the red cup, then place it!", "move_arm to (x, y)")


def is_annotated(episode: str) -> bool:
    return int(episode.rpartition(":")[2]) % 4 != 3


def write_data(root: Path) -> Path:
    """The small corpora, with pictures of 64 x 48 and what ECoT's file and a file of rows say of their episodes."""
    shutil.rmtree(small_corpora.write_corpora(root) / "bridge_dataset")
    features = {**small_corpora.FEATURES, "steps": {**small_corpora.FEATURES["steps"]}}
    features["steps"]["observation"] = {
        **features["steps"]["observation"], **{name: ImageSpec((48, 64, 3), "jpeg") for name in CAMERAS},
    }  # fmt: skip
    every: list[Json] = []
    reasoning: Json = {}
    rows: list[Json] = []
    for number in range(12):
        steps = 3 + number % 5
        pictures = {c: [small_corpora.picture(9 * number + k, size=(64, 48)) for k in range(steps)] for c in CAMERAS}
        text = [INSTRUCTIONS[number // 2 % 4]] * steps
        every.append(small_corpora.episode(number, observation=pictures, language_instruction=text))
        name = f"/data/{number // 2}/out.npy:{number}"
        if not is_annotated(name):
            continue
        features_of = {"bboxes": FEATURES["bboxes"][:1] * steps,
                       "gripper_position": [[10, 20], *[[11, 21]] * (steps - 1)]}  # fmt: skip
        own = {"reasoning": {str(k): REASONING for k in range(steps)}, "features": features_of}
        reasoning.setdefault(f"/data/{number // 2}/out.npy", {})[str(number)] = own
        other = NOTES["alt_instruction"]
        wide = {"move_primitive": NOTES["move_primitive"], "caption": other["Caption"], "old": "Old plan.",
                "new": "New plan."}  # fmt: skip
        rows += [{"episode": name, "step": 0, "track": track, "value": value} for track, value in wide.items()]
        for track, pair in (("qa", other["QA"][0]), ("cc", other["CC"][0]), ("cr", other["CC"][0])):
            rows += [{"episode": name, "step": 0, "track": track, "role": role, "value": pair[k]} for role, k in ROLES]
    shape: Any = features
    write_rlds(
        root, name="bridge_dataset", version="1.0.0", features=shape, splits={"train": every}, shards={"train": 3}
    )
    (root / "embodied_features_bridge.json").write_text(json.dumps(reasoning))
    (root / "vla_it_bridge.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those corpora, and a few episodes of the embedded sample; not to be changed."""
    return small_demo.write(write_data(tmp_path_factory.mktemp("data")), train=4, asked=range(2), captioned=range(2, 4))


def back(data: Path, root: Path, build: Build, own: Json) -> list[Json]:
    """The samples of kinds on the episodes of `write_data`, each once in val."""
    annotations = [{"file": "embodied_features_bridge.json", "format": "ecot"},
                   {"file": "vla_it_bridge.jsonl", "format": "rows"}]  # fmt: skip
    source = {"source": "bridge_dataset", "annotations": annotations, "kinds": own}
    recipe = {"name": "back", "seed": 4, "splits": {"train": 0.3, "val": 0.7}, "sources": [source]}
    (root / "r.yaml").write_text(json.dumps(recipe))
    build(root / "r.yaml", root / "out", data_root=data, work=root / "work")
    report = verify(root / "out", data_root=data)
    assert report.ok, report.text()
    return [one["json"] for one in builds.samples(root / "out", "val")]


def test_samples_say_what_the_systems_say(data: Path, tmp_path: Path, build: Build) -> None:
    otherwise = {"otherwise": "bare"}
    own = {"e_whole": ecot(set(TAGS.values())) | otherwise, "e_plan": ecot({"plan"}) | otherwise,
           "bare": kinds_of("ecot")["bare"], "groot": kinds_of("groot")["act"]}  # fmt: skip
    own["groot"]["parts"]["language"]["drop"] = 0
    own["intern"] = {"turns": [{"user": "{images}{instruction}", "loss": "action", "end": False}]}
    own |= {name: {"requires": ["old"], "turns": turns} for name, turns in THOUGHTS.items()}
    for name, fields in kinds_of("instructvla").items():
        own[name] = fields | {"weight": 1, "parts": {"queries": TOKENS}}
    found: dict[str, list[Json]] = {}
    for sample in back(data, tmp_path, build, own):
        found.setdefault(sample["recipe_kind"], []).append(sample)
    assert found.keys() == own.keys() - {"bare"}

    for name, before in (("e_whole", WHOLE), ("e_plan", "PLAN: 1. reach 2. grasp ACTION: ")):
        for one in found[name]:
            text = before if one["step"] == 0 else before.replace("[10, 20, ", "[11, 21, ")
            expected = text if is_annotated(one["episode"]) else " ACTION: "
            assert one["target"].startswith(expected)
            assert len(one["target"].removeprefix(expected).split()) in (7, 8)  # the action
            assert one["prompt"] == f"What action should the robot take to {one['instruction'].lower()}?"
    sentences = {one["instruction"]: one["messages"][0]["content"][-1]["text"] for one in found["groot"]}
    assert sentences.items() <= {text: groot(text, formal=True) for text in INSTRUCTIONS}.items()
    assert len(sentences) > 2
    assert all(internvla({"vla_data": {}, "instruction": one["instruction"]})[0]["content"][-1:]
               == one["messages"][0]["content"][-1:] for one in found["intern"])  # fmt: skip
    for name in THOUGHTS:
        given = {"thought": ["Old plan.", "New plan."][: 1 + name.startswith("reason")],
                 "act_with_outdated_thought": name == "act_outdated",
                 "think_with_outdated_thought": name == "reason_outdated"}  # fmt: skip
        assert {json.dumps(runs(one["messages"])) for one in found[name]} == {json.dumps(thoughts(given))}
    asked = 0
    for name in kinds_of("instructvla"):
        for one in (one for one in found[name] if one["instruction"] == INSTRUCTIONS[0]):
            known = is_annotated(one["episode"])
            notes = NOTES if known else {"move_primitive": None, "alt_instruction": None}
            other = NOTES["alt_instruction"] | {"CR": NOTES["alt_instruction"]["CC"], "CC": []}
            notes = notes | {"alt_instruction": other} if known and name == "cr" else notes
            chat = as_chat(one["messages"])
            assert instructvla({"reasonings": notes, "language_instruction": one["instruction"]}, chat) == chat
            assert known or len(chat) == 3
            asked += 1
    assert asked > 20


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("ecot", []),
        ("rt_h", ["fractal20220817_data", "cc3m"]),
        ("internvla_m1", ["fractal20220817_data"]),
        ("instructvla", []),
        ("groot", []),
        ("onetwovla", []),
    ],
)
def test_a_bundled_recipe_builds(name: str, without: list[str], data: Path, tmp_path: Path, build: Build) -> None:
    recipe: Json = {"name": "small", "include": name, "max_repeat": 100} | ({"without": without} if without else {})
    (tmp_path / "small.yaml").write_text(json.dumps(recipe))
    build(tmp_path / "small.yaml", tmp_path / "out", data_root=data, work=tmp_path / "work")
    report = verify(tmp_path / "out", data_root=data)
    assert report.ok, report.text()
    shown = [one["json"] for one in builds.samples(tmp_path / "out") if one["json"]["kind"] == "robot"]
    assert {one["recipe_kind"] for one in shown} == kinds_of(name).keys() - {"bare"}
    if name == "rt_h":
        prompt = KindPrompt(tmp_path / "out", "bridge_dataset", "act")
        messages = prompt("Open it.", images={"primary": b""}, values={"motion": "move arm up"})
        assert said(messages[0]) == "Q: What action should the robot do to open it, with skill: move arm up? A:"


def test_the_whole_file(data: Path, tmp_path: Path, build: Build) -> None:
    every = {one["id"]: one for one in read_goldens("recipes.json")["goldens"]}
    mine = {name for name in every if name.partition(".")[0] in PREFIXES}
    assert mine >= {*IDS, *DEPARTS}
    elsewhere = set()
    for name in sorted(mine - DEPARTS.keys()):
        golden = every[name]
        given, wanted = golden["input"], golden["output"]
        match name.split("."):
            case ["ecot", *_]:
                assert ecot_target(golden) == wanted["target"], name
            case ["onetwovla", "tokens", *_]:
                assert thoughts(given) == {key: wanted[key] for key in ("runs_token_loss_count", "action_loss")}, name
            case ["instructvla", *_]:
                assert instructvla(given, wanted) == wanted, name
            case ["groot", "n17", *_]:
                found = [[groot(t, formal=formal) for t in given["language"]] for formal in given["formalize_language"]]
                assert found == wanted, name
            case ["internvla_m1", "sampling_rate", *_]:
                assert rates(given, tmp_path) == wanted, name
            case ["internvla_m1", "action_prompt", *_]:
                assert internvla(given) == wanted, name
            case ["swift", "form", template, *_]:
                assert swift_form(template, given) == wanted, name
            case ["swift", "normalise", *_]:
                assert swift_numbers(given) == wanted, name
            case ["robointer", "scale", *_]:
                assert robointer(given) == wanted, name
            case ["onetwovla", "reason_probability", *_]:
                assert shares(given, wanted) == wanted, name
            case ["groot", "n15", *_, "unknown"]:
                with pytest.raises(Rt2dataError, match="no track of this name"):
                    back(data, tmp_path, build, {"k": {"turns": [{"user": f"{{{given['key']}}}", "loss": "action"}]}})
            case _:
                elsewhere.add(name)
    # Those of grounding forms are compared in tests/tokenizer/test_grounding.py.
    assert elsewhere >= {
        "qwen2.box_1000", "qwen2_5.box_pixels.large", "kosmos2.indices", "pix2seq.bins",
    }  # fmt: skip
