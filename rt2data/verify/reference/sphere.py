"""The scheme ``spatialvla`` once more, in plain Python: one step at a time, as its source states it.

SpatialVLA/SpatialVLA@e480753, model/action_tokenizer.py.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

from rt2data.verify.reference.rules import float32

HELD = (range(4096), range(4096, 8192), range(8192, 8194))  # the ids of a translation, a rotation, a gripper
_AXES = ((0.0, math.pi, 16), (-math.pi, math.pi, 32), (0.0, 3.0**0.5, 8), *((-1.0, 1.0, 16),) * 3)


class Sphere:
    """The rule of the seven dimensions `dims`, with mean and standard deviation of each axis, or () for equal bins."""

    def __init__(self, dims: Sequence[Mapping[str, Any]], gaussian: Sequence[Sequence[float]]) -> None:
        self.dims = dims
        self.edges = []
        for i, (low, high, bins) in enumerate(_AXES):
            if not gaussian:
                self.edges.append([low + (high - low) / bins * k for k in range(bins)] + [high])
                continue
            normal = NormalDist(*gaussian[i])
            start, end = normal.cdf(low), normal.cdf(high)
            inner = [normal.inv_cdf(start + (end - start) / bins * k) for k in range(1, bins)]
            self.edges.append([low, *(min(max(edge, low), high) for edge in inner), high])

    def encode(self, step: Sequence[float]) -> list[int]:
        """The three ids of a step."""
        x, y, z, *turn, gripper = (self._normalised(i, value) for i, value in enumerate(step))
        place = (math.atan2(math.sqrt(x * x + y * y), z), math.atan2(y, x), math.sqrt(x * x + y * y + z * z))
        theta, phi, r, roll, pitch, yaw = (
            bisect_right(edges[1:-1], value) for edges, value in zip(self.edges, (*place, *turn), strict=True)
        )
        return [theta * 256 + phi * 8 + r, 4096 + roll * 256 + pitch * 16 + yaw, 8192 + (gripper >= 0.5)]

    def decode(self, ids: Sequence[int]) -> list[float]:
        """The seven numbers of three ids."""
        place, turn = ids[0], ids[1] - 4096
        cells = (place // 256, place // 8 % 32, place % 8, turn // 256, turn // 16 % 16, turn % 16)
        theta, phi, r, *angles = (
            (edges[cell] + edges[cell + 1]) / 2 for edges, cell in zip(self.edges, cells, strict=True)
        )
        flat = r * math.sin(theta)
        way = (flat * math.cos(phi), flat * math.sin(phi), r * math.cos(theta))
        values = [*(min(max(w, -1.0), 1.0) for w in way), *angles, float(ids[2] - 8192)]
        return [self._undone(i, value) for i, value in enumerate(values)]

    def _normalised(self, i: int, x: float) -> float:
        low, high = float(self.dims[i]["low"]), float(self.dims[i]["high"])
        if self.dims[i].get("constant", False):
            return 0.0
        y = float32(x)
        if (low, high) != (-1, 1):
            share = float32(float32(2 * float32(y - float32(low))) / float32(high - low + 1e-8))
            y = float32(share - 1)
        return min(max(y, -1.0), 1.0)

    def _undone(self, i: int, y: float) -> float:
        low, high = float(self.dims[i]["low"]), float(self.dims[i]["high"])
        return y if (low, high) == (-1, 1) else 0.5 * (y + 1) * (high - low) + low
