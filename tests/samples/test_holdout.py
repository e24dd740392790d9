"""What a recipe holds out makes a split of its own and is in no other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import small_corpora
from support.filtered_corpora import BRIDGE, recipe, samples, toy
from support.web_corpus import declared, write

from rt2data import cli
from rt2data.errors import Rt2dataError
from rt2data.pipeline import build as flow
from rt2data.recipes import holdout
from rt2data.recipes import recipe as recipes
from rt2data.samples import groups
from rt2data.samples import holdout as row_holdout
from rt2data.sources.robot.rlds_tfrecord import Rlds
from rt2data.verify import conditions, verify

Build = Callable[..., dict[str, Any]]
SPLITS = {"train": 0.7, "val": 0.3}


def episodes(out: Path, split: str) -> set[int]:
    return {int(s["episode"].rpartition(":")[2]) for s in samples(out, split) if s["kind"] == "robot"}


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ({"instructions": ["put the POT on  the stove"]}, {0, 4, 8}),
        ({"objects": ["pot"]}, {0, 4, 8}),
        ({"objects": ["Usb Stick"]}, {1, 5, 9}),
        ({"objects": ["方块", "it"]}, {2, 3, 6, 7, 10, 11}),
        ({"episodes": {"bridge_dataset": ["/data/3/out.npy:7", "/data/0/out.npy:0"]}}, {0, 7}),
        ({"objects": ["stick"], "episodes": {BRIDGE: ["/data/3/out.npy:7"]}, "split": "unseen"}, {1, 5, 7, 9}),
    ],
)  # fmt: skip
def test_robot_episodes(corpora: Path, tmp_path: Path, build: Build, held: dict[str, Any], wanted: set[int]) -> None:
    path = recipe(tmp_path, {"source": BRIDGE}, splits=SPLITS, holdout=held)
    made = build(path, tmp_path / "out", data_root=corpora)
    name = held.get("split", "holdout")
    assert list(made["splits"]) == ["train", "val", name]
    assert episodes(tmp_path / "out", name) == wanted
    others = [episodes(tmp_path / "out", split) for split in ("train", "val") if made["splits"][split]["samples"]]
    assert set().union(*others) == set(range(12)) - wanted
    assert made["splits"][name]["samples"] == sum(3 + n % 5 for n in wanted)  # each once, whatever train repeats
    assert made["sources"][0]["left_out"] == {}
    assert made["recipe"]["holdout"] == {"split": "holdout"} | held
    report = verify(tmp_path / "out")
    assert report.ok, report.text()
    assert report["holdout"].number == sum(split["samples"] for split in made["splits"].values())


def test_no_other_object_is_meant() -> None:
    """Words count whole: a pot is no teapot, a stick in a name is none."""
    held = holdout.Holdout("holdout", (), ("pot",), (), ())
    assert not list(row_holdout._said(held, "Lift the teapot"))
    assert list(row_holdout._said(held, "lift_the_pot."))
    assert list(row_holdout._said(held, "Lift the POT, then stop"))


@pytest.mark.parametrize(
    "text", ["Put_the pot", "  Ünïcode ΣΑΣ straße ", "将红色方块推向", "カップを取る", "50% of 3.5", "a b"]
)
def test_words_are_those_of_verify(text: str) -> None:
    assert holdout.normalise_words(text) == conditions.compared_words(text)


def test_pictures_by_id_through_every_source(corpora: Path, tmp_path: Path, build: Build) -> None:
    """A picture that is held out is so through both sources of its namespace."""
    held = {"pictures": ["coco:3", "coco:7"]}
    path = recipe(tmp_path, {"source": "vqav2"}, {"source": "coco_captions"}, splits=SPLITS, holdout=held)
    made = build(path, tmp_path / "out", data_root=corpora)
    found = samples(tmp_path / "out", "holdout")
    assert {s["example"] for s in found if s["kind"] == "caption"} == {"3", "7"}
    asked = {str(100 + n) for n in range(24) if 1 + n % 10 in (3, 7)}
    assert {s["example"] for s in found if s["kind"] == "vqa"} == asked
    assert made["splits"]["holdout"]["samples"] == len(found) == 4 + 5
    report = verify(tmp_path / "out")
    assert report.ok, report.text()


def test_pictures_by_content(tmp_path: Path, build: Build) -> None:
    toy(tmp_path, "one", ["a.jpg", "b.jpg", "c.jpg"])
    for n, name in enumerate("abc"):
        write(tmp_path / "one" / f"{name}.jpg", small_corpora.picture(n))
    digest = hashlib.blake2b(small_corpora.picture(1), digest_size=20).hexdigest()
    path = recipe(tmp_path, {"source": "one.yaml"}, holdout={"pictures": [digest]})
    build(path, tmp_path / "out", data_root=tmp_path)
    assert [s["target"] for s in samples(tmp_path / "out", "holdout")] == ["one 1"]
    assert verify(tmp_path / "out").ok


def test_an_episode_with_one_step_held_out_is_held_out(tmp_path: Path, build: Build) -> None:
    said = small_corpora.episode(1, steps=4, language_instruction=["go", "go", "take the cup", "go"])
    small_corpora.write_bridge(tmp_path / "data", [small_corpora.episode(0), said, small_corpora.episode(2)], shards=1)
    path = recipe(tmp_path, {"source": BRIDGE}, holdout={"objects": ["cup"]})
    build(path, tmp_path / "out", data_root=tmp_path / "data")
    assert len(samples(tmp_path / "out", "holdout")) == 4
    assert episodes(tmp_path / "out", "train") == {0, 2}
    assert verify(tmp_path / "out").ok


def test_groups_that_cut_an_episode(tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exchange tasks see slices of a part; a slice without the step that is held out knows of it all the same."""

    said = small_corpora.episode(1, steps=4, language_instruction=["go", "go", "go", "take the cup"])
    small_corpora.write_bridge(tmp_path / "data", [small_corpora.episode(0), said, small_corpora.episode(2)], shards=1)
    path = recipe(tmp_path, {"source": BRIDGE}, holdout={"objects": ["cup"]})
    build(path, tmp_path / "a", data_root=tmp_path / "data")
    monkeypatch.setattr(groups, "GROUP_ROWS", 2)
    build(path, tmp_path / "b", data_root=tmp_path / "data")
    assert small_corpora.tree(tmp_path / "a") == small_corpora.tree(tmp_path / "b")


def test_a_duplicate_of_what_is_held_out_leaves_train(tmp_path: Path, build: Build) -> None:
    one = small_corpora.episode(5)
    again = one | {"episode_metadata": {"file_path": "/again", "episode_id": 1}}
    small_corpora.write_bridge(tmp_path / "data", [again, small_corpora.episode(0), one], shards=1)
    rules = {"duplicate_episode": False}
    held = {"episodes": {BRIDGE: ["/data/2/out.npy:5"]}}
    path = recipe(tmp_path, {"source": BRIDGE, "filters": rules}, holdout=held)
    made = build(path, tmp_path / "out", data_root=tmp_path / "data")
    assert made["sources"][0]["left_out"] == {"filter:duplicate_episode": 3}
    assert episodes(tmp_path / "out", "holdout") == {5}
    assert episodes(tmp_path / "out", "train") == {0}


def test_the_same_bytes_for_workers_and_orders_of_parts(
    corpora: Path, tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = {"objects": ["pot"], "pictures": ["coco:3"]}
    path = recipe(tmp_path, {"source": BRIDGE}, {"source": "vqav2"}, splits=SPLITS, holdout=held)
    build(path, tmp_path / "a", data_root=corpora)
    flow.build(path, tmp_path / "b", data_root=corpora, workers=1, progress=False)
    assert small_corpora.tree(tmp_path / "a") == small_corpora.tree(tmp_path / "b")
    forward = Rlds.parts  # type: ignore[attr-defined]
    monkeypatch.setattr(Rlds, "parts", lambda self, split: forward(self, split)[::-1])  # type: ignore[attr-defined]
    build(path, tmp_path / "c", data_root=corpora)
    assert small_corpora.tree(tmp_path / "a") == small_corpora.tree(tmp_path / "c")


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({}, "holdout"),
        ({"split": "unseen"}, "holdout"),
        ({"split": "val", "objects": ["pot"]}, '"val" is also a split of the sources; expected a name of its own'),
        ({"episodes": {"brigde": ["x"]}}, "expected one of the recipe's robot sources: bridge_dataset. Did you mean"),
        ({"pictures": ["3"]}, 'the picture "3"; expected coco:ID'),
        ({"pictures": ["cocoa:3"]}, 'the picture "cocoa:3"; expected coco:ID'),
        ({"objects": ["..."]}, '"..." among the objects; expected texts with a letter or digit in them'),
        ({"object": ["pot"]}, 'unknown field "object"'),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, held: dict[str, Any], message: str) -> None:
    path = recipe(tmp_path, {"source": BRIDGE}, {"source": "vqav2"}, splits=SPLITS, holdout=held)
    with pytest.raises(Rt2dataError) as caught:
        recipes.read_recipe(path)
    assert message in str(caught.value)


def test_what_is_nowhere_in_the_data_stops_the_plan(
    corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = {
        "objects": ["pot", "kettle"], "instructions": ["Move it", "sing"], "pictures": ["coco:3", "coco:999"],
        "episodes": {BRIDGE: ["/data/0/out.npy:0", "/data/0/out.npy:77"]},
    }  # fmt: skip
    path = recipe(tmp_path, {"source": BRIDGE}, {"source": "vqav2"}, splits=SPLITS, holdout=held)
    common = ["plan", str(path), "--data-root", str(corpora), "--work", str(tmp_path / "work")]
    assert cli.main([*common, "--index"]) == 2
    message = 'holdout: no data for "sing", "kettle", "bridge_dataset /data/0/out.npy:77", "coco:999"; expected'
    assert message in capsys.readouterr().err


def test_instructions_need_a_robot_source(tmp_path: Path) -> None:
    declared(tmp_path, fields={"id": "id", "captions": "text"}, images=["{id}.jpg"])
    path = recipe(tmp_path, {"source": "toy.yaml"}, holdout={"objects": ["pot"]})
    with pytest.raises(Rt2dataError, match="objects in a recipe without a robot source; expected pictures"):
        recipes.read_recipe(path)


def test_a_recipe_keeps_its_holdout_through_an_include(corpora: Path, tmp_path: Path, build: Build) -> None:
    recipe(tmp_path, {"source": BRIDGE}, splits=SPLITS, holdout={"objects": ["pot"]}, name="base")
    path = tmp_path / "over.yaml"
    path.write_text(json.dumps({"name": "over", "include": "base.yaml", "seed": 3}))
    assert build(path, tmp_path / "out", data_root=corpora)["splits"]["holdout"]["samples"]
