"""What a plan says of values: ranges, constants, impossible magnitudes, grippers; and nothing where all is well."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support import builds, small_corpora

from rt2data import cli
from rt2data.declarations import declaration
from rt2data.pipeline import estimate
from rt2data.plan import text as plan_text
from rt2data.plan.plan import Plan
from rt2data.recipes import recipe
from rt2data.tokenizer import ActionTokenizer
from rt2data.verify import verify

Change = Callable[[int, Any, Any], None]
"""Changes an episode's number, its actions (T, 7) and its states (T, 7) in place."""

BRIDGE: dict[str, Any] = {"source": "bridge_dataset"}
OUTSIDE = "0 to 1 (0 = closed, 1 = open) in 50.0 % of the train steps, from {}; 50.0 % are clipped"


def planned(folder: Path, change: Change, count: int = 6, **changes: Any) -> tuple[list[str], Plan]:
    """What the exact plan says of the values of some episodes, and the plan."""
    write(folder, change, count, **changes)
    parsed = recipe.read_recipe(folder / "small.yaml")
    plan = estimate.make(parsed, folder, folder / "work", index=True, check=False)
    text = " ".join(plan_text.plan_text(parsed, plan).split())
    for note in plan.sources[0].value_notes:
        assert f"note: bridge_dataset: {note}" in text
    return plan.sources[0].value_notes, plan


def write(folder: Path, change: Change, count: int = 6, **changes: Any) -> None:
    episodes = [small_corpora.episode(number, 10) for number in range(count)]
    for number, episode in enumerate(episodes):
        steps = episode["steps"]
        steps["action"][:, 6] = np.arange(10) < 5
        change(number, steps["action"], steps["observation"]["state"])
    small_corpora.write_bridge(folder, episodes, shards=2)
    options = {"cameras": ["primary"], "splits": None, "sources": [BRIDGE]} | changes
    small_corpora.write_recipe(folder / "small.yaml", **options)


def nothing(number: int, action: Any, state: Any) -> None:
    pass


def test_nothing_is_said_where_all_is_well(tmp_path: Path) -> None:
    assert planned(tmp_path, nothing)[0] == []


def percent(number: int, action: Any, state: Any) -> None:
    action[:, 6] *= 100


def minus_one_to_one(number: int, action: Any, state: Any) -> None:
    action[:, 6] = 2 * action[:, 6] - 1


def metres_of_width(number: int, action: Any, state: Any) -> None:
    action[:, 6] *= 0.08


def always_open(number: int, action: Any, state: Any) -> None:
    action[:, 6] = 1


def slightly_over(number: int, action: Any, state: Any) -> None:
    action[:, 6] = np.where(action[:, 6] > 0, 1.004, -0.002)


def fast(number: int, action: Any, state: Any) -> None:
    action[number, 2] = 3e38 if number == 4 else action[number, 2]
    action[5, 4] = 7 if number >= 2 else action[5, 4]


def too_large_for_float32(number: int, action: Any, state: Any) -> None:
    action[3, 0] = np.inf


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (percent, "gripper is outside " + OUTSIDE.format("0 to 100")),
        (minus_one_to_one, "gripper is outside " + OUTSIDE.format("-1 to 1")),
        (metres_of_width, "gripper never opens: its openness (0 = closed, 1 = open) goes from 0 to 0.08"),
        (always_open, "gripper never closes: its openness (0 = closed, 1 = open) is 1 in every step"),
        (slightly_over, None),
        (too_large_for_float32, None),
    ],
)
def test_a_gripper_is_openness(change: Change, said: str | None, tmp_path: Path) -> None:
    assert planned(tmp_path, change)[0] == ([said] if said else [])


def test_impossible_values_are_named_with_how_many_and_where(tmp_path: Path) -> None:
    notes, plan = planned(tmp_path, fast)
    z, pitch = notes
    assert z == "z is outside -3 to 3 m in 1 step, which is not possible: 3e+38 in episode /data/2/out.npy:4, step 4"
    assert pitch.startswith("pitch is outside -3.152 to 3.152 rad in 4 steps, which is not possible: ")
    assert pitch.endswith("7 in episode /data/1/out.npy:2, step 5")
    assert not plan.sources[0].left_out


def test_impossible_values_in_steps_that_are_left_out_are_not_named(tmp_path: Path) -> None:
    """Here by a filter: of episodes of 9 steps, none is a sample."""
    episodes = [small_corpora.episode(number, 9 if number == 2 else 10) for number in range(6)]
    episodes[2]["steps"]["action"][3, 2] = 3e38
    small_corpora.write_bridge(tmp_path, episodes)
    for least, count in ((9, 1), (10, 0)):
        source = BRIDGE | {"filters": {"steps": {"min": least}}}
        path = small_corpora.write_recipe(tmp_path / "s.yaml", cameras=["primary"], splits=None, sources=[source])
        plan = estimate.make(recipe.read_recipe(path), tmp_path, tmp_path / "work", index=True, check=False)
        assert len(plan.sources[0].value_notes) == count


def test_fixed_bounds_that_clip_much(tmp_path: Path) -> None:
    def far(number: int, action: Any, state: Any) -> None:
        action[:3, 0] = 1.7

    said = "x is outside -1 to 1 in 30.0 % of the train steps, from "
    notes, _ = planned(tmp_path, far, tokenizer={"bounds": "fixed"})
    assert len(notes) == 1
    assert notes[0].startswith(said)
    assert notes[0].endswith("; 30.0 % are clipped")


@pytest.mark.parametrize("spec", ["float-lerobot", "float-openpi"])
def test_floats_without_a_limit_are_not_called_clipped(spec: str, tmp_path: Path) -> None:
    """The bounds of a z-score are mean - std and mean + std, so that a third of all steps lies outside."""

    def halves(number: int, action: Any, state: Any) -> None:
        action[:3, 0] = 1.7

    assert planned(tmp_path, halves, tokenizer={"spec": spec})[0] == []
    (said,) = planned(tmp_path / "gripper", lambda _, action, __: hundred(action), tokenizer={"spec": spec})[0]
    assert said.startswith("gripper is outside 0 to 1 (0 = closed, 1 = open) in 50.0 % of the train steps, from ")
    assert "clipped" not in said


def hundred(action: Any) -> None:
    action[:, 6] *= 100


def reversed_gripper(number: int, action: Any, state: Any) -> None:
    action[:, 6] = np.arange(10) >= 5


def test_a_gripper_that_opens_first_in_all_episodes(tmp_path: Path) -> None:
    assert planned(tmp_path / "few", reversed_gripper, 19)[0] == []
    (note,) = planned(tmp_path / "many", reversed_gripper, 20)[0]
    assert note.startswith("gripper begins closed and opens first in 20 of 20 episodes in which it moves")

    def either(number: int, action: Any, state: Any) -> None:
        if number % 2:
            reversed_gripper(number, action, state)

    assert planned(tmp_path / "either", either, 24)[0] == []


def noisy(number: int, action: Any, state: Any) -> None:
    noise = np.random.default_rng(number).normal(scale=1e-8, size=(10, 2))
    action[:, 3], action[:, 4], state[:, 1] = noise[:, 0], 0.25, 0.5 + noise[:, 1]


def test_a_dimension_that_is_constant_but_for_noise_is_one_bin(
    tmp_path: Path, build: Callable[..., dict[str, Any]]
) -> None:
    """In the actions and in the states of the prompts; verify follows; the manifest keeps what was said."""
    write(tmp_path, noisy, prompts={"robot": "{instruction} {proprio}"})
    manifest = build(tmp_path / "small.yaml", tmp_path / "out", data_root=tmp_path)
    notes = manifest["sources"][0]["value_notes"]
    assert [note.partition(":")[0] for note in notes] == ["constant in train", "constant in the states of train"]
    assert "train: roll " in notes[0]
    assert "but for noise of" in notes[0]
    assert notes[0].endswith(" rad, pitch 0.25")
    tokenizer = ActionTokenizer.from_pretrained(tmp_path / "out").for_source("bridge")
    assert [dim.name for dim in tokenizer.dims if dim.constant] == ["roll", "pitch"]
    bins = np.array([sample["json"]["bins"] for sample in builds.samples(tmp_path / "out")])
    assert len(np.unique(bins[:, 4])) == 1
    decoded = tokenizer.decode(bins[0]).actions
    assert abs(float(decoded[3])) < 1e-5
    report = verify(tmp_path / "out")
    assert report.ok, report.text()


def test_what_plan_says_is_what_build_says(tmp_path: Path, build: Callable[..., dict[str, Any]]) -> None:
    notes, plan = planned(tmp_path, percent)
    manifest = build(tmp_path / "small.yaml", tmp_path / "out", data_root=tmp_path)
    assert manifest["sources"][0]["value_notes"] == notes
    assert manifest["plan"] == plan.digest


@pytest.mark.parametrize(
    ("unit", "value", "named"),
    [("rad", 90.0, True), ("rad", 6.3, False), ("m", 3.0, False), ("tick", 4000.0, False), ("tick", 1e9, True)],
)
def test_limits_of_commanded_dimensions(unit: str, value: float, named: bool, tmp_path: Path) -> None:
    """Dimensions of one's own: joints in degrees that are declared as radians are named, a joint's full turn is not."""
    raw = {
        k: v for k, v in declaration.find_declaration("bridge").raw.items() if k not in ("compat", "aliases", "paths")
    }
    terms = [
        {"field": "steps/action", "columns": "0:6", "to": [f"j{n}" for n in range(6)]},
        {"field": "steps/action", "columns": [6], "to": ["gripper"]},
    ]
    dims = [f"j{n}" for n in range(6)]
    raw["action"] = {
        "dims": [*dims, "gripper"], "kind": "absolute", "units": dict.fromkeys(dims, unit), "terms": terms,
        "gripper": "1 = open, 0 = closed",
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(raw))

    def one(number: int, action: Any, state: Any) -> None:
        action[:, :6] *= 20
        action[2, 1] = value if number == 3 else action[2, 1]

    notes, _ = planned(tmp_path, one, sources=[{"source": "mine.yaml"}])
    assert [note.split(" in ")[0].partition(" is outside")[0] for note in notes] == (["j1"] if named else [])


def test_stats_of_a_mixture_and_of_a_dataset_say_it_too(
    tmp_path: Path, build: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, percent)
    build(tmp_path / "small.yaml", tmp_path / "out", data_root=tmp_path)
    for path in (tmp_path / "out", tmp_path / "bridge_dataset"):
        assert cli.main(["stats", str(path)]) == 0
        assert "  note: gripper is outside 0 to 1" in capsys.readouterr().out


def test_instructions_of_what_train_does_not_see_are_not_counted(
    tmp_path: Path, build: Callable[..., dict[str, Any]]
) -> None:
    """Held out, or of another split, or of an episode of which no step is a sample."""
    texts = ["MOVE it"] * 4 + ["pick the cup"] * 3 + [""]

    episodes = [small_corpora.episode(n, 4, language_instruction=[text] * 4) for n, text in enumerate(texts)]
    episodes[4]["steps"]["language_instruction"][0] = ""  # its first step has none, the others have
    small_corpora.write_bridge(tmp_path, episodes, val=[small_corpora.episode(20, 4)])
    splits = {"train": ["train"], "val": ["val"]}
    options: dict[str, Any] = {"cameras": ["primary"], "splits": None, "sources": [BRIDGE | {"splits": splits}]}
    path = small_corpora.write_recipe(tmp_path / "small.yaml", holdout={"instructions": ["move it"]}, **options)
    build(path, tmp_path / "out", data_root=tmp_path)
    own = json.loads((tmp_path / "out" / "statistics.json").read_bytes())["sources"]["bridge_dataset"]
    assert own["instructions"] == {"distinct": 1, "most_frequent": [["pick the cup", 3]]}
