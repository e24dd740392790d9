"""LeRobot's recipes and their rendered samples, pi052's text and WALL-OSS's, as their code gives them.

huggingface/lerobot@7427f31 (0675920 and 086db51 where said), X-Square-Robot/wall-x@17335bc. LeRobot's samples are read
back from a mixture that is built from a LeRobot dataset with these annotations. Its resolvers are held in
tests/tracks/test_times.py. Which kind a step gives is drawn by their hash there, by ours here: what they drew is
compared, not the draw.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from support import builds, lerobot_recipes, small_corpora
from support.repository import ROOT

pytest.importorskip("av")
from support import lerobot_files as files

from rt2data import Box, GroundingTokenizer, Point
from rt2data.errors import Rt2dataError
from rt2data.recipes import recipe as recipes
from rt2data.tracks.times import Binding, find_plain
from rt2data.turns.chat_templates import write_chat
from rt2data.turns.conversation import fill_kind
from rt2data.turns.kind_parser import parse_kinds
from rt2data.turns.template import Slot
from rt2data.verify import verify

Json = dict[str, Any]

RESOLVERS = [  # tests/tracks/test_times.py
    "lerobot.active_at.sweep", "lerobot.active_at.event_style", "lerobot.emitted_at.event_ignores_t",
    "lerobot.emitted_at.camera", "lerobot.nth_prev.offset1", "lerobot.nth_next.offset1",
]  # fmt: skip
RENDERED = [
    "lerobot.render.subtask.low_level", "lerobot.render.subtask.high_level.missing", "lerobot.render.joint.missing",
    "lerobot.render.memory.first", "lerobot.render.interjection.missing", "lerobot.render.hirobot.missing_is_empty",
]  # fmt: skip
DRAWN = [
    "lerobot.blend.choice.subtask_mem_vqa_speech", "lerobot.render.vqa.two_cameras",
    "lerobot.select_from_applicable.none", "lerobot.select_from_applicable.all",
]  # fmt: skip
STEPS = [
    "lerobot.render_step.no_columns_no_task", "lerobot.render_step.no_branch_no_task",
    "lerobot.render_step.task_aug_without_task",
]  # fmt: skip
REFUSED = [f"lerobot.recipe.refused.{name}" for name in ("no_stream", "no_supervision", "weight_zero")]
PI052 = ["pi052.format.inference", "pi052.vqa_to_loc.loc_first", "pi052.dropout_class"]
WALL_OSS = [
    *(f"wallx.{name}" for name in ("text.subtask", "text.out_of_range", "frame_instruction", "points.qwen2_5")),
    *("wallx.points.odd", "wallx.replace_action_token.fast", "wallx.labels.subtask", "wallx.labels.flow"),
]
IDS = [*RESOLVERS, *RENDERED, *DRAWN, *STEPS, *REFUSED, *PI052, *WALL_OSS]

# --- LeRobot's recipes, rendered --------------------------------------------------------------------------------------

TASK, TOP, HAND = "put the cup away", *files.CAMERAS
CAMERAS = {TOP: "primary", HAND: "wrist"}
SUBTASKS = [
    ("subtask", 0.0, "open the drawer"),
    ("subtask", 2.5, "pick up the cup"),
    ("subtask", 5.0, "close the drawer"),
]
OTHERS = [("plan", 0.0, "1. open 2. place 3. close"), ("memory", 0.0, "nothing is done yet"),
          ("memory", 2.5, "the drawer is open"), ("memory", 5.0, "the cup is in the drawer")]  # fmt: skip
WORDINGS = [("task_aug", 0.0, text) for text in ("tidy the cup", "cup into the drawer", "store the cup")]
BOXES = '{"detections": [{"label": "cup", "bbox_format": "xyxy", "bbox": [250, 500, 750, 1000]}]}'
SAY = {"type": "function", "function": {"name": "say", "arguments": {"text": "Sure, the blue one."}}}
ASKED = [("user", "vqa", TOP, "Where is the cup?"), ("assistant", "vqa", TOP, BOXES),
         ("user", "vqa", HAND, "How many cups?"), ("assistant", "vqa", HAND, '{"label": "cup", "count": 1}'),
         ("user", "interjection", None, "take the blue cup instead"), ("assistant", None, None, SAY)]  # fmt: skip

# Episodes: the rows that hold, the events of step 30, whether there is a task.
EPISODES: dict[str, tuple[list[Any], list[Any], bool]] = {
    "all": ([*SUBTASKS, *OTHERS], [], True),
    "no subtask": (OTHERS, [], True),
    "subtasks": (SUBTASKS, [], True),
    "nothing": ([], [], True),
    "events": (SUBTASKS, ASKED, True),
    "no subtask, no task": (OTHERS, [], False),
    "wordings, no task": ([*SUBTASKS, *WORDINGS], [], False),
    "nothing, no task": ([], [], False),
}
LENGTH = 52
ROW = pa.struct(
    [("role", pa.string()), ("content", pa.string()), ("style", pa.string()), ("timestamp", pa.float32()),
     ("camera", pa.string()), ("tool_calls", pa.list_(pa.string()))]
)  # fmt: skip


def user(content: str, stream: str = "high_level", **more: Any) -> Json:
    return {"role": "user", "content": content, "stream": stream} | more


def target(content: Any, stream: str = "high_level", **more: Any) -> Json:
    return {"role": "assistant", "content": content, "stream": stream, "target": True} | more


def asking(camera: str) -> Json:
    about = "emitted_at(t, style=vqa, role={}, camera={})"
    question = [{"type": "image", "feature": camera}, {"type": "text", "text": "${vqa_query}"}]
    return {
        "bindings": {"vqa_query": about.format("user", camera), "vqa": about.format("assistant", camera)},
        "messages": [user(question, if_present="vqa_query"), target("${vqa}", if_present="vqa")],  # type: ignore[arg-type]
    }


FRONT_BOX = {"bbox": f"emitted_at(t, style=vqa, role=assistant, camera={TOP})"}
BRANCHES: dict[str, Json] = {
    "high": {"messages": [user("${task}"), target("${subtask}", if_present="subtask")]},
    "low": {"messages": [user("${subtask}", "low_level", if_present="subtask")]},
    "joint": {"messages": [user("${task}", "low_level"), target("${subtask}", "low_level", if_present="subtask")]},
    "memory": {
        "bindings": {
            "prior_memory": "nth_prev(style=memory, offset=1)",
            "current_memory": "active_at(t, style=memory)",
            "completed_subtask": "nth_prev(style=subtask, offset=1)",
        },
        "messages": [
            user("${task}"),
            target("Previous memory: ${prior_memory}", if_present="prior_memory") | {"target": False},
            user("Completed subtask: ${completed_subtask}", if_present="completed_subtask"),
            target("${current_memory}", if_present="current_memory"),
        ],
    },
    "interjection": {
        "messages": [
            user("${task}"),
            user("${interjection}", if_present="interjection"),
            target(None, if_present="speech", tool_calls_from="speech"),
        ],
    },
    "vqa_top": asking(TOP),
    "vqa_hand": asking(HAND),
    "hirobot": {
        "messages": [
            user("${task}\nPlan: ${plan}\nMemory: ${memory}"),
            target("${subtask}", "low_level", if_present="subtask"),
        ],
    },
    "no_cot_action": {"messages": [user("${task}", "low_level")]},
    "subtask_action": {
        "requires": ["subtask"],
        "messages": [user("${task}", "low_level"), target("Subtask: ${subtask}", "low_level")],
    },
    "bbox_action": {
        "requires": ["bbox"],
        "bindings": FRONT_BOX,
        "messages": [user("${task}", "low_level"), target("BBoxJSON: ${bbox}", "low_level")],
    },
    "bbox_subtask": {
        "requires": ["bbox", "subtask"],
        "bindings": FRONT_BOX,
        "messages": [
            user("${task}", "low_level"),
            target("BBoxJSON: ${bbox}", "low_level"),
            target("Subtask: ${subtask}", "low_level"),
        ],
    },
}
Rendered = list[tuple[str, str, bool]]  # of each turn its role, its text and whether it is a target


def rendered(messages: list[Json]) -> Rendered:
    return [
        (one["role"], "".join(part.get("text", "") for part in one["content"]), bool(one["spans"])) for one in messages
    ]


def acts(messages: list[Json]) -> bool:
    return any(one["loss"] == "action" for one in messages)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, int], list[list[Json]]]:
    """By branch, episode and step, the conversations of each wording of the task."""
    root = tmp_path_factory.mktemp("lerobot")
    names = list(EPISODES)

    def lasting(n: int, t: int) -> pa.Array:
        rows = [{"role": "user" if style == "task_aug" else "assistant", "style": style, "timestamp": at,
                 "content": text} for style, at, text in EPISODES[names[n]][0]]  # fmt: skip
        return pa.array([rows] * t, pa.list_(ROW))

    def events(n: int, t: int) -> pa.Array:
        rows = [{"role": role, "style": style, "camera": camera}
                | ({"tool_calls": [json.dumps(said)]} if isinstance(said, dict) else {"content": said})
                for role, style, camera, said in EPISODES[names[n]][1]]  # fmt: skip
        return pa.array([rows if step == 30 else [] for step in range(t)], pa.list_(ROW))

    changes = {
        "language_persistent": lasting,
        "language_events": events,
        "task_index": lambda n, t: pa.array([0 if EPISODES[names[n]][2] else -1] * t),
    }
    folder = files.write(root, "v2.1", (LENGTH,) * len(names), images=True, changes=changes)
    files.write_tasks(folder, "v2.1", (TASK, "another"))
    episodes = [{"episode_index": n, "tasks": [TASK] * EPISODES[name][2], "length": LENGTH}
                for n, name in enumerate(names)]  # fmt: skip
    files.write_json(folder / "meta/episodes.jsonl", *episodes)
    # LeRobot takes the wordings where a frame has no task.
    instruction = {"field": "task", "otherwise": "language_persistent/task_aug"}
    (root / "socks.yaml").write_text(yaml.safe_dump(files.DECLARATION | {"instruction": instruction}))
    kinds = {name: lerobot_recipes.as_kind(branch, CAMERAS) | {"repeat": 1} for name, branch in BRANCHES.items()}
    source = {"source": "socks.yaml", "instructions": "all", "kinds": kinds}
    path = root / "r.yaml"
    path.write_text(yaml.safe_dump(
        {"name": "lerobot", "cameras": ["primary", "wrist"], "splits": {"train": 1.0}, "sources": [source]}
    ))  # fmt: skip
    small_corpora.build(path, root / "out", data_root=root)
    assert verify(root / "out").ok
    found: dict[tuple[str, str, int], list[list[Json]]] = {}
    for one in (one["json"] for one in builds.samples(root / "out")):
        key = (one["recipe_kind"], names[int(one["episode"])], one["step"])
        found.setdefault(key, []).append(one["messages"])
    return found


DONE = [("user", TASK, False), ("assistant", "pick up the cup", True)]


@pytest.mark.parametrize(
    ("branch", "episode", "step", "wanted", "flow"),
    [
        # lerobot.render.subtask.low_level, and what its other branch says there
        ("low", "all", 30, [("user", "pick up the cup", False)], True),
        ("high", "all", 30, DONE, False),
        ("high", "no subtask", 30, None, False),  # lerobot.render.subtask.high_level.missing
        ("low", "no subtask", 30, None, False),
        ("joint", "no subtask", 30, [("user", TASK, False)], True),  # lerobot.render.joint.missing
        ("joint", "all", 30, DONE, True),
        # lerobot.render.memory.first
        ("memory", "all", 10, [("user", TASK, False), ("assistant", "nothing is done yet", True)], False),
        ("memory", "all", 30, [
            ("user", TASK, False), ("assistant", "Previous memory: nothing is done yet", False),
            ("user", "Completed subtask: open the drawer", False), ("assistant", "the drawer is open", True),
        ], False),
        ("interjection", "all", 30, None, False),  # lerobot.render.interjection.missing
        ("interjection", "events", 30, [
            ("user", TASK, False), ("user", "take the blue cup instead", False),
            ("assistant", "<say>Sure, the blue one.</say>", True),
        ], False),
        # lerobot.render.vqa.two_cameras: what either camera gives, which is all that is drawn among
        ("vqa_top", "events", 30, [("user", "Where is the cup?", False), ("assistant", BOXES, True)], False),
        ("vqa_hand", "events", 30,
         [("user", "How many cups?", False), ("assistant", '{"label": "cup", "count": 1}', True)], False),
        # lerobot.render.hirobot.missing_is_empty
        ("hirobot", "subtasks", 30,
         [("user", f"{TASK}\nPlan: \nMemory: ", False), ("assistant", "pick up the cup", True)], True),
        # lerobot.select_from_applicable.none
        ("no_cot_action", "nothing", 30, [("user", TASK, False)], True),
        ("subtask_action", "nothing", 30, None, True),
        ("bbox_action", "nothing", 30, None, True),
        ("bbox_subtask", "nothing", 30, None, True),
        # lerobot.select_from_applicable.all
        ("subtask_action", "events", 30,
         [("user", TASK, False), ("assistant", "Subtask: pick up the cup", True)], True),
        ("bbox_action", "events", 30, [("user", TASK, False), ("assistant", f"BBoxJSON: {BOXES}", True)], True),
        ("bbox_subtask", "events", 30, [
            ("user", TASK, False), ("assistant", f"BBoxJSON: {BOXES}", True),
            ("assistant", "Subtask: pick up the cup", True),
        ], True),
        # lerobot.render_step.no_columns_no_task, no_branch_no_task: no sample
        ("no_cot_action", "nothing, no task", 30, None, False),
        ("high", "no subtask, no task", 30, None, False),
    ],
)  # fmt: skip
def test_rendered_samples(
    built: dict[tuple[str, str, int], list[list[Json]]],
    branch: str, episode: str, step: int, wanted: Rendered | None, flow: bool,
) -> None:  # fmt: skip
    found = built.get((branch, episode, step), [])
    assert [rendered(messages) for messages in found] == ([wanted] if wanted else [])
    assert all(acts(messages) == flow for messages in found)


def test_a_step_without_a_task_has_each_wording(built: dict[tuple[str, str, int], list[list[Json]]]) -> None:
    """lerobot.render_step.task_aug_without_task, where the second of the three is drawn."""
    found = [rendered(messages) for messages in built["high", "wordings, no task", 30]]
    assert [said[0][1] for said in found] == ["tidy the cup", "cup into the drawer", "store the cup"]
    assert found[1] == [("user", "cup into the drawer", False), ("assistant", "pick up the cup", True)]


WEIGHTS = {"high": 0.25, "low": 0.4, "memory": 0.1, "interjection": 0.1, "vqa_top": 0.075, "vqa_hand": 0.075}


def test_what_lerobot_draws_is_what_the_kinds_give(built: dict[tuple[str, str, int], list[list[Json]]]) -> None:
    """The draws of lerobot.blend.choice, render.vqa.two_cameras and select_from_applicable: names of kinds, whose
    samples are above. Ours have exact shares instead."""
    drawn = [lerobot_recipes.choose(WEIGHTS, str(n)) for n in range(24)]
    assert drawn == [
        *("low", "vqa_hand", "high", "low", "low", "low", "high", "vqa_top", "low", "low", "vqa_hand", "interjection"),
        *("low", "memory", "low", "vqa_hand", "low", "high", "high", "low", "low", "memory", "low", "high"),
    ]
    assert all((name, "events", 30) in built or name == "memory" for name in drawn)
    cameras = [lerobot_recipes.choose({"vqa_top": 0.075, "vqa_hand": 0.075}, f"vqa:{n}") for n in range(12)]
    assert [n for n, name in enumerate(cameras) if name == "vqa_hand"] == [1, 10, 11]
    every = {"no_cot_action": 1.0, "subtask_action": 2.0, "bbox_action": 1.0, "bbox_subtask": 1.0}
    for episode, wanted in (("nothing", "nnnnnnnnnnnn"), ("events", "snbssnssnbsn")):
        fits = {name: weight for name, weight in every.items() if (name, episode, 30) in built}
        kinds = [lerobot_recipes.choose(fits, f"applicable:{n}") for n in range(12)]
        letters = {"no_cot_action": "n", "subtask_action": "s", "bbox_subtask": "b", "bbox_action": "x"}
        assert "".join(letters[name] for name in kinds) == wanted


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            {"turns": [{"user": "{instruction}"}]},
            "the kind a has no turn that is learned; expected an assistant's turn",
        ),
        (
            {"turns": [{"user": "x", "loss": "action"}], "weight": 0},
            "weight: 0; expected more",
        ),
    ],
)
def test_refused_recipes(kind: Json, said: str, tmp_path: Path) -> None:
    """lerobot.recipe.refused.no_stream and no_supervision (a turn without either is not learned here), weight_zero."""
    source = {"source": "bridge_dataset", "kinds": {"a": kind}}
    with pytest.raises(Rt2dataError, match=said):
        recipes.read_recipe(small_corpora.write_recipe(tmp_path / "r.yaml", sources=[source], prompts={}))


# --- the text of pi052 ------------------------------------------------------------------------------------------------


def message(role: str, text: str, *, learned: bool = False) -> Json:
    content = [{"type": "text", "text": text}] if text else []
    spans = [{"start": 0, "end": len(text), "loss": "text"}] if learned and text else []
    return {"role": role, "content": content, "loss": "text" if learned else "none", "end": learned, "spans": spans}


def test_pi052_text() -> None:
    """pi052.format.*: `<eos>` where an answer is a target, inside its span; the ranges of all turns."""
    asked = message("user", TASK)
    got = write_chat([asked, message("assistant", "pick up the cup")], "paligemma-chat")
    assert got.text == "User: put the cup away\nAssistant: pick up the cup\n"
    assert [list(turn) for turn in got.turns] == [[6, 22], [34, 49]]
    assert got.spans == ()
    got = write_chat([asked, message("assistant", "pick up the cup", learned=True)], "paligemma-chat")
    assert got.text == "User: put the cup away\nAssistant: pick up the cup<eos>\n"
    assert [list(turn) for turn in got.turns] == [[6, 22], [34, 54]]
    assert [span[:3] for span in got.spans] == [(34, 54, "text")]


def place(numbers: Sequence[float], label: str = "") -> Box | Point:
    """A point of two numbers, a box of four."""
    if len(numbers) == 2:
        return Point(numbers[0], numbers[1], label)
    left, top, right, bottom = numbers
    return Box(left, top, right, bottom, label)


def to_loc(answer: Json, form: str) -> str | None:
    """An answer in the form of location tokens, in thousandths of the picture; None where it has no place."""
    tokenizer = GroundingTokenizer.from_pretrained(form)
    objects = [place(one["bbox"], one["label"]) for one in answer.get("detections", [])]
    if "point" in answer and "point_format" in answer:
        objects = [place(answer["point"], answer["label"])]
    if form == "paligemma-label-first":
        objects = [one for one in objects if one.label]
    return tokenizer.format(objects, (1000, 1000)) if objects else None


@pytest.mark.parametrize(
    ("answer", "behind", "before"),
    [
        ({"detections": [{"label": "cup", "bbox_format": "xyxy", "bbox": [250, 500, 750, 1000]}]},
         "<loc0512><loc0256><loc1023><loc0767> cup", "cup <loc0512><loc0256><loc1023><loc0767>"),
        ({"label": "spout", "point_format": "xy", "point": [123, 456]},
         "<loc0466><loc0126> spout", "spout <loc0466><loc0126>"),
        ({"label": "cup", "count": 2}, None, None),
        ({"detections": [{"label": "cup", "bbox": [0, 0, 500, 1000]}, {"label": "", "bbox": [1, 2, 3, 4]},
                         {"label": "lid", "bbox": [10, 20, 30, 40]}]},
         ("<loc0000><loc0000><loc1023><loc0512> cup ; <loc0002><loc0001><loc0004><loc0003> ; "
          "<loc0020><loc0010><loc0041><loc0031> lid"),
         "cup <loc0000><loc0000><loc1023><loc0512> ; lid <loc0020><loc0010><loc0041><loc0031>"),
        ({"label": "p", "point": [1, 2]}, None, None),
    ],
)  # fmt: skip
def test_pi052_answers_as_locations(answer: Json, behind: str | None, before: str | None) -> None:
    """pi052.vqa_to_loc.*: the label behind (34269a5) and before (086db51)."""
    assert to_loc(answer, "paligemma") == behind
    assert to_loc(answer, "paligemma-label-first") == before


CONTEXT = {"memory": "Previous memory: the drawer is open", "subtask": "Completed subtask: open the drawer",
           "plan": "Plan: 1. open"}  # fmt: skip


def test_pi052_drops_what_has_a_name() -> None:
    """pi052.dropout_class: it tells what may be dropped by its beginning, a recipe by the name of the part."""
    parts = {name: {"text": text, "drop": 0.5} for name, text in CONTEXT.items()}
    turns = [{"user": TASK}, *({"user": f"{{{name}_part}}"} for name in parts), {"assistant": "x"}]
    kind = parse_kinds({"k": {"parts": parts, "turns": turns}}, "r", lambda _: "r")[0]
    for name in ("", *CONTEXT):
        said = [text for _, text, _ in rendered(fill_kind(kind, {}, lambda _: [], dropped=frozenset([name])))]
        assert said == [TASK, *("" if name == one else text for one, text in CONTEXT.items()), "x"]


# --- WALL-OSS ---------------------------------------------------------------------------------------------------------

RANGES = {"subtask": {"0 10": "open the drawer", "10 20": "pick up the cup"}, "distribute": {"0 20": "left arm holds"}}
VIEWS = {"primary": "front view", "left_wrist": "left wrist view"}


def ranged(ranges: Json) -> list[Json]:
    """Ranges of frames as rows: the end is not included."""
    return [
        {"track": name, "time": begin, "until": end, "text": text}
        for name, texts in ranges.items()
        for begin, end, text in ((*map(int, frames.split()), text) for frames, text in texts.items())
    ]


def wall_oss(*cameras: str) -> dict[str, Any]:
    """The kinds of the bundled recipe, with a view for each of some cameras."""
    raw = yaml.safe_load((ROOT / "mixtures/wall_oss.yaml").read_text())["kinds"]
    views = "".join(f" {VIEWS[name]}: {{image:{name}}}" for name in cameras)
    text = json.dumps(raw).replace(" front view: {image:primary}", views)
    return {kind.name: kind for kind in parse_kinds(json.loads(text), "r", lambda _: "r")}


HEAD = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nObservation:"
EYE = "<|vision_start|><|image_pad|><|vision_end|>"
TURN = "<|im_end|>\n<|im_start|>assistant\n"


def said_by(kinds: dict[str, Any], name: str, at: int, action: str = "<|action_fast|>") -> Any:
    """The text of a kind at a frame, or of the one that stands in for it."""
    rows = ranged(RANGES)
    found = find_plain(rows, [at], Binding("subtask"))[0]
    kind = kinds[name] if found or not kinds[name].otherwise else kinds[kinds[name].otherwise]
    values = {"instruction": TASK, "action": action} | ({"subtask": rows[found[0]]["text"]} if found else {})
    return write_chat(fill_kind(kind, values, lambda slot: [slot.argument]), "wall-oss")


def test_wall_oss_texts() -> None:
    """wallx.text.*, wallx.replace_action_token.fast; <|action|> are the slots of its action head."""
    kinds = wall_oss("primary", "left_wrist")
    views = f" front view: {EYE} left wrist view: {EYE}\nInstruction: "
    language = f"{HEAD}{views}{TASK}\nPredict the next action in language.\n{TURN}"
    assert said_by(kinds, "subtask", 12).text == f"{language}pick up the cup\n<|im_end|>"
    acting = "\nPredict the next action in robot action.\nProprioception: <|propri|>\n"
    text = f"{HEAD}{views}{TASK}{acting}{TURN}<|action_fast|><|im_end|>\n"
    assert said_by(kinds, "act", 25).text + "<|action|>" * 3 == text + "<|action|><|action|><|action|>"
    assert said_by(kinds, "act", 12).text == text.replace(TASK, "\npick up the cup")
    assert said_by(kinds, "act", 12, "<|action_token_7|><|action_token_9|>").text.endswith(
        "<|im_start|>assistant\n<|action_token_7|><|action_token_9|><|im_end|>\n"
    )


def runs(text: str, spans: Any) -> list[list[Any]]:
    """A text in runs: whether each is learned."""
    cuts = sorted({0, len(text), *(edge for span in spans for edge in span[:2])})
    return [[any(s.start <= a and b <= s.end for s in spans), text[a:b]] for a, b in pairwise(cuts)]


def test_wall_oss_labels() -> None:
    """wallx.labels.*: answers in words with their end, nothing of an action head."""
    text, spans, *_ = said_by(wall_oss(), "subtask", 12)
    assert runs(text, spans) == [
        [False, f"{HEAD}\nInstruction: {TASK}\nPredict the next action in language.\n{TURN}"],
        [True, "pick up the cup\n<|im_end|>"],
    ]
    head = {"turns": [{"user": "x"}, {"assistant": "<|action|>" * 3, "loss": "action"}]}
    kind = parse_kinds({"k": head}, "r", lambda _: "r")[0]
    assert write_chat(fill_kind(kind, {}, lambda _: []), "wall-oss").spans == ()
    text, spans, *_ = said_by(wall_oss(), "act", 12, "<|action_token_7|>")
    assert runs(text, spans)[1] == [True, "<|action_token_7|><|im_end|>\n"]


@pytest.mark.parametrize(
    ("frame", "subtask", "end"),
    [(0, "open the drawer", 11), (9, "open the drawer", 11), (10, "pick up the cup", 21), (19, "pick up the cup", 21),
     (20, None, None)],
)  # fmt: skip
def test_wall_oss_ranges(frame: int, subtask: str | None, end: int | None) -> None:
    """wallx.frame_instruction: ranges are half open; its second value is one behind the end of the first range."""
    rows = ranged(RANGES)
    found = {name: find_plain(rows, [frame], Binding(name))[0] for name in RANGES}
    texts = {name: rows[which[0]]["text"] for name, which in found.items() if which}
    assert texts == ({"subtask": subtask, "distribute": "left arm holds"} if subtask else {})
    assert [rows[n]["until"] + 1 for n in found["subtask"]] == ([end] if end else [])


def test_wall_oss_points() -> None:
    """wallx.points.qwen2_5, and of points.odd what is a point in a picture; the other texts there are none."""
    tokenizer = GroundingTokenizer.from_pretrained("wall-oss").with_resize(max_pixels=256 * 28 * 28)
    point, box, beyond = (
        tokenizer.format([one], (640, 480)) for one in (Point(100, 50), Box(10, 20, 630, 470), Point(700, 500))
    )
    assert f"Pick {point} and {box}" == "Pick <point>[79, 38]</point> and <point>[8, 15, 496, 356]</point>"
    assert beyond == "<point>[503, 363]</point>"


# --- every golden of the file -----------------------------------------------------------------------------------------


def goldens(*ids: str) -> list[Any]:
    path = Path(os.environ.get("RT2DATA_SHARED") or "nowhere") / "facts" / "goldens" / "recipes.json"
    if not path.is_file():
        return [pytest.param(None, marks=pytest.mark.skip(reason="RT2DATA_SHARED names no folder of goldens"))]
    return [pytest.param(case, id=case["id"]) for case in json.loads(path.read_text("utf-8"))["goldens"]
            if case["id"].startswith(ids)]  # fmt: skip


def bind(slot: Slot, rows: list[Json], at: float) -> str | None:
    """The value of a placeholder of LeRobot's rows at a time."""
    chosen = dict(slot.selects)
    rule = next((name for name in ("previous", "next") if name in chosen), "emitted" if "at" in chosen else "active")
    own = [row for row in rows if row["track"] == slot.name]
    if slot.name == "speech":
        rule = "emitted"
    binding = Binding(slot.name, rule, int(chosen.get(rule, 1)), chosen.get("camera"), chosen.get("role"))
    found = find_plain(own, [at], binding)[0] if own else []
    return own[found[0]]["said"] if found else None


def render(case: Json, branch: Json, index: int = 0) -> list[Json] | None:
    """The messages of a branch for the rows of a golden; None where there is no sample of it."""
    given, kind = case["input"], parse_kinds({"k": lerobot_recipes.as_kind(branch, {})}, "r", lambda _: "r")[0]
    row = given.get("complementary_data", given)
    at = row.get("t", row.get("timestamp", 0.0))
    persistent = row.get("persistent") or row.get("language_persistent") or []
    events = row.get("events") or row.get("language_events") or []
    rows = [one | {"track": one["style"], "time": one["timestamp"], "said": one["content"]} for one in persistent]
    for one in events:
        calls = "".join(f"<say>{call['function']['arguments']['text']}</say>" for call in one.get("tool_calls") or [])
        rows.append(one | {"track": "speech" if calls else one["style"], "time": at, "event": True,
                           "said": calls or one["content"]})  # fmt: skip
    wordings = [one["content"] for one in persistent if one["style"] == "task_aug"]
    which = int(lerobot_recipes.fraction(f"task_aug:{index}") * 2**64) % len(wordings) if wordings else 0
    task = row.get("task") or (wordings[which] if wordings else None)
    values = {key: task if key == "instruction" else bind(slot, rows, at) for key, slot in kind.values().items()}
    if task is None or any(values.get(key) is None for key in kind.requires):
        return None
    messages = fill_kind(kind, values, lambda slot: [slot.argument])
    return messages if any(one["loss"] != "none" for one in messages) else None


def compare(messages: list[Json] | None, wanted: Json | None) -> None:
    if not wanted or "messages" not in wanted:
        assert messages is None
        return
    assert messages is not None
    assert len(messages) == len(wanted["messages"])
    for one, other in zip(rendered(messages), wanted["messages"], strict=True):
        content = other.get("content") or ""
        text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
        calls = other.get("tool_calls") or []
        text += "".join(f"<say>{call['function']['arguments']['text']}</say>" for call in calls)
        assert one[:2] == (other["role"], text)
    assert [n for n, one in enumerate(messages) if one["loss"] == "text"] == wanted["target_message_indices"]
    assert acts(messages) == ("low_level" in wanted["message_streams"])


@pytest.mark.parametrize("case", goldens("lerobot.render.", "lerobot.render_step."))
def test_goldens_of_renders(case: Json) -> None:
    given = case["input"]
    if "recipe" not in given:  # vqa.two_cameras: the draw alone
        weights = dict(zip(dict.fromkeys(case["output"]), given["weights"], strict=True))
        assert [lerobot_recipes.choose(weights, f"vqa:{n}") for n in given["sample_idx"]] == case["output"]
        return
    branches = lerobot_recipes.branches(given["recipe"])
    index = given.get("sample_idx", given.get("complementary_data", {}).get("index", 0))
    asked = {name: one for name, one in branches.items() if one.get("route") == "vqa" and render(case, one, index)}
    weights = {name: one.get("weight", 1) for name, one in branches.items()}
    drawn = next(iter(asked)) if asked else lerobot_recipes.choose(weights, str(index))
    messages = render(case, branches[drawn], index)
    if messages is None and "complementary_data" in given:  # then it is the task alone
        messages = render(case, {"messages": [user("${task}", "low_level")]}, index)
        messages = messages if given["complementary_data"].get("task") else None
    compare(messages, case["output"])


@pytest.mark.parametrize("case", goldens("lerobot.select_from_applicable"))
def test_goldens_of_applicable_branches(case: Json) -> None:
    branches = case["input"]["recipe"]["blend"]
    weights = {name: one["weight"] for name, one in branches.items() if render(case, one)}
    for index, wanted in zip(case["input"]["sample_idx"], case["output"], strict=True):
        messages = render(case, branches[lerobot_recipes.choose(weights, f"applicable:{index}")])
        if isinstance(wanted, list):
            assert [text for _, text, _ in rendered(messages or [])] == wanted
        else:
            compare(messages, wanted)


@pytest.mark.parametrize("case", goldens("lerobot.blend."))
def test_goldens_of_draws(case: Json) -> None:
    drawn = [lerobot_recipes.choose(case["input"]["weights"], str(n)) for n in case["input"]["sample_idx"]]
    assert drawn == case["output"]


@pytest.mark.parametrize("case", goldens("lerobot.recipe.refused"))
def test_goldens_of_refusals(case: Json, tmp_path: Path) -> None:
    kinds = {}
    for name, branch in lerobot_recipes.branches(case["input"]["recipe"]).items():
        turns = [turn | {"stream": turn.get("stream", "none")} for turn in branch["messages"]]
        kinds[name] = lerobot_recipes.as_kind(branch | {"messages": turns}, {})
        kinds[name] |= {"weight": branch["weight"]} if "weight" in branch else {}
    source = {"source": "bridge_dataset", "kinds": kinds}
    with pytest.raises(Rt2dataError):
        recipes.read_recipe(small_corpora.write_recipe(tmp_path / "r.yaml", sources=[source], prompts={}))


@pytest.mark.parametrize("case", goldens("pi052.format", "pi052.vqa_to_loc"))
def test_goldens_of_pi052(case: Json) -> None:
    given, wanted = case["input"], case["output"]
    if "vqa" in case["id"]:
        form = "paligemma" if "loc_first" in case["id"] else "paligemma-label-first"
        assert [to_loc(answer, form) for answer in given] == wanted
        return
    targets = given.get("target_indices") or given.get("targets") or []
    said = [message(one["role"], one["content"], learned=n in targets) for n, one in enumerate(given["messages"])]
    got = write_chat(said, "paligemma-chat")
    assert (got.text, [list(turn) for turn in got.turns]) == (wanted["prompt"], wanted["spans"])


@pytest.mark.parametrize("case", goldens("wallx."))
def test_goldens_of_wall_oss(case: Json) -> None:
    given, wanted, name = case["input"], case["output"], case["id"].removeprefix("wallx.")
    if name.startswith("text."):
        kinds = wall_oss("primary", "left_wrist")
        views = list(given["cam_mapping"].values())
        assert views == ["face_view", "left_wrist_view"]
        kind = "subtask" if wanted["is_subtask"] else "act"
        slots = "" if wanted["is_subtask"] else "<|action|>" * given["action_chunk_size"]
        assert said_by(kinds, kind, given["frame_idx"]).text + slots == wanted["text"]
    elif name == "points.qwen2_5":
        tokenizer = GroundingTokenizer.from_pretrained("wall-oss").with_resize(max_pixels=256 * 28 * 28)
        height, width = given["orig_hw"]
        assert tokenizer.form.resized(width, height) == tuple(given["resized_hw"][::-1])

        def scaled(found: re.Match[str]) -> str:
            return tokenizer.format([place([int(n) for n in found[1].split(",")])], (width, height))

        assert re.sub("<point>(.*?)</point>", scaled, given["text"]) == wanted
    elif name == "frame_instruction":
        ranges = {key: value for key, value in given["instruction_info"].items() if isinstance(value, dict)}
        rows = ranged(ranges)
        for frame, (said, end) in zip(given["frame_idx"], wanted, strict=True):
            found = {key: find_plain(rows, [frame], Binding(key))[0] for key in ranges}
            texts = {key: rows[which[0]]["text"] for key, which in found.items() if which}
            assert {"instruction": given["instruction_info"]["instruction"]} | texts == said
            ends = [rows[which[0]]["until"] + 1 for which in found.values() if which]
            assert (ends[0] if ends else None) == end
    elif name.startswith("labels.") and wanted:
        text, spans, *_ = said_by(wall_oss(), "subtask", 12)
        assert runs(text, spans) == wanted


def test_the_ids_are_those_of_the_file() -> None:
    path = Path(os.environ.get("RT2DATA_SHARED") or "nowhere") / "facts" / "goldens" / "recipes.json"
    if not path.is_file():
        pytest.skip("RT2DATA_SHARED names no folder of goldens")
    every = [case["id"] for case in json.loads(path.read_text("utf-8"))["goldens"]]
    own = [one for one in every if one.startswith(("lerobot.", "pi052.", "wallx.")) and one != "lerobot.pi05.prompt"]
    assert sorted(IDS) == sorted(own)
