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
_UNIT = 1 << 50  # shares are whole numbers of this fraction: WINDOW of them fit 63 bits
_STEP = 0x9E3779B97F4A7C15 >> 14  # of 2**50
_BLOCK = 1 << 12  # windows that are counted at once

# The weight of each source at windows, (w,) -> (w, sources); any positive scale.
Weights: TypeAlias = Callable[[Ints], npt.NDArray[np.float64]]


class SourceOrder:
    """Sources by position.

    Attributes:
        sources: how many.
    """

    def __init__(self, weights: Weights, sources: int, key: int) -> None:
        self.weights, self.sources, self.key = weights, sources, key
        self._counted = {0: np.zeros(sources, np.int64)}  # by number of windows: how many positions these gave to each

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
        shares[:, 1:] = np.rint(ends / ends[:, -1:] * _UNIT)
        spread = (
            windows * _STEP + self.key % _UNIT
        ) % _UNIT  # a product that wraps at 2**64 is right: 2**50 divides that
        cuts = (shares * WINDOW + spread[:, None]) // _UNIT
        return np.asarray(cuts)

    def _before(self, window: int) -> Ints:
        """How many positions before a window each source has, (sources,)."""
        if window not in self._counted:
            start = max(known for known in self._counted if known < window)
            total = self._counted[start].copy()
            for first in range(start, window, _BLOCK):
                windows = np.arange(first, min(first + _BLOCK, window), dtype=np.int64)
                total += np.diff(self._cuts(windows), axis=1).sum(axis=0)
            self._counted = {0: self._counted[0], window: total}
        return self._counted[window]
