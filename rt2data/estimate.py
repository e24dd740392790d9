"""Plans before anything is indexed: exact where an index is at hand, estimated from metadata where it is not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rt2data import flow, indexing, job, plan, report, select
from rt2data.errors import Rt2dataError
from rt2data.plan import Plan, SourcePlan, SplitPlan
from rt2data.recipe import Recipe, RecipeSource
from rt2data.sources import Source


def make(recipe: Recipe, data_root: Path | None, work: Path, *, index: bool, check: bool) -> Plan:
    """The plan of a recipe, exact where it can be.

    Args:
        recipe: the recipe.
        data_root: the folder that holds the datasets.
        work: the folder of indexes.
        index: index what is not indexed yet.
        check: with `index`, verify every checksum of the source files.
    """
    found = [_on_disk(source, data_root) for source in recipe.sources]
    opened = [one for one in found if one is not None]
    if len(opened) == len(found):
        engine = flow.Direct(report.Reporter(enabled=True))
        for level in (
            levels(recipe)
            if not index
            else ["header" if check else "quick"]
            if recipe.image_check == "header"
            else ["decode"]
        ):
            the_job = (
                flow.index_all(recipe, opened, work, engine, check=level)
                if index
                else _all_cached(recipe, opened, work, level)
            )
            if the_job is not None:
                others = [flow.other_splits_of(s, one) for s, one in zip(recipe.sources, opened, strict=True)]
                return plan.make(the_job, {}, others)
    elif index:
        flow.open_source(recipe.sources[found.index(None)], data_root)  # raises, and says where it was looked for
    return estimated_plan(recipe, found, work)


def _on_disk(source: RecipeSource, data_root: Path | None) -> Source | None:
    folders = [source.path] if source.path else source.declaration.paths
    there = any(((data_root or Path()) / folder).is_dir() for folder in folders) and (data_root or source.path)
    return flow.open_source(source, data_root) if there else None


def _all_cached(recipe: Recipe, opened: Sequence[Source], work: Path, level: str) -> job.Job | None:
    parts: list[job.IndexedPart] = []
    for number, one in enumerate(opened):
        own = _cached(recipe, number, one, work, [level])
        if own is None:
            return None
        parts += own
    return job.make(work, recipe, [str(one.root) for one in opened], parts)


def levels(recipe: Recipe) -> list[str]:
    """The levels of index that a plan of `recipe` may use; the first is preferred."""
    return ["header", "quick", "decode"] if recipe.image_check == "header" else ["decode"]


def estimated_plan(recipe: Recipe, found: Sequence[Source | None], work: Path) -> Plan:
    """A plan without indexing anything.

    Args:
        recipe: the recipe.
        found: each source's dataset on disk; None where it is not there, and its published counts are used.
        work: where indexes of earlier builds may be.

    Raises:
        Rt2dataError: a source without data and without published counts.
    """
    others = [flow.other_splits_of(s, one) if one else {} for s, one in zip(recipe.sources, found, strict=True)]
    plans = plan.empty(recipe, others)
    for number, (source, one) in enumerate(zip(recipe.sources, found, strict=True)):
        parts = _cached(recipe, number, one, work, levels(recipe)) if one else None
        if parts is not None and one is not None:
            roots = [str(one.root)] * len(recipe.sources)
            made = job.make(work, recipe, roots, parts)
            for part, _, samples in plan.walk(made, plans):
                plans[number].image_bytes += plan.image_bytes(made, part, source, samples.rows)
        else:
            _guess(recipe, source, one, plans[number])
        plan.check_usable(source, plans[number])
    plan.set_quotas(recipe, plans)
    splits = []
    for name in recipe.splits:
        samples = sum(p.quota[name] for p in plans)
        splits.append(SplitPlan(name, samples, math.ceil(samples / recipe.samples_per_shard), np.empty(0, np.uint64)))
    for p in plans:  # so far of every sample once; of the drawn ones they grow with the quota
        p.image_bytes = round(p.image_bytes * sum(p.quota.values()) / max(1, sum(p.samples.values())))
    return Plan("", plans, splits, plan.warnings(recipe, plans, splits))


def _cached(
    recipe: Recipe, number: int, one: Source, work: Path, allowed: Sequence[str]
) -> list[job.IndexedPart] | None:
    for level in allowed:
        tasks = [indexing.task(one, part, work, check=level) for part in flow.parts(recipe.sources[number], one)]
        results = [indexing.cached(task) for task in tasks]
        if all(results):
            return [
                indexing.indexed(number, task, result) for task, result in zip(tasks, results, strict=True) if result
            ]
    return None


def _guess(recipe: Recipe, source: RecipeSource, one: Source | None, into: SourcePlan) -> None:
    """Fill in the counts of a source from its metadata, else from what its publisher states."""
    into.estimated = True
    published = source.declaration.raw.get("published", {})
    stated = published.get("steps") or published.get("examples") or {}
    units = one.splits() if one else published.get("episodes") or stated
    if not units or (one is None and not stated):
        places = ", ".join(source.declaration.paths)
        raise Rt2dataError(
            source.where,
            f"{source.declaration.name} is not on disk, and no counts of it are published",
            f"its folder at one of {places} below --data-root",
        )
    for name in flow.taken_splits(source, units):
        samples, size = (
            one.estimate(name, select.cameras(recipe, source))
            if one
            else (stated.get(name, 0), stated.get(name, 0) * published.get("image_bytes", 0))
        )
        into.units += units[name]
        into.rows += samples
        into.image_bytes += size
        if source.taken is not None:
            split = next(s for s, names in source.taken if name in names)
            into.samples[split] += samples
        else:
            for split, share in source.hashed or ():
                into.samples[split] += round(samples * share)
