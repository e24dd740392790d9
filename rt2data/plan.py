"""The plan: numbers only. Quotas, copies, thresholds, and the order values at which shards are cut.

The planner holds at most 16 bytes per sample: one source's quota hashes, and the order of every sample of the split.
"""

from __future__ import annotations

import decimal
import hashlib
import io
import json
import math
from collections import Counter
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rt2data import blobs, filters, holdout, index, order, reasoning, select, steps, traffic, whole
from rt2data.errors import Rt2dataError
from rt2data.holdout import Holdout
from rt2data.job import Job
from rt2data.recipe import Recipe, RecipeSource
from rt2data.robot import ARM
from rt2data.select import Samples

VERSION = 1
_UNKNOWN = (
    {"units": "number of examples", "samples": "number of texts", "images": "bytes of the images"},
    {"units": "number of episodes", "samples": "number of steps", "images": "bytes of the images"},
)
LISTED = 100  # duplicates that an error lists


@dataclass(slots=True)
class SourcePlan:
    """What one source gives.

    Attributes:
        units, rows: episodes or examples, steps or examples, as found.
        left_out: rows that are no sample, by reason.
        never_terminate: episodes in which no step terminates.
        samples: usable samples per split, before quotas.
        mix: train samples of one pass over the mix, as the recipe's amounts have it.
        quota: samples drawn per split. Of train that is `mix`, or each sample once where the form is by_source.
        copies, threshold: every train sample stands `copies` times, and once more where its quota hash is at most
            `threshold` (-1: none).
        wanted: share of the mix that the recipe asks for, None where it gives `repeat` or `samples`.
        image_bytes: of all drawn samples of all splits, copies included.
        blob_bytes: of pictures that no file holds as they are encoded, and that are copied into the work directory.
        other_splits: the dataset's own splits that the recipe does not take, with their episodes or examples.
        estimated: true where the counts come from metadata and not from an index.
        unknown: what nobody states, of a source that is not at hand: "units", "samples", "images" (their bytes).
        reads: of a source on object storage, the requests that it takes (`rt2data.traffic.of_part`).
        staged: whether its images are staged (`rt2data.staging`).
        plans: of a source whose samples have plans in words, what the manifest says of them; None for others.
        languages: usable samples per split and language, before quotas; ``und`` where the language is unknown.
    """

    source: str
    dataset: str
    kind: str
    units: int = 0
    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    never_terminate: int = 0
    samples: Counter[str] = field(default_factory=Counter)
    mix: int = 0
    quota: Counter[str] = field(default_factory=Counter)
    copies: int = 1
    threshold: int = -1
    wanted: float | None = None
    image_bytes: int = 0
    blob_bytes: int = 0
    reads: dict[str, int] = field(default_factory=dict)
    staged: bool = False
    other_splits: dict[str, int] = field(default_factory=dict)
    estimated: bool = False
    unknown: list[str] = field(default_factory=list)
    languages: dict[str, dict[str, int]] = field(default_factory=dict)
    plans: dict[str, Any] | None = None

    @property
    def not_drawn(self) -> int:
        """Usable train samples of which no copy is drawn."""
        return max(0, self.samples["train"] - self.quota["train"])


@dataclass(slots=True)
class Stream:
    """Samples in order, cut into shards: those of a split, or of one source in a split where the form is by_source.

    Its shards hold ``samples // shards`` or one more; `cuts` (uint64) are where they begin in the order. `source` is
    the source's short id, None for all together.
    """

    split: str
    source: str | None
    samples: int
    shards: int
    cuts: order.U64

    def shard_samples(self, shard: int) -> int:
        return self.samples * (shard + 1) // self.shards - self.samples * shard // self.shards


@dataclass(slots=True)
class Plan:
    """The whole plan. `digest` names it by its content; `run_bytes` is about the size of all runs."""

    digest: str
    sources: list[SourcePlan]
    streams: list[Stream]
    warnings: list[str]
    run_bytes: int = 0

    @property
    def shards(self) -> int:
        return sum(stream.shards for stream in self.streams)

    @property
    def splits(self) -> dict[str, int]:
        """The samples of each split."""
        found: dict[str, int] = {}
        for stream in self.streams:
            found[stream.split] = found.get(stream.split, 0) + stream.samples
        return found

    @property
    def mix(self) -> int:
        """Train samples of one pass over the mix."""
        return sum(source.mix for source in self.sources)

    def shard(self, number: int) -> tuple[Stream, int]:
        """The stream of shard `number`, counted over all streams, and its number there."""
        for stream in self.streams:
            if number < stream.shards:
                return stream, number
            number -= stream.shards
        raise IndexError(number)

    def shard_of(self, split: str, source: str, orders: order.U64) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The shard of each order of a source's samples in a split, counted over all streams."""
        first = 0
        for stream in self.streams:
            if stream.split == split and stream.source in (None, source):
                return first + np.searchsorted(stream.cuts, orders, side="right").astype(np.int64)
            first += stream.shards
        raise KeyError(split, source)

    def save(self, folder: Path) -> None:
        """Write ``plan.json`` and ``cuts.npz``."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **{str(number): s.cuts for number, s in enumerate(self.streams)})
        whole.write(folder / "cuts.npz", buffer.getvalue())
        whole.write(folder / "plan.json", json.dumps(self.to_dict()).encode())

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON, but for the cuts."""
        return {
            "digest": self.digest,
            "sources": [{f.name: getattr(s, f.name) for f in fields(s)} for s in self.sources],
            "warnings": self.warnings,
            "run_bytes": self.run_bytes,
            "streams": [
                {"split": s.split, "source": s.source, "samples": s.samples, "shards": s.shards} for s in self.streams
            ],
        }


def load(folder: Path) -> Plan:
    """Read a plan that `Plan.save` wrote."""
    content = json.loads((folder / "plan.json").read_bytes())
    stored = np.load(folder / "cuts.npz", allow_pickle=False)
    sources = []
    for entry in content["sources"]:
        counters = {key: Counter(entry[key]) for key in ("left_out", "samples", "quota")}
        sources.append(SourcePlan(**(entry | counters)))
    streams = [Stream(**entry, cuts=stored[str(number)]) for number, entry in enumerate(content["streams"])]
    return Plan(content["digest"], sources, streams, content["warnings"], content["run_bytes"])


def make(job: Job, tokenizers: list[dict[str, Any]], other_splits: list[dict[str, int]]) -> Plan:
    """The exact plan of a job.

    Args:
        job: recipe and indexed parts.
        tokenizers: the resolved tokenizers in their JSON form: part of what the plan's digest names.
        other_splits: per source, the dataset's splits that are not taken.

    Raises:
        Rt2dataError: duplicate episodes, an empty source, a source repeated too often.
    """
    recipe = job.recipe
    for number in range(len(recipe.sources)):
        refuse_duplicates(job, number)
    if recipe.holdout is not None:
        check_holdout(job, recipe.holdout)
    plans = empty(recipe, other_splits)
    quota_hashes: list[list[order.U64]] = [[] for _ in plans]
    for part, source, samples in walk(job, plans):
        train = samples.take(samples.split == 0)
        quota_hashes[part.source].append(_hash("quota", recipe, source, train))
    for number, source in enumerate(recipe.sources):
        check_usable(source, plans[number])
    set_quotas(recipe, plans)
    for number, source in enumerate(recipe.sources):
        hashes = np.concatenate(quota_hashes[number])
        quota_hashes[number] = []
        plans[number].threshold = order.threshold(hashes, plans[number].quota["train"] % len(hashes), source.where)
        del hashes
    for number, source in enumerate(recipe.sources):
        if source.reasoning is not None:
            plans[number].plans = choose_plans(job, number, plans[number])
    orders: dict[tuple[str, str | None], list[order.U64]] = {key: [] for key in streams(recipe)}
    for part, source, samples in walk(job, None):
        table, taken = job.table(part), []
        for split, rows, _copy, values in drawn(recipe, source, plans[part.source], samples):
            every = range(1, source.sampling.history)
            taken += [samples.rows[rows], *(steps.earlier(table, samples.rows[rows], source, n)[0] for n in every)]
            orders[recipe.splits[split], source.id if recipe.form == "by_source" else None].append(values)
            plans[part.source].image_bytes += image_bytes(table, source, samples.rows[rows])
        if "://" in job.roots[part.source]:
            plans[part.source].reads = traffic.added(plans[part.source].reads, traffic.of_part(job, part, taken))
    for root, one in zip(job.roots, plans, strict=True):
        if "://" in root:
            one.reads = traffic.added(one.reads, {"list": traffic.OPEN_LISTS, "get": traffic.OPEN_GETS})
    made = []
    for (split, name), parts in orders.items():
        merged = np.concatenate(parts) if parts else np.empty(0, np.uint64)
        parts.clear()
        merged.sort()  # in place: a copy would be 8 more bytes a sample
        shards = math.ceil(len(merged) / recipe.samples_per_shard)
        cuts = order.cuts(merged, shards, recipe.file) if shards else np.empty(0, np.uint64)
        made.append(Stream(split, name, len(merged), shards, cuts))
    content = json.dumps([VERSION, job.digest(), *tokenizers], sort_keys=True)
    run_bytes = sum(sum(p.quota.values()) * job.row_bytes(number) for number, p in enumerate(plans))
    found = Plan(hashlib.sha256(content.encode()).hexdigest(), plans, made, [], run_bytes)
    found.warnings += warnings(recipe, plans, found.splits)
    return found


def streams(recipe: Recipe) -> list[tuple[str, str | None]]:
    """The streams of a recipe as (split, source): a split each, or each split of each source, in their order."""
    if recipe.form == "mixed":
        return [(split, None) for split in recipe.splits]
    return [(split, source.id) for split in recipe.splits for source in recipe.sources]


def empty(recipe: Recipe, other_splits: list[dict[str, int]]) -> list[SourcePlan]:
    """A plan per source, with nothing counted yet."""
    return [
        SourcePlan(source.id, source.declaration.name, source.declaration.kind, other_splits=others)
        for source, others in zip(recipe.sources, other_splits, strict=True)
    ]


def walk(job: Job, plans: list[SourcePlan] | None) -> Any:
    """Every part with its samples; counts what is found into `plans` where given."""
    for part in job.parts:
        source = job.source(part)
        table = job.table(part)
        samples = select.select(table, job.recipe, source, part.split)
        if plans is not None:
            plan = plans[part.source]
            counts = select.count_units(table)
            plan.units += counts["units"]
            plan.rows += counts["rows"]
            plan.never_terminate += counts.get("never_terminate", 0)
            plan.left_out += samples.left_out
            plan.blob_bytes += blob_bytes(table, source)
            for number, name in enumerate(job.recipe.splits):
                plan.samples[name] += int(np.count_nonzero(samples.split == number))
                into = plan.languages.setdefault(name, {})
                for language, count in select.languages(table, samples.rows[samples.split == number]):
                    into[language] = into.get(language, 0) + count
        yield part, source, samples


def choose_plans(job: Job, number: int, found: SourcePlan) -> dict[str, Any]:
    """Which samples of source `number` have a plan in words: per split how many, and the greatest hash of them."""
    recipe, source = job.recipe, job.recipe.sources[number]
    rule, annotated = source.reasoning, job.annotations(number)
    if rule is None:
        raise ValueError(source.id)
    hashes: list[list[order.U64]] = [[] for _ in recipe.splits]
    matched = np.zeros(len(annotated) if annotated else 0, np.bool_)
    without = 0
    for part in job.parts:
        if part.source != number:
            continue
        table = job.table(part)
        samples = select.select(table, recipe, source, part.split)
        own = reasoning.of(table, rule, annotated)
        without += int(np.count_nonzero(samples.kept & (own.which < 0)))
        if annotated:
            matched[own.which[own.which >= 0]] = True
        for split, rows, copy, _ in drawn(recipe, source, found, samples):
            mine = planned(recipe, source, samples, rows, copy)
            hashes[split].append(mine[own.which[samples.rows[rows]] >= 0])
    chosen = {}
    for split, name in enumerate(recipe.splits):
        every = np.concatenate(hashes[split]) if hashes[split] else np.empty(0, np.uint64)
        hashes[split] = []
        chosen[name] = reasoning.threshold(rule, name, every, found.quota[name], source.where)
    counts = {}
    if annotated:
        counts = {"usable": len(annotated), "unmatched": int(np.count_nonzero(~matched)), **annotated.counts}
    return {
        "without": without,
        "samples": {name: count for name, (count, _) in chosen.items()},
        "threshold": {name: last for name, (_, last) in chosen.items()},
        "annotations": counts if annotated else None,
    }


def planned(recipe: Recipe, source: RecipeSource, samples: Samples, rows: Any, copy: int) -> order.U64:
    """The hash that decides which samples have a plan in words, of the samples at `rows` (ascending), copy `copy`."""
    mask = np.zeros(len(samples.rows), np.bool_)
    mask[rows] = True
    return _hash("plan", recipe, source, samples.take(mask), copy)


def _hash(tag: str, recipe: Recipe, source: RecipeSource, samples: Samples, copy: int = 0) -> order.U64:
    return order.hashes(tag, recipe.seed, source.id, samples.units, samples.step, samples.variant, copy)


def drawn(recipe: Recipe, source: RecipeSource, plan: SourcePlan, samples: Samples) -> Any:
    """The drawn samples, split by split and copy by copy: (split, positions in `samples`, copy, order values)."""
    for split in range(len(recipe.splits)):
        rows = np.flatnonzero(samples.split == split)
        if not len(rows):
            continue
        mine = samples.take(samples.split == split)
        copies = plan.copies if split == 0 else 1
        for copy in range(copies):
            yield split, rows, copy, _hash("order", recipe, source, mine, copy)
        if split == 0 and plan.threshold >= 0:
            chosen = _hash("quota", recipe, source, mine) <= np.uint64(plan.threshold)
            if chosen.any():
                yield split, rows[chosen], copies, _hash("order", recipe, source, mine.take(chosen), copies)


def image_bytes(table: pa.Table, source: RecipeSource, rows: Any) -> int:
    """Bytes of the images of the samples that begin at `rows` of a part's table, of the recipe's cameras."""
    total = 0
    for number in range(source.sampling.history):
        at = steps.earlier(table, rows, source, number)[0] if number else rows
        for camera in select.cameras(source):
            total += int(index.numbers(table, f"{camera}.length")[at].sum(dtype=np.int64))
    return total


def blob_bytes(table: Any, source: RecipeSource) -> int:
    """Bytes of the pictures of a part, of all declared cameras, that lie in a blob."""
    found = 0
    for camera in source.declaration.cameras:
        codes, files = index.codes(table, f"{camera}.file")
        copied = np.array([bool(name) and str(name).startswith(blobs.PREFIX) for name in (*files, None)], np.bool_)
        found += int(index.numbers(table, f"{camera}.length")[copied[codes]].sum(dtype=np.int64))
    return found


def refuse_duplicates(job: Job, number: int) -> None:
    """Raise where two episodes or examples of a source have one id, listing the places of each.

    Episodes that the filter for duplicates leaves out do not count. Memory: 16 bytes an id, and the names of double
    ones alone.
    """
    parts = [p for p in job.parts if p.source == number]
    heads = np.concatenate([np.empty(0, np.uint64), *(_heads(job.table(part))[0] for part in parts)])
    heads.sort()
    double = np.unique(heads[1:][heads[1:] == heads[:-1]])
    del heads
    places: dict[str, list[str]] = {}
    for part in parts if len(double) else ():
        table = job.table(part)
        own, rows = _heads(table)
        codes, names = index.codes(table, "episode")
        for position in np.flatnonzero(np.isin(own, double)).tolist():
            name = str(names[codes[rows[position]]])
            places.setdefault(name, []).append(f"{part.split} {part.name}[{position}]")
    places = {name: found for name, found in places.items() if len(found) > 1}  # the heads of two ids may be equal
    if not places:
        return
    source = job.recipe.sources[number]
    word = "episode" if source.declaration.kind == "robot" else "example"
    listed = "".join(f"\n  {name}: {' and '.join(found[:4])}" for name, found in list(places.items())[:LISTED])
    listed += f"\n  and {len(places) - LISTED:,} more" if len(places) > LISTED else ""
    several = len({p.split for p in parts}) > 1
    repair = "take only one of the dataset's splits with splits:" if several else "remove the second ones from the data"
    equal = "Leave those of equal content out with filters: {duplicate_episode: false}, or "
    repair = equal + repair if word == "episode" else repair[0].upper() + repair[1:]
    found = f"{source.declaration.name} has {len(places):,} {word}{'s' if len(places) > 1 else ''} twice"
    raise Rt2dataError(source.where, found, f"each id once; these are double:{listed}\n", repair)


def _heads(table: Any) -> tuple[order.U64, np.ndarray[Any, np.dtype[np.int64]]]:
    """The first 8 bytes of each id's digest, and the row where the episode or example begins."""
    begins = index.numbers(table, "step") == 0
    if filters.DOUBLE in table.column_names:
        bit = filters.DUPLICATES["duplicate_episode"]
        begins &= index.numbers(table, filters.DOUBLE) & bit == 0
    rows = np.flatnonzero(begins)
    units = np.frombuffer(select.units_of(table), np.uint8).reshape(-1, 10)
    return np.ascontiguousarray(units[rows, :8]).view(">u8").reshape(-1).astype(np.uint64), rows


def check_holdout(job: Job, held: Holdout) -> None:
    """Raise where something that is held out is nowhere in the data: it is misspelt, or guards nothing."""
    missing = set(held.entries())
    for part in job.parts:
        if not missing:
            return
        missing -= holdout.used(job.table(part), held)
    if missing:
        listed = ", ".join(f'"{entry}"' for entry in held.entries() if entry in missing)
        where = f"{job.recipe.file}: holdout"
        raise Rt2dataError(where, f"no data for {listed}", "what is held out in the data", "Look at its spelling")


def check_usable(source: RecipeSource, plan: SourcePlan) -> None:
    """Raise where a source gives train nothing."""
    if plan.samples["train"]:
        return
    word = "steps" if plan.kind == "robot" else "examples"
    reasons = ", ".join(f"{n} {reason}" for reason, n in plan.left_out.most_common()) or "none left out"
    others = ", ".join(f"{n} in {name}" for name, n in plan.samples.items() if n)
    found = f"{plan.dataset} gives train no sample: {plan.rows} {word} ({reasons}{'; ' + others if others else ''})"
    raise Rt2dataError(
        source.where, found, "at least one usable train sample", "Check the dataset's folder and its splits:"
    )


def set_quotas(recipe: Recipe, plans: list[SourcePlan]) -> None:
    """Fill in each source's part of the mix, quota and copies.

    Raises:
        Rt2dataError: a sample would be repeated more than `max_repeat` times, or a source would give nothing.
    """
    n = [plan.samples["train"] for plan in plans]
    if recipe.sources[0].weight is not None:
        weights = [
            Fraction(str(s.weight or 0)) * _factor(recipe, size) for s, size in zip(recipe.sources, n, strict=True)
        ]
        every = sum(weights) or Fraction(1)  # 0: of no source is the size known
        if recipe.weights == "times_size":
            total = math.floor(every + Fraction(1, 2))
        else:
            total = max(
                math.ceil(size * every / weight) if weight else 0 for size, weight in zip(n, weights, strict=True)
            )
        quotas = order.largest_remainder(recipe.train_samples or total, weights) if any(weights) else [0] * len(plans)
        if recipe.weights == "share" or all(n):
            for plan, weight in zip(plans, weights, strict=True):
                plan.wanted = float(weight / every)
    else:
        quotas = [
            s.samples if s.samples is not None else math.floor(size * Fraction(str(s.repeat or 0)) + Fraction(1, 2))
            for s, size in zip(recipe.sources, n, strict=True)
        ]
    for source, plan, size, quota in zip(recipe.sources, plans, n, quotas, strict=True):
        plan.mix = quota
        plan.quota["train"] = size if recipe.form == "by_source" else quota
        if "samples" in plan.unknown:
            continue
        if quota > Fraction(str(recipe.max_repeat)) * size:
            found = f"{plan.dataset} would be repeated {quota / size:.1f} times ({size} samples for a quota of {quota})"
            way = "lower its weight" if plan.wanted is not None else "ask for less of it"
            raise Rt2dataError(
                source.where,
                found,
                f"at most max_repeat: {recipe.max_repeat:g} times",
                f"Either {way}, or raise max_repeat",
            )
        if not quota:
            way = "Raise its weight or train_samples" if plan.wanted is not None else "Ask for more of it"
            found = f"{plan.dataset} would give train 0 of its {size} samples"
            raise Rt2dataError(source.where, found, "at least one", f"{way}, or take the source out")
        plan.copies = plan.quota["train"] // size
        for name in recipe.splits[1:]:
            plan.quota[name] = plan.samples[name]


def _factor(recipe: Recipe, size: int) -> Fraction:
    """What a weight is multiplied with, for a source of `size` samples.

    With a temperature T, size ** (1 / T) = exp(ln(size) / T) in decimal arithmetic of 50 digits, each of the three
    operations rounded half to even, then rounded to 30 digits: defined to the last digit, whatever the machine.
    """
    if recipe.weights == "share" or size == 0:
        return Fraction(size > 0 or recipe.weights == "share")
    if recipe.temperature is None:
        return Fraction(size)
    wide, narrow = decimal.Context(prec=50), decimal.Context(prec=30)
    power = wide.exp(wide.divide(wide.ln(decimal.Decimal(size)), decimal.Decimal(str(recipe.temperature))))
    return Fraction(narrow.plus(power))


def warnings(recipe: Recipe, plans: list[SourcePlan], splits: dict[str, int]) -> list[str]:
    """What a user should know before the build, a sentence each; `splits` gives the samples of each."""
    unknown = any("samples" in plan.unknown for plan in plans)
    without: dict[str, list[str]] = {}
    found = [f"split {name} is empty" for name, samples in splits.items() if not samples and not unknown]
    for source, plan in zip(recipe.sources, plans, strict=True):
        filled = [name for name, n in splits.items() if n and name != "train" and name in source.splits]
        if plan.unknown:
            words = _UNKNOWN[plan.kind == "robot"]
            what = ", ".join(words[word] for word in plan.unknown)
            found.append(f"{plan.dataset}: not known without its data: {what}")
        else:
            found += [f"{plan.dataset} gives {name} no sample" for name in filled if not plan.samples[name]]
        if plan.never_terminate:
            found.append(f"{plan.dataset}: in {plan.never_terminate} of {plan.units} episodes no step terminates")
        robot = source.declaration.robot
        found += [f"{plan.dataset}: {about} is unverified: {reason}" for about, reason in source.declaration.unverified]
        project = source.declaration.standardisation
        if project:
            found += [f"{plan.dataset}: as {project} reads it: {quirk}" for quirk in source.declaration.raw["notes"]]
        if robot and robot.controller:
            names = ", ".join(name for name, unit in zip(robot.dims, robot.units, strict=True) if unit == "controller")
            found.append(f"{plan.dataset}: {names} are in units of a controller, no metres or radians")
        missing = [c for c in source.cameras if robot and c not in source.declaration.cameras]
        if missing:
            without.setdefault(", ".join(missing), []).append(plan.dataset)
    for cameras, whose in without.items():
        found.append(f"{', '.join(whose)} {'has' if len(whose) == 1 else 'have'} no camera {cameras}")
    return found + _lengths(recipe)


def _lengths(recipe: Recipe) -> list[str]:
    """A sentence about arms whose actions have different dimensions: no prompt tells them apart, the picture must."""
    names: dict[str, list[str]] = {}
    for source in recipe.sources:
        robot = source.declaration.robot
        if robot and set(robot.dims) <= set(ARM):
            names.setdefault(" ".join(robot.dims), []).append(source.id)
    if len(names) < 2:
        return []
    every = sorted(names.items(), key=lambda item: -len(item[1]))
    parts = [f"{dims} ({', '.join(ids)})" for dims, ids in every[1:]]
    return [f"the arms have actions of different dimensions: most {every[0][0]}; {'; '.join(parts)}"]
