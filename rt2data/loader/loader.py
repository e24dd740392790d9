"""The loader: the samples of a mixture in a new order each epoch, from any position, for any number of readers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from rt2data import storage
from rt2data.errors import Rt2dataError
from rt2data.loader import mixing
from rt2data.loader.order import Ints, Order, key
from rt2data.loader.shards import BLOCK, Shards
from rt2data.mixture.reader import load_manifest, shards
from rt2data.storage.places import Place

AT_ONCE = 1 << 12  # positions whose samples are computed at once


class Sample:
    """A sample of a mixture.

    Attributes:
        position: where in the epoch it stands, among those of all readers.
        members: the bytes of each member by its suffix (``jpg``, ``wrist.png``, ``json``), in the order of the shard.
    """

    __slots__ = ("__dict__", "_key", "members", "position")

    def __init__(self, position: int, data: bytes, where: str) -> None:
        self.position = position
        self.members: dict[str, bytes] = {}
        at, size, stop = 0, 0, len(data)
        try:
            while at < stop:
                self._key, _, suffix = data[at : data.index(0, at, at + 100)].decode("ascii").partition(".")
                size = int(data[at + 124 : at + 135], 8)
                at += BLOCK
                self.members[suffix] = data[at : at + size]
                at += size + -size % BLOCK
        except ValueError:
            raise Rt2dataError(where, "no tar header where a member begins", "a whole shard", "Run `rt2data verify`") from None

    @property
    def key(self) -> str:
        """As docs/format.md defines it."""
        return self._key

    @cached_property
    def json(self) -> dict[str, Any]:
        """The content of ``KEY.json``."""
        found: dict[str, Any] = orjson.loads(self.members["json"])
        return found

    @property
    def images(self) -> dict[str, list[bytes]]:
        """The encoded images by camera (``image`` in web samples), each in the order of the prompt."""
        out: dict[str, list[bytes]] = {}
        cameras = self.json["cameras"] or [{"member": member, "role": "image"} for member in self.json["images"]]
        for camera in cameras:
            out.setdefault(camera["role"], []).append(self.members[camera["member"]])
        return out


class Loader:
    """The samples of a split for one of several readers. Iterating gives the rest of an epoch.

    The order of an epoch is a pure function of the mixture, `seed`, the epoch and `weights`; reader `rank` of
    `world_size` reads the positions rank, rank + world_size, ... of it.

    Args:
        path: a built mixture, a folder or a URL.
        split: which split.
        seed: another seed is another order.
        rank, world_size: this reader's number, and how many read in parallel.
        weights: a sampling weight per source in place of the recipe's, for a mixture of the form by_source.
        shuffle: False takes samples in the order of the shards, each once.

    Attributes:
        size: samples of an epoch, for all readers together.
        epoch: the one that is read next, from 0.
        position: how many samples of it all readers together have read.

    Raises:
        Rt2dataError: no such mixture, split or source.
    """

    def __init__(
        self,
        path: str | Path | Place,
        split: str = "train",
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        weights: Mapping[str, float] | None = None,
        shuffle: bool = True,
    ) -> None:
        if not 0 <= rank < world_size:
            raise Rt2dataError(str(path), f"rank {rank} of {world_size}", "ranks from 0 to world_size - 1")
        manifest = load_manifest(path)
        place = storage.place(path)
        folder = place if place.is_dir() else place.parent
        entries = shards(manifest, split)
        self.rank, self.world_size, self.seed, self.shuffle = rank, world_size, seed, shuffle
        self.epoch = self.position = 0
        self.size = sum(entry["samples"] for entry in entries)
        self.fingerprint = _fingerprint(entries)
        self._shards = Shards(folder, entries)

    def __len__(self) -> int:
        """How many samples of an epoch this reader reads."""
        return len(range(self.rank, self.size, self.world_size))

    def __getitem__(self, number: int) -> Sample:
        """This reader's sample at a place of the epoch."""
        position = range(self.rank, self.size, self.world_size)[number]
        return self._sample(position, int(self._samples(np.array([position], np.int64))[0]))

    def __iter__(self) -> Iterator[Sample]:
        """Iterate the rest of the epoch; at its end the next one is due."""
        for first in range(self.position + self.rank, self.size, self.world_size * AT_ONCE):
            stop = min(first + self.world_size * AT_ONCE, self.size)
            positions = np.arange(first, stop, self.world_size, dtype=np.int64)
            numbers = self._samples(positions)
            which = np.searchsorted(self._shards.begins, numbers, side="right") - 1
            inside = (numbers - self._shards.begins[which]).tolist()
            for position, shard, number in zip(positions.tolist(), which.tolist(), inside, strict=True):
                self.position = position - self.rank + self.world_size
                yield Sample(position, self._shards.read(shard, number), "")
        self.epoch, self.position = self.epoch + 1, 0

    def _samples(self, positions: Ints) -> Ints:
        if not self.shuffle:
            return positions
        return Order(self.size, key(self.fingerprint, self.seed, self.epoch)).samples(positions)

    def _sample(self, position: int, number: int) -> Sample:
        shard = int(np.searchsorted(self._shards.begins, number, side="right")) - 1
        return Sample(position, self._shards.read(shard, number - int(self._shards.begins[shard])), "")


def _fingerprint(entries: list[dict[str, Any]]) -> str:
    return sha256(orjson.dumps([[entry["name"], entry["samples"], entry["members"]] for entry in entries])).hexdigest()
