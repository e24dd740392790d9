"""A job: the recipe, its opened sources and their indexed parts, as a file that every worker reads."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from rt2data import index
from rt2data.declarations import declaration
from rt2data.index import blobs
from rt2data.recipes import filters, recipe
from rt2data.recipes.recipe import Recipe, RecipeSource
from rt2data.samples import annotations as annotation
from rt2data.samples import filters as row_filters
from rt2data.samples import holdout as row_holdout
from rt2data.samples import image_pass, reasoning, selection, windows
from rt2data.samples.parts import IndexedPart, Member, Slice
from rt2data.samples.view import normalised
from rt2data.storage import atomic
from rt2data.storage.workdir import WorkDir

# Of the staged images that one exchange task writes: at least so many bytes, and more where there would be more tasks.
GROUP_BYTES, STAGED_GROUPS = 1 << 30, 1000
GROUP_ROWS = 200_000  # rows that one task walks over, or holds in EXCHANGE, at most
# Samples of a run, of ROW_BYTES each: an EXCHANGE task holds them, and 50,000 are little beside the rest of a worker.
# But every GATHER task opens every run, so that from 25 million samples on there are not more runs, but larger ones.
RUN_ROWS, RUNS = 50_000, 500
ROW_BYTES = 200  # of a sample of one step in a run


class Piece(NamedTuple):
    """A slice that is read: its rows in `table`, and all of its part's in `every`, where they begin at row `start`."""

    part: IndexedPart
    source: RecipeSource
    table: pa.Table
    every: pa.Table
    start: int


@dataclass(frozen=True, slots=True)
class Job:
    """What workers need to know.

    `roots` holds each source's folder, `groups` the slices of each exchange task, `annotated` each source's annotations
    below the work directory ("" where it has none; empty where no source has), `staged` which sources are staged
    (`rt2data.pipeline.staging`; empty where none is), `duplicates` the name of the search that marked duplicates
    ("" where nobody asks for it, or nobody has looked yet).
    """

    work: WorkDir
    recipe: Recipe
    roots: tuple[str, ...]
    parts: tuple[IndexedPart, ...]
    groups: tuple[tuple[Slice, ...], ...]
    limits: tuple[int, ...]
    annotated: tuple[str, ...] = ()
    staged: tuple[bool, ...] = ()
    duplicates: str = ""

    def source(self, part: IndexedPart) -> RecipeSource:
        return self.recipe.sources[part.source]

    def table(self, part: IndexedPart) -> pa.Table:
        """The index of a part, mapped into memory, as the recipe takes it; the rows stay.

        Texts are normalised, the columns that filters and the holdout look at (``filter.``...) are there, and steps are
        composed or left out (`rt2data.samples.windows`).
        """
        source = self.source(part)
        table = normalised(index.read(self.work.path(part.file)), source.normalise)
        if source.filters:
            table = image_pass.attached(table, self.work, part, source)
            if self.duplicates and any(one.column in filters.DUPLICATES for one in source.filters):
                marks = np.load(self.marks(part), mmap_mode="r", allow_pickle=False)
                table = table.append_column(row_filters.DOUBLE, pa.array(marks))
        if self.recipe.holdout is not None:
            table = table.append_column(row_holdout.HELD, pa.array(row_holdout.mask(table, self.recipe.holdout)))
        return windows.taken(table, source if self.duplicates else selection.before_duplicates(source))

    def marks(self, part: IndexedPart) -> Path:
        """The marks of a part's duplicates (`rt2data.samples.duplicates`)."""
        return self.work.duplicates(self.duplicates).marks(part.source, part.file)

    def locate(self, file: str, source: int) -> str:
        """The path or URL of an image file that the index of source `source` (its position in the recipe) names."""
        return blobs.locate(file, self.roots[source], self.work.root)

    def annotations(self, source: int) -> annotation.Annotations | None:
        """The annotations that the plans of source `source` (its position in the recipe) come from."""
        file = self.annotated[source] if self.annotated else ""
        return annotation.load(self.work.path(file)) if file else None

    def plans(self, part: IndexedPart, table: pa.Table) -> reasoning.Plans | None:
        """The plans in words of rows of a part's index; None where the recipe asks for none."""
        rule = self.source(part).reasoning
        return reasoning.of(table, rule, self.annotations(part.source)) if rule else None

    def slices(self, group: int) -> Iterator[Piece]:
        """The slices of a group. A group holds slices of one source."""
        for one in self.groups[group]:
            part = self.parts[one.part]
            every = self.table(part)
            yield Piece(part, self.source(part), every.slice(one.start, one.stop - one.start), every, one.start)

    def groups_of(self, source: int) -> list[int]:
        """The groups of source `source` (its position in the recipe)."""
        return [g for g, slices in enumerate(self.groups) if self.parts[slices[0].part].source == source]

    @property
    def runs(self) -> str:
        """The name of the folder of its runs: other groups and other places of images are other runs."""
        bits = "".join("01"[one] for one in self.staged)
        return f"staged-{int(bits, 2):x}" if any(self.staged) else "runs"

    def for_exchange(self, drawn: Sequence[int], staged: Sequence[bool] = (), image_bytes: Sequence[int] = ()) -> Job:
        """The same job in groups that draw some RUN_ROWS samples, fewer where a sample holds several steps.

        Of a staged source also about GROUP_BYTES of images at most. A row drawn ten times stands ten times in its run.
        Where that would be more than RUNS runs groups are larger, but not above GROUP_ROWS samples.

        Args:
            drawn: each source's samples in all.
            staged: which sources are staged (`rt2data.pipeline.staging`).
            image_bytes: of each source's drawn samples.
        """
        rows = [sum(p.rows for p in self.parts if p.source == n) for n in range(len(drawn))]
        times = [max(1, -(-d // max(1, r))) for d, r in zip(drawn, rows, strict=True)]
        every = sum(d * self.row_bytes(n) for n, d in enumerate(drawn))
        most = min(GROUP_ROWS * ROW_BYTES, max(RUN_ROWS * ROW_BYTES, every // RUNS))
        limits = [max(1000, most // (t * self.row_bytes(n))) for n, t in enumerate(times)]
        for number in np.flatnonzero(staged).tolist():
            most = max(GROUP_BYTES, image_bytes[number] // STAGED_GROUPS)
            limits[number] = min(limits[number], max(1, most * rows[number] // max(1, image_bytes[number])))
        made = make(self.work, self.recipe, self.roots, self.parts, limits, self.annotated)
        return replace(made, duplicates=self.duplicates, staged=tuple(staged))

    def row_bytes(self, source: int) -> int:
        """About how many bytes a sample of a source (its position in the recipe) takes in a run."""
        one = self.recipe.sources[source]
        robot = one.declaration.robot
        return (
            ROW_BYTES
            if robot is None
            else one.sampling.row_bytes(ROW_BYTES, len(robot.dims), len(selection.cameras(one)))
        )

    def digest(self) -> str:
        """Names the job by its content: recipe, declarations and parts, but no path."""
        content = {
            "recipe": self.recipe.resolved,
            "splits": [s.splits for s in self.recipe.sources],  # their order decides which hashes go where
            "declarations": [s.declaration.digest for s in self.recipe.sources],
            "parts": [[p.source, p.split, m.name, m.digest] for p in self.parts for m in p.members],
            "index": index.VERSION,
            "annotations": self.annotated,  # named by their content
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def save(self) -> Path:
        """Write the job below its work directory; the same content gives the same file."""
        content = {
            "recipe": self.recipe.resolved, "file": self.recipe.file, "roots": self.roots, "limits": self.limits,
            "annotated": self.annotated,
            "declarations": [s.declaration.reference for s in self.recipe.sources],
            "parts": [[p.source, p.split, p.file, p.members] for p in self.parts],
            "duplicates": self.duplicates, "staged": self.staged,
            "lowest": [
                {one.column: one.low for one in s.filters if math.isfinite(one.low)} for s in self.recipe.sources
            ],
        }  # fmt: skip
        raw = json.dumps(content).encode()
        path = self.work.job(hashlib.sha256(raw).hexdigest()[:32])
        atomic.write_file(path, raw)
        return path


def make(
    work: WorkDir,
    the_recipe: Recipe,
    roots: Sequence[str],
    parts: Sequence[IndexedPart],
    limits: Sequence[int] = (),
    annotated: Sequence[str] = (),
) -> Job:
    """A job, with its parts in the one order that does not depend on how they were found, cut into groups.

    `limits` gives the most rows of a group per source, where it is not GROUP_ROWS. The groups of a source have equally
    many rows: whoever has the last one is done with the others.
    """
    ordered = sorted(parts, key=lambda p: (p.source, p.split, p.name))
    totals: Counter[int] = Counter()
    for part in ordered:
        totals[part.source] += part.rows
    most = {n: limits[n] if limits else GROUP_ROWS for n in totals}
    equal = {n: math.ceil(total / max(1, math.ceil(total / most[n]))) for n, total in totals.items()}
    groups: list[tuple[Slice, ...]] = []
    open_group: list[Slice] = []
    held = 0  # rows of the open group
    for number, part in enumerate(ordered):
        if open_group and ordered[open_group[-1].part].source != part.source:
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
    made = Job(work, the_recipe, tuple(roots), tuple(ordered), tuple(groups), tuple(limits), tuple(annotated))
    return _resolved(made) if any(one.top is not None for s in the_recipe.sources for one in s.filters) else made


def _resolved(job: Job) -> Job:
    """The job with filters that name numbers in place of shares: which rows are the top tenth, all parts together."""

    def rows(number: int, found: Sequence[filters.Filter]) -> Iterator[tuple[pa.Table, Any]]:
        source = replace(job.recipe.sources[number], filters=tuple(found))
        for part in job.parts:
            if part.source == number:
                table = job.table(part)
                yield table, selection.rejected(table, source)[1]

    sources = list(job.recipe.sources)
    for number, source in enumerate(sources):
        found = row_filters.resolve(source.filters, partial(rows, number), selection.cameras(source))
        sources[number] = replace(source, filters=found)
    return replace(job, recipe=replace(job.recipe, sources=tuple(sources)))


@lru_cache(maxsize=4)
def load(path: str) -> Job:
    """Read a job that `save` wrote."""
    file = Path(path)
    content: dict[str, Any] = json.loads(file.read_bytes())
    declarations = [declaration.load_declaration(reference) for reference in content["declarations"]]
    parsed = recipe.parse_recipe(content["recipe"], content["file"], declarations=declarations)
    # What a share of the rows means was found once, from all parts.
    sources = [
        replace(s, filters=tuple(replace(one, low=lowest.get(one.column, one.low), top=None) for one in s.filters))
        for s, lowest in zip(parsed.sources, content["lowest"], strict=True)
    ]
    parsed = replace(parsed, sources=tuple(sources))
    parts = [
        IndexedPart(n, split, at, tuple(Member(*m) for m in members)) for n, split, at, members in content["parts"]
    ]
    made = make(WorkDir.of_job(file), parsed, content["roots"], parts, content["limits"], content["annotated"])
    return replace(made, duplicates=content["duplicates"], staged=tuple(content["staged"]))
