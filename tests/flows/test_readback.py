"""A built mixture, read back by what training code uses: the same samples by tarfile, webdataset, datasets and torch.

The features that `datasets` is given in the card make every member and every field the same type in each sample.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import small_corpora
from support.shard_readers import by_tarfile, plain

from rt2data import ActionTokenizer, load_manifest
from rt2data.shards import render

PICTURES = ("jpg", "png", "webp")


@pytest.mark.parametrize("split", ["train", "val"])
def test_by_webdataset(mixture: Any, split: str) -> None:
    wds = pytest.importorskip("webdataset")
    wanted = by_tarfile(mixture.out, split)
    files = [str(p) for p in sorted((mixture.out / split).glob("*.tar"))]
    found = {
        s["__key__"]: {k: v for k, v in s.items() if not k.startswith("__")}
        for s in wds.WebDataset(files, shardshuffle=False)
    }
    assert found == wanted
    assert list(found) == list(wanted)
    for picture, meta in wds.WebDataset(files, shardshuffle=False).decode("pil").to_tuple("jpg;png;webp", "json"):
        assert picture.size == (16, 12)
        assert meta["target"]


@pytest.mark.parametrize("streaming", [False, True])
def test_by_datasets_without_any_argument(
    mixture: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    read = datasets.load_dataset(str(mixture.out), streaming=streaming, cache_dir=str(tmp_path))
    assert set(read) == {"train", "val"}
    for split, rows in read.items():
        wanted = by_tarfile(mixture.out, split)
        for name in rows.column_names:
            if name.rpartition(".")[2] in PICTURES:
                rows = rows.cast_column(name, datasets.Image(decode=False))
        seen = []
        for row in rows:
            members = wanted[row["__key__"]]
            meta = json.loads(members["json"])
            assert set(row["json"]) == set(render.FIELDS) == set(meta)
            for name, value in meta.items():
                assert plain(row["json"][name]) == value, name
            for name in rows.column_names:
                if name.rpartition(".")[2] in PICTURES:
                    assert (row[name] or {}).get("bytes") == members.get(name)
            seen.append(row["__key__"])
        assert seen == list(wanted)


def test_by_datasets_decoded(mixture: Any, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    row = next(iter(datasets.load_dataset(str(mixture.out), split="train", streaming=True, cache_dir=str(tmp_path))))
    picture = next(row[name] for name in PICTURES if row[name] is not None)
    assert isinstance(picture, Image.Image)


def test_by_a_torch_loader(mixture: Any) -> None:
    torch = pytest.importorskip("torch")
    wds = pytest.importorskip("webdataset")
    files = [str(p) for p in sorted((mixture.out / "train").glob("*.tar"))]
    data = wds.WebDataset(files, shardshuffle=False).to_tuple("__key__", "json")
    keys = [key for batch in torch.utils.data.DataLoader(data, batch_size=None, num_workers=0) for key in [batch[0]]]
    assert keys == list(by_tarfile(mixture.out, "train"))


def test_every_sample_has_the_same_fields_in_the_same_order(mixture: Any) -> None:
    for members in [*by_tarfile(mixture.out, "train").values(), *by_tarfile(mixture.out, "val").values()]:
        meta = json.loads(members["json"])
        assert tuple(meta) == render.FIELDS
        assert list(members) == [*meta["images"], "json"]
        for suffix in meta["images"]:
            with Image.open(io.BytesIO(members[suffix])) as picture:
                assert {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}[str(picture.format)] == suffix.rpartition(".")[2]


def test_targets_are_the_actions_by_the_tokenizer_beside_them(mixture: Any) -> None:
    tokenizer = ActionTokenizer.from_pretrained(str(mixture.out))
    assert tokenizer.fingerprint == load_manifest(mixture.out)["tokenizer"]
    robots = [
        meta for m in by_tarfile(mixture.out, "train").values() if (meta := json.loads(m["json"]))["kind"] == "robot"
    ]
    assert robots
    for meta in robots:
        own = tokenizer.check_sample(meta)
        bins = own.encode(np.array(meta["action"], np.float32), meta["terminate"][0])
        assert own.format(bins) == meta["target"]
        decoded = own.decode(own.parse(meta["target"])).actions
        widths = np.array([(d.high - d.low) / 256 for d in own.dims])
        inside = np.array([d.low for d in own.dims]) <= meta["action"]
        inside &= np.array(meta["action"]) <= np.array([d.high for d in own.dims])
        assert (np.abs(decoded - meta["action"]) <= widths / 2 + 1e-6)[inside].all()


def test_texts_of_any_script_come_back(mixture: Any) -> None:
    every = [json.loads(m["json"]) for s in ("train", "val") for m in by_tarfile(mixture.out, s).values()]
    assert {m["instruction"] for m in every if m["kind"] == "robot"} == set(small_corpora.INSTRUCTIONS)
    assert any("将红色方块推向蓝色方块" in m["prompt"] for m in every)
    german = [m for m in every if m["language"] == "de"]
    assert german
    assert all("Würfel" in m["prompt"] and m["kind"] == "vqa" for m in german)
    assert all("да" in m["answers"] and m["target"] == "yes" for m in every if m["kind"] == "vqa")


def test_a_step_of_real_data_is_what_tfds_reads(build: Callable[..., Any], shared_data: Path, tmp_path: Path) -> None:
    """Bridge through rt2data and through TFDS's own parser: image bytes identical, action and instruction equal."""
    tfds = pytest.importorskip("tensorflow_datasets")
    recipe = small_corpora.write_recipe(
        tmp_path / "r.yaml",
        sources=[{"source": "bridge_dataset", "splits": {"train": ["val"]}, "samples": 40}],
        splits=None,
        cameras=["primary", "tertiary"],
    )
    build(recipe, tmp_path / "out", data_root=shared_data)
    wanted = {
        (meta["episode"], meta["step"]): (meta, m)
        for m in by_tarfile(tmp_path / "out", "train").values()
        for meta in [json.loads(m["json"])]
    }
    assert len(wanted) == 40
    folder = shared_data / "rlds" / "bridge_dataset" / "1.0.0"
    features = tfds.builder_from_directory(str(folder)).info.features
    seen = 0
    for payload in _records(folder.glob("*-val.tfrecord-*")):
        episode = features._example_parser_np.parse_example(payload)  # TFDS's own parser, images as they are stored
        name = f"{_text(episode['episode_metadata']['file_path'])}:{int(episode['episode_metadata']['episode_id'])}"
        steps = episode["steps"]
        for number in range(len(steps["is_last"])):
            if (name, number) not in wanted:
                continue
            meta, members = wanted[name, number]
            assert (
                np.array(meta["action"], np.float32).tobytes()
                == np.asarray(steps["action"][number], np.float32).tobytes()
            )
            assert meta["instruction"] == _text(steps["language_instruction"][number])
            assert meta["terminate"] == [bool(steps["is_last"][number])]
            assert members["jpg"] == steps["observation"]["image_0"][number]
            assert members["tertiary.jpg"] == steps["observation"]["image_2"][number]
            seen += 1
    assert seen == 40


def _records(paths: Iterable[Path]) -> Iterator[bytes]:
    """The payloads of TFRecord files: 8 bytes of length, 4 of its CRC, the payload, 4 of its CRC."""
    for path in sorted(paths):
        data, at = path.read_bytes(), 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 8], "little")
            yield data[at + 12 : at + 12 + length]
            at += length + 16


def _text(value: Any) -> str:
    value = value.item() if isinstance(value, np.ndarray) else value
    return value.decode() if isinstance(value, bytes) else str(value)
