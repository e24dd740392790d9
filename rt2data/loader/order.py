"""The order in which an epoch shows samples: a pure function of a position. Needs numpy alone.

Samples 0, 1, ... n - 1 lie in this order in the shards. An epoch cuts the circle of them, at an offset of its own, into
runs of consecutive samples, permutes the runs, and permutes the samples of each run. What this gives is dealt to lanes
of equal length, one part behind the other, and position p is sample p // L of lane p % L of L. So neighbours in an
epoch are of different runs, and a reader of whole lanes reads whole runs.

A permutation is computed where it is asked for, by a key: there is no table of them, whatever n is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

LANES = (15_360, 7_680, 3_840, 1_920, 960)  # many divisors: a number of readers among them reads whole lanes
LANE_RUNS = 4  # runs that a lane has at least: of many samples there are many lanes
RUN = 32  # samples of a run: half a megabyte of pictures, read at once
MIN_RUNS = 4096  # fewer runs than this are too few to be shuffled well: then runs are shorter

_ROUNDS = 6
_STEP = 0x9E3779B97F4A7C15


def key(*parts: object) -> int:
    """A key of a permutation, 64 bits."""
    return int.from_bytes(blake2b(" ".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


def mix(x: U64) -> U64:
    """SplitMix64's finaliser: each bit of the result depends on each bit of x (Steele, Lea, Flood, OOPSLA 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class Permutation:
    """A permutation of the numbers below `size`: a Feistel network of as many bits as these need, applied until the
    result is below `size` (Black and Rogaway, Ciphers with arbitrary finite domains, CT-RSA 2002).
    """

    size: int
    key: int

    def _keys(self) -> U64:
        return mix(np.uint64(self.key) + np.arange(1, _ROUNDS + 1, dtype=np.uint64) * np.uint64(_STEP))

    def __call__(self, numbers: Ints) -> Ints:
        """Where numbers below `size` go, int64 (n,)."""
        return self._walk(
            numbers, lambda left, right, key, mask: (right, left ^ (mix(right + key) & mask)), self._keys()
        )

    def inverse(self, numbers: Ints) -> Ints:
        """What goes to numbers below `size`, int64 (n,)."""
        back = self._keys()[::-1]
        return self._walk(numbers, lambda left, right, key, mask: (right ^ (mix(left + key) & mask), left), back)

    def _walk(
        self, numbers: Ints, swap: Callable[[U64, U64, np.uint64, np.uint64], tuple[U64, U64]], keys: U64
    ) -> Ints:
        """Apply the rounds, a key each, to the halves of numbers until all are below `size`."""
        bits = max((self.size - 1).bit_length() + 1, 2) // 2
        half, mask = np.uint64(bits), np.uint64((1 << bits) - 1)
        out = numbers.astype(np.uint64)
        left_over = np.arange(len(out))
        while len(left_over):
            left, right = out[left_over] >> half, out[left_over] & mask
            for one in keys:
                left, right = swap(left, right, one, mask)
            out[left_over] = (left << half) | right
            left_over = left_over[out[left_over] >= np.uint64(self.size)]
        return out.astype(np.int64)


class Order:
    """The order of one pass over `size` samples.

    Attributes:
        size: how many samples.
        key: of this pass; another key is another order.
        run: samples of a run; one run has what is left.
        lanes: how many lanes.
    """

    def __init__(self, size: int, key: int) -> None:
        self.size, self.key = size, key
        self.run = min(RUN, max(size // MIN_RUNS, 1))
        self.lanes = next((n for n in LANES if n * LANE_RUNS * RUN <= size), min(LANES[-1], size))
        self._runs = Permutation(-(-size // self.run), key)
        self._short = size - (self._runs.size - 1) * self.run
        last = np.array([self._runs.size - 1], np.int64)
        self._short_at = int(self._runs.inverse(last)[0]) * self.run  # where the shorter run begins

    def samples(self, positions: Ints) -> Ints:
        """The samples at positions from 0 to `size` - 1, int64 (n,)."""
        return self.pieces(positions)[0]

    def pieces(self, positions: Ints) -> tuple[Ints, Ints, Ints]:
        """The samples at positions, and the consecutive samples that each of them is read with: those of its run that
        are in its lane.

        Args:
            positions: from 0 to `size` - 1, int64 (n,).

        Returns:
            The sample of each position, how many samples of its piece lie before it, and how many the piece has, int64
            (n,) each. A piece that reaches past the last sample goes on with sample 0.
        """
        turn, lane = np.divmod(positions, self.lanes)
        length, longer = divmod(self.size, self.lanes)  # the first `longer` lanes have one sample more
        begin = lane * length + np.minimum(lane, longer)
        place, end = begin + turn, begin + length + (lane < longer)
        behind = self._short_at + self._short  # the places from here on are those of whole runs moved by what lacks
        shift = np.where(place >= behind, self.run - self._short, 0)
        number, within = np.divmod(place + shift, self.run)
        start = number * self.run - shift
        run = self._runs(number)
        stop = start + np.where(run == self._runs.size - 1, self._short, self.run)
        low, high = np.maximum(begin, start) - start, np.minimum(end, stop) - start
        if self.run > 1:
            within = self._inside(run, within, low, high)
        return (run * self.run + within + self.key % self.size) % self.size, within - low, high - low

    def _inside(self, run: Ints, within: Ints, low: Ints, high: Ints) -> Ints:
        """Which sample of its run stands at a place in it: those from `low` to `high` are sorted by a hash of each."""
        every = np.arange(self.run, dtype=np.int64)
        hashes = mix(mix(run.astype(np.uint64)[:, None] + np.uint64(self.key)) + every.astype(np.uint64))
        hashes[(every < low[:, None]) | (every >= high[:, None])] = np.uint64(2**64 - 1)  # behind those of the piece
        inside: Ints = np.argsort(hashes, axis=1, kind="stable")[np.arange(len(run)), within - low]
        return inside
