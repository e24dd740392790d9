"""A recipe with annotations: its tracks are read once, found by workers, and change no byte of a mixture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import small_corpora

from rt2data import verify
from rt2data.errors import Rt2dataError
from rt2data.pipeline import stages
from rt2data.recipes import recipe
from rt2data.runners import progress
from rt2data.runners.engine import Direct
from rt2data.samples import job as jobs
from rt2data.tracks.times import Binding

Build = Callable[..., dict[str, Any]]
ENTRIES: list[dict[str, Any]] = [
    {"file": "e.json", "format": "ecot"},
    {"file": "notes.jsonl", "format": "rows", "episode": "/data/{file}/out.npy:{episode}"},
    {"derive": "motions", "translation": 0.01, "window": 2},
    {"derive": "gripper_events"},
]


@pytest.fixture
def data(corpora: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "bridge_dataset").symlink_to(corpora / "bridge_dataset")
    ecot: dict[str, Any] = {}
    for n in range(10):  # of twelve episodes
        steps = {str(k): {"subtask": f"part {k // 2} of {n}"} for k in range(9)}  # of three to seven
        boxes = [[[0.5, "cup", [k, 0, 10, 10]], [0.4, "lid", [0, 0, 5, 5]]] for k in range(3)]
        ecot.setdefault(f"/data/{n // 2}/out.npy", {})[str(n)] = {"reasoning": steps, "features": {"bboxes": boxes}}
    small_corpora.write_json(folder / "e.json", ecot)
    notes = [{"file": n // 2, "episode": n, "step": 1, "memory": f"memory {n}"} for n in range(4)]
    notes += [
        {"file": 9, "episode": 99, "step": 0, "memory": "of nothing"},
        {"file": 1, "episode": 2, "memory": "when?"},
    ]
    (folder / "notes.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes))
    return folder


def write(folder: Path, annotations: list[dict[str, Any]] | None = ENTRIES, **more: Any) -> Path:
    source = {"source": "bridge_dataset"} | ({"annotations": annotations} if annotations else {})
    return small_corpora.write_recipe(folder / "r.yaml", **({"sources": [source]} | more))


def shards(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.glob("*/*.tar")}


def test_annotations_alone_change_no_byte(data: Path, tmp_path: Path, build: Build) -> None:
    build(write(tmp_path, None), tmp_path / "plain", data_root=data)
    manifest = build(write(tmp_path), tmp_path / "out", data_root=data)
    assert shards(tmp_path / "out") == shards(tmp_path / "plain")
    assert len(manifest["recipe"]["sources"][0]["annotations"]) == 4
    assert verify.verify(tmp_path / "out").ok


def test_tracks_of_a_job(data: Path, tmp_path: Path) -> None:
    """What a worker finds for the steps of a part, after the job went through its file."""
    read = recipe.read_recipe(write(tmp_path))
    prepared = stages.prepare(read, data, tmp_path / "work", Direct(progress.Reporter(enabled=False)), check="quick")
    job = jobs.load_job(prepared.job.save())
    assert job.tracked == prepared.job.tracked
    store = job.tracks(0)
    assert store is not None
    assert store is job.tracks(0)
    assert store.names() == {"subtask": "text", "bboxes": "box", "memory": "text", "motion": "text",
                             "gripper_event": "text"}  # fmt: skip
    assert store.counts == {"bad_step": 1}
    for part in job.parts:
        table = job.table(part)
        found = store.resolve(table, Binding("subtask"))
        offsets, _ = store.resolve_all(table, Binding("bboxes", "all"))
        memory = store.resolve(table, Binding("memory"))
        said = store.texts(found[found >= 0]).to_pylist()
        for row, (name, step) in enumerate(zip(table["episode"].to_pylist(), table["step"].to_pylist(), strict=True)):
            number = int(name.rpartition(":")[2])
            assert (found[row] >= 0) == (number < 10)
            assert offsets[row + 1] - offsets[row] == (2 if step < 3 and number < 10 else 0)
            assert (memory[row] >= 0) == (number < 4 and step >= 1)
            if found[row] >= 0:
                assert said.pop(0) == f"part {step // 2} of {number}"
        assert (store.resolve(table, Binding("motion")) >= 0).all()
    # Runs of subtasks beyond the episode, two boxes of no step in none, and the memory of an episode that is not there.
    steps = [len(small_corpora.episode(n)["steps"]["action"]) for n in range(10)]
    beyond = sum(1 for n in steps for first in (0, 2, 4, 6, 8) if first >= n)
    assert store.unmatched(job.table(part) for part in job.parts) == beyond + 1
    again = stages.prepared_before(read, data, tmp_path / "work", list(prepared.sources), check="quick")
    assert again is not None
    assert again.job.tracked == job.tracked
    assert again.job.digest() == job.digest()


def test_a_job_depends_on_the_content_of_its_tracks(data: Path, tmp_path: Path) -> None:
    read = recipe.read_recipe(write(tmp_path))
    engine = Direct(progress.Reporter(enabled=False))
    first = stages.prepare(read, data, tmp_path / "work", engine, check="quick")
    notes = (data / "notes.jsonl").read_text()
    (data / "notes.jsonl").write_text(notes.replace("memory 0", "another memory"))
    assert stages.prepared_before(read, data, tmp_path / "work", list(first.sources), check="quick") is None
    second = stages.prepare(read, data, tmp_path / "work", engine, check="quick")
    assert first.job.digest() != second.job.digest()
    part = second.job.parts[0]
    tracks = second.job.tracks(0)
    assert tracks is not None
    which = np.unique(
        np.concatenate([tracks.resolve(second.job.table(p), Binding("memory")) for p in second.job.parts])
    )
    assert part.source == 0
    assert "another memory" in tracks.texts(which[which >= 0]).to_pylist()


def test_subtasks_as_eo1_reads_them(data: Path, tmp_path: Path) -> None:
    """A frame has the first range that ends after it, else the last (EO-Robotics/EO-1@5897992, lerobot_dataset.py)."""
    ranges = [{"end_frame": 2, "action_text": "open the drawer"}, {"end_frame": 4, "action_text": "pick up the cup"}]
    records = [{"episode_index": f"/data/{n // 2}/out.npy:{n}", "action_config": ranges} for n in range(12)]
    (data / "episodes.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    read = recipe.read_recipe(write(tmp_path, [{"file": "episodes.jsonl", "format": "action_config"}]))
    prepared = stages.prepare(read, data, tmp_path / "work", Direct(progress.Reporter(enabled=False)), check="quick")
    store = prepared.job.tracks(0)
    assert store is not None
    for part in prepared.job.parts:
        table = prepared.job.table(part)
        texts = store.texts(store.resolve(table, Binding("subtask"))).to_pylist()
        assert texts == [ranges[step >= 2]["action_text"] for step in table["step"].to_pylist()]


def test_a_source_without_annotations_has_no_tracks(data: Path, tmp_path: Path) -> None:
    read = recipe.read_recipe(write(tmp_path, None))
    prepared = stages.prepare(read, data, tmp_path / "work", Direct(progress.Reporter(enabled=False)), check="quick")
    assert prepared.job.tracks(0) is None


@pytest.mark.parametrize("file", ["none.json", "../e.json"])
def test_annotations_that_are_not_there(data: Path, tmp_path: Path, build: Build, file: str) -> None:
    path = write(tmp_path, [{"file": file, "format": "ecot"}])
    with pytest.raises(Rt2dataError, match=r"r\.yaml:\d+: no annotations \"" + file):
        build(path, tmp_path / "out", data_root=data)
