"""Mixtures whose actions are floats, for flow and diffusion heads: built, verified, and made actions again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import small_corpora
from support.builds import samples
from support.damaged_mixtures import edit_sample, failing

from rt2data.errors import Rt2dataError
from rt2data.mixture import export
from rt2data.mixture import stats as mixture_stats
from rt2data.mixture.inspection import inspect
from rt2data.recipes.recipe import read_recipe
from rt2data.shards import render
from rt2data.tokenizer import ActionTokenizer
from rt2data.tokenizer.floats import float_normaliser
from rt2data.verify import verify

Build = Callable[..., dict[str, Any]]


def write_recipe(folder: Path, **tokenizer: Any) -> Path:
    return small_corpora.write_recipe(folder / "r.yaml", tokenizer=tokenizer)


@pytest.fixture
def mixture(build: Build, tmp_path: Path) -> Path:
    small_corpora.write_corpora(tmp_path / "data")
    build(write_recipe(tmp_path, spec="float-openpi", horizon=3), tmp_path / "out", data_root=tmp_path / "data")
    return tmp_path / "out"


def test_samples_hold_actions_normalised_by_openpi(mixture: Path) -> None:
    report = verify(mixture)
    assert failing(report) == set(), report.text()
    train = json.loads((mixture / "statistics.json").read_bytes())["sources"]["bridge_dataset"]["train"]
    low, high = np.array(train["q01"]), np.array(train["q99"])
    kinds = set()
    for sample in samples(mixture, "train"):
        row = sample["json"]
        kinds.add(row["kind"])
        if row["kind"] != "robot":
            assert row["action_normalised"] is None
            continue
        assert (row["target"], row["bins"]) == ("", [])
        action = np.array(row["action"]).reshape(3, -1)
        wanted = (action - low) / (high - low + 1e-6) * 2 - 1  # openpi's transforms, in float64
        found = np.array(row["action_normalised"]).reshape(3, -1)
        moving = [i for i, name in enumerate(row["dims"]) if name != "gripper"]
        np.testing.assert_allclose(found[:, moving], wanted[:, moving], rtol=1e-6, atol=1e-6)
        own = ActionTokenizer.from_pretrained(mixture).check_sample(row)
        np.testing.assert_allclose(float_normaliser(own).denormalise(found), action, atol=1e-6)
    assert len(kinds) > 1
    assert train["bins"] == []
    assert any("decoded" in text for text in inspect(mixture))
    left_out = export.export(mixture, mixture.parent / "chat", "llava", "files").left_out
    assert left_out["whose action is floats and no text"] > 0
    assert "float_normaliser(tok).denormalise" in (mixture / "README.md").read_text()


def test_three_ids_a_step(build: Build, tmp_path: Path) -> None:
    """SpatialVLA: fields that are no dimensions, as tokens."""
    small_corpora.write_corpora(tmp_path / "data")
    build(write_recipe(tmp_path, spec="spatialvla", horizon=2), tmp_path / "out", data_root=tmp_path / "data")
    report = verify(tmp_path / "out")
    assert failing(report) == set(), report.text()
    row = next(s["json"] for s in samples(tmp_path / "out", "train") if s["json"]["kind"] == "robot")
    assert re.fullmatch("(<ACTION[0-9]{5}>){6}", row["target"])
    assert "<ACTION" in "".join(inspect(tmp_path / "out"))
    assert "unused" in mixture_stats.format_stats(mixture_stats.read_mixture_stats(tmp_path / "out"))


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["action_normalised"].__setitem__(0, s["action_normalised"][0] + 1e-3),
        lambda s: s["action_normalised"].pop(),
        lambda s: s.update(target="1 2 3"),
        lambda s: s.update(bins=[1]),
    ],
)
def test_verify_finds_another_number(mixture: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    edit_sample(mixture, change)
    assert "actions" in failing(verify(mixture))


def test_bounds_are_not_asked_for(tmp_path: Path) -> None:
    with pytest.raises(Rt2dataError, match="its kind says which statistics it takes"):
        read_recipe(write_recipe(tmp_path, spec="float-lerobot", bounds="fixed"))
    with pytest.raises(Rt2dataError, match="none with a float"):
        read_recipe(write_recipe(tmp_path, spec="rt2", bounds="none"))
    not_yet_fitted = read_recipe(write_recipe(tmp_path, spec=str(tmp_path / "fitted"), horizon=4))
    assert not_yet_fitted.bounds.rule == "robust"
    assert render.NORMALISED not in render.fields(read_recipe(write_recipe(tmp_path, spec="rt2")))
