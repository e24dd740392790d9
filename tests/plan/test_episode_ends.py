"""Episodes whose stop signal no sample has: the plan counts them among what is left, not among what is stored."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support import small_corpora
from support.builds import samples

from rt2data.pipeline import estimate
from rt2data.recipes import recipe
from rt2data.verify import verify

Build = Callable[..., dict[str, Any]]
NEVER = "bridge_dataset: in {} of 5 episodes no step terminates"


def write(root: Path, lost: dict[int, int]) -> Path:
    """Five episodes of 6 steps; `lost` says how many of their last pictures are empty, by episode."""
    episodes = []
    for number in range(5):
        images = [small_corpora.picture(10 * number + t) for t in range(6)]
        gone = lost.get(number, 0)
        images[6 - gone :] = [b""] * gone
        episodes.append(small_corpora.episode(number, 6, observation={"image_0": images}))
    return small_corpora.write_bridge(root, episodes, shards=2)


@pytest.mark.parametrize(
    ("options", "lost", "never"),
    [
        ({}, {}, 0),
        ({}, {1: 1, 3: 2}, 2),
        ({}, {1: 6, 3: 1}, 1),  # an episode without a sample has no stop signal to lose
        ({"tokenizer": {"spec": "rt2", "horizon": 3}, "past_end": "pad"}, {}, 0),
        ({"tokenizer": {"spec": "rt2", "horizon": 3}, "past_end": "pad"}, {2: 1}, 1),
        # The last samples are left out, but those before them reach the end.
        ({"tokenizer": {"spec": "rt2", "horizon": 3}, "past_end": "drop"}, {}, 0),
        ({"tokenizer": {"spec": "rt2", "horizon": 3}, "past_end": "drop"}, {0: 1, 4: 1}, 2),
        ({"stride": 2}, {}, 0),
        ({"stride": 4}, {0: 1}, 0),  # of steps 4 and 5 together the picture is that of step 4
        ({"stride": 4}, {0: 2}, 1),
    ],
)
def test_stop_signals_are_looked_for_among_samples(
    options: dict[str, Any], lost: dict[int, int], never: int, build: Build, tmp_path: Path
) -> None:
    write(tmp_path / "data", lost)
    path = small_corpora.write_recipe(
        tmp_path / "r.yaml", sources=[{"source": "bridge_dataset"}], cameras=["primary"], splits=None, **options
    )
    manifest = build(path, tmp_path / "out", data_root=tmp_path / "data")
    ends: dict[str, bool] = {}
    for sample in samples(tmp_path / "out", "train"):
        name = sample["json"]["episode"]
        ends[name] = ends.get(name, False) or any(sample["json"]["terminate"])
    assert list(ends.values()).count(False) == never  # what a model sees
    assert manifest["sources"][0]["never_terminate"] == never
    assert verify(tmp_path / "out").ok
    found = estimate.make(recipe.read_recipe(path), tmp_path / "data", tmp_path / "out.work", index=False, check=False)
    assert [w for w in found.warnings if "terminates" in w] == [NEVER.format(never)] * bool(never)


def test_a_filter_that_takes_the_last_step(build: Build, tmp_path: Path) -> None:
    """Steps that a recipe leaves out do not count either: pictures that are black from the end on."""
    black = io.BytesIO()
    Image.new("RGB", (16, 12)).save(black, "JPEG")
    shown = [[small_corpora.picture(10 * n + t) for t in range(6)] for n in range(5)]
    shown[3][5] = black.getvalue()
    episodes = [small_corpora.episode(n, 6, observation={"image_0": images}) for n, images in enumerate(shown)]
    small_corpora.write_bridge(tmp_path / "data", episodes, shards=2)
    source = {"source": "bridge_dataset", "filters": {"brightness": {"min": 30}}}
    path = small_corpora.write_recipe(tmp_path / "r.yaml", sources=[source], cameras=["primary"], splits=None)
    manifest = build(path, tmp_path / "out", data_root=tmp_path / "data")
    assert manifest["sources"][0]["left_out"] == {"filter:brightness": 1}
    assert manifest["sources"][0]["never_terminate"] == 1
