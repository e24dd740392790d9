"""The bundled recipes: none trains on a split to evaluate on, and the one with real data is as its comment says."""

from __future__ import annotations

from pathlib import Path

import pytest

from rt2data import resources
from rt2data.pipeline import estimate
from rt2data.recipes import recipe

MIXTURES = list(resources.files("mixtures", ".yaml"))


@pytest.mark.parametrize("path", MIXTURES, ids=lambda path: path.stem)
def test_train_holds_train_splits_alone(path: Path) -> None:
    for source in recipe.read_recipe(path).sources:
        assert set(source.splits.into_train) <= set(source.declaration.train_splits), source.declaration.name


def test_the_real_recipe_at_its_published_sizes(tmp_path: Path) -> None:
    """Half robot data, as for RT-2-PaLI-X; few passes over the web data; shards of thousands of samples."""
    path = next(path for path in MIXTURES if path.stem == "bridge_coco_vqa")
    found = recipe.read_recipe(path)
    made = estimate.make(found, None, tmp_path, index=False, check=False)
    assert not made.problems
    samples, shards = made.splits["train"], made.streams[0].shards
    shares = [source.mix / samples for source in made.sources]
    epochs = [source.mix / source.samples["train"] for source in made.sources]
    assert shares[0] == pytest.approx(0.5, abs=0.01)
    assert max(epochs) <= 3
    assert samples / shards > 4000
    comment = " ".join(line.lstrip("# ") for line in path.read_text().splitlines() if line.startswith("#"))
    assert f"{samples:,} train samples in {shards:,} shards" in comment
    robot, questions, captions = (f"{100 * share:.2f} %" for share in shares)
    assert f"of which {robot} are robot steps, {questions} questions and {captions} captions" in comment
    assert all(not source.other_splits.keys() & source.taken_splits.keys() for source in made.sources)
