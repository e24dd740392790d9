"""Which of an episode's paraphrases a sample has: the recipe's ``instructions``, as ``answers`` for questions.

A table has the column ``paraphrases`` where the recipe takes more than the first (`rt2data.samples.view`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from rt2data import index
from rt2data.index import keys

COLUMN = "paraphrases"

Ints = npt.NDArray[np.int64]


class Told(NamedTuple):
    """What each of n rows or samples is told: `codes` int64 (n,), positions in `texts`; -1: nothing."""

    codes: Ints
    texts: list[str]

    def column(self) -> pa.Array:
        """Return the texts as a column, null where there is none."""
        return index.dictionary(self.codes.astype(np.int32), self.texts).cast(pa.string())


class Pools(NamedTuple):
    """The instructions of rows: `codes` int64 (rows,), positions in `pools`, -1: none; `pools` have no empty one."""

    codes: Ints
    pools: list[tuple[str, ...]]

    @property
    def sizes(self) -> Ints:
        """How many instructions each row has, (rows,)."""
        return np.array([*map(len, self.pools), 0], np.int64)[self.codes]


def pools(table: pa.Table) -> Pools:
    """Return the instructions of each row of an index: the first, and its paraphrases where the table has them."""
    codes, texts = index.codes(table, "instruction")
    every: list[tuple[str, ...]] = [(str(text),) for text in texts]
    if COLUMN not in table.column_names:
        return Pools(codes.astype(np.int64), every)
    several, stored = index.codes(table, COLUMN)
    every += [tuple(orjson.loads(str(text))) for text in stored]
    return Pools(np.where(several >= 0, several.astype(np.int64) + len(texts), codes), every)


def choose(
    table: pa.Table, rule: str, seed: int, source: str, rows: Ints, units: bytes, variant: npt.NDArray[np.int32]
) -> Told:
    """Return the instruction of each sample.

    Args:
        table: an index.
        rule: ``first``, ``all`` (the sample's variant says which) or ``draw`` (a hash of the sample's key does).
        seed: the recipe's.
        source: the source's short id.
        rows: of the samples, positions in `table`.
        units: their digests, 10 bytes each.
        variant: their variants.
    """
    own = pools(table)
    codes = own.codes[rows]
    begins = np.cumsum([0, *map(len, own.pools)])[:-1]
    place: Ints = np.zeros(len(rows), np.int64)
    if rule == "all":
        place = variant.astype(np.int64)
    elif rule == "draw":
        drawn = keys.hashes("draw", seed, source, units, index.numbers(table, "step")[rows], variant)
        place = (drawn % own.sizes[rows].clip(1).astype(np.uint64)).astype(np.int64)
    starts = np.append(begins, 0)[codes]
    return Told(np.where(codes >= 0, starts + place, -1), [text for pool in own.pools for text in pool])
