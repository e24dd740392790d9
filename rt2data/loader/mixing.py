"""Which source a position of a weighted mix takes, and which of its samples: a pure function. Needs numpy alone.

Positions are divided into windows of WINDOW. In each window every source has its share of the positions, rounded down
or up; the fraction that is rounded away is spread evenly over windows by a golden-ratio sequence, so that no source
falls behind. Which positions of a window are whose is a permutation by a key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from rt2data.loader.order import Ints, Permutation, key

WINDOW = 4096
_BITS = 50  # shares are whole numbers of a fraction of 2**50: WINDOW of them fit 63 bits
_MASK = (1 << _BITS) - 1
_STEP = 0x9E3779B97F4A7C15 >> 14  # the golden ratio, of 2**50
_BLOCK = 1 << 12  # windows that are counted at once; the counts before each such block are kept

# The weight of each source at windows, (w,) -> (w, sources); any positive scale.
Weights: TypeAlias = Callable[[Ints], npt.NDArray[np.float64]]


class SourceOrder:
    """Sources by position.

    Attributes:
        sources: how many.
    """

    def __init__(self, weights: Weights, sources: int, key: int) -> None:
        self.weights, self.sources, self.key = weights, sources, key
        # How many positions each source has before each block of windows, and before the window last asked for.
        self._counted = [np.zeros(sources, np.int64)]
        self._last: tuple[int, Ints] = 0, self._counted[0]

    def take(self, positions: Ints) -> tuple[Ints, Ints]:
        """The source of each position, and how many positions before it in the stream are the same source's.

        "Before" is in the order of slots, which within a window differs from that of positions; each number below a
        source's total is there exactly once.

        Args:
            positions: of one or more windows, ascending, int64 (n,).
        """
        window, place = np.divmod(positions, WINDOW)
        source, before = np.empty(len(positions), np.int64), np.empty(len(positions), np.int64)
        for number in np.unique(window).tolist():
            rows = slice(*np.searchsorted(window, [number, number + 1]))
            slots = Permutation(WINDOW, key(self.key, number))(place[rows])
            cuts = self._cuts(np.array([number], np.int64))[0]
            source[rows] = np.searchsorted(cuts[1:], slots, side="right")
            before[rows] = slots - cuts[source[rows]] + self._before(number)[source[rows]]
        return source, before

    def _cuts(self, windows: Ints) -> Ints:
        """Where the slots of each source begin in windows, and where they end: (w, sources + 1)."""
        weights = self.weights(windows)
        ends = np.cumsum(weights, axis=1)
        shares = np.zeros((len(windows), self.sources + 1), np.int64)
        shares[:, 1:] = np.rint(ends / ends[:, -1:] * (1 << _BITS))
        # A product that wraps at 2**64 is right: 2**50 divides that.
        spread = (windows * _STEP + (self.key & _MASK)) & _MASK
        return np.asarray((shares * WINDOW + spread[:, None]) >> _BITS)

    def _before(self, window: int) -> Ints:
        """How many positions before a window each source has, (sources,)."""
        block, rest = divmod(window, _BLOCK)
        for first in range((len(self._counted) - 1) * _BLOCK, block * _BLOCK, _BLOCK):
            self._counted.append(self._counted[-1] + self._count(first, first + _BLOCK))
        if self._last[0] // _BLOCK != block or self._last[0] > window:
            self._last = window - rest, self._counted[block]
        first, total = self._last
        self._last = window, total + self._count(first, window)
        return self._last[1]

    def _count(self, first: int, end: int) -> Ints:
        """How many positions of windows each source has, (sources,)."""
        cuts = self._cuts(np.arange(first, end, dtype=np.int64)).sum(axis=0)
        return np.asarray(np.diff(cuts))
