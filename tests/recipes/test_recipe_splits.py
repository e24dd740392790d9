"""The field ``splits``: what is taken by default, pools, the names of train splits, and corpora that share pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.web_corpus import declared

from rt2data.declarations import declaration
from rt2data.errors import Rt2dataError
from rt2data.recipes import recipe
from rt2data.recipes.splits import Splits


def read(folder: Path, sources: list[dict[str, Any]], **fields: Any) -> recipe.Recipe:
    path = folder / "r.yaml"
    path.write_text(yaml.safe_dump({"name": "r", "sources": sources} | fields, sort_keys=False))
    return recipe.read_recipe(path)


@pytest.mark.parametrize(
    ("splits", "resolved"),
    [
        (None, {"train": ["train"]}),
        ({"train": 1}, {"from": ["train"], "train": 1.0}),
        ({"train": 0.9, "val": 0.1}, {"from": ["train"], "train": 0.9, "val": 0.1}),
        ({"train": 0.9, "from": ["val", "train"], "val": 0.1}, {"from": ["val", "train"], "train": 0.9, "val": 0.1}),
        ({"train": ["train", "val"]}, {"train": ["train", "val"]}),
        ({"val": ["val"], "train": ["train"]}, {"val": ["val"], "train": ["train"]}),
    ],
)
def test_the_resolved_recipe_names_what_is_taken(
    splits: dict[str, Any] | None, resolved: dict[str, Any], tmp_path: Path
) -> None:
    found = read(tmp_path, [{"source": "vqav2"} | ({"splits": splits} if splits else {})])
    assert found.resolved["sources"][0]["splits"] == resolved
    again = recipe.parse_recipe(found.resolved, "again")
    assert again.sources[0].splits == found.sources[0].splits
    assert again.resolved == found.resolved


def test_a_declaration_names_its_train_splits(tmp_path: Path) -> None:
    splits = {name: {"annotations": [f"{name}.json"]} for name in ("train2017", "extra2017", "val2017")}
    fields = {"id": "id", "image": "file", "captions": "text"}
    declared(tmp_path, splits=splits, train_splits=["train2017", "extra2017"], fields=fields, images=["{image}"])
    (plain,) = read(tmp_path, [{"source": "toy.yaml"}]).sources
    assert plain.splits == Splits(taken=(("train", ("train2017", "extra2017")),))
    (shared,) = read(tmp_path, [{"source": "toy.yaml"}], splits={"train": 0.5, "val": 0.5}).sources
    assert shared.splits.pool == ("train2017", "extra2017")
    declared(tmp_path, splits=splits, train_splits=["train"], fields=fields, images=["{image}"])
    with pytest.raises(Rt2dataError, match='no split "train"; expected some of train2017, extra2017, val2017'):
        read(tmp_path, [{"source": "toy.yaml"}])


def test_the_train_splits_of_a_declaration_change_no_index(tmp_path: Path) -> None:
    splits = {name: {"annotations": ["a.json"]} for name in ("a", "b")}
    fields = {"id": "id", "image": "file", "captions": "text"}
    plain, other = (
        declaration.read_declaration(declared(tmp_path, splits=splits, fields=fields, images=["{image}"], **more))
        for more in ({}, {"train_splits": ["a"]})
    )
    assert plain.digest == other.digest


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (
            {"from": ["train", "val"], "train": ["train"]},
            '"from" beside lists of dataset splits; expected "from" beside shares, or lists alone. ',
        ),
        ({"from": ["train"], "train": 0.9, "val": 0.2}, "shares that add up to 1.1; expected shares that add up to 1."),
        ({"from": ["train"], "val": 1}, '"splits" has no "train"; expected the field "train".'),
        ({"from": ["train", "train"], "train": 1}, ""),
        ({"from": [], "train": 1}, ""),
    ],
)
def test_what_is_refused(splits: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(Rt2dataError) as caught:
        read(tmp_path, [{"source": "bridge"}], splits=splits)
    assert message in str(caught.value)
    assert "r.yaml:" in str(caught.value)


VAL = {"train": ["train"], "val": ["val"]}
SHARES = {"train": 0.9, "val": 0.1}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (None, None),
        (None, {"train": 1}),
        ({"train": 1}, {"train": ["train", "val"]}),
        (SHARES, SHARES),
        (SHARES, SHARES | {"from": ["train", "val"]}),  # the hash of a picture decides, whichever split has it
        (VAL, None),  # the pictures themselves are compared when they are known
        (VAL, VAL),
    ],
)
def test_corpora_with_the_same_pictures(one: dict[str, Any] | None, two: dict[str, Any] | None, tmp_path: Path) -> None:
    sources = [
        {"source": name} | ({"splits": splits} if splits else {})
        for name, splits in (("vqav2", one), ("coco_captions", two))
    ]
    assert len(read(tmp_path, sources).sources) == 2
    assert len(read(tmp_path, sources[::-1]).sources) == 2


@pytest.mark.parametrize("other", [None, {"train": 1}, {"train": 0.8, "val": 0.2}, VAL, {"val": 0.1, "train": 0.9}])
def test_shares_beside_anything_else_are_refused(other: dict[str, Any] | None, tmp_path: Path) -> None:
    more = {"splits": other} if other else {}
    sources = [{"source": "vqav2", "splits": SHARES}, {"source": "gqa"}, {"source": "coco_captions"} | more]
    for order in (sources, sources[::-1]):
        with pytest.raises(
            Rt2dataError, match="share the pictures of coco but not the splits; expected the same shares"
        ):
            read(tmp_path, order)
