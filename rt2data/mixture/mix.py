"""Iterate the samples of a mixture at its sampling weights, from the shards of its sources. Needs numpy alone.

Which source position i of the mix takes is a pure function of i: the point OFFSET + i * G on a circle of 2**64, with G
the golden ratio's part of it, lies in one of the arcs that the sources have, each as long as its share. Such a sequence
is as even as any (Knuth, The Art of Computer Programming 3, 6.4): after any number of samples each source is within a
few samples of its share, where drawing at random is off by the square root. So a position is all that a reader needs to
continue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from hashlib import blake2b
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from rt2data import storage
from rt2data.errors import Rt2dataError
from rt2data.mixture.reader import Sample, find_source, load_manifest, samples, shards
from rt2data.storage.places import Place

_GOLDEN = 0x9E3779B97F4A7C15
_BLOCK = 1 << 16  # positions whose sources are computed at once: half a megabyte


@dataclass(frozen=True, slots=True)
class _ShardRange:
    """Samples `first` to `last` (exclusive) of the shard of that name."""

    shard: str
    first: int
    last: int


class Mix:
    """The samples of a split, each source at its sampling weight, without end.

    Every reader has a part of each source for itself, and takes from it in the order of the shards; from the second
    pass over a source on, in an order of shards that the seed gives. The sequence depends on the mixture and the
    arguments alone.

    Args:
        path: a built mixture, a folder or a URL. Of the form ``mixed`` its shards are read as they are, at the
            sampling weights that were built into them.
        split: which split.
        weights: a sampling weight per source, by its name, an alias or its short id, in place of the recipe's; a source
            without one is left out.
        seed: another sequence.
        reader, readers: this reader's number, and how many read in parallel (ranks times workers). A source with fewer
            samples than readers gives some of them the same sample.
        start: how many samples this reader gave before: it continues there.

    Attributes:
        position: how many samples this reader gave so far, `start` included.
        shares: the share of each source by its public name, in the order of the recipe.
        samples: how many samples one pass over the mix has, for all readers together.

    Raises:
        Rt2dataError: no such mixture, split or source.

    In the workers of a PyTorch DataLoader, on every rank::

        class Samples(torch.utils.data.IterableDataset):
            def __iter__(self):
                worker = torch.utils.data.get_worker_info()
                reader, readers = rank * worker.num_workers + worker.id, ranks * worker.num_workers
                return iter(Mix("/data/mine", reader=reader, readers=readers, start=taken[reader]))
    """

    def __init__(
        self, path: str | Place, split: str = "train", *, weights: Mapping[str, float] | None = None, seed: int = 0,
        reader: int = 0, readers: int = 1, start: int = 0,
    ) -> None:  # fmt: skip
        manifest = load_manifest(path)
        place = storage.place(path)
        self.folder = place if place.is_dir() else place.parent
        if not 0 <= reader < readers or start < 0:
            asked = f"reader {reader} of {readers}, start {start}"
            raise Rt2dataError(str(path), asked, "readers counted from 0, and a start of at least 0")
        self.seed, self.reader, self.position = seed, reader, start
        source_weights = _weights(manifest, str(path), split, weights)
        total = sum(source_weights.values())
        self.shares = {source: float(weight / total) for source, weight in source_weights.items() if source is not None}
        self.shares = self.shares or {s["source"]: s["share_got"] for s in manifest["sources"]}
        self.samples = manifest["splits"][split]["samples"]
        if weights is None and split == "train":
            self.samples = sum(source["mix"] for source in manifest["sources"])
        self._sources = [_ranges(shards(manifest, split, source), reader, readers) for source in source_weights]
        ends, end = [], Fraction(0)
        for weight in list(source_weights.values())[:-1]:
            end += weight / total
            ends.append(min(int(end * 2**64), 2**64 - 1))
        self._ends = np.array(ends, np.uint64)

    def __iter__(self) -> Iterator[Sample]:
        """Iterate the samples from `position` on."""
        taken = self._taken()
        streams = [self._samples(ranges, done) for ranges, done in zip(self._sources, taken, strict=True)]
        while True:
            for number in self._sources_at(self.position, _BLOCK).tolist():
                sample = next(streams[number])
                self.position += 1
                yield sample

    def _sources_at(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """The source, by number, of each of `count` positions from `first` on: (count,)."""
        offset = int.from_bytes(_hash(self.seed, self.reader), "big")
        points = np.arange(count, dtype=np.uint64) * np.uint64(_GOLDEN)
        points += np.uint64((offset + first * _GOLDEN) % 2**64)
        return np.searchsorted(self._ends, points, side="right").astype(np.int64)

    def _taken(self) -> list[int]:
        """How many samples of each source the positions before this one took."""
        counts = np.zeros(len(self._sources), np.int64)
        for first in range(0, self.position, _BLOCK):
            numbers = self._sources_at(first, min(_BLOCK, self.position - first))
            counts += np.bincount(numbers, minlength=len(counts))
        return [int(n) for n in counts]

    def _samples(self, ranges: list[_ShardRange], done: int) -> Iterator[Sample]:
        """One source's samples without end, after the first `done`."""
        turn, done = divmod(done, sum(shard_range.last - shard_range.first for shard_range in ranges))
        while True:
            ordered = sorted(ranges, key=lambda r: _hash(self.seed, turn, r.shard)) if turn else ranges
            for shard_range in ordered:
                size = shard_range.last - shard_range.first
                skipped = min(done, size)
                done -= skipped
                if skipped == size:
                    continue
                given = 0
                path = self.folder / shard_range.shard
                for sample in islice(samples(path, shard_range.first + skipped), size - skipped):
                    given += 1
                    yield sample
                if given < size - skipped:
                    fault = f"{shard_range.first + skipped + given} samples"
                    raise Rt2dataError(str(path), fault, "as many as the manifest says", "Run `rt2data verify`")
            turn += 1


def _weights(
    manifest: dict[str, Any], where: str, split: str, weights: Mapping[str, float] | None
) -> dict[str | None, Fraction]:
    """The sampling weight of each source that has samples in a split; of all together where the form is mixed."""
    shards(manifest, split)
    if manifest["recipe"]["form"] == "mixed":
        if weights is not None:
            fault = "weights for a mixture of the form mixed, whose weights are in its shards"
            raise Rt2dataError(where, fault, "a mixture of the form by_source", "Build it with form: by_source")
        return {None: Fraction(1)}
    own = {s["source"]: Fraction(s["mix"]) for s in manifest["sources"] if s["samples"].get(split)}
    if weights is not None:
        given: dict[str, Fraction] = {}
        for asked, weight in weights.items():
            name = find_source(manifest, asked, f"{where} {split}", own)["source"]
            if name in given:
                raise Rt2dataError(where, f"two weights of {name}, one as {asked}", "one weight for each source")
            if not 0 < weight < float("inf"):
                raise Rt2dataError(where, f"the weight {weight} of {asked}", "a number above 0")
            given[name] = Fraction(weight)
        own = {name: given[name] for name in own if name in given}
    if not own:
        raise Rt2dataError(where, f"no sample in {split}", "a split with samples")
    return dict(own)


def _ranges(shards: list[dict[str, Any]], reader: int, readers: int) -> list[_ShardRange]:
    """A reader's part of a source: an equal share of its samples, at least one, from as few shards as that takes."""
    total = sum(shard["samples"] for shard in shards)
    first = total * reader // readers
    last = max(total * (reader + 1) // readers, first + 1)
    ranges, begin = [], 0
    for shard in shards:
        end = begin + shard["samples"]
        if begin < last and first < end:
            ranges.append(_ShardRange(shard["name"], max(first, begin) - begin, min(last, end) - begin))
        begin = end
    return ranges


def _hash(*parts: object) -> bytes:
    return blake2b(" ".join(map(str, parts)).encode(), digest_size=8).digest()
