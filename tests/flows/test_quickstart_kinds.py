"""The bundled recipe of kinds, on a small sample: exact counts, what each kind says, and the same bytes again."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import builds, small_demo

from rt2data.verify import verify

# Of 400 samples, 300 are the robot's.
COUNTS = {"act": 90, "subtask": 45, "motion": 45, "questions": 30, "locate": 15, "trace": 15, "drawn": 15,
          "history": 15, "memory": 12, "plan": 9, "blind": 9}  # fmt: skip
STEP = re.compile(r"(?:[01] )?\d+(?: \d+){7}")  # an action: whether the episode ends, and seven bins


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample of a few episodes and pictures."""
    return small_demo.write(tmp_path_factory.mktemp("sample"), train=6, asked=range(8), captioned=range(4, 12))


def said(turn: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for part in turn["content"])


def digests(out: Path) -> dict[str, str]:
    files = (path for path in sorted(out.rglob("*")) if path.is_file())
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_bundled_recipe_of_kinds(data: Path, tmp_path: Path, build: Callable[..., dict[str, Any]]) -> None:
    recipe = tmp_path / "small.yaml"
    recipe.write_text("name: small\ninclude: quickstart_kinds\ntrain_samples: 400\n")
    for name in ("once", "again"):
        build(recipe, tmp_path / name, data_root=data, work=tmp_path / f"work {name}")
    out = tmp_path / "once"
    assert digests(out) == digests(tmp_path / "again")
    report = verify(out, data_root=data)
    assert report.ok, report.text()

    rows = [json.loads(line) for line in (data / "tabletop/annotations.jsonl").read_text().splitlines()]
    counted: Counter[Any] = Counter()
    for sample in (one["json"] for one in builds.samples(out, "train")):
        kind = sample["recipe_kind"]
        counted[kind or sample["source"]] += 1
        if kind is None:
            continue
        mine = [row for row in rows if row["episode"] == sample["episode"]]

        def at(track: str, step: int = sample["step"], mine: list[Any] = mine) -> list[str]:
            """The values of a track until a step, the last one first."""
            return [r["value"] for r in reversed(mine) if r.get("track") == track and r["step"] <= step]

        user, answer = (said(turn) for turn in sample["messages"][-2:])
        subtask = at("subtask")[0]
        if kind == "act":
            assert subtask in user
            assert STEP.fullmatch(answer)
        elif kind == "subtask":
            assert answer == subtask
        elif kind == "plan":
            assert (answer, sample["step"]) == (at("plan")[0], 0)
        elif kind == "memory":
            assert answer == at("memory")[0]
            assert [f"Until then: {before}." in user for before in at("memory")[1:2]] in ([], [True])
            assert ("Until then" in user) == (len(at("memory")) > 1)
        elif kind == "motion":
            first, move, _, act = (said(turn) for turn in sample["messages"])
            assert "Which motion is next?" in first
            assert re.fullmatch(r"stop|((move|rotate|tilt|roll) arm|(open|close) gripper)[a-z, ]*", move)
            assert STEP.fullmatch(act)
        elif kind == "questions":
            asked = [r for r in mine if r.get("track") == "vqa" and r["step"] == sample["step"]]
            assert [said(turn) for turn in sample["messages"][2:]] == [r["value"] for r in asked]
            assert [turn["role"] for turn in sample["messages"]] == ["user", "assistant"] * (1 + len(asked) // 2)
        elif kind == "locate":
            boxes = {r["value"]["label"] for r in mine if r.get("track") == "box" and r["step"] <= sample["step"]}
            found = json.loads(answer)
            assert {box["label"] for box in found} <= boxes
            assert all(0 <= number <= 1000 for box in found for number in box["bbox_2d"])
        elif kind == "drawn":
            assert STEP.fullmatch(answer)
            assert [one["drawing"] for one in sample["drawn"]] == ["way"]
        elif kind == "history":
            steps = [sample["step"] - 10, sample["step"] - 5, sample["step"]]
            asked_at = [said(turn) for turn in sample["messages"][::2]]
            assert [int(re.match(r"At step (\d+): ", text)[1]) for text in asked_at] == steps  # type: ignore[index]
            assert [turn["loss"] for turn in sample["messages"]] == ["none"] * 5 + ["action"]
        elif kind == "trace":
            assert all(0 <= number <= 255 for point in json.loads(answer) for number in point)
        else:
            assert subtask in user
            assert answer == next(
                r["value"] for r in mine if r.get("track") == "subtask" and r["step"] > sample["step"]
            )
        cameras = {"act": 2, "subtask": 2, "motion": 2, "plan": 1, "memory": 1, "questions": 1, "blind": 0}
        cameras |= {"locate": 1, "trace": 1, "drawn": 2, "history": 3}
        assert len(sample["images"]) == cameras[kind]
    assert counted == COUNTS | {"tabletop_vqa": 60, "tabletop_captions": 40}
