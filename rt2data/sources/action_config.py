"""Ranges of frames with a text each, ``action_config``, as AgiBot World and EO-1 have them for an episode.

``[{"start_frame": 0, "end_frame": 90, "action_text": "open the drawer", "skill": ...}, ...]``, half open. A range
without a start begins where the one before ends, and the last of such is open, as EO-1 reads them
(EO-Robotics/EO-1@5897992, eo/data/lerobot_dataset.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple


class Range(NamedTuple):
    """A range of an episode: its steps, `until` -1 for an open end, and its texts by the track that they belong to.

    Of one without steps `problem` says what it has in their place.
    """

    start: int
    until: int
    texts: Mapping[str, Any]
    problem: str = ""


def find_ranges(record: Mapping[str, Any]) -> list[Any] | None:
    """Return the ranges of a record of an episode, which may lie below ``label_info``; None where it has none."""
    below = record.get("label_info")
    for place in (record, below if isinstance(below, Mapping) else {}):
        if place.get("action_config") is not None:
            ranges = place["action_config"]
            return ranges if isinstance(ranges, list) else None
    return None


def read_ranges(ranges: Sequence[Any]) -> Iterator[Range]:
    """Yield the ranges of an episode."""
    before: int | None = 0
    for number, one in enumerate(ranges):
        one = one if isinstance(one, Mapping) else {}
        given, end = one.get("start_frame"), _frame(one.get("end_frame"))
        start = before if given is None else _frame(given)
        before = end
        if start is None or end is None:
            yield Range(0, 0, {}, f"from {given} to {one.get('end_frame')}")
            continue
        until = -1 if given is None and number == len(ranges) - 1 else end
        skill = {"skill": one["skill"]} if one.get("skill") is not None else {}
        yield Range(start, until, {"subtask": one.get("action_text")} | skill)


def _frame(value: Any) -> int | None:
    """Return the number of a frame, also one that is stored as 3.0 or as text; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    known = isinstance(value, (int, str)) and not isinstance(value, bool) and re.fullmatch("[0-9]{1,9}", str(value))
    return int(value) if known else None
