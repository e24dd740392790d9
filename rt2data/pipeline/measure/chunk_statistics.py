"""Statistics of action chunks that are relative to the state at their start, and the tokenizer's bounds from them.

They are measured as those of single steps are (`rt2data.pipeline.measure.exact_stats`), over the chunks of the train
samples, each once whatever its copies: all steps together, or each step of a chunk as dimensions of its own. What is
padded past the end of an episode counts, since samples hold it; with `past_end: drop` every chunk is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from rt2data.pipeline.bin_counts import BLOCK
from rt2data.recipes.recipe import Recipe, RecipeSource
from rt2data.samples import selection, windows
from rt2data.samples.job import RowSlice
from rt2data.tokenizer import ActionTokenizer, Dim

SET = "relative"
Measure = Callable[[RecipeSource, dict[str, Any], ActionTokenizer], list[Dim]]


def iter_chunks(recipe: Recipe, piece: RowSlice) -> Iterator[Any]:
    """Yield the numbers of the chunks of train samples: float32 (n H, D), or (n, H D) where steps count apart."""
    source, table = piece.source, piece.table
    how, width = source.sampling.relative, len(source.declaration.robot.dims) if source.declaration.robot else 0
    if how is None:
        return
    train = selection.splits(table, recipe, source, piece.part.split) == recipe.splits.index("train")
    rows = np.flatnonzero(selection.rejected(table, source)[1] & train) + piece.start
    chunks = windows.ActionWindows(piece.every, source)
    for start in range(0, max(1, len(rows)), BLOCK):
        values = chunks.at(rows[start : start + BLOCK]).values
        yield values.reshape(-1, width * (source.sampling.horizon if how.per_step else 1))


def chunk_bounds(source: RecipeSource, stats: Mapping[str, Any], spec: ActionTokenizer, measure: Measure) -> list[Dim]:
    """The tokenizer's dimensions for a source with relative chunks.

    Args:
        source: the source.
        stats: of its chunks, of H D dimensions where each step has its own.
        spec: the tokenizer before any source's bounds are known.
        measure: gives the dimensions of one set of statistics of D dimensions.
    """
    how, width = source.sampling.relative, len(stats["dims"])
    if how is None:
        raise ValueError("chunks that are not relative")
    steps = [
        measure(source, {k: v[start : start + width] if k in _LISTS else v for k, v in stats.items()}, spec)
        for start in range(0, len(stats["mean"]), width)
    ]
    dims = []
    for own, by in zip(zip(*steps, strict=True), how.rules, strict=True):
        bounds = tuple((dim.low, dim.high) for dim in own)
        low, high = min(low for low, _ in bounds), max(high for _, high in bounds)
        constant = all(dim.constant for dim in own)
        apart = bounds if len(set(bounds)) > 1 else ()
        dims.append(replace(own[0], low=low, high=high, constant=constant, relative=_word(by), steps=apart))
    return dims


def first_steps(stats: Mapping[str, Any], horizon: int) -> dict[str, Any]:
    """The statistics of the first `horizon` steps of chunks whose steps have their own."""
    size = horizon * len(stats["dims"])
    return {key: value[:size] if key in _LISTS else value for key, value in stats.items()}


def published(source: RecipeSource, stats: Mapping[str, Any]) -> dict[str, Any]:
    """The statistics of chunks as ``statistics.json`` has them: `horizon` says that each step has its own."""
    several = len(stats["mean"]) > len(stats["dims"])
    return dict(stats) | ({"horizon": source.sampling.horizon} if several else {})


_LISTS = ("mean", "std", "min", "q01", "median", "q99", "max", "q_low", "q_high")


def _word(rule: str) -> str:
    return "" if rule == "none" else rule
