"""The scheme ``dct`` (FAST, arXiv 2501.09747) once more, in plain Python: codes of a chunk, and byte-pair encoding.

Written from the rule that `rt2data.tokenizer.schemes.fast` states, with none of its code: cosines by
halving and doubling the angle in decimal arithmetic, merges looked for one pair at a time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Any

_PI = Decimal("3.141592653589793238462643383279502884197169399375105820974944592307816406286")


class Dct:
    """Codes of chunks of one source.

    Args:
        dims: its dimensions, in JSON form.
        horizon: steps of a chunk.
        bins: number of codes.
        options: scale, min_code and merges.
    """

    def __init__(self, dims: Sequence[Mapping[str, Any]], horizon: int, bins: int, options: Mapping[str, Any]) -> None:
        self.horizon, self.bins, self.width = horizon, bins, len(dims)
        self.scale, self.least = float(options["scale"]), int(options["min_code"])
        self.low = [float(d["low"]) for d in dims]
        # Half of the width that -1 to 1 stand for.
        self.half = [
            1.0 if (d["low"], d["high"]) == (-1, 1) else (float(d["high"]) - float(d["low"]) + 1e-6) / 2 for d in dims
        ]
        self.matrix = [[_entry(horizon, k, t) for t in range(horizon)] for k in range(horizon)]
        self.merges: dict[tuple[int, int], int] = {}
        self.codes: list[tuple[int, ...]] = [(code,) for code in range(bins)]
        known = {codes: i for i, codes in enumerate(self.codes)}
        self.rank: dict[tuple[int, int], int] = {}
        for a, b in options.get("merges", ()):
            joined = self.codes[a] + self.codes[b]
            if joined not in known:
                known[joined] = len(self.codes)
                self.codes.append(joined)
            self.rank[a, b], self.merges[a, b] = len(self.rank), known[joined]
        self.merged = bool(self.merges)  # whether text holds ids of several codes, and not codes

    def unbounded(self, action: Sequence[float]) -> list[int]:
        """The codes of horizon x D numbers, frequency by frequency, also those that are no bin."""
        y = [
            [(action[t * self.width + d] - (self.low[d] + self.half[d])) / self.half[d] for d in range(self.width)]
            for t in range(self.horizon)
        ]
        out = []
        for k in range(self.horizon):
            for d in range(self.width):
                total = y[0][d]
                if self.horizon > 1:
                    total = self.matrix[k][0] * y[0][d]
                    for t in range(1, self.horizon):
                        total += self.matrix[k][t] * y[t][d]
                out.append(round(total * self.scale) - self.least)
        return out

    def encode(self, action: Sequence[float]) -> list[int]:
        """The codes, kept in the bins."""
        return [min(max(code, 0), self.bins - 1) for code in self.unbounded(action)]

    def decode(self, codes: Sequence[int]) -> list[float]:
        """Horizon x D numbers, step after step."""
        out = []
        for t in range(self.horizon):
            for d in range(self.width):
                coefficients = [(codes[k * self.width + d] + self.least) / self.scale for k in range(self.horizon)]
                y = (
                    math.fsum(self.matrix[k][t] * coefficients[k] for k in range(self.horizon))
                    if self.horizon > 1
                    else coefficients[0]
                )
                out.append(y * self.half[d] + (self.low[d] + self.half[d]))
        return out

    def tolerance(self, dim: int) -> float:
        """How far a decoded number may be off: each coefficient is rounded by at most half a code, and the transform
        keeps lengths.
        """
        around = abs(self.low[dim]) + 2 * self.half[dim]
        return math.sqrt(self.horizon) * 0.5 / self.scale * self.half[dim] + around * self.horizon * 2.0**-48

    def join(self, codes: Sequence[int]) -> list[int]:
        """The ids of some codes: the earliest merge there is, everywhere from left to right, until there is none."""
        ids = list(codes)
        while True:
            pairs = [pair for pair in pairwise(ids) if pair in self.rank]
            if not pairs:
                return ids
            earliest = min(pairs, key=self.rank.__getitem__)
            merged, i = [], 0
            while i < len(ids):
                is_pair = tuple(ids[i : i + 2]) == earliest
                merged.append(self.merges[earliest] if is_pair else ids[i])
                i += 2 if is_pair else 1
            ids = merged

    def split(self, ids: Sequence[int]) -> list[int]:
        """The codes of some ids."""
        return [code for i in ids for code in self.codes[i]]

    def write(self, codes: Sequence[int]) -> str:
        """The text of some codes, as ids."""
        return " ".join(map(str, self.join(codes)))

    def read(self, text: str) -> list[int]:
        """The codes of a text of ids.

        Raises:
            ValueError: for any other text.
        """
        parts = text.split(" ")
        if len(parts) > self.longest:
            raise ValueError(f"{len(parts)} ids; expected at most {self.longest}")
        for part in parts:
            if not re.fullmatch(r"0|[1-9][0-9]{0,8}", part) or int(part) >= self.ids:
                raise ValueError(f"{part[:20]!a} is not an id below {self.ids}")
        return self.split([int(part) for part in parts])

    @property
    def ids(self) -> int:
        """How many ids there are."""
        return len(self.codes)

    @property
    def longest(self) -> int:
        """The most ids of a chunk."""
        return self.horizon * self.width


def _entry(n: int, k: int, t: int) -> float:
    """Row k, column t of the orthonormal DCT-II of n steps, rounded once."""
    c = Context(prec=60)
    norm = c.sqrt(c.divide(Decimal(1 if k == 0 else 2), Decimal(n)))
    return float(c.multiply(norm, _cosine((2 * t + 1) * k % (4 * n), 2 * n)))


@lru_cache(maxsize=1 << 16)
def _cosine(j: int, n: int) -> Decimal:
    """cos(pi j / n): of a 2^20th of the angle by three terms of its series, then doubled twenty times."""
    if 2 * j == n or 2 * j == 3 * n:
        return Decimal(0)
    c = Context(prec=100)
    x = c.divide(c.multiply(_PI, Decimal(j)), Decimal(n))
    x = c.divide(x, Decimal(2**20))
    square = c.multiply(x, x)
    # 1 - cos, which doubling keeps exact where cos itself is 1 but for the last digits: v(2x) = 2 v (2 - v)
    v, term = Decimal(0), Decimal(-1)
    for i in range(1, 12):
        term = c.divide(c.multiply(-term, square), Decimal((2 * i - 1) * (2 * i)))
        v = c.add(v, term)
    for _ in range(20):
        v = c.multiply(c.multiply(Decimal(2), v), c.subtract(Decimal(2), v))
    return c.subtract(Decimal(1), v)
