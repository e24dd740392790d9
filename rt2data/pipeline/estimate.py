"""Plans before anything is indexed: exact where an index is at hand, estimated from metadata where it is not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rt2data import index as index_of
from rt2data import storage
from rt2data.errors import Rt2dataError
from rt2data.pipeline import stages, staging
from rt2data.plan import planner, quotas, requests, warnings
from rt2data.plan.plan import Plan, SourcePlan, Stream, empty_plans, stream_names
from rt2data.recipes import filters
from rt2data.recipes.reasoning import Reasoning
from rt2data.recipes.recipe import Recipe, RecipeSource
from rt2data.runners import progress
from rt2data.runners.engine import Direct
from rt2data.samples import image_pass, reasoning, selection
from rt2data.samples.job import make_job
from rt2data.sources.base import Source
from rt2data.storage.places import Place
from rt2data.storage.workdir import WorkDir


def make(recipe: Recipe, data_root: Place | None, work: Path, *, index: bool, check: bool) -> Plan:
    """The plan of a recipe, exact where it can be.

    Args:
        recipe: the recipe.
        data_root: the folder that holds the datasets.
        work: the folder of indexes.
        index: index what is not indexed yet.
        check: with `index`, verify every checksum of the source files.
    """
    if isinstance(data_root, Path) and not data_root.is_dir():
        raise Rt2dataError(recipe.file, f"no data root {data_root}", "the folder that holds the datasets")
    prepared = None
    if index:
        level = "decode" if recipe.image_check != "header" else "header" if check else "quick"
        prepared = stages.prepare(recipe, data_root, work, Direct(progress.Reporter(enabled=True)), check=level)
        datasets: list[Source | None] = [*prepared.sources]
    else:
        datasets = [_on_disk(source, data_root, work) for source in recipe.sources]
        opened = [dataset for dataset in datasets if dataset is not None]
        if len(opened) == len(datasets):
            prepared = _prepared(recipe, data_root, work, opened)
    if prepared is None:
        return estimated_plan(recipe, datasets, work)
    exact = prepared.plan()
    for source in exact.sources:
        source.staged = staging.cheaper(source.reads)
    return exact


def write_left_out(recipe: Recipe, data_root: Place | None, work: Path, file: Path) -> None:
    """Write each row that is no sample as a line: source, reason, id, step, split and part of the dataset, image file.

    Raises:
        Rt2dataError: a source is not indexed.
    """
    sources = [stages.open_source(source, data_root, work) for source in recipe.sources]
    prepared = _prepared(recipe, data_root, work, sources)
    if prepared is None:
        raise Rt2dataError(recipe.file, "sources without an index", "an exact plan", "Add --index")
    job = prepared.job
    with file.open("w", encoding="utf-8") as out:
        out.write("source\treason\tid\tstep\tsplit\tpart\timage\n")
        for part in job.parts:
            source, table = job.source(part), job.table(part)
            camera = selection.cameras(source)[0]
            names, files = index_of.codes(table, "episode"), index_of.codes(table, f"{camera}.file")
            steps = index_of.numbers(table, "step")
            for row, reason in selection.reasons(table, source):
                image = files[1][files[0][row]] if files[0][row] >= 0 else ""
                cells = (source.id, reason, names[1][names[0][row]], steps[row], part.split, part.member(row)[0], image)
                out.write("\t".join(" ".join(str(cell).split()) for cell in cells) + "\n")


def _on_disk(source: RecipeSource, data_root: Place | None, work: Path) -> Source | None:
    folders = [source.path] if source.path else source.declaration.paths
    there = any(storage.join(data_root, folder).is_dir() for folder in folders) and (data_root or source.path)
    # A plan alone makes no work directory.
    return stages.open_source(source, data_root, work if work.is_dir() else None) if there else None


def _prepared(recipe: Recipe, data_root: Place | None, work: Path, sources: Sequence[Source]) -> stages.Prepared | None:
    """What an earlier build or plan has indexed, at the first level at which it has all of it."""
    attempts = (stages.prepared_before(recipe, data_root, work, sources, check=n) for n in levels(recipe))
    return next((prepared for prepared in attempts if prepared is not None), None)


def levels(recipe: Recipe) -> list[str]:
    """The levels of index that a plan of `recipe` may use; the first is preferred."""
    if recipe.image_check != "header":
        return ["decode"]
    return ["header", "decode"] if image_pass.is_needed(recipe) else ["header", "quick", "decode"]


def estimated_plan(recipe: Recipe, datasets: Sequence[Source | None], work: Path) -> Plan:
    """A plan without indexing anything.

    Args:
        recipe: the recipe.
        datasets: each source's dataset on disk; None where it is not there, and its published counts are used. What
            these do not say is named in `SourcePlan.unknown`.
        work: where indexes of earlier builds may be.
    """
    others = [
        stages.other_splits_of(s, dataset) if dataset else {}
        for s, dataset in zip(recipe.sources, datasets, strict=True)
    ]
    plans = empty_plans(recipe, others)
    for number, (source, dataset) in enumerate(zip(recipe.sources, datasets, strict=True)):
        # What images show is found with all sources together.
        known = dataset is not None and not image_pass.wanted(source)
        attempts = (
            stages.indexed_before(recipe, number, dataset, work, n) for n in levels(recipe) if dataset and known
        )
        parts = next((parts for parts in attempts if parts is not None), None)
        if parts is not None and dataset is not None:
            roots = [str(dataset.root)] * len(recipe.sources)
            for _, _, table, drawn in planner.iter_parts(make_job(WorkDir(work), recipe, roots, parts)):
                planner.count_part(recipe, source, plans[number], table, drawn)
                plans[number].image_bytes += planner.image_bytes(table, source, drawn.rows)
        else:
            _guess(source, dataset, plans[number])
        if "samples" not in plans[number].unknown:
            quotas.check_usable(source, plans[number])
    quotas.set_quotas(recipe, plans)
    for source, one_plan in zip(recipe.sources, plans, strict=True):
        if source.reasoning is not None:
            one_plan.plans = _guess_plans(source.reasoning, one_plan)
    streams = []
    for split, name in stream_names(recipe):
        samples = sum(p.quota[split] for p in plans if name in (None, p.source))
        shards = math.ceil(samples / recipe.samples_per_shard)
        streams.append(Stream(split, name, samples, shards, np.empty(0, np.uint64)))
    for p in plans:  # so far of every sample once; of the drawn ones they grow with the quota
        if "samples" in p.unknown and "images" not in p.unknown:
            p.unknown.append("images")
        p.image_bytes = round(p.image_bytes * sum(p.quota.values()) / max(1, sum(p.samples.values())))
    for p, source, dataset in zip(plans, recipe.sources, datasets, strict=True):
        if dataset is not None and not isinstance(dataset.root, Path):
            loose = bool(source.declaration.web and source.declaration.web.images)
            unread = stages.parts(source, dataset)
            p.reads = requests.guess_requests(p.rows, p.image_bytes, unread, loose=loose, copied=dataset.writes_blobs)
            p.staged = staging.cheaper(p.reads)
    guessed = Plan("", plans, streams, [])
    guessed.warnings += warnings.warnings(recipe, plans, guessed.splits)
    return guessed


def _guess_plans(rule: Reasoning, of: SourcePlan) -> dict[str, Any]:
    """What a plan says of plans in words: how many are wanted; for every one of a column or file, nobody knows."""
    every = {name: reasoning.wanted(rule.share, count) for name, count in of.quota.items()}
    if rule.share is None:
        every = dict(of.quota) if rule.origin == "template" else {}
    return {"without": 0, "samples": every or None, "threshold": {}, "annotations": None}


def _guess(source: RecipeSource, dataset: Source | None, into: SourcePlan) -> None:
    """Fill in the counts of a source from its metadata, else from what its publisher states."""
    into.estimated = True
    stated = _Stated.of(source, selection.cameras(source)) if dataset is None else None
    units = dataset.splits() if dataset else stated.units if stated else {}
    taken = stages.taken_splits(source, units)
    into.other_splits = {name: count for name, count in units.items() if name not in taken}
    into.failed = _failed(source, taken)
    for name in taken:
        samples, size = dataset.estimate(name, selection.cameras(source)) if dataset else (0, 0)
        if stated:
            samples = stated.samples.get(name, 0)
            size = round(samples * (stated.image_bytes or 0))
        if dataset and dataset.writes_blobs:
            into.blob_bytes += dataset.estimate(name, source.declaration.cameras)[1]
        into.units += units[name]
        into.rows += samples
        episodes, kept = (
            _succeeded(source, word, name, n) for word, n in (("episodes", units[name]), ("steps", samples))
        )
        if kept < samples:
            into.left_out["filter:success"] += samples - kept
            size, samples = round(size * kept / samples), kept
        size = round(size * source.sampling.history)
        if samples:
            taken_steps = _taken_steps(source, samples, episodes)
            size, samples = round(size * taken_steps / samples), taken_steps
        into.image_bytes += size
        if source.taken is not None:
            split = next(s for s, names in source.taken if name in names)
            into.samples[split] += samples
        else:
            for split, share in source.hashed or ():
                into.samples[split] += round(samples * share)
    if stated:
        known = {"units": taken, "samples": set(taken) & set(stated.samples), "images": stated.image_bytes}
        into.unknown = [word for word, there in known.items() if not there]
        if stated.silent:
            into.left_out["no_instruction"], into.samples = into.rows, Counter()


def _succeeded(source: RecipeSource, word: str, split: str, count: int) -> int:
    """About how many of `count` episodes or steps (`word`) the filter on success leaves; all where nobody states it."""
    published = source.declaration.raw.get("published", {})
    every, good = (counts.get(word, {}).get(split) for counts in (published, published.get("successes", {})))
    if filters.keeps_failures(source.filters) or not every or good is None:
        return count
    left: int = round(count * good / every)
    return left


def _failed(source: RecipeSource, taken: Sequence[str]) -> int | None:
    """How many episodes of the splits that are taken failed and are kept; None where nobody states it."""
    robot, published = source.declaration.robot, source.declaration.raw.get("published", {})
    if robot is None or robot.success is None or not filters.keeps_failures(source.filters):
        return 0
    good = published.get("successes", {}).get("episodes")
    return sum(published["episodes"].get(name, 0) - good.get(name, 0) for name in taken) if good else None


def _taken_steps(source: RecipeSource, steps: int, episodes: int) -> int:
    """About how many samples `steps` steps of `episodes` episodes give.

    The last of the composed steps of an episode has half as many as the others on average, and so have those that are
    read where a project reads every k-th. Steps without motion cannot be known.
    """
    how = source.sampling
    steps = round((steps + episodes * (how.pace - 1) / 2) / how.pace) if how.pace > 1 else steps
    return max(0, steps - episodes * (how.horizon - 1)) if how.past_end == "drop" else steps


@dataclass(frozen=True, slots=True)
class _Stated:
    """What the publisher of a dataset states of it.

    Attributes:
        units, samples: per split of the dataset; episodes or examples, steps or texts.
        image_bytes: of the images of one sample; None where nobody says.
        silent: that no step has an instruction.
    """

    units: dict[str, int]
    samples: dict[str, int]
    image_bytes: float | None
    silent: bool

    @classmethod
    def of(cls, source: RecipeSource, cameras: Sequence[str]) -> _Stated:
        declared, robot = source.declaration, source.declaration.robot
        published = declared.raw.get("published", {})
        units = published.get("episodes" if robot else "examples", {})
        samples = dict(published.get("steps", {})) if robot else dict(units)
        if declared.kind == "caption" and source.captions == "all":
            samples |= published.get("captions", {})
        counted = sum(units.get(name, 0) for name in samples)
        length = published.get("mean_steps") or (sum(samples.values()) / counted if robot and counted else None)
        if robot and length:
            samples = {name: round(count * length) for name, count in units.items()} | samples
        size, pictures = published.get("image_bytes"), 1
        if robot:
            pictures = len(robot.cameras) + len(robot.depth)
        if size is None and "size" in declared.raw.get("bucket", {}) and samples:
            # What is no image is small beside them.
            size = _bytes(declared.raw["bucket"]["size"]) / sum(samples.values()) / pictures
        silent = robot is not None and robot.instruction.text is None and not robot.instruction.fields
        return cls(units or samples, samples, size * len(cameras) if size else None, silent)


def _bytes(size: str) -> float:
    """Bytes of a size as publishers write it: ``47.42 GiB``, ``43 MB``."""
    number, unit = size.split()
    base = 1024 if "i" in unit else 1000
    return float(number) * float(base ** "BKMGT".index(unit[0].upper()))
