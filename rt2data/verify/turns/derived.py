"""Tracks that no file holds, from what samples state: motions in words and gripper events from actions, the pixels of
grippers from states.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from rt2data.verify.reference.rules import float32
from rt2data.verify.turns import values
from rt2data.verify.turns.store import database

Json = dict[str, Any]

DEFAULTS: Json = {"window": 4, "translation": 0.03, "rotation": 0.15, "closed": 0.4, "open": 0.6}
NAMES = {"motions": "motion", "gripper_events": "gripper_event", "gripper_pixels": "gripper_pixel"}
ARM = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
MOVED = {"x": ("forward", "backward"), "y": ("left", "right"), "z": ("up", "down")}
TURNED = {"roll": ("roll", "right", "left"), "pitch": ("tilt", "down", "up"), "yaw": ("rotate", "left", "right")}


class Actions:
    """The action of each step that some sample states, by episode and step, on disk."""

    def __init__(self) -> None:
        self._database = database("actions (unit BLOB, step INT, numbers BLOB, PRIMARY KEY (unit, step)) WITHOUT ROWID")

    def add(self, unit: bytes, step: int, numbers: Sequence[float]) -> None:
        """Keep an action, float32 numbers."""
        packed = struct.pack(f"<{len(numbers)}f", *numbers)
        self._database.execute("INSERT OR IGNORE INTO actions VALUES (?, ?, ?)", (unit, step, packed))

    def first(self, unit: bytes) -> list[tuple[float, ...]]:
        """The actions of an episode from step 0 on, up to the first step that no sample states."""
        found = self._database.execute("SELECT step, numbers FROM actions WHERE unit = ? ORDER BY step", (unit,))
        out: list[tuple[float, ...]] = []
        for step, packed in found:
            if step != len(out):
                break
            out.append(struct.unpack(f"<{len(packed) // 4}f", packed))
        return out


class Points:
    """The point that a track has at each step, JSON or "" for none, as far as it is known; on disk."""

    def __init__(self) -> None:
        self._database = database(
            "points (unit BLOB, track TEXT, step INT, text TEXT, PRIMARY KEY (unit, track, step)) WITHOUT ROWID"
        )

    def add(self, unit: bytes, track: str, step: int, text: str) -> None:
        """Keep the point of a step."""
        self._database.execute("INSERT OR IGNORE INTO points VALUES (?, ?, ?, ?)", (unit, track, step, text))

    def texts(self, unit: bytes, track: str, steps: int) -> list[str | None]:
        """The points of the steps of an episode, None where it is not known."""
        asked = "SELECT step, text FROM points WHERE unit = ? AND track = ?"
        known: dict[int, str] = dict(self._database.execute(asked, (unit, track)))
        return [known.get(step) for step in range(steps)]


def point(rule: Json, state: Sequence[float], sizes: Mapping[str, tuple[int, int]]) -> str | None:
    """The point of an entry ``derive: gripper_pixels`` at a step, as JSON, "" for none; None where it is not known.

    Args:
        rule: the entry.
        state: the proprioception, float32 numbers.
        sizes: of the images that the dataset stores, by camera.
    """
    size, places = rule.get("size") or sizes.get(rule["camera"]), rule["position"]
    if size is None or not all(isinstance(place, int) and place < len(state) for place in places):
        return None
    x, y, z = (float32(state[place]) for place in places)
    right, down, ahead = (a * x + b * y + c * z + t for a, b, c, t in rule["camera_from_base"])
    fx, fy, cx, cy = rule["intrinsics"]
    if not ahead > 0:
        return ""
    found = []
    for pixel, side in zip((fx * (right / ahead) + cx, fy * (down / ahead) + cy), size, strict=True):
        if not -1 < pixel < side:
            return ""
        found.append(round(pixel * 100))
    if not all(0 <= pixel < 100 * side for pixel, side in zip(found, size, strict=True)):
        return ""
    value: Json = {"point": [pixel / 100 for pixel in found]}
    return values.typed("point", value | ({"size": size} if rule.get("size") else {}))[1]


def texts(rule: Json, dims: Sequence[str], actions: Sequence[Sequence[float]], steps: int) -> list[str]:
    """What an entry of ``annotations`` that derives says of each step, "" for an event that is none.

    Args:
        rule: the entry.
        dims: names of the dimensions.
        actions: of an episode's steps from 0 on; perhaps not of its last ones.
        steps: the length of the episode.

    Returns:
        One text for each step for which the actions suffice.
    """
    rule = DEFAULTS | rule
    events = {
        dim: _events([action[i] for action in actions], rule) for i, dim in enumerate(dims) if _word(dim)[1] == ARM[6]
    }
    if rule["derive"] == "gripper_events":
        return [_said({dim: signs[step] for dim, signs in events.items()}) for step in range(len(actions))]
    window = int(rule["window"])
    known = len(actions) if len(actions) == steps else max(len(actions) - window + 1, 0)
    out = []
    for step in range(known):
        signs: dict[str, int] = {}
        for i, dim in enumerate(dims):
            word = _word(dim)[1]
            if word == "gripper":
                signs[dim] = next((s for s in reversed(events[dim][step : step + window]) if s), 0)
            elif word in ARM:
                total = 0.0
                for action in actions[step : step + window]:
                    total += action[i]
                least = float32(rule["translation"] if word in MOVED else rule["rotation"])
                signs[dim] = (float32(total) >= least) - (float32(total) <= -least)
        out.append(_said(signs) or "stop")
    return out


def _events(values: Sequence[float], rule: Json) -> list[int]:
    """1 where a gripper opens, -1 where it closes, else 0."""
    out, before = [], 0
    for value in values:
        now = 1 if value >= float32(rule["open"]) else -1 if value <= float32(rule["closed"]) else before
        out.append(now if before and now != before else 0)
        before = now
    return out


def _said(signs: dict[str, int]) -> str:
    parts = []
    for arm in dict.fromkeys(_word(dim)[0] for dim in signs):
        own = {_word(dim)[1]: sign < 0 for dim, sign in signs.items() if _word(dim)[0] == arm and sign}
        moved = [MOVED[word][own[word]] for word in MOVED if word in own]
        parts += [f"move {f'{arm} arm'.strip()} {' and '.join(moved)}"] if moved else []
        parts += [
            f"{verb} {f'{arm} arm'.strip()} {ways[own[word]]}" for word, (verb, *ways) in TURNED.items() if word in own
        ]
        if "gripper" in own:
            parts.append(f"{'close' if own['gripper'] else 'open'} {f'{arm} gripper'.strip()}")
    return ", ".join(parts)


def _word(dim: str) -> tuple[str, str]:
    """The arm and what of it moves; "" for an only arm."""
    arm, _, word = dim.rpartition("_")
    return (arm, word) if word in ARM else ("", dim)
