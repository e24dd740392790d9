"""Samples of shards in an object store: read piece by piece through a cache."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from rt2data.loader.cache import Cache, Piece
from rt2data.loader.shards import BLOCK, Found, Ints, Shards, scan
from rt2data.mixture.reader import INDEX
from rt2data.storage import object_store
from rt2data.storage.object_store import Url


class RemoteShards(Shards):
    """Shards in an object store.

    Args:
        folder: the mixture.
        entries: the shards, as the manifest lists them.
        cache: the folder in which pieces are kept; None makes one below TMPDIR that goes with this process.
        limit: bytes that it may hold.
    """

    def __init__(self, folder: Url, entries: Sequence[Mapping[str, Any]], cache: Path | None, limit: int) -> None:
        super().__init__(folder, entries)
        if cache is None:
            cache = Path(tempfile.mkdtemp(prefix="rt2data-"))
            weakref.finalize(self, rmtree, cache, ignore_errors=True)
        self.cache = Cache(cache, limit)
        self._known: dict[int, list[int]] = {}
        # What the names of a shard's files in the cache begin with.
        said = [f"{entry['name']} {entry['crc32c']}".encode() for entry in entries]
        self._digests = [blake2b(one, digest_size=8).hexdigest() for one in said]

    def __getstate__(self) -> Any:
        return self.folder, self.entries, self.cache.folder, self.cache.limit

    def __setstate__(self, state: Any) -> None:
        RemoteShards.__init__(self, *state)

    def read(self, numbers: Ints, before: Ints, count: Ints) -> Iterator[Found]:
        shards, places = self.find(numbers)
        self._learn(np.unique(shards).tolist())
        # What of a piece is in the sample's shard: it may begin in another one and end in another one.
        begin = np.maximum(places - before, 0)
        stop = np.minimum(places - before + count, np.diff(self.begins)[shards])
        rows = list(zip(shards.tolist(), places.tolist(), begin.tolist(), stop.tolist(), strict=True))
        pieces = {(shard, a, b): self._piece(shard, a, b) for shard, _, a, b in rows}
        coming = self.cache.fetch(pieces.values())
        here: set[str] = set()
        for shard, place, a, b in rows:
            piece, offsets = pieces[shard, a, b], self._known[shard]
            if piece.name not in here and not (self.cache.folder / piece.name).exists():
                for arrived in coming:
                    here.add(arrived.name)
                    if arrived.name == piece.name:
                        break
            data = self.cache.read(piece, offsets[place], offsets[place + 1])
            if len(data) < offsets[place + 1] - offsets[place]:
                raise self.damaged(shard, f"{len(data)} bytes of the sample {place}")
            yield shard, place, data

    def _piece(self, shard: int, begin: int, stop: int) -> Piece:
        """The samples of a shard from `begin` to `stop`."""
        entry, offsets = self.entries[shard], self._known[shard]
        return Piece(
            f"{self._digests[shard]}-{begin}-{stop}", self.folder / entry["name"], offsets[begin], offsets[stop]
        )

    def _learn(self, shards: list[int]) -> None:
        """Find out where the samples of shards begin."""
        unknown = [shard for shard in shards if shard not in self._known]
        listed = [shard for shard in unknown if self.entries[shard].get("index")]
        sizes = [8 * (self.entries[shard]["samples"] + 1) for shard in listed]
        urls: list[Any] = [self.folder / (self.entries[shard]["name"] + INDEX) for shard in listed]
        answers = object_store.fetch_ranges((url, 0, size) for url, size in zip(urls, sizes, strict=True))
        for shard, data in zip(listed, answers, strict=True):
            self._known[shard] = self.offsets(shard, bytes(data))
        for shard in unknown:
            if shard not in self._known:
                self._known[shard] = self.offsets(shard, self._scanned(shard))

    def _scanned(self, shard: int) -> bytes | list[int]:
        """Where the samples of a shard without an index begin: all of it is read, once for all who share the cache."""
        entry = self.entries[shard]
        kept = self.cache.folder / f"{self._digests[shard]}{INDEX}"
        if kept.exists():
            return kept.read_bytes()
        url: Any = self.folder / entry["name"]
        ranges = ((url, start, stop) for start, stop in object_store.byte_ranges(entry["bytes"]))
        whole = b"".join(object_store.fetch_ranges(ranges))
        offsets = scan(lambda at: whole[at : at + BLOCK], self.name(shard))
        self.cache.store(kept.name, b"".join(offset.to_bytes(8, "little") for offset in offsets))
        return offsets
