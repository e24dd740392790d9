"""The bundled recipes whose point is how states and actions are written, built on small data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import builds, fake_datasets, small_demo
from support.damaged_mixtures import failing

from rt2data.declarations.declaration import find_declaration
from rt2data.tokenizer import ActionTokenizer
from rt2data.verify import verify

Build = Callable[..., dict[str, Any]]

SUITES = ("spatial", "object", "goal", "10")


def text_of(message: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for part in message["content"])


def robot_samples(out: Path) -> list[dict[str, Any]]:
    report = verify(out)
    assert failing(report) == set(), report.text()
    return [one["json"] for one in builds.samples(out)]


@pytest.fixture(scope="module")
def libero(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fakes of the four suites of LIBERO, of a few short episodes each."""
    root = tmp_path_factory.mktemp("libero")
    for number, suite in enumerate(SUITES):
        fake_datasets.fake(find_declaration(f"libero_{suite}_no_noops"), root, episodes=3, seed=number)
    return root


def test_vla0(build: Build, libero: Path, tmp_path: Path) -> None:
    manifest = build("vla0", tmp_path / "out", data_root=libero)
    own = ActionTokenizer.from_pretrained(tmp_path / "out")
    dims = [own.for_source(f"libero_{suite}_no_noops").dims for suite in SUITES]
    assert all(one == dims[0] for one in dims)  # VLA-0 has one set of bounds
    for sample in robot_samples(tmp_path / "out"):
        system, user, answer = sample["messages"]
        numbers = [int(word) for word in text_of(answer).split(" ")]
        assert text_of(system) == (
            "Analyze the input image and predict robot actions for the next 8 timesteps. Each action has 7 dimensions. "
            f"Output a single sequence of {len(numbers)} integers (0-1000 each), representing the 8 timesteps "
            "sequentially. Provide only space separated numbers. Nothing else."
        )
        assert text_of(user) == sample["instruction"]
        assert [part.get("image") for part in user["content"]] == ["jpg", "wrist.jpg", None]
        assert (answer["loss"], answer["end"]) == ("action", True)
        low, high = (np.array([getattr(dim, end) for dim in dims[0]], np.float32) for end in ("low", "high"))
        action = np.array(sample["action"], np.float32).reshape(8, 7)
        wanted = np.rint(np.clip((action - low) / (high - low), 0, 1) * np.float32(1000))
        assert numbers == wanted.astype(int).reshape(-1).tolist()
    assert manifest["recipe"]["tokenizer"]["horizon"] == 8


def test_pi0_fast(build: Build, libero: Path, tmp_path: Path) -> None:
    build("pi0_fast", tmp_path / "out", data_root=libero)
    own = ActionTokenizer.from_pretrained(tmp_path / "out")
    for sample in robot_samples(tmp_path / "out"):
        user, answer = sample["messages"]
        task = sample["instruction"].lower().strip().replace("_", " ")
        before, _, state = text_of(user).partition(", State: ")
        assert before == f"Task: {task}"
        assert state.endswith(";\n")
        assert all(-1 <= int(word) <= 255 for word in state[:-2].split(" "))
        assert len(state.split(" ")) == len(sample["proprio"])
        said = text_of(answer)
        assert said.startswith("Action: ")
        assert said.endswith("|")
        assert own.for_source(sample["source"]).parse(said[8:-1]).tolist() == sample["bins"]
        assert [span["loss"] for span in answer["spans"]] == ["text", "action", "text"]


def test_rdt2(build: Build, tmp_path: Path) -> None:
    small_demo.write(tmp_path / "data", train=4, asked=range(2), captioned=range(2, 4))
    build("rdt2", tmp_path / "out", data_root=tmp_path / "data")
    spoken = 0
    for sample in robot_samples(tmp_path / "out"):
        user, head = sample["messages"]
        spoken += text_of(user) != ""
        assert (text_of(head), head["loss"], head["spans"], head["end"]) == ("<|quad_start|>", "action", [], False)
        assert len(sample["action_normalised"]) == 24 * 7
        assert sample["relative"] == ["pose_base"] * 6 + ["none"]
    assert spoken > 0
