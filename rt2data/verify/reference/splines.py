"""The scheme ``beast`` once more, in plain Python: one number at a time, as its source states it.

intuitive-robots/beast_calvin@cf5f628, beast/models/tokenizers/bspline_tokenizer.py. The weights are found by Cholesky's
factors of the normal equations, and the splines by the recursion of Cox and de Boor, top down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any


class Splines:
    """The rule of dimensions `dims` over chunks of `horizon` steps."""

    def __init__(self, dims: Sequence[Mapping[str, Any]], horizon: int, bins: int, options: Mapping[str, Any]) -> None:
        self.dims, self.horizon, self.bins = dims, horizon, bins
        self.count: int = options.get("basis", 5)
        degree: int = options.get("degree", 4)
        flat = options.get("flat", ["gripper"])
        self.degrees = [0 if dim["name"] in flat else degree for dim in dims]
        self.values = {p: values(self.count, horizon, p) for p in set(self.degrees)}
        limits = options.get("weights") or [[-1.0, 1.0]] * (self.count * len(dims))
        self.limits = [limits[d * self.count : (d + 1) * self.count] for d in range(len(dims))]

    def encode(self, action: Sequence[float]) -> list[int]:
        """The bins of horizon x D numbers, weight after weight."""
        return [min(max(code, 0), self.bins - 1) for code in self.unbounded(action)]

    def unbounded(self, action: Sequence[float]) -> list[int]:
        """The same before they are kept to the bins."""
        of_dims = []
        for d in range(len(self.dims)):
            middle, half = self._scale(d)
            y = [(x - middle) / half for x in action[d :: len(self.dims)]]
            of_dims.append(weigh(self.values[self.degrees[d]], y, self.degrees[d]))
        return [
            round((weights[k] - self.limits[d][k][0]) / (self.limits[d][k][1] - self.limits[d][k][0]) * (self.bins - 1))
            for k in range(self.count)
            for d, weights in enumerate(of_dims)
        ]

    def decode(self, bins: Sequence[int]) -> list[float]:
        """The horizon x D numbers of bins."""
        out = []
        for step in range(self.horizon):
            for d in range(len(self.dims)):
                middle, half = self._scale(d)
                own = bins[d :: len(self.dims)]
                weights = [
                    b / (self.bins - 1) * (high - low) + low for b, (low, high) in zip(own, self.limits[d], strict=True)
                ]
                row = self.values[self.degrees[d]][step]
                out.append(math.fsum(b * w for b, w in zip(row, weights, strict=True)) * half + middle)
        return out

    def _scale(self, d: int) -> tuple[float, float]:
        low, high = float(self.dims[d]["low"]), float(self.dims[d]["high"])
        return (low + high) / 2, (high - low) / 2


def values(count: int, steps: int, degree: int) -> list[list[float]]:
    """The value of each of `count` splines at each of `steps` times."""
    spans = count - degree
    knots = [Fraction(0)] * degree + [Fraction(i, spans) for i in range(spans + 1)] + [Fraction(1)] * degree

    def value(i: int, p: int, u: Fraction) -> Fraction:
        if p == 0:
            last = knots[i + 1] == 1 and knots[i] < 1 and u == 1  # the last span is closed on the right
            return Fraction(knots[i] <= u < knots[i + 1] or last)
        left, right = knots[i + p] - knots[i], knots[i + p + 1] - knots[i + 1]
        out = (u - knots[i]) / left * value(i, p - 1, u) if left else Fraction(0)
        return out + ((knots[i + p + 1] - u) / right * value(i + 1, p - 1, u) if right else Fraction(0))

    times = [Fraction(t, steps - 1) for t in range(steps)]
    return [[float(value(i, degree, u)) for i in range(count)] for u in times]


def weigh(basis: Sequence[Sequence[float]], y: Sequence[float], degree: int) -> list[float]:
    """The weights w with (B'B + 1e-9 I) w = B'y; of the degree 0 the mean of each span, 0 for an empty one."""
    count = len(basis[0])
    columns = [[row[k] for row in basis] for k in range(count)]
    right = [_product(column, y) for column in columns]
    if degree == 0:
        return [total / max(sum(column), 1.0) for total, column in zip(right, columns, strict=True)]
    lower = [[0.0] * count for _ in range(count)]
    for i in range(count):
        for j in range(i + 1):
            rest = _product(columns[i], columns[j]) - _product(lower[i][:j], lower[j][:j])
            lower[i][j] = math.sqrt(rest + 1e-9) if i == j else rest / lower[j][j]
    forward: list[float] = []
    for i in range(count):
        forward.append((right[i] - _product(lower[i][:i], forward)) / lower[i][i])
    out = [0.0] * count
    for i in reversed(range(count)):
        known = math.fsum(lower[k][i] * out[k] for k in range(i + 1, count))
        out[i] = (forward[i] - known) / lower[i][i]
    return out


def _product(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))
