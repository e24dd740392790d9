"""Several wordings of one instruction: the recipe's field ``instructions`` takes the first, all, or draws one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import lerobot_files, reworded, small_corpora
from support.damaged_mixtures import edit_sample, failing
from support.filtered_corpora import recipe, samples
from support.reworded import POOLS, STEPS

from rt2data.errors import Rt2dataError
from rt2data.recipes import recipe as recipes
from rt2data.verify import verify

Build = Callable[..., dict[str, Any]]

FIRST = ["put it in the bowl", "open the drawer", "wipe the table", "push the button", "lift the can",
         "close the drawer"]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `reworded.write`; not to be changed."""
    root = tmp_path_factory.mktemp("reworded")
    reworded.write(root)
    return root


@pytest.fixture
def made(data: Path, tmp_path: Path, build: Build) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Build a mixture of the dataset, and verify it."""

    def run(instructions: str | None, name: str = "r", more: dict[str, Any] | None = None, **source: Any) -> Any:
        rule = {"source": str(data / "mine.yaml")} | ({"instructions": instructions} if instructions else {}) | source
        path = recipe(tmp_path, rule, name=name, **({"cameras": ["primary"]} | (more or {})))
        manifest = build(path, tmp_path / name, data_root=data, work=tmp_path / "work")
        report = verify(tmp_path / name)
        assert report.ok, report.text()
        return tmp_path / name, manifest

    return run


def test_the_first_is_taken_where_nothing_is_said(made: Any) -> None:
    out, _ = made(None)
    assert reworded.told(samples(out)) == {(n, t): [FIRST[n]] for n in range(6) for t in range(STEPS)}
    same, _ = made("first", "named")
    assert list(small_corpora.tree(out / "train").values()) == list(small_corpora.tree(same / "train").values())


def test_all_make_samples_of_their_own(made: Any) -> None:
    out, manifest = made("all")
    every = samples(out)
    told = reworded.told(every)
    assert {place: set(texts) for place, texts in told.items()} == {
        (n, t): POOLS[n] for n in range(6) for t in range(STEPS)
    }
    assert all(texts[0] == FIRST[n] for (n, _), texts in told.items())  # variant 0
    assert {s["key"].rpartition("-")[2] for s in every} == {"v0", "v1", "v2"}
    assert manifest["sources"][0]["usable"] == {"train": STEPS * sum(map(len, POOLS))}
    assert manifest["sources"][0]["left_out"] == {}
    own = json.loads((out / "statistics.json").read_bytes())["sources"]["mine"]
    assert own["train"]["count"] == own["all"]["count"] == 6 * STEPS  # a step counts once
    assert own["train"]["mean"] == pytest.approx(reworded.mean(every), abs=1e-9)
    assert own["instructions"]["distinct"] == len(set().union(*POOLS))
    assert all(s["instruction"] in s["prompt"] for s in every)


def test_one_is_drawn_for_each_sample(made: Any, tmp_path: Path, data: Path, build: Build) -> None:
    out, _ = made("draw", more={"samples_per_shard": 7})
    told = reworded.told(samples(out))
    assert all(len(texts) == 1 and texts[0] in POOLS[n] for (n, _), texts in told.items())
    assert len(told) == 6 * STEPS
    assert len({texts[0] for (n, _), texts in told.items() if n == 0}) > 1  # drawn per sample, not per episode
    reworded.write(tmp_path / "again", shards=6)
    path = recipe(tmp_path, {"source": str(tmp_path / "again/mine.yaml"), "instructions": "draw"}, name="parts",
                  cameras=["primary"], samples_per_shard=7)  # fmt: skip
    build(path, tmp_path / "parts", data_root=tmp_path / "again", work=tmp_path / "other work")
    assert reworded.told(samples(tmp_path / "parts")) == told  # whatever the parts
    other, _ = made("draw", "seed", {"seed": 7})
    assert reworded.told(samples(other)) != told


def test_quotas_count_samples_as_they_do_for_answers(made: Any) -> None:
    out, manifest = made("all", "few", samples=11)
    assert len(samples(out)) == 11
    assert manifest["sources"][0]["left_out"] == {"not_drawn": STEPS * sum(map(len, POOLS)) - 11}
    out, _ = made("draw", "many", {"max_repeat": 9}, samples=100)
    texts: dict[str, set[str]] = {}
    for sample in samples(out):
        texts.setdefault(sample["key"].partition("-c")[0], set()).add(sample["instruction"])
    assert set(map(len, texts.values())) == {1}  # the copies of a sample are told the same


@pytest.mark.parametrize("rule", ["first", "all", "draw"])
def test_an_episode_is_held_out_by_any_of_its_paraphrases(made: Any, rule: str) -> None:
    held = {"instructions": ["Place the thing into the dish."], "objects": ["desk"]}
    out, _ = made(rule, more={"holdout": held, "splits": {"train": 1.0}})
    assert {int(s["episode"]) for s in samples(out, "holdout")} == {0, 2}
    assert {int(s["episode"]) for s in samples(out)} == {1, 3, 4, 5}


@pytest.mark.parametrize(
    ("rule", "kept"), [("first", {0, 1, 2, 3, 4, 5}), ("all", {1, 2, 3, 4, 5}), ("draw", {1, 2, 3, 4, 5})]
)
def test_a_filter_asks_all_that_the_recipe_takes(made: Any, rule: str, kept: set[int]) -> None:
    out, manifest = made(rule, filters={"instruction_words": {"max": 5}})
    assert {int(s["episode"]) for s in samples(out)} == kept
    lost = {"filter:instruction_words": STEPS} if len(kept) < 6 else {}
    assert manifest["sources"][0]["left_out"] == lost


@pytest.mark.parametrize("rule", ["all", "draw"])
@pytest.mark.parametrize(
    ("more", "source"),
    [
        ({"tokenizer": {"horizon": 3}, "history": 2}, {}),
        ({"stride": 2}, {}),
        ({"no_op": {"x": 0.02, "y": 0.02, "z": 0.02, "roll": 0.02, "pitch": 0.02, "yaw": 0.02}}, {}),
        ({}, {"plans": {"from": "template", "text": "To {instruction}", "share": 0.4}}),
        ({}, {"filters": {"duplicate_episode": False, "duplicate_image": False}}),
    ],
)  # fmt: skip
def test_with_what_else_a_recipe_asks_for(made: Any, rule: str, more: Any, source: Any) -> None:
    out, _ = made(rule, more=more, **source)
    found = samples(out)
    assert all(s["plan"] in (None, f"To {s['instruction']}") for s in found)
    assert all(s["instruction"] in POOLS[int(s["episode"])] for s in found)
    plans = sum(s["plan"] is not None for s in found)
    assert plans == (round(0.4 * len(found)) if "plans" in source else 0)


def test_verify_finds_what_paraphrases_must_not_be(made: Any, tmp_path: Path) -> None:
    def says_what_another_says(sample: dict[str, Any]) -> None:
        own, other = sample["instruction"], min(POOLS[int(sample["episode"])] - {sample["instruction"]})
        sample.update(instruction=other, prompt=sample["prompt"].replace(own, other))

    def has_another_prompt(sample: dict[str, Any]) -> None:
        sample["instruction"] = "another"

    def is_no_variant(sample: dict[str, Any]) -> None:
        sample["key"] = sample["key"].rpartition("-")[0]

    out, _ = made("all")
    for change, check in ((says_what_another_says, "texts"), (has_another_prompt, "texts"), (is_no_variant, "keys")):
        shutil.copytree(out, tmp_path / change.__name__)
        edit_sample(tmp_path / change.__name__, change)
        assert check in failing(verify(tmp_path / change.__name__)), change.__name__


def test_equal_episodes_in_other_words_are_no_duplicates_where_the_words_are_taken(
    tmp_path: Path, build: Build
) -> None:
    told = (("lift it", "take it", ""), ("lift it", "", "take it"), ("lift it", "hold it", ""))
    reworded.write(tmp_path, told, shards=1)
    episodes = tmp_path / "mine"
    assert episodes.is_dir()
    shutil.rmtree(episodes)
    one = small_corpora.episode(0, STEPS)
    original, small_corpora.episode = small_corpora.episode, lambda n, t: one | {
        "steps": dict(one["steps"]), "episode_metadata": {"file_path": "x", "episode_id": n}}  # fmt: skip
    try:
        reworded.write(tmp_path, told, shards=1)
    finally:
        small_corpora.episode = original
    for rule, kept in (("first", {0}), ("all", {0, 2})):
        source = {"source": str(tmp_path / "mine.yaml"), "instructions": rule, "filters": {"duplicate_episode": False}}
        build(recipe(tmp_path, source, name=rule, cameras=["primary"]), tmp_path / rule, data_root=tmp_path)
        assert {int(s["episode"]) for s in samples(tmp_path / rule)} == kept
        report = verify(tmp_path / rule)
        assert report.ok, report.text()


def test_the_tasks_of_a_lerobot_episode(tmp_path: Path, build: Build) -> None:
    numbers = {"task_index": lambda n, t: [0] * t if n < 2 else [i % 2 for i in range(t)]}
    folder = lerobot_files.write(tmp_path, steps=(4, 4, 4), changes=numbers)
    tasks = ("fold it", "lay it together", "make it small")
    lerobot_files.write_tasks(folder, "v2.1", tasks)
    listed = [["lay it together", "fold it", "make it small"], ["fold it"], ["fold it", "lay it together"]]
    lines = [{"episode_index": n, "tasks": names, "length": 4} for n, names in enumerate(listed)]
    lerobot_files.write_json(folder / "meta/episodes.jsonl", *lines)
    (tmp_path / "socks.yaml").write_text(json.dumps(lerobot_files.DECLARATION))
    found = {}
    for rule in ("first", "all"):
        source = {"source": str(tmp_path / "socks.yaml"), "instructions": rule}
        build(recipe(tmp_path, source, name=rule, cameras=["primary"]), tmp_path / rule, data_root=tmp_path)
        found[rule] = reworded.told(samples(tmp_path / rule))
        assert verify(tmp_path / rule).ok
    one_after_the_other = {(2, t): [tasks[t % 2]] for t in range(4)}  # steps of several tasks: no paraphrases
    assert found["first"] == {(n, t): ["fold it"] for n in (0, 1) for t in range(4)} | one_after_the_other
    assert found["all"] == (
        {(0, t): ["fold it", "lay it together", "make it small"] for t in range(4)}
        | {(1, t): ["fold it"] for t in range(4)}
        | one_after_the_other
    )


def test_the_field_belongs_to_robot_sources(tmp_path: Path) -> None:
    with pytest.raises(Rt2dataError, match='"instructions" for a vqa source; expected a robot source'):
        recipes.read_recipe(recipe(tmp_path, {"source": "vqav2", "instructions": "all"}, cameras=None))
