"""Every layout in which RLDS sets are published, in both containers: each through the index of a part."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support import small_corpora

from rt2data import index, sources
from rt2data.declarations import declaration
from rt2data.errors import Rt2dataError
from rt2data.rlds.writer import ImageSpec, RaggedSpec, TensorSpec, TextSpec, write_rlds

DECLARED: dict[str, Any] = {
    "name": "toy",
    "id": "toy",
    "kind": "robot",
    "format": "rlds",
    "licence": "none",
    "cameras": {"primary": {"field": "steps/image"}},
    "instruction": "steps/text",
    "action": {
        "dims": ["x", "y", "z"],
        "kind": "displacement",
        "frame": "base",
        "unit": "m_rad",
        "terms": [{"field": "steps/action", "to": ["x", "y", "z"]}],
    },
    "terminate": "last_step",
    "valid_action": "all",
}
FORMATS = pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])


@pytest.fixture(autouse=True)
def _package(request: pytest.FixtureRequest) -> None:
    if request.node.callspec.params["file_format"] == "array_record":
        pytest.importorskip("array_record")


def episode(number: int, **changes: Any) -> dict[str, Any]:
    steps = 2 + number
    action = np.random.default_rng(number).normal(size=(steps, 3)).astype(np.float32)
    inner = {
        "image": [small_corpora.picture(10 * number + t) for t in range(steps)],
        "text": ["go"] * steps,
        "action": action,
    }
    return {"steps": inner | changes}


def write(
    root: Path,
    episodes: list[dict[str, Any]],
    file_format: Any,
    *,
    shards: int = 1,
    version: str = "1.0.0",
    **more: Any,
) -> Path:
    steps = {"image": ImageSpec((12, 16, 3), "jpeg"), "text": TextSpec(), "action": TensorSpec((3,), "float32")} | more
    return write_rlds(
        root, name="toy", version=version, features={"steps": steps}, splits={"train": episodes},
        shards={"train": shards}, file_format=file_format,
    )  # fmt: skip


def opened(root: Path, **changes: Any) -> Any:
    (root / "toy.yaml").write_text(yaml.safe_dump(DECLARED | changes))
    source = sources.open_source(declaration.read_declaration(root / "toy.yaml"), root)
    source.blob_folder = root / "work" / "blobs"
    return source


def rows(source: Any, split: str = "train") -> list[dict[str, Any]]:
    """The rows of a split, each with its picture's bytes as ``picture`` and why it is left out as ``why``."""
    found = []
    for part in source.parts(split):
        for row in source.index(part, check="header").to_pylist():
            file = row["primary.file"]
            path = source.blob_folder / file.removeprefix("blob:") if file.startswith("blob:") else source.root / file
            data = path.read_bytes()[row["primary.offset"] :][: row["primary.length"]]
            why = index.REASONS[row["reject"]] or index.REASONS[row["primary.state"]]
            found.append(row | {"picture": data, "why": why})
    return found


def check(found: list[dict[str, Any]], episodes: list[dict[str, Any]]) -> None:
    """The rows are those of the episodes, in whatever order of episodes."""
    want = [
        (tuple(action.tolist()), picture, text)
        for e in episodes
        for action, picture, text in zip(e["steps"]["action"], e["steps"]["image"], e["steps"]["text"], strict=True)
    ]
    assert Counter((tuple(r["action"]), r["picture"], r["instruction"]) for r in found) == Counter(want)
    assert all(r["why"] == "" for r in found)


@FORMATS
@pytest.mark.parametrize("shards", [1, 3])
def test_sharded_and_single(tmp_path: Path, file_format: str, shards: int) -> None:
    episodes = [episode(n) for n in range(7)]
    folder = write(tmp_path, episodes, file_format, shards=shards)
    assert len(list(folder.glob(f"*.{file_format}-*"))) == shards
    source = opened(tmp_path)
    assert (source.splits(), len(source.parts("train"))) == ({"train": 7}, shards)
    check(rows(source), episodes)


@FORMATS
@pytest.mark.parametrize("single", ["{DATASET}-{SPLIT}.{FILEFORMAT}", "{SPLIT}.{FILEFORMAT}"])
def test_a_single_file_with_a_template_of_its_own(tmp_path: Path, file_format: str, single: str) -> None:
    episodes = [episode(n) for n in range(3)]
    folder = write(tmp_path, episodes, file_format)
    info = json.loads((folder / "dataset_info.json").read_bytes())
    info["splits"][0]["filepathTemplate"] = single
    small_corpora.write_json(folder / "dataset_info.json", info)
    name = single.replace("{DATASET}", "toy").replace("{SPLIT}", "train").replace("{FILEFORMAT}", file_format)
    next(folder.glob("*-00000-of-00001")).rename(folder / name)
    check(rows(opened(tmp_path)), episodes)


@FORMATS
def test_several_versions(tmp_path: Path, file_format: str) -> None:
    every = {}
    for number, version in enumerate(("0.1.0", "0.10.0", "0.2.0")):
        every[version] = [episode(number)]
        write(tmp_path, every[version], file_format, version=version)
    check(rows(opened(tmp_path)), every["0.10.0"])
    check(rows(opened(tmp_path, versions=["0.2.0", "0.1.0"])), every["0.2.0"])
    check(rows(opened(tmp_path, paths=["toy/0.1.0"])), every["0.1.0"])


@FORMATS
@pytest.mark.parametrize(
    "gone", ["fileFormat", "version", "numBytes", "shardLengths", "filepathTemplate", "citation", "every"]
)
def test_fields_that_dataset_info_lacks(tmp_path: Path, file_format: str, gone: str) -> None:
    episodes = [episode(n) for n in range(5)]
    folder = write(tmp_path, episodes, file_format, shards=2)
    info = json.loads((folder / "dataset_info.json").read_bytes())
    keep = {"name", "splits"} if gone == "every" else {*info} - {gone}
    inner = {"name"} if gone == "every" else {"name", "numBytes", "shardLengths", "filepathTemplate"} - {gone}
    info = {key: value for key, value in info.items() if key in keep}
    info["splits"] = [{key: value for key, value in split.items() if key in inner} for split in info["splits"]]
    small_corpora.write_json(folder / "dataset_info.json", info)
    source = opened(tmp_path)
    assert source.splits() == {"train": 5}
    assert source.estimate("train", ["primary"])[0] == pytest.approx(sum(2 + n for n in range(5)), rel=0.5)
    check(rows(source), episodes)


@FORMATS
@pytest.mark.parametrize("gone", ["name", "dataset_info.json", "features.json"])
def test_what_cannot_be_missing(tmp_path: Path, file_format: str, gone: str) -> None:
    folder = write(tmp_path, [episode(0)], file_format)
    if gone == "name":
        info = json.loads((folder / "dataset_info.json").read_bytes())
        del info["name"]
        small_corpora.write_json(folder / "dataset_info.json", info)
    else:
        (folder / gone).unlink()
    with pytest.raises(Rt2dataError, match=gone):
        opened(tmp_path)


@FORMATS
@pytest.mark.parametrize("encoding", ["zlib", "bytes", "none"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_encoded_tensors(tmp_path: Path, file_format: str, encoding: Any, dtype: str) -> None:
    episodes = [episode(n) for n in range(3)]
    written = [{"steps": e["steps"] | {"action": e["steps"]["action"].astype(dtype)}} for e in episodes]
    write(tmp_path, written, file_format, action=TensorSpec((3,), dtype, encoding))
    check(rows(opened(tmp_path)), episodes)


@FORMATS
@pytest.mark.parametrize("stated", ["jpeg", "png"])
def test_pictures_are_what_their_bytes_say(tmp_path: Path, file_format: str, stated: Any) -> None:
    """JPEG and PNG, and each of them under the other's name."""
    pictures = [small_corpora.picture(n, kind) for n, kind in enumerate(("JPEG", "PNG"))]
    episodes = [episode(0, image=pictures)]
    write(tmp_path, episodes, file_format, image=ImageSpec((12, 16, 3), stated))
    found = rows(opened(tmp_path))
    check(found, episodes)
    assert [row["primary.format"] for row in found] == [0, 1]


@FORMATS
def test_pictures_whose_size_is_not_declared(tmp_path: Path, file_format: str) -> None:
    sizes = [(16, 12), (24, 8)]
    episodes = [episode(0, image=[small_corpora.picture(n, size=size) for n, size in enumerate(sizes)])]
    write(tmp_path, episodes, file_format, image=ImageSpec((None, None, 3), "jpeg"))
    found = rows(opened(tmp_path))
    check(found, episodes)
    assert [(row["primary.width"], row["primary.height"]) for row in found] == sizes


@FORMATS
def test_pictures_that_are_empty(tmp_path: Path, file_format: str) -> None:
    """Cameras that an episode lacks are empty bytes; the rows are counted, those around them keep their pictures."""
    episodes = [episode(1, image=[b"", small_corpora.picture(1), b""]), episode(2, image=[b""] * 4), episode(3)]
    write(tmp_path, episodes, file_format)
    found = rows(opened(tmp_path))
    assert [row["why"] for row in found] == ["empty_image", "", *["empty_image"] * 5, *[""] * 5]
    assert [row["picture"] for row in found] == [p for e in episodes for p in e["steps"]["image"]]


@FORMATS
def test_flags_of_pictures_that_lie(tmp_path: Path, file_format: str) -> None:
    """Bridge: ``has_image_*`` false everywhere, though the pictures are real. They count by their bytes."""
    flag = {f"has_{name}": TensorSpec((), "bool") for name in small_corpora.CAMERAS}
    features = small_corpora.FEATURES | {"episode_metadata": small_corpora.FEATURES["episode_metadata"] | flag}
    episodes = [small_corpora.episode(n) for n in range(3)]
    for one in episodes:
        one["episode_metadata"] |= dict.fromkeys(flag, False)
    write_rlds(
        tmp_path, name="bridge_dataset", version="1.0.0", features=features, splits={"train": episodes},
        file_format=file_format,  # type: ignore[arg-type]
    )  # fmt: skip
    source = sources.open_source(declaration.find_declaration("bridge"), tmp_path)
    (part,) = source.parts("train")
    found = source.index(part, check="header")
    assert found.num_rows == sum(3 + n for n in range(3))
    for camera in ("primary", "secondary", "tertiary"):
        assert not index.numbers(found, f"{camera}.state").any()


@FORMATS
@pytest.mark.parametrize("texts", [["", "", ""], ["go", "", " "], [b"el caf\xe9", "go", b"\xff\xfe"]])
def test_steps_without_language(tmp_path: Path, file_format: str, texts: list[Any]) -> None:
    write(tmp_path, [episode(1, text=texts), episode(2)], file_format)
    found = rows(opened(tmp_path))
    said = [bool(text.strip()) and text != b"\xff\xfe" for text in texts]  # the mark of UTF-16 alone says nothing
    assert [row["why"] for row in found] == ["" if s else "no_instruction" for s in said] + [""] * 4
    assert all((row["instruction"] is None) == (row["why"] != "") for row in found)


@FORMATS
def test_a_dataset_without_a_text_at_all(tmp_path: Path, file_format: str) -> None:
    write(tmp_path, [episode(1)], file_format)
    assert {row["why"] for row in rows(opened(tmp_path, instruction="none"))} == {"no_instruction"}
    named = {"text": "wipe the table", "evidence": "all of it shows one task"}
    assert {row["instruction"] for row in rows(opened(tmp_path, instruction=named))} == {"wipe the table"}


@FORMATS
def test_what_stands_beside_the_fields_that_are_read(tmp_path: Path, file_format: str) -> None:
    """Sequences in the steps, further pictures, integers: stepped over."""
    more = {
        "boxes": RaggedSpec((4,), "float32"),
        "other": ImageSpec((None, None, 3), "png"),
        "count": TensorSpec((), "int64"),
    }
    episodes = []
    for n in range(3):
        one = episode(n)
        steps = len(one["steps"]["text"])
        beside = {
            "boxes": [np.zeros((k % 3, 4), np.float32) for k in range(steps)],
            "other": [small_corpora.picture(k, "PNG") for k in range(steps)],
            "count": np.arange(steps),
        }
        episodes.append({"steps": one["steps"] | beside})
    write(tmp_path, episodes, file_format, **more)
    check(rows(opened(tmp_path)), episodes)
