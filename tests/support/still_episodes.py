"""Episodes in which the robot does not move at some steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from support import small_corpora

STILL = {"x": 0.002, "y": 0.002, "z": 0.002, "roll": 0.002, "pitch": 0.002, "yaw": 0.002}


def episode(number: int) -> dict[str, Any]:
    """An episode of 1 to 25 steps, with pauses of the whole arm and a gripper that seldom moves."""
    rng, length = np.random.default_rng(number), 1 + 2 * number
    found = small_corpora.episode(number, length)
    action = found["steps"]["action"]
    action[:, :6] *= np.repeat(rng.random(length // 5 + 1) < 0.7, 5)[:length, None]
    action[:, 6] = np.repeat(rng.integers(0, 2, length // 8 + 1), 8)[:length]
    return found
