"""Which samples are drawn, and how often."""

from __future__ import annotations

from typing import Any

import numpy as np

from rt2data.index import keys
from rt2data.plan.plan import SourcePlan
from rt2data.recipes.recipe import Recipe, RecipeSource
from rt2data.samples.selection import Selection


def reasoning_hashes(recipe: Recipe, source: RecipeSource, samples: Selection, rows: Any, copy: int) -> keys.U64:
    """The hash that decides which samples have a plan in words, of the samples at `rows` (ascending), copy `copy`."""
    mask = np.zeros(len(samples.rows), np.bool_)
    mask[rows] = True
    return _hash("plan", recipe, source, samples.take(mask), copy)


def _hash(
    tag: str, recipe: Recipe, source: RecipeSource, samples: Selection, copy: int = 0, kind: str = ""
) -> keys.U64:
    return keys.hashes(tag, recipe.seed, source.id, samples.units, samples.step, samples.variant, copy, kind)


def iter_drawn(recipe: Recipe, source: RecipeSource, plan: SourcePlan, samples: Selection) -> Any:
    """The drawn samples, kind by kind, split by split and copy by copy: (split, positions in `samples`, copy, order
    values).
    """
    for number, (kind, drawn) in enumerate(plan.draws.items()):
        for split in range(len(recipe.splits)):
            mask = samples.split == split
            rows = np.flatnonzero(mask if samples.kind is None else mask & (samples.kind == number))
            if not len(rows):
                continue
            mine = samples.take(rows)
            copies = drawn.repeats if split == 0 else 1
            for copy in range(copies):
                yield split, rows, copy, _hash("order", recipe, source, mine, copy, kind)
            if split == 0 and drawn.threshold >= 0:
                chosen = _hash("quota", recipe, source, mine, kind=kind) <= np.uint64(drawn.threshold)
                if chosen.any():
                    yield split, rows[chosen], copies, _hash("order", recipe, source, mine.take(chosen), copies, kind)
