"""A job: the recipe, its opened sources and their indexed parts, as a file that every worker reads."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from rt2data import index
from rt2data.declarations import declaration
from rt2data.index import blobs
from rt2data.recipes import filters, recipe
from rt2data.recipes.recipe import Recipe, RecipeSource
from rt2data.recipes.tracks import AnnotationFile
from rt2data.samples import annotations as annotation
from rt2data.samples import filters as row_filters
from rt2data.samples import reasoning, selection
from rt2data.samples.groups import cut_groups
from rt2data.samples.kinds import StepValues
from rt2data.samples.paraphrases import Told
from rt2data.samples.parts import IndexedPart, Member, Slice
from rt2data.samples.view import view
from rt2data.storage import atomic
from rt2data.storage.workdir import WorkDir
from rt2data.tracks.store import TrackStore, open_store


class RowSlice(NamedTuple):
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
    below the work directory ("" where it has none; empty where no source has), `tracked` likewise the rows of each of
    its annotation files, in the order of the recipe, `staged` which sources are staged
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
    tracked: tuple[tuple[str, ...], ...] = ()

    def source(self, part: IndexedPart) -> RecipeSource:
        return self.recipe.sources[part.source]

    def table(self, part: IndexedPart) -> pa.Table:
        """The index of a part as the recipe takes it (`rt2data.samples.view`)."""
        return view(self.work, self.recipe, part, self.duplicates)

    def marks(self, part: IndexedPart) -> Path:
        """The marks of a part's duplicates (`rt2data.samples.duplicates`)."""
        return self.work.duplicates(self.duplicates).marks(part.source, part.file)

    def locate(self, file: str, source: int) -> str:
        """The path or URL of an image file that the index of source `source` (its position in the recipe) names."""
        return blobs.locate(file, self.roots[source], self.work.root)

    def annotations(self, source: int) -> annotation.Annotations | None:
        """The annotations that the reasonings of source `source` (its position in the recipe) come from."""
        file = self.annotated[source] if self.annotated else ""
        return annotation.load(self.work.path(file)) if file else None

    def values(self, part: IndexedPart, table: pa.Table) -> StepValues:
        """The values that the kinds of a part's source say of its steps; `table` is that of the whole part."""
        return StepValues(table, self.source(part), self.tracks(part.source), self.recipe.seed)

    def tracks(self, source: int) -> TrackStore | None:
        """The tracks of source `source` (its position in the recipe): of its annotation files, and derived ones; None
        where it has none.
        """
        entries = self.recipe.sources[source].annotations
        files = self.tracked[source] if self.tracked else ()
        derived = tuple(one for one in entries if not isinstance(one, AnnotationFile))
        return open_store(tuple(self.work.path(file) for file in files), derived) if files or derived else None

    def reasonings(self, part: IndexedPart, table: pa.Table, rows: Any, told: Told) -> reasoning.Reasonings | None:
        """The reasoning of the samples at `rows` of a part's index, `told` their instructions; None where the recipe
        asks for none.
        """
        rule = self.source(part).reasoning
        return reasoning.reasonings(table, rows, told, rule, self.annotations(part.source)) if rule else None

    def slices(self, group: int) -> Iterator[RowSlice]:
        """The slices of a group. A group holds slices of one source."""
        for rows in self.groups[group]:
            part = self.parts[rows.part]
            every = self.table(part)
            yield RowSlice(part, self.source(part), every.slice(rows.start, rows.stop - rows.start), every, rows.start)

    def groups_of(self, source: int) -> list[int]:
        """The groups of source `source` (its position in the recipe)."""
        return [g for g, slices in enumerate(self.groups) if self.parts[slices[0].part].source == source]

    @property
    def runs(self) -> str:
        """The name of the folder of its runs: other groups and other places of images are other runs."""
        bits = "".join("01"[one] for one in self.staged)
        return f"staged-{int(bits, 2):x}" if any(self.staged) else "runs"

    def regrouped(self, limits: Sequence[int], staged: Sequence[bool] = ()) -> Job:
        """The same job in groups of at most `limits` rows per source, with the sources that are staged."""
        limits = tuple(limits)
        return replace(self, groups=cut_groups(self.parts, limits), limits=limits, staged=tuple(staged))

    def digest(self) -> str:
        """Names the job by its content: recipe, declarations and parts, but no path."""
        content = {
            "recipe": self.recipe.resolved,
            "splits": [s.splits.names for s in self.recipe.sources],  # their order decides which hashes go where
            "declarations": [s.declaration.digest for s in self.recipe.sources],
            "parts": [[p.source, p.split, m.name, m.digest] for p in self.parts for m in p.members],
            "index": index.VERSION,
            "annotations": self.annotated,  # named by their content
        }
        if any(self.tracked):
            content["tracks"] = self.tracked  # likewise
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def save(self) -> Path:
        """Write the job below its work directory; the same content gives the same file."""
        content = {
            "recipe": self.recipe.resolved, "file": self.recipe.file, "roots": self.roots, "limits": self.limits,
            "annotated": self.annotated, "tracked": self.tracked,
            "declarations": [s.declaration.reference for s in self.recipe.sources],
            "parts": [[p.source, p.split, p.file, p.members] for p in self.parts],
            "duplicates": self.duplicates, "staged": self.staged,
            "lowest": [
                {rule.column: rule.low for rule in s.filters if math.isfinite(rule.low)} for s in self.recipe.sources
            ],
        }  # fmt: skip
        raw = json.dumps(content).encode()
        path = self.work.job(hashlib.sha256(raw).hexdigest()[:32])
        atomic.write_file(path, raw)
        return path


def make_job(
    work: WorkDir,
    recipe: Recipe,
    roots: Sequence[str],
    parts: Sequence[IndexedPart],
    limits: Sequence[int] = (),
    annotated: Sequence[str] = (),
    tracked: Sequence[Sequence[str]] = (),
) -> Job:
    """A job, with its parts in the one order that does not depend on how they were found, divided into groups.

    `limits` are those of `rt2data.samples.groups.cut_groups`.
    """
    ordered = sorted(parts, key=lambda p: (p.source, p.split, p.name))
    groups = cut_groups(ordered, limits)
    job = Job(work, recipe, tuple(roots), tuple(ordered), groups, tuple(limits), tuple(annotated))
    job = replace(job, tracked=tuple(map(tuple, tracked)))
    return _resolved(job) if any(rule.top is not None for s in recipe.sources for rule in s.filters) else job


def _resolved(job: Job) -> Job:
    """The job with filters that name numbers in place of shares: which rows are the top tenth, all parts together."""

    def rows(number: int, chosen: Sequence[filters.Filter]) -> Iterator[tuple[pa.Table, Any]]:
        source = replace(job.recipe.sources[number], filters=tuple(chosen))
        for part in job.parts:
            if part.source == number:
                table = job.table(part)
                yield table, selection.rejected(table, source)[1]

    sources = list(job.recipe.sources)
    for number, source in enumerate(sources):
        resolved = row_filters.resolve(source.filters, partial(rows, number), selection.cameras(source))
        sources[number] = replace(source, filters=resolved)
    return replace(job, recipe=replace(job.recipe, sources=tuple(sources)))


@lru_cache(maxsize=4)
def load_job(file: Path) -> Job:
    """Read a job that `save` wrote."""
    content: dict[str, Any] = json.loads(file.read_bytes())
    declarations = [declaration.load_declaration(reference) for reference in content["declarations"]]
    parsed = recipe.parse_recipe(content["recipe"], content["file"], declarations=declarations)
    # What a share of the rows means was found once, from all parts.
    sources = [
        replace(s, filters=tuple(replace(rule, low=lowest.get(rule.column, rule.low), top=None) for rule in s.filters))
        for s, lowest in zip(parsed.sources, content["lowest"], strict=True)
    ]
    parsed = replace(parsed, sources=tuple(sources))
    parts = [
        IndexedPart(n, split, at, tuple(Member(*m) for m in members)) for n, split, at, members in content["parts"]
    ]
    job = make_job(WorkDir.of_job(file), parsed, content["roots"], parts, content["limits"], content["annotated"],
                   content["tracked"])  # fmt: skip
    return replace(job, duplicates=content["duplicates"], staged=tuple(content["staged"]))
