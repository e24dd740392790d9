"""Which rows of an index train must not see."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rt2data import index
from rt2data.recipes.holdout import Holdout, normalise_words
from rt2data.samples import paraphrases

HELD = "filter.held"  # the column that a job adds to an index


def mask(table: pa.Table, held: Holdout) -> npt.NDArray[np.bool_]:
    """Which rows of a part's whole index are held out: all of an episode with a paraphrase that is."""
    hashes = np.array(sorted({h for h, _ in _hashes(held)}), np.uint64)
    held_out = np.isin(index.numbers(table, "split_hash"), hashes)
    if "instruction" in table.column_names and (held.instructions or held.objects):
        codes, pools = paraphrases.pools(table)
        matched = {text: any(True for _ in _said(held, text)) for pool in pools for text in pool}
        said = np.array([*(any(map(matched.__getitem__, pool)) for pool in pools), False], np.bool_)
        starts = np.flatnonzero(index.numbers(table, "step") == 0)
        if len(codes):
            unit = np.cumsum(index.numbers(table, "step") == 0) - 1
            held_out |= np.logical_or.reduceat(said[codes], starts)[unit]
    return held_out


def used(table: pa.Table, held: Holdout) -> set[str]:
    """The entries of a holdout that some row of a part's index, as it is stored, matches."""
    there = index.numbers(table, "split_hash")
    names = {name for h, name in _hashes(held) if (there == np.uint64(h)).any()}
    if "instruction" in table.column_names:
        for text in {text for pool in paraphrases.pools(table).pools for text in pool}:
            names.update(_said(held, text))
    return names


def _hashes(held: Holdout) -> Iterable[tuple[int, str]]:
    for dataset, name in held.episodes:
        yield index.split_hash(dataset, name), f"{dataset} {name}"
    for namespace, name in held.pictures:
        yield index.split_hash(namespace, name), f"{namespace}:{name}" if namespace else name


def _said(held: Holdout, instruction: str) -> Iterable[str]:
    """The entries that an instruction matches."""
    plain = normalise_words(instruction)
    yield from (text for text in held.instructions if normalise_words(text) == plain)
    yield from (text for text in held.objects if f" {normalise_words(text)} " in f" {plain} ")
