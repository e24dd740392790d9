"""The plan: numbers only. Quotas, copies, thresholds, and the order values at which shards are cut."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from rt2data.index import keys
from rt2data.recipes.recipe import Recipe
from rt2data.storage import atomic

_KEYS = {"repeats": "copies"}  # fields of SourcePlan that JSON has under another name


@dataclass(slots=True)
class SourcePlan:
    """What one source gives.

    Attributes:
        units, rows: episodes or examples, steps or examples, as found.
        left_out: rows that are no sample, by reason.
        never_terminate: episodes with samples none of which terminates.
        frames: of a source whose images are frames of videos, what its indexes say of them
            (`rt2data.index.frame_notes`).
        samples: usable samples per split, before quotas.
        mix: train samples of one pass over the mix, as the recipe's amounts have it.
        quota: samples drawn per split. Of train that is `mix`, or each sample once where the form is by_source.
        repeats, threshold: every train sample stands `repeats` times, and once more where its quota hash is at most
            `threshold` (-1: none).
        wanted: share of the mix that the recipe asks for, None where it gives `repeat` or `samples`.
        image_bytes: of all drawn samples of all splits, copies included.
        blob_bytes: of pictures that no file holds as they are encoded, and that are copied into the work directory.
        other_splits: the dataset's own splits that the recipe does not take, with their episodes or examples.
        estimated: true where the counts come from metadata and not from an index.
        unknown: what nobody states, of a source that is not at hand: "units", "samples", "images" (their bytes).
        reads: of a source on object storage, the requests that it takes (`rt2data.plan.requests.part_requests`).
        staged: whether its images are staged (`rt2data.pipeline.staging`).
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
    frames: dict[str, float] = field(default_factory=dict)
    samples: Counter[str] = field(default_factory=Counter)
    mix: int = 0
    quota: Counter[str] = field(default_factory=Counter)
    repeats: int = 1
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
    cuts: keys.U64

    def shard_samples(self, shard: int) -> int:
        """How many samples a shard holds, by its number in the stream."""
        return self.samples * (shard + 1) // self.shards - self.samples * shard // self.shards

    def shard_name(self, recipe: str, shard: int) -> str:
        """``SPLIT/NAME-SPLIT-00000-of-00008.tar`` below the mixture's folder; by source
        ``SPLIT/SOURCE/NAME-SPLIT-SOURCE-00000-of-00008.tar``.
        """
        folder, name = self.split, f"{recipe}-{self.split}"
        if self.source is not None:
            folder, name = f"{folder}/{self.source}", f"{name}-{self.source}"
        return f"{folder}/{name}-{shard:05d}-of-{self.shards:05d}.tar"


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
        samples: dict[str, int] = {}
        for stream in self.streams:
            samples[stream.split] = samples.get(stream.split, 0) + stream.samples
        return samples

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

    def shard_of(self, split: str, source: str, orders: keys.U64) -> np.ndarray[Any, np.dtype[np.int64]]:
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
        atomic.write_file(folder / "cuts.npz", buffer.getvalue())
        atomic.write_file(folder / "plan.json", json.dumps(self.to_dict()).encode())

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON, but for the cuts."""
        return {
            "digest": self.digest,
            "sources": [{_KEYS.get(f.name, f.name): getattr(s, f.name) for f in fields(s)} for s in self.sources],
            "warnings": self.warnings,
            "run_bytes": self.run_bytes,
            "streams": [
                {"split": s.split, "source": s.source, "samples": s.samples, "shards": s.shards} for s in self.streams
            ],
        }


def load_plan(folder: Path) -> Plan:
    """Read a plan that `Plan.save` wrote."""
    content = json.loads((folder / "plan.json").read_bytes())
    stored = np.load(folder / "cuts.npz", allow_pickle=False)
    sources = []
    for entry in content["sources"]:
        counters = {key: Counter(entry[key]) for key in ("left_out", "samples", "quota")}
        entry["repeats"] = entry.pop(_KEYS["repeats"])
        sources.append(SourcePlan(**(entry | counters)))
    streams = [Stream(**entry, cuts=stored[str(number)]) for number, entry in enumerate(content["streams"])]
    return Plan(content["digest"], sources, streams, content["warnings"], content["run_bytes"])


def stream_names(recipe: Recipe) -> list[tuple[str, str | None]]:
    """The streams of a recipe as (split, source): a split each, or each split of each source, in their order."""
    if recipe.form == "mixed":
        return [(split, None) for split in recipe.splits]
    return [(split, source.id) for split in recipe.splits for source in recipe.sources]


def empty_plans(recipe: Recipe, other_splits: list[dict[str, int]]) -> list[SourcePlan]:
    """A plan per source, with nothing counted yet."""
    return [
        SourcePlan(source.id, source.declaration.name, source.declaration.kind, other_splits=others)
        for source, others in zip(recipe.sources, other_splits, strict=True)
    ]
