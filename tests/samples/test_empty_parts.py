"""Parts of which filters leave nothing, and columns in which no row has a value."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support import lerobot_files, reworded
from support.filtered_corpora import encoded, recipe, samples
from support.web_corpus import declared, write, write_tar

from rt2data import index
from rt2data.index import table as index_table
from rt2data.pipeline import indexing
from rt2data.verify import verify

Build = Callable[..., dict[str, Any]]

TOLD = (("lift it", "", ""), ("a sentence with far too many words in it", "", ""))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"duplicate_image": False},
        {"duplicate_episode": False},
        {"duplicate_image": False, "duplicate_episode": False, "contrast": {"min": 3}, "brightness": {"min": 1}},
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "sampling",
    [
        {},
        {"tokenizer": {"horizon": 2}, "history": 2},
        {"stride": 2, "no_op": {"x": 0.0001}},
        {"holdout": {"instructions": ["lift it"]}},
    ],
)
def test_a_part_that_filters_leave_empty(
    tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], sampling: dict[str, Any]
) -> None:
    monkeypatch.setattr(indexing, "SMALL_BYTES", 0)  # so that each file is a part
    told = [TOLD[n % 2] for n in range(6)]
    told[2] = ("lift that", "", "")
    reworded.write(tmp_path, tuple(told), shards=2)
    filters = {"instruction_words": {"max": 4}} | more
    path = recipe(
        tmp_path, {"source": str(tmp_path / "mine.yaml"), "filters": filters}, cameras=["primary"], **sampling
    )
    manifest = build(path, tmp_path / "out", data_root=tmp_path)
    assert manifest["sources"][0]["left_out"]["filter:instruction_words"] in (3 * reworded.STEPS, 6)
    assert {int(s["episode"]) for s in samples(tmp_path / "out")} == ({2} if "holdout" in sampling else {0, 2, 4})
    report = verify(tmp_path / "out")
    assert report.ok, report.text()


@pytest.mark.parametrize("more", [{}, {"duplicate_image": False}, {"brightness": {"min": 1}}])
def test_a_web_part_that_filters_leave_empty(tmp_path: Path, build: Build, more: dict[str, Any]) -> None:
    for split, text in (("train", "a cup"), ("val", "a caption of many, many words")):
        write(
            tmp_path / f"data/{split}.json",
            [{"id": f"{split} {n}", "text": text, "image": f"{n}.png"} for n in range(3)],
        )
    for n in range(3):
        write(tmp_path / f"data/{n}.png", encoded([[(n, 9, 200)] * 6, [(7, n, 3)] * 6], "PNG"))
    splits = {split: {"annotations": [f"{split}.json"]} for split in ("train", "val")}
    toy = declared(tmp_path, fields={"id": "id", "captions": "text", "image": "image"}, splits=splits)
    source = {"source": str(toy), "filters": {"caption_words": {"max": 3}} | more,
              "splits": {"train": ["train"], "val": ["val"]}}  # fmt: skip
    manifest = build(recipe(tmp_path, source), tmp_path / "out", data_root=tmp_path)
    assert manifest["sources"][0]["samples"] == {"train": 3, "val": 0}
    assert manifest["sources"][0]["left_out"] == {"filter:caption_words": 3}


def test_a_dictionary_holds_no_null() -> None:
    column = index_table.dictionary(pa.array([0, 2, -1, 1, 3]).to_numpy(), ["a", None, "b", None])
    assert column.to_pylist() == ["a", "b", None, None, None]
    assert column.dictionary.to_pylist() == ["a", "b"]
    none = index_table.dictionary(pa.array([0, 0]).to_numpy(), [None])
    assert pa.concat_tables([pa.table({"x": column}), pa.table({"x": none})]).unify_dictionaries().num_rows == 7


def test_no_language_in_several_files(tmp_path: Path, build: Build) -> None:
    reworded.write(tmp_path, shards=3)  # its declaration has none
    folder = lerobot_files.write(tmp_path, steps=(2,) * 10, images=True)
    assert folder.is_dir()
    socks = {key: value for key, value in lerobot_files.DECLARATION.items() if key != "language"}
    (tmp_path / "socks.yaml").write_text(json.dumps(socks))
    for n in range(3):
        write_tar(
            tmp_path / f"data/{n}.tar", [(f"{n}.txt", b"a cup"), (f"{n}.png", encoded([[(n, 0, 9)] * 4] * 4, "PNG"))]
        )
    toy = declared(tmp_path, format="webdataset", fields={"id": "$key", "captions": "txt", "image": "image"},
                   splits={"train": {"annotations": ["*.tar"]}})  # fmt: skip
    for number, name in enumerate((tmp_path / "mine.yaml", tmp_path / "socks.yaml", toy)):
        path = recipe(tmp_path, {"source": str(name)}, name=f"r{number}", cameras=["primary"])
        build(path, tmp_path / f"out{number}", data_root=tmp_path)
        assert {s["language"] for s in samples(tmp_path / f"out{number}")} == {None}
        assert verify(tmp_path / f"out{number}").ok


def test_an_index_of_no_row_joins_others() -> None:
    empty = pa.table({"x": index.dictionary(pa.array([], pa.int32()).to_numpy(), [])})
    some = pa.table({"x": index.dictionary(pa.array([0], pa.int32()).to_numpy(), ["a"])})
    assert pa.concat_tables([empty, some, empty]).unify_dictionaries().column("x").to_pylist() == ["a"]
