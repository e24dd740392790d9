"""A user's learned encoder, small: each half of a chunk as its mean, in five levels (a finite scalar quantisation)."""

from __future__ import annotations

from typing import Any

import numpy as np

LEVELS = 5


class Halves:
    """K = 2 D ids of LEVELS, of chunks (n, H, D)."""

    fingerprint = "halves-1"

    def __init__(self, horizon: int = 4) -> None:
        self.horizon = horizon

    def encode(self, chunks: Any) -> Any:
        half = self.horizon // 2
        means = np.stack([chunks[:, :half].mean(axis=1), chunks[:, half:].mean(axis=1)], axis=1)
        return np.clip(np.rint((means + 1) / 2 * (LEVELS - 1)), 0, LEVELS - 1).astype(np.int64).reshape(len(chunks), -1)

    def decode(self, ids: Any) -> Any:
        means = ids.reshape(len(ids), 2, -1) / (LEVELS - 1) * 2 - 1
        return np.repeat(means, self.horizon // 2, axis=1)


def load() -> Halves:
    """What ``--learned halves=support.learned_code:load`` names."""
    return Halves()
