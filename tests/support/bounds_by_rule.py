"""Bounds by a rule: as the package finds them on an array, and the rule `robust` anew, for one dimension in Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rt2data.pipeline.measure import action_statistics
from rt2data.pipeline.measure.exact_stats import Cells, Moments
from rt2data.recipes.recipe import RecipeSource, parse_recipe
from rt2data.tokenizer import ActionTokenizer


def source(name: str = "bridge_dataset", bounds: Any = None) -> RecipeSource:
    """The one source of a recipe; `bounds` None: the recipe does not say."""
    tokenizer = {} if bounds is None else {"tokenizer": {"bounds": bounds}}
    return parse_recipe({"name": "test", "sources": [{"source": name}]} | tokenizer, "test").sources[0]


def measure(one: RecipeSource, actions: npt.NDArray[np.float32]) -> ActionTokenizer:
    """The tokenizer `rt2` with the bounds of a source, measured on actions (n, D)."""
    assert one.declaration.robot is not None
    moments = Moments.from_array(actions)
    cells = Cells.from_array(actions, action_statistics.wanted_cells({"train": moments}, one.bounds)["train"])
    stats = action_statistics.summary(moments, cells, one.declaration.robot.dims, one.bounds)
    spec = ActionTokenizer.from_pretrained("rt2")
    return spec.with_dims(action_statistics.bounds(one, stats, spec))


def scalar_robust(values: Sequence[float]) -> tuple[float, float]:
    """Low and high of the rule `robust` for the values of one dimension that moves."""
    ordered, n = sorted(values), len(values)
    q01, q99 = _quantile(ordered, 0.01), _quantile(ordered, 0.99)
    outer = 0.5 if n == 1 else max(0.001, min(0.5, 2 / (n - 1)))
    fence = (q99 - q01) / 2
    low, high = min(q01 - fence, _quantile(ordered, outer)), max(q99 + fence, _quantile(ordered, 1 - outer))
    return max(low, ordered[0]), min(high, ordered[-1])


def _quantile(ordered: Sequence[float], q: float) -> float:
    """Linear between the two nearest values, from the nearer one, as numpy does."""
    place = q * (len(ordered) - 1)
    k = min(math.floor(place), len(ordered) - 1)
    a, b = ordered[k], ordered[min(k + 1, len(ordered) - 1)]
    t = place - k
    return b - (b - a) * (1 - t) if t >= 0.5 else a + (b - a) * t
