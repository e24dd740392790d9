"""How often each bin occurs in the train steps of robot sources: what EXCHANGE counts, for the statistics and the
card.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rt2data import index
from rt2data.samples import selection, windows
from rt2data.samples.job import Job, RowSlice
from rt2data.tokenizer import ActionTokenizer

Counts = npt.NDArray[np.int64]

BLOCK = 8192  # samples whose chunks are made at once


class Bins:
    """How often each bin occurs, and how many values are clipped, in train steps of robot sources.

    Attributes:
        counts: ``train`` are the actions, and ``proprio`` the states where prompts hold them. Each step counts once
            whatever its copies and whatever the horizon: int64 (fields of a step, bins), the first row of the terminate
            field, and int64 (D,). Of a scheme whose codes belong to a whole chunk ("dct", "fast-bpe", "beast"), the
            codes of all frequencies, or weights, of a dimension count together; of chunks relative to their start, the
            bins of all steps.
    """

    def __init__(self, tokenizer: ActionTokenizer, state: ActionTokenizer | None = None) -> None:
        self.counts: dict[str, tuple[Counts, Counts]] = {}
        self._tokenizer, self._state = tokenizer, state

    def add(self, piece: RowSlice, samples: selection.Selection) -> None:
        """Count the steps of a piece, of which `samples` are the samples."""
        source, table = piece.source, piece.table
        rows = np.flatnonzero(samples.kept & (samples.row_split == 0))
        mine = self._tokenizer.for_source(source.name)
        if mine.spec.of_chunks or source.sampling.relative:
            chunks = windows.ActionWindows(piece.every, source)
            for block in range(0, max(1, len(rows)), BLOCK):
                actions = chunks.at(rows[block : block + BLOCK] + piece.start)
                values, ends = actions.values, actions.terminate if mine.terminate else None
                if mine.horizon == 1:
                    values, ends = values[:, 0], None if ends is None else ends[:, 0]
                self._add("train", mine, values, ends)
        else:
            ends = index.numbers(table, "terminate")[rows] if mine.terminate else None
            self._add("train", mine.with_horizon(1), index.matrix(table.column("action"))[rows], ends)
        if self._state is not None and source.sampling.state:
            self._add("proprio", self._state.for_source(source.name), index.matrix(table.column("proprio"))[rows])

    def _add(self, name: str, mine: ActionTokenizer, values: Any, ends: Any = None) -> None:
        coded, outside = mine.encode(values, ends, return_clipped=True)
        rows = np.asarray(coded).reshape(-1, mine.spec.fields_per_step) if coded.shape[-1] else coded
        columns = [np.bincount(column, minlength=mine.bins).astype(np.int64) for column in rows.T]
        bins = np.stack(columns) if columns else np.zeros((0, mine.bins), np.int64)
        clipped = np.count_nonzero(np.asarray(outside).reshape(-1, len(mine.dims)), axis=0)
        before = self.counts.get(name, (0, 0))
        self.counts[name] = before[0] + bins, before[1] + clipped


def count_bins(job: Job, tokenizer: ActionTokenizer) -> dict[str, tuple[Counts, Counts]]:
    """`Bins.counts` of all groups of a job."""
    bins = Bins(tokenizer)
    for piece in (piece for group in range(len(job.groups)) for piece in job.slices(group)):
        bins.add(piece, selection.select(piece.table, job.recipe, piece.source, piece.part.split))
    return bins.counts
