"""Prompts, answers and numbers of openpi, LeRobot's pi05, OpenTau, VLA-0 and RDT2, as computed by running their code.

What samples say is read back from two small mixtures; the numbers of normalisers, of loc tokens and of readings are
those of the public functions. Each golden is given by its id. Sources: Physical-Intelligence/openpi@15a9616,
huggingface/lerobot@7427f31, TensorAuto/OpenTau@0b153a9, NVlabs/vla0@731bef2, thu-ml/RDT2@0797b4c.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import builds, peer_datasets, small_corpora
from support.damaged_mixtures import failing
from support.goldens import read_goldens
from support.peer_datasets import Episode, between

from rt2data import Box, GroundingTokenizer
from rt2data.serving import KindPrompt
from rt2data.tokenizer import ActionError, ActionTokenizer, Dim
from rt2data.tokenizer.normalisers import normaliser_of
from rt2data.tokenizer.statistics import Statistics
from rt2data.tokenizer.text.lenient_reply import decode_like_vla0
from rt2data.turns.conversation import fill_kind
from rt2data.turns.kind_parser import parse_kinds
from rt2data.verify import verify

Json = dict[str, Any]


IDS = (
    "lerobot.pi05.prompt", "openpi.pi0.prompt.0", "openpi.pi0_fast.0", "openpi.pi05.prompt.1",
    "openpi.pi0_fast.inference", "openpi.normalise", "opentau.loc.xywh", "opentau.loc.parse_boxes",
    "opentau.pi05.prompt.discrete", "opentau.pi05.response", "opentau.pi06.prompt.actions", "opentau.pi07.metadata",
    "vla0.encode", "vla0.decode.ok", "vla0.decode.ragged", "vla0.decode.words", "vla0.messages", "rdt2.sample.flow",
    "rdt2.instruction.missing",
)  # fmt: skip
DEPART = ("opentau.loc.zero_extent",)  # an image without pixels is refused; OpenTau writes 0

# The kinds of sample, as a recipe says them. What is one prefix in a peer's code is a turn of the user; where an action
# head reads on from there, its loss is that of an action.
CLEAN = "{instruction|strip|underscores_to_spaces|newlines_to_spaces}"
LOWER = "{instruction|lower|strip|underscores_to_spaces}"
KINDS: dict[str, Any] = {
    "pi0": {"turns": [{"user": "{images}" + CLEAN}, {"assistant": "\n", "loss": "action", "end": False}]},
    "pi05": {"turns": [{"user": "{images}Task: " + CLEAN + ", State: {state};\nAction: ", "loss": "action"}]},
    "pi0_fast": {
        "turns": [
            {"user": "{images}Task: " + LOWER + ", State: {state};\n"},
            {"assistant": "Action: {action:fast}|"},
        ]
    },
    "vla0": {"turns": [{"system": "SYSTEM"}, {"user": "{images}{instruction}"}, {"assistant": "{action}"}]},
    "tau_pi05": {
        "otherwise": "tau_none",
        "turns": [
            {"user": "{images}Task: {instruction}, State: {state};\n", "loss": "action"},
            {"assistant": "{response}<eos>;\n", "end": False},
        ],
    },
    "tau_none": {
        "turns": [
            {"user": "{images}Task: {instruction}, State: {state};\n", "loss": "action"},
            {"assistant": "<eos>;\n", "loss": "none"},
        ]
    },
    "tau_pi06": {"turns": [{"user": "{images}Task: {instruction}<eos>State: {state}<eos>Actions:", "loss": "action"}]},
    "tau_pi07": {
        "requires": ["fps"],
        "parts": {
            name: {"text": f" {label}: {{{name}}}, ", "missing": "skip"}
            for name, label in (("speed", "Speed"), ("quality", "Quality"), ("mistake", "Mistake"),
                                ("robot_type", "Robot"), ("fps", "FPS"), ("mode", "Control"))
        },
        "turns": [
            {"user": "Metadata:{speed_part}{quality_part}{mistake_part}{robot_type_part}{fps_part}{mode_part}",
             "loss": "action"},
        ],
    },
    "rdt2": {
        "turns": [
            {"user": "{image:primary}{fold}", "missing": "empty"},
            {"assistant": "<|quad_start|>", "loss": "action", "end": False},
        ]
    },
}  # fmt: skip

NINE = [-1.2, -1.0, -0.99219, -0.992187, 0.0, 0.0078124, 0.999, 1.0, 1.5]
EIGHT = [-1.2, -1.0, -0.996, 0.0, 0.5, 0.999, 1.0, 1.3]
TAU = [-1.5, -1.0, -0.9921875, -0.5, 0.0, 0.0078125, 0.999, 1.0, 1.5]
VLA0_LOW, VLA0_HIGH = [-1.0, 0.0, -0.5], [1.0, 2.0, 0.5]
VLA0_CHUNKS = [
    [[-1.0, 0.0, -0.5], [1.0, 2.0, 0.5]],
    [[0.0005, 1.0, 0.0], [0.3333, 0.1, -0.1]],
    [[0.001, 0.001, 0.0005], [0.003, 0.003, 0.0015]],
]
VLA0_TEXTS = ["0 0 0 1000 1000 1000", "500 500 500 667 50 400", "501 0 501 502 2 502"]  # vla0.encode


def kinds_of(*names: str) -> dict[str, Any]:
    """Kinds of which every sample is in the mixture once."""
    return {name: KINDS[name] | {"repeat": 1} for name in names}


def text_of(message: Json) -> str:
    return "".join(part.get("text", "") for part in message["content"])


def build_all(folder: Path, sources: dict[str, list[Episode]], kinds: dict[str, Any], **fields: Any) -> Path:
    """Build and verify a mixture of peer datasets, each with kinds of its own."""

    entries = []
    for name, episodes in sources.items():
        entry = {"source": peer_datasets.write(folder / "data", folder, name, episodes), "kinds": kinds[name]}
        notes = folder / "data" / name / "notes.jsonl"
        if name in NOTES:
            rows = [{"episode": "1", "step": 0, "until": 1} | row for row in NOTES[name]]
            notes.write_text("".join(json.dumps(row) + "\n" for row in rows))
            entry["annotations"] = [{"file": f"{name}/notes.jsonl", "format": "rows"}]
        entries.append(entry)
    recipe = {"name": "peers", "cameras": ["primary", "wrist"], "splits": {"train": ["train"]}, "sources": entries}
    (folder / "r.yaml").write_text(json.dumps(recipe | fields))
    small_corpora.build(folder / "r.yaml", folder / "out", data_root=folder / "data")
    report = verify(folder / "out")
    assert failing(report) == set(), report.text()
    return folder / "out"


NOTES: dict[str, list[Json]] = {
    "tau_nine": [{"track": "response", "value": "pick up the cup"}],
    "tau_two": [
        {"track": "speed", "value": "1.5"}, {"track": "quality", "value": "4.0"},
        {"track": "mistake", "value": "0.0", "step": 1, "until": 2},
        {"track": "robot_type", "value": "franka"}, {"track": "fps", "value": "15"}, {"track": "mode", "value": "ee"},
    ],
    "umi": [{"track": "fold", "value": "fold the cloth", "episode": "0"}],
}  # fmt: skip


def around(size: int, *more: Episode, wide: int = 3) -> list[Episode]:
    """Episodes of which the first sets the bounds: states between -1 and 1, actions between those of VLA-0."""
    low, high = (VLA0_LOW, VLA0_HIGH) if wide == 3 else ([0.0] * wide, [4.0] * wide)
    return [Episode("wait", between([-1.0] * size, [1.0] * size), between(low, high)), *more]


def still(instruction: str, state: list[float], wide: int = 3) -> Episode:
    return Episode(instruction, [state, [0.0] * len(state)], [[0.0] * wide] * 2)


@pytest.fixture(scope="module")
def openpi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """openpi's and VLA-0's forms, and LeRobot's pi05."""
    chunks = [Episode("pick up the cup", [[0.0] * 3] * 2, chunk) for chunk in VLA0_CHUNKS]
    sources = {
        "three": around(3, still("Pick_up the red cup", [-1.2, -1.0, -0.99219]), *chunks),
        "nine": around(9, still("  open the\ndrawer  ", NINE)),
        "eight": around(8, still(" Put_the cup\naway ", EIGHT)),
    }
    kinds = {"three": kinds_of("pi0", "pi0_fast", "vla0"), "nine": kinds_of("pi05"), "eight": kinds_of("pi05")}
    tokenizer = {"spec": "vla0", "horizon": 2, "bounds": "minmax"}
    return build_all(
        tmp_path_factory.mktemp("openpi"), sources, kinds,
        tokenizer=tokenizer, actions={"fast": {"spec": "fast-bpe", "horizon": 1}}, state={"spec": "proprio-pi05"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def opentau(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OpenTau's forms, and RDT2's."""
    chunk = [[(20 * step + i) / 10 for i in range(20)] for step in range(2)]
    sources = {
        "tau_nine": around(9, still("Pick_up the cup", TAU)),
        "tau_two": around(2, still("pick up the cup", [0.0, -1.0])),
        "umi": around(1, Episode("none", [[0.0]] * 2, chunk), wide=20),
    }
    kinds = {
        "tau_nine": kinds_of("tau_pi05", "tau_none"),
        "tau_two": kinds_of("tau_pi06", "tau_pi07"),
        "umi": kinds_of("rdt2"),
    }
    tokenizer = {"spec": "float-openpi", "horizon": 2}
    folder = tmp_path_factory.mktemp("opentau")
    return build_all(folder, sources, kinds, tokenizer=tokenizer, state={"spec": "proprio-opentau"})


def samples(out: Path, kind: str, instruction: str, step: int = 0) -> list[Json]:
    """The samples of a kind, of a step of the episodes with an instruction, in the order of their episodes."""
    found = [one["json"] for one in builds.samples(out)]
    chosen = [
        s for s in found if (s["recipe_kind"], s["instruction"], s["step"]) == (kind, instruction, step)
    ]  # fmt: skip
    return sorted(chosen, key=lambda sample: int(sample["episode"]))


def test_openpi_and_lerobot(openpi: Path) -> None:
    (pi0,) = samples(openpi, "pi0", "Pick_up the red cup")
    assert [text_of(turn) for turn in pi0["messages"]] == ["Pick up the red cup", "\n"]  # openpi.pi0.prompt.0
    (pi05,) = samples(openpi, "pi05", "  open the\ndrawer  ")
    (turn,) = pi05["messages"]
    wanted = "Task: open the drawer, State: -1 0 0 1 128 128 255 255 255;\nAction: "  # openpi.pi05.prompt.1
    assert (text_of(turn), turn["loss"], turn["spans"]) == (wanted, "action", [])
    (lerobot,) = samples(openpi, "pi05", " Put_the cup\naway ")
    wanted = "Task: Put the cup away, State: -1 0 0 128 192 255 255 255;\nAction: "  # lerobot.pi05.prompt
    assert text_of(lerobot["messages"][0]) == wanted
    (fast,) = samples(openpi, "pi0_fast", "Pick_up the red cup")
    asked, answer = fast["messages"]
    assert text_of(asked) == "Task: pick up the red cup, State: -1 0 0;\n"  # openpi.pi0_fast.0
    own = ActionTokenizer.from_pretrained(openpi / "tokenizer.fast.json").for_source("three")
    string = own.format(own.encode(np.array(fast["action"], np.float32).reshape(2, 3)[0]))
    assert text_of(answer) == f"Action: {string}|"
    ends = (8, 8 + len(string), 9 + len(string))
    assert answer["spans"] == [
        {"start": 0, "end": ends[0], "loss": "text"},
        {"start": ends[0], "end": ends[1], "loss": "action", "tokenizer": "fast"},
        {"start": ends[1], "end": ends[2], "loss": "text"},
    ]
    assert answer["end"]
    prompt = KindPrompt(openpi, "three", "pi0_fast")  # openpi.pi0_fast.inference
    (only,) = prompt("open the drawer", [-1.2, -1.0, -0.99219], images={"primary": 1, "wrist": 2})
    assert text_of(only) == "Task: open the drawer, State: -1 0 0;\n"


def test_fast_ids_are_the_last_of_paligemma() -> None:
    """openpi.pi0_fast.0: what its FAST returns, 0 5 100, as tokens of PaliGemma, whose vocabulary has 257,152."""
    assert paligemma_ids([0, 5, 100]) == [257023, 257018, 256923]


def paligemma_ids(fast: list[int]) -> list[int]:
    dims = [Dim(f"d{number}", -1.0, 1.0) for number in range(len(fast))]
    tok = ActionTokenizer.from_pretrained("fast").with_horizon(1).with_dims(dims).with_vocabulary(257152)
    ids: list[int] = np.asarray(tok.token_ids(np.array(fast))).tolist()
    return ids


def normalise(given: Json) -> Json:
    measures = {name: np.array(given[name], np.float64) for name in ("q01", "q99", "mean", "std")}
    return {
        name: normaliser_of("openpi", Statistics(measures), kind).normalise(np.array(given["x"])).tolist()
        for name, kind in (("quantile", "quantiles"), ("zscore", "zscore"))
    }


def test_openpi_normalises() -> None:
    """openpi.normalise"""
    given = {"x": [[-3.0, 0.0], [0.0, 0.5], [2.0, 1.0]], "q01": [-2, 0], "q99": [2, 1], "mean": [0, 0.5], "std": [1, 0]}
    found = normalise(given)
    quantile = [[-1.4999998750000312, -1.0], [-2.499999375293882e-07, -9.99998999939855e-07],
                [0.9999995000001249, 0.9999980000020001]]  # fmt: skip
    np.testing.assert_allclose(found["quantile"], quantile, rtol=0, atol=1e-15)
    zscore = [[-2.9999970000030003, -500000.0], [0.0, 0.0], [1.9999980000020001, 500000.0]]
    np.testing.assert_allclose(found["zscore"], zscore, rtol=1e-15)


def test_opentau(opentau: Path) -> None:
    (said,) = samples(opentau, "tau_pi05", "Pick_up the cup")
    wanted = "Task: Pick_up the cup, State: 0 0 1 64 128 129 255 255 255;\n"  # opentau.pi05.prompt.discrete
    assert [text_of(turn) for turn in said["messages"]] == [wanted, "pick up the cup<eos>;\n"]  # opentau.pi05.response
    assert said["messages"][1]["spans"] == [{"start": 0, "end": 22, "loss": "text"}]
    (silent,) = samples(opentau, "tau_pi05", "Pick_up the cup", step=1)
    assert (text_of(silent["messages"][1]), silent["messages"][1]["loss"]) == ("<eos>;\n", "none")
    (pi06,) = samples(opentau, "tau_pi06", "pick up the cup")
    assert text_of(pi06["messages"][0]) == "Task: pick up the cup<eos>State: 128 0<eos>Actions:"
    (pi07,) = samples(opentau, "tau_pi07", "pick up the cup")
    wanted = "Metadata: Speed: 1.5,  Quality: 4.0,  Robot: franka,  FPS: 15,  Control: ee, "  # opentau.pi07.metadata
    assert text_of(pi07["messages"][0]) == wanted
    assert samples(opentau, "tau_pi07", "pick up the cup", step=1) == []  # nothing is known: no metadata


def loc_boxes(given: Json) -> list[list[list[float]]]:
    """Boxes of texts whose segments that are none are left out."""
    tok = GroundingTokenizer.from_pretrained("paligemma")
    found = []
    for text in given["texts"]:
        boxes = []
        for segment in text.split(" ; "):
            try:
                objects = tok.decode(tok.parse(segment), tuple(given["image"]))
            except ActionError:
                continue
            boxes += [[one.x1, one.y1, one.x2, one.y2] for one in objects if isinstance(one, Box)]
        found.append(boxes)
    return found


def loc_xywh(given: Json) -> str:
    x, y, wide, high = given["box_xywh"]
    size = tuple(given["image"])
    return GroundingTokenizer.from_pretrained("paligemma").format([Box(x, y, x + wide, y + high)], size)


def test_loc_tokens() -> None:
    given = {"image": [640, 480], "box_xywh": [10, 20, 30, 40]}
    assert loc_xywh(given) == "<loc0043><loc0016><loc0128><loc0064>"  # opentau.loc.xywh
    texts = [  # opentau.loc.parse_boxes
        "<loc0234><loc0567><loc0890><loc1023> dog ; <loc0010><loc0050><loc0200><loc0500> cat",
        "<loc0234><loc0567> dog ; <loc0010><loc0050><loc0200><loc0500> cat",
        "<loc23><loc0050><loc0200><loc0500>",
        "",
    ]
    dog = [354.7214076246334, 109.79472140762464, 640.0, 417.5953079178886]
    cat = [31.28054740957967, 4.69208211143695, 312.8054740957967, 93.841642228739]
    found = loc_boxes({"image": [640, 480], "texts": texts})
    assert [[pytest.approx(box, rel=1e-15) for box in boxes] for boxes in ([dog, cat], [cat], [], [])] == found
    with pytest.raises(ActionError, match="0"):  # opentau.loc.zero_extent
        loc_xywh({"image": [0, 480], "box_xywh": [5, 0, 0, 0]})


def test_vla0(openpi: Path) -> None:
    found = samples(openpi, "vla0", "pick up the cup")
    assert [text_of(one["messages"][2]) for one in found] == VLA0_TEXTS
    assert named(found[0]["messages"]) == [  # vla0.messages
        {"role": "system", "content": [{"type": "text", "text": "SYSTEM"}]},
        {
            "role": "user",
            "content": [
                {"type": "image", "image": "IMG1"},
                {"type": "image", "image": "IMG2"},
                {"type": "text", "text": "pick up the cup"},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "0 0 0 1000 1000 1000"}]},
    ]
    reply = KindPrompt(openpi, "three", "vla0").parse_reply("0 500 1000 250 0 999")  # vla0.decode.ok
    own = ActionTokenizer.from_pretrained(openpi).for_source("three")
    assert own.decode(reply.bins).actions.tolist() == [[-1.0, 1.0, 0.5], [-0.5, 0.0, 0.49900001287460327]]
    # vla0.decode.ragged and vla0.decode.words: strictly no action; as VLA-0 reads them only by name
    for text, steps in (("0 500 1000 250", [-1.0, 1.0, 0.5]), ("no number", [0.0, 1.0, 0.0])):
        with pytest.raises(ActionError):
            own.parse(text)
        assert decode_like_vla0(own, text).tolist() == [steps, steps]


def named(messages: list[Json]) -> list[Json]:
    """Messages as VLA-0 has them, with names of images in place of members."""
    names = iter(("IMG1", "IMG2"))
    return [
        {
            "role": turn["role"],
            "content": [part | {"image": next(names)} if part["type"] == "image" else part for part in turn["content"]],
        }
        for turn in messages
    ]


def test_rdt2(opentau: Path) -> None:
    (sample,) = samples(opentau, "rdt2", "none")
    action = np.array(sample["action"], np.float32).reshape(sample["horizon"], len(sample["dims"]))
    assert action.shape == (2, 20)  # rdt2.sample.flow
    assert action[1, :3].tolist() == [2.0, 2.0999999046325684, 2.200000047683716]
    asked, head = sample["messages"]
    # rdt2.instruction.missing: an image and an empty text, which here is no part
    assert asked["content"] == [{"type": "image", "image": "jpg"}]
    assert (text_of(head), head["loss"], head["spans"], head["end"]) == ("<|quad_start|>", "action", [], False)
    (known, *_) = samples(opentau, "rdt2", "wait")
    assert text_of(known["messages"][0]) == "fold the cloth"


# Every golden of the whole file, by the same kinds and functions.


def fill(name: str, values: Json) -> list[Json]:
    """The turns of a kind with values of a sample."""
    (kind,) = (one for one in parse_kinds(KINDS, "test", lambda name: name) if one.name == name)
    shown: Callable[[Any], list[str]] = lambda slot: ["jpg", "wrist.jpg"]  # noqa: E731
    return fill_kind(kind, values, shown)


def state_text(spec: str, values: list[float]) -> str:
    dims = [Dim(f"d{number}", -1.0, 1.0) for number in range(len(values))]
    tok = ActionTokenizer.from_pretrained(spec).with_dims(dims)
    return str(tok.format(tok.encode(np.array(values))))


def prompt_of(name: str, given: Json, key: str = "prompt") -> str:
    state = state_text("proprio-pi05", given["state"]) if given.get("state") is not None else None
    return "|".join(
        text_of(turn) for turn in fill(name, {"instruction": given[key], "state": state, "action:fast": ""})
    )


def pi0_fast(given: Json) -> Json:
    if given.get("fast_ids") is None:
        return {"encoded": [prompt_of("pi0_fast", given).partition("|")[0]]}
    asked, answer = fill(
        "pi0_fast",
        {"instruction": given["prompt"], "state": state_text("proprio-pi05", given["state"]), "action:fast": "IDS"},
    )
    texts = [text_of(asked), *text_of(answer).split("IDS")]
    return {"encoded": texts, "ids": paligemma_ids(given["fast_ids"])}


def metadata(given: Json) -> list[str]:
    found = []
    for row in range(len(given["robot_type"])):
        values: Json = {
            name: str(given[name][row])
            for name in ("speed", "quality", "mistake", "fps")
            if not given[f"{name}_is_pad"][row]
        }
        values |= {
            name: given[key][row]
            for name, key in (("robot_type", "robot_type"), ("mode", "control_mode"))
            if given[key][row]
        }
        found.append(text_of(fill("tau_pi07", values)[0]) if values else "")
    return found


def vla0_tokenizer(given: Json) -> ActionTokenizer:
    dims = [Dim(f"d{i}", low, high) for i, (low, high) in enumerate(zip(given["min"], given["max"], strict=True))]
    return ActionTokenizer.from_pretrained("vla0").with_dims(dims).with_horizon(given.get("horizon", 2))


def reproduce(name: str, given: Any, wanted: Any) -> tuple[Any, Any]:
    """What we have for a golden, and what it has, in one form."""
    family = name.rpartition(".")[0]
    if family == "openpi.pi0.prompt":
        return prompt_of("pi0", given).split("|"), [one["text"] for one in wanted["encoded"]]
    if family == "openpi.pi05.prompt":
        return prompt_of("pi05", given), wanted["encoded"][0]["text"]
    if family == "openpi.pi0_fast":
        found = pi0_fast(given)
        ids = {"ids": wanted["fast_as_paligemma_ids"]} if "ids" in found else {}
        return found, {"encoded": [one["text"] for one in wanted["encoded"]]} | ids
    if name == "lerobot.pi05.prompt":
        return prompt_of("pi05", given, "task"), wanted
    if family == "opentau.pi05.prompt":
        values = {
            "instruction": given["prompt"],
            "state": state_text("proprio-opentau", given["state"]),
            "response": "",
        }
        return text_of(fill("tau_pi05", values)[0]), wanted
    if name == "opentau.pi05.response":
        both = [
            fill("tau_pi05" if text else "tau_none", {"instruction": "", "state": "", "response": text})
            for text in given["response"]
        ]
        return [text_of(turns[1]) for turns in both], wanted
    if name == "opentau.pi06.prompt.actions":
        return text_of(fill("tau_pi06", {"instruction": given["prompt"], "state": given["state_string"]})[0]), wanted
    if name == "vla0.encode":
        tok = vla0_tokenizer(given)
        return [tok.format(tok.encode(np.array(chunk, np.float32))) for chunk in given["actions"]], wanted
    if family == "vla0.decode":
        return [decode_like_vla0(vla0_tokenizer(given), given["text"]).tolist()], wanted
    if name == "vla0.messages":
        return named(fill("vla0", {"instruction": given["instr"], "action": given["action_txt"]})), wanted
    if name == "rdt2.instruction.missing":
        asked = fill("rdt2", {"fold": given["instructions"].get(given["sub_task_instruction_key"])})[0]
        return text_of(asked), "".join(part.get("text", "") for part in wanted[0]["content"])
    own: dict[str, Callable[[Any], Any]] = {
        "openpi.normalise": lambda given: pytest.approx(np.array(list(normalise(given).values()))),
        "opentau.loc.xywh": loc_xywh,
        "opentau.loc.parse_boxes": loc_boxes,
        "opentau.pi07.metadata": metadata,
    }
    return own[name](given), np.array(list(wanted.values())) if name == "openpi.normalise" else wanted


def test_every_golden_of_the_whole_file() -> None:
    goldens = {one["id"]: one for one in read_goldens("recipes.json")["goldens"]}
    for name in IDS:
        golden = goldens[name]
        if name == "rdt2.sample.flow":  # read from shards: test_rdt2
            continue
        found, wanted = reproduce(name, golden["input"], golden["output"])
        if name == "opentau.loc.parse_boxes":
            found = [[pytest.approx(box) for box in boxes] for boxes in found]
        assert found == wanted, name
