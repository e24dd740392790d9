"""Dividing whole numbers: quotas by largest remainder, and the order values at which shards are cut."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from rt2data.errors import Rt2dataError
from rt2data.index.keys import U64


def cuts(order: U64, pieces: int, where: str) -> U64:
    """Where a sorted `order` (n,) is cut into `pieces` that differ by at most one element.

    Returns the first order of each piece but the first.
    Piece i holds the orders from cuts[i-1] up to, not including, cuts[i]. Ties at a cut, which 64 bits make a matter of
    one in 10**9, cannot be cut: Rt2dataError.
    """
    n = len(order)
    first = np.array([n * i // pieces for i in range(1, pieces)], np.int64)
    if np.any(order[first] == order[first - 1]):
        raise Rt2dataError(
            where, "two samples of the same order at the border of a shard", "distinct hashes", "Choose another seed"
        )
    return order[first]


def largest_remainder(total: int, shares: Sequence[float | Fraction]) -> list[int]:
    """Quotas of `total` by largest remainder; ties go to the earlier share. Shares are exact fractions."""
    exact = [Fraction(s) for s in shares]
    whole = sum(exact)
    ideal = [total * s / whole for s in exact]
    quotas = [int(i) for i in ideal]
    by_remainder = sorted(range(len(shares)), key=lambda i: (quotas[i] - ideal[i], i))
    for i in by_remainder[: total - sum(quotas)]:
        quotas[i] += 1
    return quotas
