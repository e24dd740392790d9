"""MolmoAct's, Molmo's and MolmoAct2's samples, as their code gives them.

allenai/molmoact@622ad08 (olmo/data, preprocess/processors.py, olmo/models/molmo/data_formatter.py) and
huggingface/lerobot@7427f31 (policies/molmoact2). Conversations and chunks are read back from the bundled recipes, built
on one episode of three steps: the one whose actions their normalisation was run on. They draw the kind of a sample at
random; what they drew is compared.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import builds, small_corpora
from support.goldens import read_goldens

from rt2data import ActionTokenizer, Dim, GroundingTokenizer, Point
from rt2data.images.drawing import draw_lines
from rt2data.recipes.recipe import find_recipe, read_recipe
from rt2data.tokenizer.floats import float_normaliser
from rt2data.turns.chat_templates import write_chat
from rt2data.turns.conversation import fill_kind
from rt2data.turns.kind_parser import parse_kinds
from rt2data.verify import verify

Json = dict[str, Any]

ACT = [f"molmoact.{name}" for name in ("sample.seed3", "sample.missing", "normalise", "chunk")]
MOLMO = [f"molmo.{name}" for name in ("points", "no_points", "messages.vqa")]
ACT2 = [f"molmoact2.{name}" for name in ("state_string", "prompt", "action_string")]
IDS = [*ACT, *MOLMO, *ACT2]

TASK, DEPTH, TRACE = "pick up the cup", "<DEPTH_START><DEPTH_1><DEPTH_7><DEPTH_END>", [[10, 20], [30, 40]]
CHUNK = "[[a, b], [c, d]]"  # stands for the action in their cases
LAST_ID = 151642  # of Qwen2's vocabulary: the string of bin 0

# molmoact.normalise: actions, their q01 and q99, and what they are normalised to; the gripper is 1 - g.
ACTIONS = [
    [0.0, 1.0, -1.0, 0.5, 0.2, 0.1, 1.0],
    [2.0, 1.0, 1.0, 0.0, 0.4, 0.3, 0.0],
    [1.0, 1.0, 0.0, 0.25, 0.3, 0.2, 1.0],
]
Q01 = [0.019999999552965164, 1.0, -0.9800000190734863, 0.004999999888241291, 0.20200000703334808, 0.10199999809265137]
Q99 = [1.9800000190734863, 1.0, 0.9800000190734863, 0.4950000047683716, 0.39800000190734863, 0.2980000078678131]
NORMALISED = [[-1.0, 0.0, -1.0, 1.0, -1.0, -1.0, 0.0], [1.0, 0.0, 1.0, -1.0, 1.0, 1.0, 1.0],
              [0.0, 0.0, 0.0, 0.0, 0.0, -5.960464477539063e-08, 0.0]]  # fmt: skip
FIRST = "<151642>, <151515>, <151642>, <151387>, <151642>, <151642>, <151515>"
SECOND = "<151387>, <151515>, <151387>, <151642>, <151387>, <151387>, <151387>"
THIRD = "<151515>, <151515>, <151515>, <151515>, <151515>, <151515>, <151515>"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Json]:
    """The samples of `molmoact`, with chunks of two steps, by kind and step; the last step is not annotated."""
    folder = tmp_path_factory.mktemp("molmoact")
    actions = np.array(ACTIONS, np.float32)
    actions[:, 6] = 1 - actions[:, 6]  # Bridge's gripper is 1 where it is open
    episode = small_corpora.episode(0, 3, language_instruction=[TASK] * 3, action=actions)
    small_corpora.write_bridge(folder, [episode], shards=1, val=[small_corpora.episode(1)])
    rows = [
        {"episode": "/data/0/out.npy:0", "step": step, "until": step + 1, "depth": DEPTH,
         "trace": {"trace": TRACE, "size": [256, 256]}}
        for step in (0, 1)
    ]  # fmt: skip
    (folder / "bridge_molmoact.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    q01, q99 = [*Q01, 0.0], [*Q99, 1.0]
    columns = {name: [0.0] * 7 for name in ("mean", "std", "min", "max")}
    statistics = {"bridge_dataset": {"action": columns | {"q01": q01, "q99": q99, "mask": [True] * 6 + [False]}}}
    (folder / "statistics.json").write_text(json.dumps(statistics))
    recipe = {
        "name": "small", "include": "molmoact", "sources": [{"source": "bridge_dataset", "repeat": 2}],
        "image": {"format": "png", "size": [256, 256]},
        "tokenizer": {"horizon": 2, "bounds": {"from": "statistics.json"}},
    }  # fmt: skip
    (folder / "small.yaml").write_text(json.dumps(recipe))
    small_corpora.build(folder / "small.yaml", folder / "out", data_root=folder)
    report = verify(folder / "out")
    assert report.ok, report.text()
    return {(one["json"]["recipe_kind"], one["json"]["step"]): one for one in builds.samples(folder / "out")}


def said(sample: Json) -> list[str]:
    """The texts of a sample's turns."""
    return ["".join(part.get("text", "") for part in turn["content"]) for turn in sample["messages"]]


def action(sample: Json) -> str:
    """The action in a sample's answer."""
    answer = sample["messages"][1]
    (span,) = (one for one in answer["spans"] if one["loss"] == "action")
    return said(sample)[1][span["start"] : span["end"]]


def by_ids(text: str) -> str:
    """A chunk with the ids of its strings in their place, as their case has it."""
    strings = ActionTokenizer.from_pretrained("molmoact").to_dict()["text"]["lists"]
    return re.sub(r"[^\[\], ]+", lambda found: f"<{LAST_ID - strings.index(found[0])}>", text)


DRAWN = (
    f"The task is {TASK}. Notice that the trajectory of the end effector is annotated on the first image. Based on the "
    "trajectory annotated on the image, along with other images from different camera views as additional information, "
    "what is the action that the robot should take?"
)
ANSWER = (
    "Based on the image and the annotated trajectory of the end effector, the action that the robot should take is "
    f"{CHUNK}."
)
MISSING = (
    "The depth map of the image is . The trajectory of the left end effector is []. The trajectory of the right end "
    f"effector is []. Based on this information, the action that the robot should take is {CHUNK}."
)


def test_the_trace_is_drawn_or_told(built: dict[tuple[str, int], Json]) -> None:
    """molmoact.sample.seed3, and the kind that it did not draw."""
    drawn = built["drawn", 0]["json"]
    assert said(drawn) == [DRAWN, ANSWER.replace(CHUNK, action(drawn))]
    reason = built["reason", 0]["json"]
    asked, answer = said(reason)
    assert asked.startswith(f"The task is {TASK}. What is the action that the robot should take. To figure out the")
    assert asked.count(TASK) == 2
    assert answer == (
        f"The depth map of the image is {DEPTH}. The trajectory of the left end effector is {TRACE}. The trajectory of "
        f"the right end effector is {TRACE}. Based on this information, the action that the robot should take is "
        f"{action(reason)}."
    )


def test_a_step_that_is_not_annotated_is_trained(built: dict[tuple[str, int], Json]) -> None:
    """molmoact.sample.missing: no depth, no trace, and the image as it is."""
    reason, drawn = built["reason", 2]["json"], built["drawn", 2]
    assert said(reason)[1] == MISSING.replace(CHUNK, action(reason))
    assert said(drawn["json"]) == [DRAWN, ANSWER.replace(CHUNK, action(drawn["json"]))]
    assert drawn["json"]["drawn"] == [{"member": "primary.path.png", "drawing": "path", "lines": []}]
    assert drawn["primary.path.png"] == built["reason", 2]["png"]


def test_the_drawing(built: dict[tuple[str, int], Json]) -> None:
    """Section of load_image: of 256 pixels the numbers are pixels, lines of 2, antialiased, (0, 255, 255) on RGB."""
    drawn, plain = built["drawn", 0], built["reason", 0]["png"]
    assert drawn["json"]["drawn"] == [{"member": "primary.path.png", "drawing": "path", "lines": [TRACE]}]
    assert drawn["json"]["images"] == ["primary.path.png", "png"]
    pixels = np.array(Image.open(io.BytesIO(plain)))
    draw_lines(pixels, [TRACE], (0, 255, 255), 2, antialiased=True)
    assert (np.array(Image.open(io.BytesIO(drawn["primary.path.png"]))) == pixels).all()


def test_chunks_are_lists_of_strings(built: dict[tuple[str, int], Json]) -> None:
    """molmoact.chunk: past the end the last action again."""
    chunks = [by_ids(action(built["reason", step]["json"])) for step in range(3)]
    assert chunks == [f"[[{FIRST}], [{SECOND}]]", f"[[{SECOND}], [{THIRD}]]", f"[[{THIRD}], [{THIRD}]]"]


def normalised(actions: list[list[float]], q01: list[float], q99: list[float]) -> list[list[float]]:
    """Their normalisation by a tokenizer of floats, whose gripper is 1 - g."""
    dims = [
        Dim(f"d{n}", low, high) if low < high else Dim(f"d{n}", low - 1, high + 1, constant=True)
        for n, (low, high) in enumerate(zip(q01[:6], q99[:6], strict=True))
    ]
    given = np.array(actions, np.float32)
    given[:, 6] = 1 - given[:, 6]
    tokenizer = ActionTokenizer.from_pretrained("float-openvla").with_dims([*dims, Dim("gripper", -1.0, 1.0)])
    out: list[list[float]] = float_normaliser(tokenizer).normalise(given).astype(np.float32).tolist()
    return out


def test_normalisation() -> None:
    """molmoact.normalise."""
    assert normalised(ACTIONS, Q01, Q99) == NORMALISED


def points(given: Json) -> str:
    every = [Point(x, y, given["label"]) for x, y in given["points"]]
    return GroundingTokenizer.from_pretrained("molmo").format(every, given.get("wh", (1, 1)))


def test_points() -> None:
    """molmo.points, molmo.no_points."""
    one = {"points": [[64, 48]], "wh": [640, 480], "label": "cup"}
    assert points(one) == '<point x="10.0" y="10.0" alt="cup">cup</point>'
    several = {"points": [[600, 20], [64, 48], [64, 20]], "wh": [640, 480], "label": "cups"}
    assert (
        points(several) == '<points x1="10.0" y1="4.2" x2="10.0" y2="10.0" x3="93.8" y3="4.2" alt="cups">cups</points>'
    )
    assert points({"points": [], "label": "Cups"}) == "There are none."


def vqa(question: str, answer: str) -> list[str]:
    """A question with the prefix of its style, as Molmo's text up to the answer, and the answer."""
    kind = parse_kinds({"k": {"turns": [{"user": "vqa2: {q}"}, {"assistant": "{a}"}]}}, "", lambda _: "")[0]
    written = write_chat(fill_kind(kind, {"q": question, "a": answer}, lambda _: []), "molmo")
    (span,) = written.spans
    return [written.text[: span.start], written.text[span.start : span.end].removesuffix("<|endoftext|>")]


def test_a_question() -> None:
    """molmo.messages.vqa: of answers the most frequent."""
    assert vqa("What is it?", "cup") == [" User: vqa2: What is it? Assistant:", " cup"]


def states(values: list[str]) -> str:
    """Numbers as MolmoAct2's states; their NaN is 0, which here a state that is not known does not become."""
    dims = [Dim(f"s{n}", -1.0, 1.0) for n in range(len(values))]
    tokenizer = ActionTokenizer.from_pretrained("proprio-molmoact2").with_dims(dims)
    return str(tokenizer.format(tokenizer.encode(np.nan_to_num(np.array(values, np.float32)))))


def molmoact2_prompt(task: str, state: str, setup: str, control: str, images: int) -> str:
    """The prompt of the bundled recipe, with another setup and control mode, up to its first learned character."""
    source = read_recipe(find_recipe("molmoact2")).sources[0]
    raw = json.dumps(dict(source.kinds[0].resolved))
    raw = raw.replace("single widowx arm", setup).replace("delta end-effector pose<", f"{control}<")
    kind = parse_kinds({"act": json.loads(raw)}, "", lambda _: "")[0]
    values = {"instruction": task, "state": state, "action": "ACTION"}
    written = write_chat(fill_kind(kind, values, lambda _: ["jpg", "secondary.jpg"][:images]), "molmoact2")
    (span,) = written.spans
    assert written.text[span.start :] == "ACTION<|im_end|>"
    return written.text[: span.start]


def test_molmoact2_prompt() -> None:
    """molmoact2.prompt, molmoact2.state_string."""
    state = "<state_start><state_0><state_128><state_255><state_end>"
    mode = "delta end-effector pose"
    assert molmoact2_prompt("pick up the cup", state, "single franka arm", mode, 2) == (
        "Image 1<|image|>Image 2<|image|><|im_start|>user\nThe task is to pick up the cup. The setup is <setup_start>"
        f"single franka arm<setup_end>. The current state of the robot is {state}. The expected control mode is "
        "<control_start>delta end-effector pose<control_end>. Given these, what action should the robot take to "
        "complete the task?"
        "<|im_end|>\n<|im_start|>assistant\n<action_output>"
    )
    assert "user" in molmoact2_prompt("x", state, "one", mode, 1).removeprefix("<|image|><|im_start|>")
    given = ["-1.5", "-1.0", "-0.5", "0.0", "0.001960784", "0.5", "1.0", "nan"]
    assert states(given) == "<state_start>" + "".join(f"<state_{n}>" for n in (0, 0, 64, 128, 128, 191, 255, 128)) + (
        "<state_end>"
    )


def molmoact2_action(ids: list[int]) -> str:
    """FAST ids as text, read back: of a tokenizer whose ids from 256 on are pairs of letters."""
    pairs = [[a, b] for a in range(40, 90) for b in range(40, 90)][: max(0, max(ids) - 255)]
    raw = ActionTokenizer.from_pretrained("molmoact2").to_dict()
    raw["options"] = raw["options"] | {"merges": pairs}
    codes = sum(1 if one < 256 else 2 for one in ids)
    raw |= {"horizon": codes, "dims": raw["dims"][:1]}
    tokenizer = ActionTokenizer.from_dict(raw)
    text = "<action_start>" + "".join(f"<action_{one}>" for one in ids) + "<action_end>"
    return str(tokenizer.format(tokenizer.parse(text)))


def test_molmoact2_action() -> None:
    """molmoact2.action_string."""
    assert molmoact2_action([3, 17, 2047]) == "<action_start><action_3><action_17><action_2047><action_end>"


def check(golden: Json, built: dict[tuple[str, int], Json]) -> None:
    name, given, wanted = golden["id"], golden["input"], golden["output"]
    if name.startswith("molmoact.sample"):
        for one in wanted if isinstance(wanted, list) else [wanted]:
            found = [
                s["json"]
                for s in built.values()
                if said(s["json"])[1].replace(action(s["json"]), CHUNK) == one["answers"]
            ]
            assert found, one["answers"]
            assert one.get("question") in (None, *(said(sample)[0] for sample in found))
            if one["annotation"]:
                assert one["annotation"] in [lines for s in found for d in s["drawn"] for lines in d["lines"]]
    elif name == "molmoact.normalise":
        assert normalised(given["actions"], given["q01"], given["q99"]) == wanted
    elif name == "molmoact.chunk":
        assert [by_ids(action(built["reason", step]["json"])) for step in range(3)] == wanted
    elif name in ("molmo.points", "molmo.no_points"):
        cases = given if isinstance(given, list) else [given]
        assert [points(case) for case in cases] == (wanted if isinstance(wanted, list) else [wanted])
    elif name.startswith("molmo.messages"):
        example = given["example"]
        assert vqa(example["question"], max(example["answers"], key=example["answers"].count)) == wanted
    elif name == "molmoact2.state_string":
        assert states(given["state"]) == wanted
    elif name == "molmoact2.prompt":
        own = (given[key] for key in ("task", "discrete_state_string", "setup_type", "control_mode", "num_images"))
        assert molmoact2_prompt(*own) == wanted
    elif name == "molmoact2.action_string":
        assert molmoact2_action(given["fast_ids"]) == wanted
    else:
        raise AssertionError(name)


def test_every_golden(built: dict[tuple[str, int], Json]) -> None:
    goldens = [one for one in read_goldens("recipes.json")["goldens"] if one["id"].startswith("molmo")]
    assert {one["id"] for one in goldens} >= set(IDS)
    for golden in goldens:
        check(golden, built)


def test_molmoact2_builds(tmp_path: Path, build: Callable[..., Json]) -> None:
    small_corpora.write_bridge(tmp_path, [small_corpora.episode(n) for n in range(4)], shards=1)
    recipe = tmp_path / "small.yaml"
    recipe.write_text("name: small\ninclude: molmoact2\nsplits: {train: [train]}\n")
    build(recipe, tmp_path / "out", data_root=tmp_path)
    report = verify(tmp_path / "out")
    assert report.ok, report.text()
    sample = next(one["json"] for one in builds.samples(tmp_path / "out"))
    asked, answer = said(sample)
    assert re.search(r"is <state_start>(<state_\d+>){7}<state_end>\.", asked)
    assert re.fullmatch(r"<action_output><action_start>(<action_\d+>)+<action_end>", answer)
    assert [span["loss"] for span in sample["messages"][1]["spans"]] == ["action"]
