"""The rules of tracks a second time: for one step, one row and one number at a time, in plain Python."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

Row = tuple[float, float | None]  # start, and end or None


def holds(rows: Sequence[Row], number: int, time: float) -> bool:
    """Whether row `number` has begun at `time` and has not ended."""
    start, end = rows[number]
    if end is None:
        later = [other for other, _ in rows if other > start]
        end = min(later, default=float("inf"))
    return start <= time < end


def find(rows: Sequence[Row], time: float, rule: str, count: int = 1, tolerance: float | None = None) -> list[int]:
    """The rows (positions) that a rule gives at a time, in the order of their starts; `rows` are sorted by start."""
    every = range(len(rows))
    if rule in ("active", "all"):
        return [n for n in every if holds(rows, n, time)]
    if rule == "every":
        return list(every)
    if rule == "remaining":
        return [n for n in every if holds(rows, n, time) or rows[n][0] > time]
    if rule == "emitted":
        return [n for n in every if abs(rows[n][0] - time) <= (tolerance or 0)]
    moments = sorted({start for start, _ in rows})
    now = sum(start <= time for start in moments) - 1
    wanted = now - count if rule == "previous" else now + count
    if wanted < 0 or wanted >= len(moments):
        return []
    return [n for n in every if rows[n][0] == moments[wanted]]


LINEAR = {"x": ["forward", "backward"], "y": ["left", "right"], "z": ["up", "down"]}
ANGULAR = {"roll": "roll {} right|roll {} left", "pitch": "tilt {} down|tilt {} up",
           "yaw": "rotate {} left|rotate {} right"}  # fmt: skip


def single(value: float) -> float:
    """The number of 32 bits that is nearest."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def gripper_events(openness: Sequence[float], closed: float = 0.4, opened: float = 0.6) -> list[str]:
    """What the gripper does at each step: "open", "close" or ""."""
    state, out = "", []
    for value in openness:
        new = "open" if value >= single(opened) else "close" if value <= single(closed) else state
        out.append(new if state and new != state else "")
        state = new
    return out


def motion(actions: Sequence[dict[str, float]], step: int, rule: dict[str, Any], arm: str = "arm") -> str:
    """The words for the motion of one arm at a step of an episode; `actions` by the names of their dimensions."""
    window = actions[step : step + rule["window"]]

    def moved(name: str) -> float:
        total = window[0].get(name, 0.0)
        for action in window[1:]:
            total += action.get(name, 0.0)
        return single(total)

    directions = [
        words[0] if moved(name) > 0 else words[1]
        for name, words in LINEAR.items()
        if abs(moved(name)) >= single(rule["translation"])
    ]
    parts = [f"move {arm} {' and '.join(directions)}"] if directions else []
    for name, both in ANGULAR.items():
        if abs(moved(name)) >= single(rule["rotation"]):
            parts.append(both.split("|")[0 if moved(name) > 0 else 1].format(arm))
    events = gripper_events([action["gripper"] for action in actions]) if "gripper" in actions[0] else []
    seen = [word for word in events[step : step + rule["window"]] if word]
    parts += [f"{seen[-1]} {arm.replace('arm', 'gripper')}"] if seen else []
    return ", ".join(parts) or "stop"


def gripper_pixel(
    state: Sequence[float],
    intrinsics: Sequence[float],
    camera_from_base: Sequence[Sequence[float]],
    size: Sequence[int],
) -> dict[str, Any] | None:
    """The point of a position in an image of a width and height; None where it has none."""
    if not all(math.isfinite(value) for value in state):
        return None
    seen = []
    for *turn, moved in camera_from_base:
        total = turn[0] * state[0]
        total += turn[1] * state[1]
        total += turn[2] * state[2]
        seen.append(total + moved)
    if seen[2] <= 0:
        return None
    point = [
        round((focal * (side / seen[2]) + centre) * 100) / 100
        for focal, centre, side in zip(intrinsics[:2], intrinsics[2:], seen[:2], strict=True)
    ]
    inside = all(0 <= one < most for one, most in zip(point, size, strict=True))
    return {"point": point} if inside else None
