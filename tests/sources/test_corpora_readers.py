"""What the index of a corpus points at is what the format's own reader gives: `webdataset`, `datasets`, pyarrow."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import small_corpora
from support.web_corpus import declared, opened, picture, reasons, table, write, write_tar

from rt2data import index
from rt2data.errors import Rt2dataError
from rt2data.images import codec
from rt2data.index import blobs
from rt2data.sources.web import hub
from rt2data.sources.web.corpus import WebCorpus

KINDS = ("JPEG", "PNG", "WEBP")
PICTURES = [small_corpora.picture(n, KINDS[n % 3]) for n in range(7)]


# webdataset


def test_tars_as_webdataset_reads_them(tmp_path: Path) -> None:
    import webdataset

    members = []
    for n, data in enumerate(PICTURES):
        key = f"sub/{n:03d}"
        members += [
            (f"{key}.{('jpg', 'png', 'webp')[n % 3]}", data),
            (f"{key}.txt", f"Tasse {n} ü".encode()),
            (f"{key}.json", json.dumps({"n": n}).encode()),
        ]
    path = write_tar(tmp_path / "img2dataset" / "0.tar", members)
    found = table(tmp_path, "img2dataset").to_pylist()
    read = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert len(read) == len(found) == len(PICTURES)
    for row, sample in zip(found, read, strict=True):
        assert row["episode"] == f"0/{sample['__key__']}"
        assert row["captions"] == [sample["txt"].decode()]
        assert picture(tmp_path, row, root="img2dataset") == next(
            sample[k] for k in ("jpg", "png", "webp") if k in sample
        )


def test_img2dataset_as_webdataset_reads_it(shared_data: Path) -> None:
    import webdataset

    root = shared_data / "captions"
    found = table(root, "img2dataset").to_pylist()
    read = list(webdataset.WebDataset(str(root / "img2dataset" / "00000.tar"), shardshuffle=False))
    about = {r["key"]: r for r in pq.read_table(root / "img2dataset" / "00000.parquet").to_pylist()}
    assert [r["episode"] for r in found] == [f"00000/{s['__key__']}" for s in read]
    for row, sample in zip(found, read, strict=True):
        assert row["captions"] == [sample["txt"].decode()]
        assert picture(root, row, root="img2dataset") == sample["jpg"]
        stated = about[sample["__key__"]]
        assert (row["image.width"], row["image.height"]) == (stated["width"], stated["height"])
        assert row["column.similarity"]["number"] == stated["similarity"]
        assert row["column.nsfw"]["text"] == stated["NSFW"]


# JSON layouts, against the files themselves


def test_real_gqa_and_textvqa(shared_data: Path) -> None:
    root = shared_data / "vqa"
    asked = json.loads((root / "gqa" / "questions.json").read_bytes())
    found = table(root, "gqa").to_pylist()
    assert {r["episode"]: (r["question"], r["answers"]) for r in found} == {
        k: (v["question"], [v["answer"]]) for k, v in asked.items()
    }
    for row in found:
        assert (
            picture(root, row, root="gqa")
            == (root / "gqa" / "images" / f"{asked[row['episode']]['imageId']}.jpg").read_bytes()
        )
    for split, folder in (("train", "train_images"), ("val", "train_images"), ("test", "test_images")):
        entries = json.loads((root / "textvqa" / f"TextVQA_0.5.1_{split}.json").read_bytes())["data"]
        found = table(root, "textvqa", split=split)
        for row, entry in zip(found.to_pylist(), entries, strict=True):
            assert (row["episode"], row["question"], row["answers"]) == (
                str(entry["question_id"]),
                entry["question"],
                entry.get("answers", []),
            )
            assert row["image.file"] == f"{folder}/{entry['image_id']}.jpg"
        assert reasons(found) == ({"no_answer": 5} if split == "test" else {"": 5})


# Parquet


def rows_of(n: int = 7) -> list[dict[str, Any]]:
    return [
        {"key": f"k{i}", "caption": f"Tasse {i}", "image": {"bytes": PICTURES[i], "path": f"{i}.jpg"}} for i in range(n)
    ]


def parquet(folder: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    path = folder / "data" / "train.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3, **options)
    return path


def declare(folder: Path, **changes: Any) -> Path:
    plain = {
        "format": "parquet",
        "splits": {"train": {"annotations": ["*.parquet"]}},
        "fields": {"id": "key", "image": "image", "captions": "caption"},
    }
    return declared(folder, **plain | changes)


def test_parquet(tmp_path: Path) -> None:
    rows = rows_of()
    rows[2]["image"]["bytes"], rows[3]["image"], rows[4]["caption"], rows[5]["image"]["bytes"] = None, None, "  ", b""
    rows[6]["image"]["bytes"] = PICTURES[6][:-9]
    path = declare(tmp_path)
    parquet(tmp_path, rows)
    write(tmp_path / "data" / "2.jpg", PICTURES[0])  # a picture beside the table, as its path says
    found = table(tmp_path, path)
    assert reasons(found) == {"": 3, "no_image": 1, "no_caption": 1, "empty_image": 1, "truncated_image": 1}
    for row, stored in list(zip(found.to_pylist(), rows, strict=True))[:2]:
        assert picture(tmp_path, row) == stored["image"]["bytes"]
        assert row["image.file"].startswith(blobs.PREFIX)
    assert found.column("image.file").to_pylist()[2] == "2.jpg"
    assert found.column("split_hash").to_pylist()[0] == found.column("split_hash").to_pylist()[2]


def test_parquet_with_lists_of_pictures(tmp_path: Path, build: Callable[..., dict[str, Any]]) -> None:
    talk = [{"from": "human", "value": "<image><image> Same?"}, {"from": "gpt", "value": "No."}]
    rows = [
        {"images": [{"bytes": PICTURES[0], "path": None}, {"bytes": PICTURES[1], "path": None}], "talk": talk},
        {"images": None, "talk": talk[:0]},
        {"images": [], "talk": talk},
    ]
    path = declare(tmp_path, kind="vqa", max_images=2, fields={"image": "images", "conversation": "talk"})
    parquet(tmp_path, rows)
    found = table(tmp_path, path)
    assert [picture(tmp_path, found.to_pylist()[0], camera) for camera in ("image", "i1")] == PICTURES[:2]
    assert reasons(found) == {"": 1, "bad_conversation": 1, "other_image_count": 1}
    recipe = small_corpora.write_recipe(
        tmp_path / "r.yaml", sources=[{"source": "toy.yaml"}], splits=None, cameras=None
    )
    build(recipe, tmp_path / "out", data_root=tmp_path)
    from rt2data import verify

    assert verify.verify(tmp_path / "out").ok


def test_real_parquet_as_datasets_reads_it(shared_data: Path, tmp_path: Path) -> None:
    import datasets

    file = shared_data / "captions" / "hf_parquet" / "demo-dataset-images-bytes.parquet"
    (tmp_path / "data").symlink_to(file.parent)
    path = declare(tmp_path, fields={"image": "image_bytes", "captions": "text"})
    found = table(tmp_path, path).to_pylist()
    read = list(datasets.load_dataset("parquet", data_files=str(file), split="train", streaming=True))
    assert [r["captions"] for r in found] == [[s["text"]] for s in read]
    assert [picture(tmp_path, r) for r in found] == [s["image_bytes"][0] for s in read]
    assert [codec.FORMATS[r["image.format"]] for r in found] == ["png", "jpg", "jpg"]


def test_a_blob_is_written_once_and_again_when_it_is_gone(tmp_path: Path, build: Callable[..., dict[str, Any]]) -> None:
    declare(tmp_path)
    parquet(tmp_path, rows_of())
    recipe = small_corpora.write_recipe(
        tmp_path / "r.yaml", sources=[{"source": "toy.yaml"}], splits=None, cameras=None
    )
    first = build(recipe, tmp_path / "out", data_root=tmp_path, work=tmp_path / "w")
    (blob,) = (p for p in (tmp_path / "w" / "blobs").rglob("*") if p.is_file())
    written = blob.stat().st_mtime_ns
    assert build(recipe, tmp_path / "again", data_root=tmp_path, work=tmp_path / "w") == first
    assert blob.stat().st_mtime_ns == written
    blob.unlink()
    assert build(recipe, tmp_path / "third", data_root=tmp_path, work=tmp_path / "w") == first
    assert small_corpora.tree(tmp_path / "out") == small_corpora.tree(tmp_path / "third")


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-20],
        lambda raw: b"",
        lambda raw: b"PAR1" + bytes(100),
        lambda raw: raw[:300] + bytes(200) + raw[500:],
    ],
)
def test_parquet_that_is_damaged(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path, file = declare(tmp_path), parquet(tmp_path, rows_of(), compression="snappy")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(Rt2dataError, match=r"train\.parquet: .*; expected a whole parquet file\. Copy it again\."):
        table(tmp_path, path)


# Arrow


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("form", ["stream", "file"])
def test_arrow(tmp_path: Path, compression: str | None, form: str) -> None:
    rows = rows_of()
    rows[1]["image"] = None
    made = pa.Table.from_pylist(rows)
    path = declare(tmp_path, format="arrow", splits={"train": {"annotations": ["*.arrow"]}})
    file = tmp_path / "data" / "a.arrow"
    file.parent.mkdir()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (
        pa.OSFile(str(file), "wb") as sink,
        getattr(pa.ipc, f"new_{form}")(sink, made.schema, options=options) as writer,
    ):
        writer.write_table(made, max_chunksize=3)
    found = table(tmp_path, path)
    assert reasons(found) == {"": 6, "no_image": 1}
    for row, stored in zip(found.to_pylist(), rows, strict=True):
        if stored["image"]:
            assert picture(tmp_path, row) == stored["image"]["bytes"]
            assert (row["image.file"] == "a.arrow") == (compression is None)  # in place where it is not compressed
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(Rt2dataError, match="expected a whole arrow file"):
        table(tmp_path, path)


def test_arrow_as_datasets_saves_it(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"key": datasets.Value("string"), "caption": datasets.Value("string"), "image": datasets.Image()}
    )
    datasets.Dataset.from_list(rows_of(), features=features).save_to_disk(tmp_path / "data" / "train")
    path = declare(tmp_path, format="arrow", splits={"train": {"annotations": ["train/*.arrow"]}})
    found = table(tmp_path, path).to_pylist()
    read = datasets.load_from_disk(str(tmp_path / "data" / "train")).cast_column("image", datasets.Image(decode=False))
    assert [(r["captions"], picture(tmp_path, r)) for r in found] == [
        ([s["caption"]], s["image"]["bytes"]) for s in read
    ]
    assert {r["image.file"] for r in found} == {"train/data-00000-of-00001.arrow"}


# The Hub, through a folder that stands for a repository


def repository(folder: Path) -> Path:
    """Four rows in two Parquet files of train, and a picture folder would do as well."""
    for n in range(2):
        made = pa.Table.from_pylist(rows_of()[2 * n : 2 * n + 2])
        (folder / "data").mkdir(parents=True, exist_ok=True)
        pq.write_table(made, folder / "data" / f"train-{n:05d}-of-00002.parquet")
    return folder


def declare_hub(folder: Path, **changes: Any) -> Path:
    plain = {
        "format": "hub",
        "hub": {"id": "org/name"},
        "splits": {"train": {"annotations": ["train"]}},
        "fields": {"id": "key", "image": "image", "captions": "caption"},
    }
    return declared(folder, **plain | changes)


def test_a_repository_of_the_hub_on_disk(tmp_path: Path, build: Callable[..., dict[str, Any]]) -> None:
    repository(tmp_path / "data")
    path = declare_hub(tmp_path)
    source = opened(tmp_path, path)
    assert source.splits() == {"train": 4}
    tables = [source.index(part, check="header") for part in source.parts("train")]
    found = [row for one in tables for row in one.to_pylist()]
    assert [(r["episode"], r["captions"], picture(tmp_path, r)) for r in found] == [
        (s["key"], [s["caption"]], s["image"]["bytes"]) for s in rows_of(4)
    ]
    recipe = small_corpora.write_recipe(
        tmp_path / "r.yaml", sources=[{"source": "toy.yaml"}], splits=None, cameras=None
    )
    assert build(recipe, tmp_path / "out", data_root=tmp_path)["splits"]["train"]["samples"] == 4


def test_an_image_folder_read_by_datasets(tmp_path: Path) -> None:
    for n in range(3):
        write(tmp_path / "data" / f"{n}.jpg", PICTURES[3 * (n % 2)])
    write(
        tmp_path / "data" / "metadata.jsonl",
        b"\n".join(json.dumps({"file_name": f"{n}.jpg", "text": f"t{n}"}).encode() for n in range(3)),
    )
    path = declare_hub(tmp_path, fields={"id": "text", "image": "image", "captions": "text"})
    found = table(tmp_path, path)
    assert reasons(found) == {"": 3}
    assert {r["captions"][0]: picture(tmp_path, r) for r in found.to_pylist()} == {
        f"t{n}": PICTURES[3 * (n % 2)] for n in range(3)
    }


def test_code_of_a_repository_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    write(tmp_path / "data" / "data.py", f"open({str(mark)!r}, 'w')\n".encode())
    with pytest.raises(Rt2dataError, match="expected a repository that `datasets` reads without code"):
        opened(tmp_path, declare_hub(tmp_path)).splits()
    assert not mark.exists()


def test_a_repository_that_is_not_here_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        Rt2dataError,
        match=r"expected a copy of org/name in .*/data\. Run hf download org/name --repo-type dataset --local-dir",
    ):
        opened(tmp_path, declare_hub(tmp_path))


def test_a_stream_needs_a_commit(tmp_path: Path) -> None:
    for given in ({}, {"revision": "main"}):
        with pytest.raises(
            Rt2dataError, match="a stream without a commit; expected revision: a commit of 40 hexadecimal digits"
        ):
            opened(tmp_path, declare_hub(tmp_path, hub={"id": "org/name", "stream": True} | given))


def test_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the network `datasets` is asked for the commit; a folder answers in its place."""
    import datasets

    stand_in, asked, load = repository(tmp_path / "elsewhere"), [], datasets.load_dataset_builder

    def load_builder(place: str, config: Any = None, **options: Any) -> Any:
        asked.append((place, config, options))
        return load(str(stand_in), config)

    monkeypatch.setattr(datasets, "load_dataset_builder", load_builder)
    source = opened(tmp_path, declare_hub(tmp_path, hub={"id": "org/name", "stream": True, "revision": "a" * 40}))
    parts = source.parts("train")
    assert (len(parts), parts[0].files) == (2, ())
    found = [row for part in parts for row in source.index(part, check="header").to_pylist()]
    assert [picture(tmp_path, row) for row in found] == PICTURES[:4]
    assert asked == [("org/name", None, {"revision": "a" * 40})]
    assert (source.version, source.revision) == (None, "a" * 40)
    assert source.digest(parts[0]) != source.digest(parts[1])


def test_an_older_datasets_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    repository(tmp_path / "data")
    monkeypatch.setattr(datasets, "__version__", "3.6.0")
    with pytest.raises(Rt2dataError, match=r"datasets 3\.6\.0; expected version 4 or later, which runs no code"):
        opened(tmp_path, declare_hub(tmp_path)).splits()


def test_workers_may_read_a_table_that_is_a_link(tmp_path: Path) -> None:
    """A folder of data is often a link; what an index says is below it all the same."""
    made = parquet(tmp_path / "far", rows_of())
    os.symlink(made.parent, tmp_path / "data")
    found = table(tmp_path, declare(tmp_path))
    assert reasons(found) == {"": 7}
    assert index.numbers(found, "image.length").tolist() == [len(data) for data in PICTURES]
    assert hub.Hub.roles == WebCorpus.roles


def test_a_mixture_of_every_corpus_at_hand(
    shared_data: Path, tmp_path: Path, build: Callable[..., dict[str, Any]]
) -> None:
    """Every web corpus of the real data in one mixture: what is realised is what was planned."""
    declare(tmp_path, paths=["captions/hf_parquet"], fields={"image": "image_bytes", "captions": "text"})
    train = {"splits": {"train": ["train"]}}
    names = ["vqav2", "gqa", "textvqa", "coco_captions", "coco_instances", "img2dataset", "toy.yaml"]
    chosen = [{"source": name, "weight": 1} | train for name in names]
    chosen[3] |= {"captions": "draw"}
    recipe = small_corpora.write_recipe(
        tmp_path / "r.yaml", sources=chosen, splits=None, cameras=None, train_samples=140, max_repeat=100
    )
    manifest = build(recipe, tmp_path / "out", data_root=shared_data)
    assert [s["samples"]["train"] for s in manifest["sources"]] == [20] * 7
    from rt2data import verify

    report = verify.verify(tmp_path / "out")
    assert report.ok, str(report)
