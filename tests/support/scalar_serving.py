"""Chunks and grippers a second time, for one environment and one number, in plain Python."""

from __future__ import annotations

import math


def averaged(chunks: list[list[float]], decay: float) -> list[float]:
    """Of chunks of one number, one a step: what is executed at each step."""
    out = []
    for now in range(len(chunks)):
        said = [chunk[now - then] for then, chunk in enumerate(chunks[: now + 1]) if now - then < len(chunk)]
        weights = [math.exp(-decay * i) for i in range(len(said))]
        out.append(sum(w * one for w, one in zip(weights, said, strict=True)) / sum(weights))
    return out


def sticky_changes(openness: list[float], repeat: int) -> list[float]:
    """What the Google Robot's gripper is sent for the openness at each step."""
    out: list[float] = []
    before, held, left = None, 0.0, 0
    for now in openness:
        change = 0.0 if before is None else before - now
        before = now
        if left == 0 and abs(change) > 0.5:
            held, left = change, repeat
        if left:
            change, left = held, left - 1
        out.append(change)
    return out
