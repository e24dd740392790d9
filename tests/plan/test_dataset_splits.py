"""Which of a dataset's own splits a mixture holds: its train split, and others only where the recipe names them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import small_corpora
from support.builds import samples
from support.damaged_mixtures import failing
from support.web_corpus import declared

from rt2data import cli, verify
from rt2data.errors import Rt2dataError
from rt2data.rlds import write_rlds

BRIDGE = {"source": "bridge_dataset"}
TOY = {"source": "toy.yaml"}
Plan = Callable[..., tuple[int, str, str]]


@pytest.fixture
def plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Plan:
    """`rt2data plan`, by default with an index, of a recipe with some sources: exit status, plan, errors."""

    def run(sources: list[dict[str, Any]], *arguments: str, **fields: Any) -> tuple[int, str, str]:
        path = tmp_path / "r.yaml"
        path.write_text(yaml.safe_dump({"name": "r", "sources": sources} | fields, sort_keys=False))
        found = arguments or ("--data-root", str(tmp_path / "data"), "--index")
        capsys.readouterr()
        status = cli.main(["plan", str(path), "--work", str(tmp_path / "work"), *found])
        said = capsys.readouterr()
        return status, " ".join(said.out.split()), said.err

    return run


@pytest.fixture
def bridge(tmp_path: Path) -> Path:
    """12 episodes of train, 57 steps; 3 of val, with 3, 4 and 5 steps."""
    small_corpora.write_bridge(tmp_path / "data", val=[small_corpora.episode(n) for n in (50, 51, 52)])
    return tmp_path / "data"


def write_toy(folder: Path, *splits: str, **raw: Any) -> None:
    """Write a caption corpus of ten pictures for each split, ``SPLIT.json``, and its declaration."""
    for number, split in enumerate(splits):
        names = [f"{10 * number + n}.jpg" for n in range(10)]
        small_corpora.write_json(folder / "data" / f"{split}.json", [{"id": n, "file": n, "text": "a"} for n in names])
        for n, name in enumerate(names):
            (folder / "data" / name).write_bytes(small_corpora.picture(10 * number + n))
    files = {split: {"annotations": [f"{split}.json"]} for split in splits}
    declared(folder, splits=files, images=["{image}"], fields={"id": "id", "image": "file", "captions": "text"}, **raw)


def numbers(out: str, source: str) -> list[str]:
    """The row of a source in a plan: kind, units, rows, left out, train, epochs, drawn."""
    words = out.split()
    return words[words.index(source) + 1 :][:7]


def test_a_val_split_is_not_in_train_by_default(plan: Plan, bridge: Path) -> None:
    status, out, _ = plan([BRIDGE])
    assert status == 0
    assert numbers(out, "bridge_dataset") == ["robot", "12", "57", "0", "57", "1.00", "57"]
    assert "splits of the dataset: train (12); not taken: val (3)" in out
    assert "goes into train" not in out


def test_shares_divide_the_train_split_alone(
    build: Callable[..., Any], plan: Plan, bridge: Path, tmp_path: Path
) -> None:
    shares = {"train": 0.7, "val": 0.3}
    _, out, _ = plan([BRIDGE], splits=shares)
    assert "splits of the dataset: train (12); not taken: val (3)" in out
    made = build(tmp_path / "r.yaml", tmp_path / "out", data_root=bridge)
    held = {s["json"]["episode"] for split in ("train", "val") for s in samples(tmp_path / "out", split)}
    assert len(held) == 12
    (source,) = made["sources"]
    assert (source["taken_splits"], source["other_splits"]) == ({"train": 12}, {"val": 3})
    assert made["recipe"]["sources"][0]["splits"] == {"from": ["train"]} | shares
    assert {part["split"] for part in source["parts"]} == {"train"}
    assert verify.verify(tmp_path / "out").ok


@pytest.mark.parametrize("splits", [{"train": ["train", "val"]}, {"from": ["val", "train"], "train": 0.9, "val": 0.1}])
def test_a_pool_is_asked_for_and_named(
    splits: dict[str, Any], build: Callable[..., Any], plan: Plan, bridge: Path, tmp_path: Path
) -> None:
    status, out, _ = plan([BRIDGE], splits=splits)
    assert status == 0
    assert numbers(out, "bridge_dataset")[1] == "15"
    both = "val (3) and train (12)" if "from" in splits else "train (12) and val (3)"
    assert f"splits of the dataset: {both}, pooled" in out
    assert 'note: bridge_dataset: its split "val" goes into train, as the recipe asks' in out
    made = build(tmp_path / "r.yaml", tmp_path / "out", data_root=bridge)
    assert made["sources"][0]["taken_splits"] == {"train": 12, "val": 3}
    assert verify.verify(tmp_path / "out").ok


def test_lists_are_said_split_by_split(plan: Plan, bridge: Path) -> None:
    _, out, _ = plan([BRIDGE], splits={"train": ["train"], "val": ["val"]})
    assert "splits of the dataset: train (12) into train, val (3) into val" in out
    assert "goes into train" not in out


@pytest.mark.parametrize("only", [("all",), ("test",), ("validation",), ("train_a", "test")])
@pytest.mark.parametrize("kind", ["rlds", "web"])
def test_a_dataset_without_a_train_split_is_an_error_that_lists_them(
    kind: str, only: tuple[str, ...], plan: Plan, tmp_path: Path
) -> None:
    """One split alone, too: it may be the one to evaluate on."""
    if kind == "rlds":
        episodes = {split: [small_corpora.episode(n) for n in range(10)] for split in only}
        write_rlds(
            tmp_path / "data", name="bridge_dataset", version="1.0.0", features=small_corpora.FEATURES, splits=episodes
        )
    else:
        write_toy(tmp_path, *only)
    source = BRIDGE if kind == "rlds" else TOY
    name = "bridge_dataset" if kind == "rlds" else "toy"
    listed = ", ".join(f"{split} (10)" for split in only)
    for fields in ({}, {"splits": {"train": 0.9, "val": 0.1}}):
        for index in (["--index"], []):
            status, out, error = plan(
                [source], "--data-root", str(tmp_path / "data" if kind == "rlds" else tmp_path), *index, **fields
            )
            assert (status, out) == (2, "")
            assert f'{name} has no split "train"; expected one of its splits: {listed}. Name what goes' in error
            assert "splits: {train: [NAME]}" in error
            assert "train_splits: [NAME]" in error
    where = str(tmp_path / "data" if kind == "rlds" else tmp_path)
    status, out, _ = plan([source], "--data-root", where, "--index", splits={"train": [only[0]]})
    assert status == 0
    assert f"splits of the dataset: {only[0]} (10)" in out


def test_the_declared_train_split_is_taken(plan: Plan, tmp_path: Path) -> None:
    write_toy(tmp_path, "train2017", "val2017", train_splits=["train2017"])
    status, out, _ = plan([TOY], "--data-root", str(tmp_path), "--index")
    assert status == 0
    assert numbers(out, "toy")[1] == "10"
    assert "splits of the dataset: train2017 (10); not taken: val2017 (10)" in out
    assert "goes into train" not in out
    assert cli.main(["datasets", "vqav2"]) == 0


def test_a_split_that_is_not_there(plan: Plan, bridge: Path) -> None:
    for splits in ({"train": ["train"], "val": ["test"]}, {"from": ["train", "test"], "train": 1}):
        status, _, error = plan([BRIDGE], splits=splits)
        assert status == 2
        assert 'bridge_dataset has no split "test"; expected one of its splits: train (12), val (3). ' in error


def test_a_plan_without_the_data_counts_the_train_split_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """VQAv2: 443,757 questions of train and 214,354 of val. GQA: 943,000, and two splits to evaluate on."""
    path = tmp_path / "r.yaml"
    sources = [{"source": "vqav2"}, {"source": "gqa"}]
    for splits, wanted in (
        (None, [443757, 943000]),
        ({"train": 0.5, "val": 0.5}, [221878, 471500]),
        ({"from": ["train", "val"], "train": 0.5, "val": 0.5}, [329055, 537531]),
    ):
        path.write_text(yaml.safe_dump({"name": "r", "sources": sources} | ({"splits": splits} if splits else {})))
        assert cli.main(["plan", str(path), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["sources"]
        assert [source["samples"]["train"] for source in found] == wanted
        others = [{}, {}] if splits and "from" in splits else [{"val": 214354}, {"val": 132062}]
        assert [source["other_splits"] for source in found] == [others[0], others[1] | {"testdev": 12578}]


def write_two_corpora(folder: Path) -> None:
    """Write VQAv2 and COCO captions as they are: picture 3 is in VQAv2's val split and in COCO's train split."""
    pictures = {n: small_corpora.picture(n) for n in range(1, 6)}
    vqa = small_corpora.write_vqa(
        folder,
        [small_corpora.question(n, n) for n in (1, 2)],
        [small_corpora.answers(n, "a") for n in (1, 2)],
        pictures,
    )
    held = {"data_subtype": "train2014", "questions": [small_corpora.question(n, n) for n in (3, 4)]}
    small_corpora.write_json(vqa / "v2_OpenEnded_mscoco_val2014_questions.json", held)
    answers = {"annotations": [small_corpora.answers(n, "a") for n in (3, 4)]}
    small_corpora.write_json(vqa / "v2_mscoco_val2014_annotations.json", answers)
    images = [{"id": n, "file_name": f"{n}.jpg"} for n in (1, 3, 5)]
    captions = [{"id": n, "image_id": n, "caption": "a"} for n in (1, 3, 5)]
    small_corpora.write_coco(folder, images, captions, {f"{n}.jpg": pictures[n] for n in (1, 3, 5)})


def test_no_picture_is_in_train_through_one_corpus_and_in_val_through_another(
    build: Callable[..., Any], plan: Plan, tmp_path: Path
) -> None:
    write_two_corpora(tmp_path / "data")
    vqa, coco = {"source": "vqav2", "splits": {"train": ["train"], "val": ["val"]}}, {"source": "coco_captions"}
    status, _, error = plan([vqa, coco])
    assert status == 2
    assert (
        "1 picture of coco in val through vqav2 and in train through coco_captions; expected each picture in one split."
        in error
    )
    plan([coco, vqa])
    with pytest.raises(Rt2dataError, match="1 picture of coco in train through coco_captions and in val through vqav2"):
        build(tmp_path / "r.yaml", tmp_path / "refused", data_root=tmp_path / "data")
    assert not (tmp_path / "refused" / "manifest.json").exists()
    # Without the shared picture, with val alone, or with equal shares each picture is in one split.
    assert (
        plan(
            [
                vqa,
                coco | {"filters": {"caption_words": {"min": 2}}},
            ]
        )[0]
        == 2
    )  # no caption is left
    assert plan([vqa])[0] == 0
    assert plan([vqa | {"splits": {"train": ["train", "val"]}}, coco])[0] == 0
    shares = {"train": 0.6, "val": 0.4}
    pooled = {"from": ["train", "val"]} | shares
    assert plan([vqa | {"splits": pooled}, coco | {"splits": shares}])[0] == 0
    made = build(tmp_path / "r.yaml", tmp_path / "out", data_root=tmp_path / "data")
    assert made["sources"][0]["taken_splits"] == {"train": 2, "val": 2}
    assert verify.verify(tmp_path / "out").ok


@pytest.mark.parametrize(
    ("names", "splits", "said"),
    [
        (["gqa", "vqav2", "coco_captions"], {"train": 0.9, "val": 0.1}, True),
        (["visual_genome_qa", "vqav2"], {"train": 1}, False),  # all in train
        (["gqa", "visual_genome_qa"], {"train": 0.9, "val": 0.1}, False),  # the same ids
    ],
)
def test_pictures_that_two_namespaces_share_are_said(names: list[str], splits: Any, said: bool, plan: Plan) -> None:
    status, out, _ = plan([{"source": name} for name in names], "--workers", "1", splits=splits)
    assert status == 0
    found = "pictures of Visual Genome (gqa) are also COCO's (vqav2, coco_captions), under other ids"
    assert (found in out) is said


def test_verify_compares_the_dataset_splits_with_the_recipe(
    build: Callable[..., Any], plan: Plan, bridge: Path, tmp_path: Path
) -> None:
    plan([BRIDGE])
    build(tmp_path / "r.yaml", tmp_path / "out", data_root=bridge)
    file = tmp_path / "out" / "manifest.json"
    manifest = json.loads(file.read_bytes())
    for change in (
        lambda source: source.update(taken_splits={"train": 12, "val": 3}, other_splits={}),
        lambda source: source["parts"][0].update(split="val"),
    ):
        changed = json.loads(json.dumps(manifest))
        change(changed["sources"][0])
        file.write_text(json.dumps(changed))
        assert failing(verify.verify(tmp_path / "out")) == {"manifest"}


def test_statistics_of_a_dataset_see_its_train_split(bridge: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["stats", str(bridge / "bridge_dataset"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["splits"] == {"train": 12, "val": 3}
    (source,) = found["sources"]
    assert source["rows"] == 57 + 12
    assert source["actions"]["train"]["count"] < source["actions"]["all"]["count"]


def test_a_pattern_takes_no_file_that_another_split_names(plan: Plan, tmp_path: Path) -> None:
    """Val and test tars beside those of train, and a folder of conversations with a file to evaluate on."""
    write_toy(tmp_path, "train-0", "more", "val-0", "test-0", "test-1")
    files = {"train": ["*.json"], "val": ["none.json", "val-*.json"], "test": ["test-*.json"]}
    fields = {"id": "id", "image": "file", "captions": "text"}
    splits = {name: {"annotations": names} for name, names in files.items()}
    declared(tmp_path, splits=splits, images=["{image}"], fields=fields)
    status, out, _ = plan([TOY], "--data-root", str(tmp_path), "--index")
    assert status == 0
    assert numbers(out, "toy")[1] == "20"
    assert "splits of the dataset: train (20); not taken: val (10), test (20)" in out
    for name in ("train-0", "more"):
        (tmp_path / "data" / f"{name}.json").unlink()
    status, _, error = plan([TOY], "--data-root", str(tmp_path), "--index")
    assert status == 2
    assert 'toy has no split "train"; expected one of its splits: val (10), test (20). ' in error
