"""Samples of shards by their number: where each one begins, and its members, read with one request."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rt2data.errors import Rt2dataError
from rt2data.storage import reading
from rt2data.storage.places import Place, read_bytes

BLOCK = 512  # bytes of a tar header, and the unit of what follows it
MAX_OPEN = 256  # files

INDEX = ".idx"  # behind a shard's name: a file of 64-bit offsets, little endian, as Megatron Energon's

Offsets = npt.NDArray[np.int64]


class Shards:
    """The samples of several shards, numbered from 0 in the order of the shards. Local files. Not for several threads.

    Attributes:
        begins: the number of the first sample of each shard, and of all samples, int64 (shards + 1,).
    """

    def __init__(self, folder: Place, entries: Sequence[Mapping[str, Any]]) -> None:
        self.folder, self.entries = folder, entries
        self.begins = np.cumsum([0, *(entry["samples"] for entry in entries)], dtype=np.int64)
        self._open: OrderedDict[int, tuple[int, list[int]]] = OrderedDict()

    def read(self, shard: int, number: int) -> bytes:
        """The bytes of a shard's sample: its members with their headers.

        Raises:
            Rt2dataError: a shard that is not there, or not as its index says.
        """
        opened = self._open.get(shard)
        if opened is None:
            opened = self._opened(shard)
        file, offsets = opened
        begin = offsets[number]
        size = offsets[number + 1] - begin
        data = os.pread(file, size, begin)
        if len(data) < size:
            data = reading.pread(file, size, begin, self._name(shard))
            if len(data) < size:
                raise self.damaged(shard, f"{begin + len(data):,} bytes")
        return data

    def find(self, numbers: Offsets) -> tuple[list[int], list[int]]:
        """The shard of each sample, and its number in there."""
        shard = np.searchsorted(self.begins, numbers, side="right") - 1
        return shard.tolist(), (numbers - self.begins[shard]).tolist()

    def keys(self) -> Iterator[str]:
        """The key of each sample."""
        for shard, entry in enumerate(self.entries):
            for number in range(entry["samples"]):
                yield read_header(self.read(shard, number)[:BLOCK], self._name(shard))[0].partition(".")[0]

    def close(self) -> None:
        """Close all files; reading opens them again."""
        while self._open:
            os.close(self._open.popitem()[1][0])

    def __getstate__(self) -> tuple[Place, Sequence[Mapping[str, Any]]]:
        return self.folder, self.entries

    def __setstate__(self, state: tuple[Place, Sequence[Mapping[str, Any]]]) -> None:
        Shards.__init__(self, *state)

    def __del__(self) -> None:
        if hasattr(self, "_open"):
            self.close()

    def _name(self, shard: int) -> str:
        return str(self.folder / self.entries[shard]["name"])

    def damaged(self, shard: int, found: str) -> Rt2dataError:
        """The error of a shard that is not as it was built."""
        return Rt2dataError(self._name(shard), found, "the shard of the manifest", "Run `rt2data verify`")

    def _opened(self, shard: int) -> tuple[int, list[int]]:
        while len(self._open) >= MAX_OPEN:
            os.close(self._open.popitem(last=False)[1][0])
        try:
            file = os.open(self._name(shard), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self.damaged(shard, error.strerror or str(error)) from None
        try:
            offsets = self._offsets(shard, file)
        except BaseException:
            os.close(file)
            raise
        self._open[shard] = file, offsets
        return file, offsets

    def _offsets(self, shard: int, file: int) -> list[int]:
        """Where the samples of a shard begin, and the last one ends: of its index, else of its headers."""
        entry = self.entries[shard]
        try:
            stored = np.frombuffer(read_bytes(self.folder / (entry["name"] + INDEX)), "<u8")
        except FileNotFoundError:
            offsets = scan(file, self._name(shard))
        except ValueError:
            raise self.damaged(shard, "an index of another length") from None
        else:
            offsets = stored.tolist()
        if len(offsets) != entry["samples"] + 1:
            raise self.damaged(shard, f"{len(offsets) - 1:,} samples; {entry['samples']:,} in the manifest")
        places = np.array([0, *offsets[1:]], np.uint64).astype(np.int64)
        if offsets[0] or places[-1] > os.fstat(file).st_size or (np.diff(places) <= 0).any() or (places % BLOCK).any():
            raise self.damaged(shard, "an index that is not of this file")
        return offsets


def scan(file: int, name: str) -> list[int]:
    """Where the samples of a shard begin, and the last one ends, from its headers alone."""
    offsets, at = [0], 0
    while True:
        header = os.pread(file, BLOCK, at)
        if not header or header[0] == 0:
            break
        member, size = read_header(header, name)
        at += BLOCK + -(-size // BLOCK) * BLOCK
        if member.endswith(".json") and "." not in member[: -len(".json")]:
            offsets.append(at)
    return offsets


def read_header(header: bytes, where: str) -> tuple[str, int]:
    """The name and the size of a member, from its tar header (POSIX ustar)."""
    try:
        return header[: header.index(0, 0, 100)].decode("ascii"), int(header[124:135], 8)
    except ValueError:
        raise Rt2dataError(where, "no tar header", "a whole shard", "Run `rt2data verify`") from None
