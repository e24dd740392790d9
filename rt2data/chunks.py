"""Action chunks of a recipe's robot sources, from the index alone: what `rt2data tokenizer fit` fits on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rt2data import flow, index, report, select
from rt2data.engine import Direct
from rt2data.errors import Rt2dataError
from rt2data.job import Job
from rt2data.recipe import Recipe
from rt2data.tokenizer import ActionTokenizer
from rt2data.tokenizer.fit import fit

Chunk = tuple[str, npt.NDArray[np.float32]]


def fit_recipe(
    found: Recipe, data_root: Path | None, work: Path, *, spec: str, horizon: int | None, vocabulary: int
) -> ActionTokenizer:
    """A tokenizer of the "dct" scheme, fitted to the train steps of a recipe's robot sources.

    Args:
        found: the recipe.
        data_root: the folder that holds the datasets.
        work: the folder of indexes; indexes that are there are used again.
        spec: the tokenizer to fit.
        horizon: steps of a chunk; the spec's own where None.
        vocabulary: ids of the fitted tokenizer, codes and merges together.

    Returns:
        The fitted tokenizer, with the bounds of every robot source as the recipe's `bounds` rule gives them.
    """
    unfitted = ActionTokenizer.from_pretrained(spec)
    unfitted = unfitted.with_horizon(horizon) if horizon else unfitted
    engine = Direct(report.Reporter(enabled=True))
    opened = [flow.open_source(source, data_root, work) for source in found.sources]
    the_job = flow.index_all(found, opened, work, engine, check="quick")
    resolved = flow.resolve(found, unfitted, flow.measure_all(the_job, engine))
    if not resolved.sources:
        raise Rt2dataError(found.file, "no robot source with a train step", "one to fit the tokenizer on")
    return fit(resolved, of_job(the_job, resolved.horizon), vocabulary=vocabulary)


def of_job(the_job: Job, horizon: int) -> Iterator[Chunk]:
    """Every chunk of `horizon` consecutive train steps, as (source, float32 (n, horizon, D)).

    No chunk crosses an episode or a step that is left out. Chunks overlap: one begins at each step that has enough
    after it.
    """
    for part in the_job.parts:
        source = the_job.source(part)
        if source.declaration.robot is None:
            continue
        table = the_job.table(part)
        samples = select.select(table, the_job.recipe, source, part.split)
        action = index.matrix(table.column("action"))
        usable = samples.kept & (samples.row_split == 0)
        first = index.numbers(table, "step") == 0
        # A run of usable steps of one episode has one number; it grows at each step that begins an episode or is left
        # out.
        run = np.cumsum(first | ~usable)
        starts = np.arange(max(0, len(run) - horizon + 1))
        whole = usable[starts] & (run[starts] == run[starts + horizon - 1])
        windows: Any = np.lib.stride_tricks.sliding_window_view(action, horizon, axis=0) if len(starts) else None
        if windows is not None and whole.any():
            yield source.id, np.ascontiguousarray(windows[whole].transpose(0, 2, 1))
