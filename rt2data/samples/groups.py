"""How a job's rows are divided among tasks: groups of slices of parts, equally large within a source.

MEASURE and EXCHANGE run a task per group. MEASURE walks over rows and holds few of them; EXCHANGE holds what it writes,
the group's run, so that its groups go by the size of a run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from rt2data.recipes.recipe import Recipe, RecipeSource
from rt2data.samples import selection
from rt2data.samples.parts import IndexedPart, Slice

# Of the staged images that one exchange task writes: at least so many bytes, and more where there would be more tasks.
GROUP_BYTES, STAGED_GROUPS = 1 << 30, 1000
GROUP_ROWS = 200_000  # rows that one task walks over, or holds in EXCHANGE, at most
# Samples of a run, of ROW_BYTES each: an EXCHANGE task holds them, and 50,000 are little beside the rest of a worker.
# But every GATHER task opens every run, so that from 25 million samples on there are not more runs, but larger ones.
RUN_ROWS, RUNS = 50_000, 500
ROW_BYTES = 200  # of a sample of one step in a run


def cut_groups(parts: Sequence[IndexedPart], limits: Sequence[int] = ()) -> tuple[tuple[Slice, ...], ...]:
    """Divide parts into groups; a group holds slices of one source.

    The groups of a source have equally many rows: whoever has the last one is done with the others.

    Args:
        parts: in the order of the job.
        limits: the most rows of a group per source, GROUP_ROWS where empty.
    """
    totals: Counter[int] = Counter()
    for part in parts:
        totals[part.source] += part.rows
    most = {n: limits[n] if limits else GROUP_ROWS for n in totals}
    equal = {n: math.ceil(total / max(1, math.ceil(total / most[n]))) for n, total in totals.items()}
    groups: list[tuple[Slice, ...]] = []
    open_group: list[Slice] = []
    held = 0  # rows of the open group
    for number, part in enumerate(parts):
        if open_group and parts[open_group[-1].part].source != part.source:
            groups.append(tuple(open_group))
            open_group, held = [], 0
        start, rows = 0, part.rows
        while start < rows:
            room = equal[part.source] - held
            stop = min(rows, start + room)
            open_group.append(Slice(number, start, stop))
            held += stop - start
            if stop - start == room:
                groups.append(tuple(open_group))
                open_group, held = [], 0
            start = stop
    if open_group:
        groups.append(tuple(open_group))
    return tuple(groups)


def exchange_limits(
    recipe: Recipe,
    parts: Sequence[IndexedPart],
    drawn: Sequence[int],
    staged: Sequence[bool] = (),
    image_bytes: Sequence[int] = (),
) -> list[int]:
    """The most rows of a group of EXCHANGE, per source: those from which some RUN_ROWS samples are drawn.

    They are fewer where a sample holds several steps, and of a staged source those of about GROUP_BYTES of images. A
    row drawn ten times stands ten times in its run. Where that would be more than RUNS runs, groups are larger, but not
    above GROUP_ROWS samples.

    Args:
        recipe: the recipe.
        parts: of the job.
        drawn: each source's samples in all.
        staged: which sources are staged (`rt2data.pipeline.staging`).
        image_bytes: of each source's drawn samples.
    """
    rows = [sum(p.rows for p in parts if p.source == n) for n in range(len(drawn))]
    times = [max(1, -(-d // max(1, r))) for d, r in zip(drawn, rows, strict=True)]
    sizes = [row_bytes(source) for source in recipe.sources]
    every = sum(d * size for d, size in zip(drawn, sizes, strict=True))
    most = min(GROUP_ROWS * ROW_BYTES, max(RUN_ROWS * ROW_BYTES, every // RUNS))
    limits = [max(1000, most // (t * size)) for t, size in zip(times, sizes, strict=True)]
    for number in np.flatnonzero(staged).tolist():
        most = max(GROUP_BYTES, image_bytes[number] // STAGED_GROUPS)
        limits[number] = min(limits[number], max(1, most * rows[number] // max(1, image_bytes[number])))
    return limits


def row_bytes(source: RecipeSource) -> int:
    """About how many bytes a sample of a source takes in a run."""
    robot = source.declaration.robot
    if robot is None:
        return ROW_BYTES
    return source.sampling.row_bytes(ROW_BYTES, len(robot.dims), len(selection.cameras(source)))
