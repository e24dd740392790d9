"""EO-1's samples, and Qwen's sizes of images, as their code gives them.

EO-Robotics/EO-1@5897992 (eo/data), QwenLM/Qwen3-VL@9658872, transformers 5.24.0. Conversations are read back from a
mixture of one episode whose states are the numbers of its steps. Which action turn is predicted is drawn at random
there, and a kind here: what they drew is compared.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import builds, small_corpora
from support.goldens import read_goldens

from rt2data.tokenizer import ActionError, Box, GroundingTokenizer
from rt2data.tokenizer.grounding.resize import Resize
from rt2data.turns.chat_templates import load_chat_template, write_chat
from rt2data.turns.conversation import fill_kind
from rt2data.turns.kind_parser import parse_kinds
from rt2data.turns.kinds import Kind
from rt2data.verify import verify

Json = dict[str, Any]
Text = list[tuple[bool, str]]  # whether it is learned

INTERLEAVED = [f"eo1.interleaved.{name}" for name in ("seed1", "seed3", "seed5", "turn_without_image")]
SUBTASK = [f"eo1.train_subtask.{name}" for name in ("cumulate", "mix:0.9", "True", "None")]
SIZES = [f"qwen.smart_resize.{name}" for name in ("28.defaults", "ratio", "transformers.28")]
IDS = ["eo1.llava_to_openai.action", "eo1.multi_turn", *INTERLEAVED, *SUBTASK, *SIZES]

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
STATE = "<|state_start|><|state_pad|><|state_end|>"
PAD, CHUNK = "<|action_pad|>", 4
ACT, PASS = f"<|action_start|>{PAD}<|action_end|>", "<|action_start|>" + "<|action_pass|>" * CHUNK + "<|action_end|>"
TASK, EPISODE, STEPS = "put the cup away", "/data/0/out.npy:0", 30
SUBTASKS = [{"end_frame": 10, "action_text": "open the drawer"}, {"end_frame": 20, "action_text": "pick up the cup"}]
ASKED = {0: "open the drawer", 10: "What is next?", 20: "close the drawer"}

# --- EO-1's records as kinds --------------------------------------------------------------------------------------

PARTS = {"pads": {"text": PAD, "loss": "action"}, "passes": {"text": "<|action_pass|>" * CHUNK, "loss": "none"}}
ACTION, PASSED = "<|action_start|>{pads_part}<|action_end|>", "<|action_start|>{passes_part}<|action_end|>"
GIVEN = [{"user": "{image:primary}{asked}<|vla|>"}, {"assistant": PASSED}]
NEXT = [{"user": "{image:primary}{asked}"}, {"assistant": "{told}"}]
LAST = [{"user": "{image:primary}{asked}<|vla|>"}, {"assistant": ACTION}]
KINDS: Json = {
    "first": {"requires": ["asked"], "turns": LAST},
    "none": {
        "requires": ["image:primary|step(-20)", "asked"],
        "turns": [
            {"each": {"frames": [-20]}, "turns": GIVEN}, {"each": {"frames": [-10]}, "turns": NEXT}, *GIVEN,
        ],
    },
    "third": {
        "requires": ["image:primary|step(-20)", "asked"],
        "turns": [{"each": {"frames": [-20]}, "turns": GIVEN}, {"each": {"frames": [-10]}, "turns": NEXT}, *LAST],
    },
    "without": {  # the last turn has no image of its own, and is of the step before
        "requires": ["image:primary|step(-10)", "asked", "told"],
        "turns": [
            {"each": {"frames": [-10]}, "turns": GIVEN}, *NEXT,
            {"user": "close the drawer<|vla|>"}, {"assistant": ACTION},
        ],
    },
    "act": {"turns": [{"user": "{image:primary}" + STATE + "{task}<|vla|>"}, {"assistant": ACTION}]},
    "always": {"turns": [{"user": "{subtask}<|vla|>"}, {"assistant": ACTION}]},
    "cumulate": {"turns": [{"user": "{subtask|every|join( )}<|vla|>"}, {"assistant": ACTION}]},
    "whole": {"turns": [{"user": "{task}<|vla|>"}, {"assistant": ACTION}]},
}  # fmt: skip


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Json]:
    """The JSON of each sample of a mixture of one episode, by its kind and step."""
    folder = tmp_path_factory.mktemp("eo1")
    episode = small_corpora.episode(0, STEPS, language_instruction=[TASK] * STEPS)
    numbers = np.repeat(np.arange(STEPS, dtype=np.float32)[:, None], 7, axis=1)
    episode["steps"]["observation"]["state"] = numbers
    small_corpora.write_bridge(folder, [episode], shards=1)
    ranges = {"episode": EPISODE, "action_config": SUBTASKS}
    (folder / "ranges.jsonl").write_text(json.dumps(ranges) + "\n")
    rows = [
        {"episode": EPISODE, "track": "asked", "step": n, "until": n + 1, "value": text} for n, text in ASKED.items()
    ]
    rows.append({"episode": EPISODE, "track": "told", "step": 10, "until": 11, "value": "close it"})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "name": "eo1", "cameras": ["primary"], "splits": {"train": ["train"]},
        "tokenizer": {"spec": "float-lerobot", "horizon": CHUNK},
        "sources": [{
            "source": "bridge_dataset",
            "annotations": [
                {"file": "rows.jsonl", "format": "rows"},
                {"file": "ranges.jsonl", "format": "action_config", "episode": "{episode}"},
            ],
            "kinds": {name: {"repeat": 1, "parts": PARTS} | kind for name, kind in KINDS.items()},
        }],
    }  # fmt: skip
    (folder / "eo1.yaml").write_text(json.dumps(recipe))
    small_corpora.build(folder / "eo1.yaml", folder / "out", data_root=folder)
    report = verify(folder / "out")
    assert report.ok, report.text()
    found = [one["json"] for one in builds.samples(folder / "out")]
    return {(one["recipe_kind"], one["step"]): one for one in found}


def openai(sample: list[Json]) -> list[Json]:
    """Messages as EO-1 has them: an image is its marks."""
    image = load_chat_template("eo-1").image
    texts = ["".join(part.get("text", image) for part in turn["content"]) for turn in sample]
    return [{"role": turn["role"], "content": text} for turn, text in zip(sample, texts, strict=True)]


def learned(messages: list[Json]) -> Text:
    """A conversation as EO-1's text, cut where it begins or ends to be learned as words."""
    written = write_chat(messages, "eo-1")
    out: Text = []
    for place, character in enumerate(written.text):
        now = any(span.start <= place < span.end and span.loss == "text" for span in written.spans)
        if out and out[-1][0] == now:
            out[-1] = (now, out[-1][1] + character)
        else:
            out.append((now, character))
    return out


def test_interleaved(samples: dict[tuple[str, int], Json]) -> None:
    """eo1.interleaved.seed1, seed3: the first action is drawn, and what follows is cut; seed5: none is drawn."""
    first, none, third = samples["first", 0], samples["none", 20], samples["third", 20]
    asks = [{"role": "user", "content": f"{IMAGE}{text}"} for text in ASKED.values()]
    asks[0]["content"] += "<|vla|>"
    asks[2]["content"] += "<|vla|>"
    told = [{"role": "assistant", "content": text} for text in (PASS, "close it", PASS)]
    assert openai(first["messages"]) == [asks[0], {"role": "assistant", "content": ACT}]
    assert len(first["images"]) == 1
    assert first["proprio"] == [0.0] * 7
    assert openai(none["messages"]) == [asks[0], told[0], asks[1], told[1], asks[2], told[2]]
    assert len(none["images"]) == 3
    assert openai(third["messages"]) == [*openai(none["messages"])[:-1], {"role": "assistant", "content": ACT}]
    assert third["proprio"] == [20.0] * 7


def test_a_turn_without_an_image(samples: dict[tuple[str, int], Json]) -> None:
    """eo1.interleaved.turn_without_image: its state and action are those of the last image, 10."""
    sample = samples["without", 10]
    assert len(sample["images"]) == 2
    assert [samples["first", 0]["proprio"][:3], sample["proprio"][:3]] == [[0.0] * 3, [10.0] * 3]
    turn = openai(sample["messages"])[-2]
    assert turn == {"role": "user", "content": "close the drawer<|vla|>"}


def tasks(samples: dict[tuple[str, int], Json], kind: str) -> list[str]:
    """The task in the prompt of some steps."""
    return [samples[kind, step]["prompt"].removesuffix("<|vla|>") for step in (0, 9, 10, 19, 20, 29)]


def test_train_subtask(samples: dict[tuple[str, int], Json]) -> None:
    """eo1.train_subtask: cumulate; any other text (the README's mix:0.9 too); true and none give the whole task."""
    assert tasks(samples, "cumulate") == ["open the drawer pick up the cup"] * 6
    assert tasks(samples, "always") == ["open the drawer"] * 2 + ["pick up the cup"] * 4
    assert tasks(samples, "whole") == [TASK] * 6


def test_the_robot_sample(samples: dict[tuple[str, int], Json]) -> None:
    """eo/data/dataset.py: loss on the marks around the action and on the end, never on pads and passes."""
    system = "<|im_start|>system\nYou are a helpful physical assistant.<|im_end|>\n<|im_start|>user\n"
    asked = "<|im_end|>\n<|im_start|>assistant\n"
    assert learned(samples["act", 3]["messages"]) == [
        (False, f"{system}{IMAGE}{STATE}{TASK}<|vla|>{asked}"),
        (True, "<|action_start|>"), (False, PAD), (True, "<|action_end|><|im_end|>\n"),
    ]  # fmt: skip
    none = learned(samples["none", 20]["messages"])
    assert [text for now, text in none if "<|action_pass|>" in text] == ["<|action_pass|>" * CHUNK] * 2
    assert not any(now for now, text in none if "<|action_pass|>" in text)


# --- one conversation at a time ----------------------------------------------------------------------------------


def as_template(value: str) -> str:
    """A turn of EO-1's file as a template: a tag, white space before it and a line break behind are its marks."""
    text = value.replace("{", "{{").replace("}", "}}")
    for tag, marks in (("image", "{image:primary}"), ("action", ACTION), ("state", STATE)):
        text = re.sub(rf"\s*<{tag}>\n?", lambda _, marks=marks: marks, text)  # type: ignore[misc]
    return text


def filled(turns: list[Json]) -> list[Json]:
    kind: Kind = parse_kinds({"k": {"turns": turns, "parts": PARTS}}, "", lambda _: "")[0]
    return fill_kind(kind, {}, lambda slot: [slot.key])


def from_llava(conversation: list[Json]) -> list[Json]:
    """The messages of a conversation of EO-1's file."""
    roles = {"human": "user", "gpt": "assistant"}
    return filled([{roles[turn["from"]]: as_template(turn["value"])} for turn in conversation])


def interleaved(conversation: list[Json], drawn: int) -> list[Json]:
    """The messages of an interleaved one that predicts the action of turn `drawn`, none where there is no such turn."""
    turns: list[Json] = []
    for number, (human, gpt) in enumerate(zip(conversation[::2], conversation[1::2], strict=True)):
        asked, answer = as_template(human["value"]), as_template(gpt["value"])
        if human["value"].endswith("<vla>") and gpt["value"].endswith("<action>"):
            asked = asked.replace("<vla>", "<|vla|>")
            answer = answer.replace("pads_part", "passes_part") if number < drawn else answer
        turns += [{"user": asked}, {"assistant": answer}]
        if number == drawn:
            break
    return filled(turns)


def test_tags_of_its_files() -> None:
    """eo1.llava_to_openai.action."""
    told = [{"from": "human", "value": "<state>\n pick it up<vla>"}, {"from": "gpt", "value": "ok <action>\n"}]
    assert openai(from_llava(told)) == [
        {"role": "user", "content": f"{STATE} pick it up<vla>"}, {"role": "assistant", "content": f"ok{ACT}"},
    ]  # fmt: skip


BOXES = '```json\n[\n    {"bbox_2d": [67, 157, 167, 252], "label": "cup"}\n]\n```'
SYSTEM = "<|im_start|>system\nYou are a helpful physical assistant.<|im_end|>\n"


def test_loss_on_every_answer() -> None:
    """eo1.multi_turn."""
    messages = filled([
        {"user": "{image:primary}Where is the cup?"}, {"assistant": as_template(BOXES)}, {"user": "And now?"},
        {"assistant": "pick it up"},
    ])  # fmt: skip
    assert learned(messages) == [
        (False, f"{SYSTEM}<|im_start|>user\n{IMAGE}Where is the cup?<|im_end|>\n<|im_start|>assistant\n"),
        (True, f"{BOXES}<|im_end|>\n"),
        (False, "<|im_start|>user\nAnd now?<|im_end|>\n<|im_start|>assistant\n"),
        (True, "pick it up<|im_end|>\n"),
    ]
    form = GroundingTokenizer.from_pretrained("eo-1")
    assert form.format([Box(67, 157, 167, 252, "cup")], size=(364, 252)) == BOXES.replace("252]", "251]")


def resize(golden: Json) -> Resize:
    given = golden["input"]
    factor, rule = given["factor"], "transformers" if "transformers" in golden["source"] else "qwen-vl-utils"
    return Resize(rule, factor, given.get("min_pixels", 4 * factor**2), given.get("max_pixels", 16384 * factor**2))


def test_sizes_of_images() -> None:
    """qwen.smart_resize: 28.defaults, transformers.28, ratio; heights and widths."""
    utils: Json = {"source": "qwen-vl-utils", "input": {"factor": 28}}
    known: list[tuple[Json, dict[tuple[int, int], tuple[int, int]]]] = [
        (utils, {(480, 640): (476, 644), (180, 320): (168, 308), (100, 3000): (112, 2996), (28, 28): (56, 56)}),
        ({"source": "transformers", "input": {"factor": 28, "min_pixels": 3136, "max_pixels": 1003520}},
         {(1080, 1920): (728, 1316), (20, 20): (56, 56), (42, 70): (56, 56), (14, 42): (56, 112)}),
    ]  # fmt: skip
    for case, sizes in known:
        for (high, wide), wanted in sizes.items():
            assert resize(case).size(wide, high) == wanted[::-1]
    with pytest.raises(ActionError, match="one side over 200 times the other"):
        resize(utils).size(2001, 10)


# --- the whole file ----------------------------------------------------------------------------------------------


def check_eo1(golden: Json, samples: dict[tuple[str, int], Json]) -> None:
    name, given, wanted = golden["id"], golden["input"], golden["output"]
    if name.startswith("eo1.llava_to_openai"):
        assert openai(from_llava(given)) == wanted
    elif name.startswith("eo1.interleaved.seed"):
        drawn = len(wanted["messages"]) // 2 - 1
        drawn = drawn if wanted["messages"][-1]["content"].endswith(ACT) else len(given["source"]["conversations"])
        messages = interleaved(given["source"]["conversations"], drawn)
        assert openai(messages) == wanted["messages"]
        assert sum("image" in part for turn in messages for part in turn["content"]) == wanted["images"]
        same = [one for one in samples.values() if openai(one["messages"]) == wanted["messages"]]
        assert [(len(one["images"]), one["step"]) for one in same] == [(wanted["images"], wanted["states"][-1][0])]
    elif name == "eo1.interleaved.turn_without_image":
        seen = [samples["first", 0], samples["without", 10]]
        assert [[*one["proprio"][:3], 0.0] for one in seen] == wanted["states"]
        assert len(seen[1]["images"]) == wanted["images"]
    elif name.startswith("eo1.train_subtask"):
        how = given["train_subtask"]
        told = wanted["task"]
        if isinstance(how, str) and how.startswith("mixture"):
            assert all(
                one in both for one, *both in zip(told, tasks(samples, "always"), tasks(samples, "whole"), strict=True)
            )
        else:
            kind = "cumulate" if how == "cumulate" else "always" if isinstance(how, str) else "whole"
            assert tasks(samples, kind) == told
    elif name == "eo1.multi_turn":
        turns = [
            {turn["role"]: as_template(turn["content"].replace(IMAGE, "<image>"))} for turn in given["conversations"]
        ]
        assert [[now, text] for now, text in learned(filled(turns))] == wanted
    else:
        raise AssertionError(name)


def test_every_golden(samples: dict[tuple[str, int], Json]) -> None:
    goldens = {one["id"]: one for one in read_goldens("recipes.json")["goldens"]}
    mine = [one for name, one in goldens.items() if name.startswith(("eo1.", "qwen.smart_resize."))]
    assert {one["id"] for one in mine} >= set(IDS)
    for golden in mine:
        if golden["id"].startswith("eo1."):
            check_eo1(golden, samples)
        elif "raises" in golden["output"]:
            with pytest.raises(ActionError):
                resize(golden).size(*golden["input"]["hw"][0][::-1])
        else:
            got = [list(resize(golden).size(wide, high)[::-1]) for high, wide in golden["input"]["hw"]]
            assert got == golden["output"], golden["id"]


# --- the bundled recipe -------------------------------------------------------------------------------------------


LOCATE = "Locate each object and annotate its bounding box, providing the output in json format."


def test_the_bundled_recipe(tmp_path: Path, build: Callable[..., Json]) -> None:
    steps = 25
    small_corpora.write_bridge(tmp_path, [small_corpora.episode(n, steps) for n in range(2)], shards=1)
    texts = {str(n): {"subtask": "reach" if n < 15 else "lift"} for n in range(steps)}
    texts["0"]["task"] = "ECoT's own words"  # of one step: the task is the dataset's instruction
    boxes = [[[0.9, "pot", [1, 2, 5, 8]]] for _ in range(steps)]
    notes = {"reasoning": texts, "features": {"bboxes": boxes}}
    (tmp_path / "embodied_features_bridge.json").write_text(json.dumps({"/data/0/out.npy": {"0": notes, "1": notes}}))
    (tmp_path / "small.yaml").write_text("name: small\ninclude: eo1\n")
    build(tmp_path / "small.yaml", tmp_path / "out", data_root=tmp_path, work=tmp_path / "work")
    report = verify(tmp_path / "out")
    assert report.ok, report.text()
    counted: Counter[str] = Counter()
    for one in (one["json"] for one in builds.samples(tmp_path / "out")):
        messages, step, task = openai(one["messages"]), one["step"], one["instruction"]
        now = "reach" if step < 15 else "lift"
        asked, counted[one["recipe_kind"]] = [turn["content"] for turn in messages], counted[one["recipe_kind"]] + 1
        past = [step - away for away in (20, 10) if step >= away]
        done = [turn for at in past for turn in (
            f"{IMAGE}What should the robot do to {task}?", "reach" if at < 15 else "lift",
            f"{'reach' if at < 15 else 'lift'}<|vla|>", PASS,
        )]  # fmt: skip
        own = [f"{IMAGE}What should the robot do to {task}?", now, f"{now}<|vla|>"]
        located = '```json\n[\n    {"bbox_2d": [BOX], "label": "pot"}\n]\n```'
        wanted = {
            "act": [f"{IMAGE}{STATE}{task}<|vla|>", ACT],
            "subtask": [f"{IMAGE}{STATE}{now}<|vla|>", ACT],
            "cumulate": [f"{IMAGE}{STATE}reach lift<|vla|>", ACT],
            "interleaved": [*done, *own, ACT],
            "words": [*done, *own, PASS],
            "locate": [f"{IMAGE}{LOCATE}", located],
        }  # fmt: skip
        asked[-1] = re.sub(r"\[(\d+, ){3}\d+\]", "[BOX]", asked[-1])
        assert asked == wanted[one["recipe_kind"]]
        assert len(one["images"]) == (1 + len(past) if one["recipe_kind"] in ("interleaved", "words") else 1)
        assert len(one["action_normalised"]) == CHUNK * 7
    assert counted == {"act": 20, "interleaved": 10, "subtask": 5, "cumulate": 5, "words": 5, "locate": 5}
