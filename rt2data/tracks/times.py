"""Which rows of a track a step is given: the rules of time, for all steps of a part at once.

A row holds from its start on, the start included, until its end, which is not; one without an end holds until the next
row of the same selection (track, camera, role) begins. The rules:

========= ====================================================================================================
active    the row that holds at the step
emitted   the row that starts at the step; with a tolerance, whose time is at most so many seconds from the step's
previous  of the moments at which rows start, the n-th before the last one that is not after the step
next      the n-th after it; before the first moment, the n-th of all
all       every row that holds at the step
remaining every row that holds at the step or later
every     every row of the episode
========= ====================================================================================================

Two rows for a rule that gives one are an error (`Ambiguous`). The first four are LeRobot's `active_at`, `emitted_at`,
`nth_prev` and `nth_next` (huggingface/lerobot@7427f31, src/lerobot/datasets/language_render.py), but that the last two
order rows of one time by style and role in place of refusing them. Only a tolerance needs seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rt2data.errors import Rt2dataError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

ONE = ("active", "emitted", "previous", "next")  # rules that give one row
MANY = ("all", "remaining", "every")
MAX_COUNT = 1 << 20


class Ambiguous(Rt2dataError):
    """Two rows where one is asked."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What is asked of a track.

    Attributes:
        track: its name.
        rule: one of ONE or MANY.
        count: n of ``previous`` and ``next``.
        camera, role: only rows of this view, of this speaker; None: of any.
        tolerance: of ``emitted``, in seconds; None: the very step.
    """

    track: str
    rule: str = "active"
    count: int = 1
    camera: str | None = None
    role: str | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        where = f'the binding of "{self.track}"'
        if self.rule not in (*ONE, *MANY):
            raise Rt2dataError(where, f'the rule "{self.rule}"', f"one of {', '.join((*ONE, *MANY))}")
        if not 1 <= self.count <= MAX_COUNT or (self.count > 1 and self.rule not in ("previous", "next")):
            raise Rt2dataError(where, f"count {self.count} with {self.rule}", "a count from 1 on, of previous or next")
        if self.tolerance is not None and (self.rule != "emitted" or not 0 <= self.tolerance < float("inf")):
            found = f"tolerance {self.tolerance:g} with {self.rule}"
            raise Rt2dataError(where, found, "seconds from 0 on, with emitted")


class Lane(NamedTuple):
    """Rows of one track in several episodes, sorted by (group, start).

    Attributes:
        group: int64 (n,), the episode of each.
        start, until: int64 (n,), from 0 to 2**32 - 1; `until` -1: as long as no other begins.
        seconds: float64 (n,), the time of each; only a tolerance asks for it.
    """

    group: Ints
    start: Ints
    until: Ints
    seconds: Floats


class Steps(NamedTuple):
    """Steps of episodes, sorted by (group, step): int64 (m,) both, and `seconds` float64 (m,) for a tolerance."""

    group: Ints
    step: Ints
    seconds: Floats


class Found(NamedTuple):
    """Rows of a lane by step: those of step i are ``rows[offsets[i]:offsets[i + 1]]``, in the lane's order."""

    offsets: Ints
    rows: Ints


def find(lane: Lane, steps: Steps, binding: Binding, *, reach: int = 0) -> Found:
    """Find the rows of every step by the rule; how many a step may have is for the caller to say.

    `reach` bounds the search for a tolerance: no row within it is more steps away.
    """
    starts, queries = _keys(lane.group, lane.start), _keys(steps.group, steps.step)
    if binding.rule in ("previous", "next"):
        return _at_moment(starts, steps, queries, -binding.count if binding.rule == "previous" else binding.count)
    if binding.rule == "emitted":
        if binding.tolerance is None:
            return _between(queries, starts, starts + 1)
        low = np.maximum(starts - reach, _keys(lane.group, np.int64(0)))
        high = np.minimum(starts + reach + 1, _keys(lane.group + 1, np.int64(0)))
        near = _between(queries, low, high)
        step = np.repeat(np.arange(len(queries)), np.diff(near.offsets))
        kept = np.abs(lane.seconds[near.rows] - steps.seconds[step]) <= binding.tolerance
        counts = np.bincount(step[kept], minlength=len(queries))
        return Found(_offsets(counts), near.rows[kept])
    low = _keys(lane.group, np.int64(0)) if binding.rule in ("remaining", "every") else starts
    if binding.rule == "every":
        return _between(queries, low, _keys(lane.group + 1, np.int64(0)))
    return _between(queries, low, _ends(lane, starts))


def _keys(group: Ints, step: Ints | np.int64) -> Ints:
    return (group << 32) + step


def _ends(lane: Lane, starts: Ints) -> Ints:
    """Return the key at which each row ends: as it says, else where the next one begins, else where its group ends."""
    following = np.searchsorted(starts, starts, "right")
    limit = (lane.group + 1) << 32
    there = following < len(starts)
    limit[there] = np.minimum(limit[there], starts[following[there]])
    return np.where(lane.until < 0, limit, _keys(lane.group, lane.until))


def _between(queries: Ints, low: Ints, high: Ints) -> Found:
    """Return, for each query, the rows with ``low <= query < high``."""
    first = np.searchsorted(queries, low)
    counts = np.maximum(np.searchsorted(queries, high) - first, 0)
    rows = np.repeat(np.arange(len(low)), counts)
    at = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    order = np.argsort(at, kind="stable")
    return Found(_offsets(np.bincount(at, minlength=len(queries))), rows[order])


def _at_moment(starts: Ints, steps: Steps, queries: Ints, away: int) -> Found:
    """Return the rows of the moment that lies `away` moments from the last one that is not after each query."""
    moments, first, size = np.unique(starts, return_index=True, return_counts=True)
    at = np.searchsorted(moments, queries, "right") - 1 + away
    group = np.append(moments >> 32, -1)
    inside = (at >= 0) & (at < len(moments))
    # Before the first moment of an episode, the last one that is not after a step belongs to another.
    inside &= group[np.where(inside, at, -1)] == steps.group
    at = np.where(inside, at, 0)
    counts = np.where(inside, size[at] if len(moments) else 0, 0)
    begins = first[at] if len(moments) else at
    offsets = _offsets(counts)
    rows = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - begins, counts)
    return Found(offsets, rows)


def _offsets(counts: npt.NDArray[Any]) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def find_plain(rows: Sequence[Mapping[str, Any]], at: Sequence[float], binding: Binding) -> list[list[int]]:
    """Find rows of one episode at some times: positions in `rows` for each time, in the order of time.

    Args:
        rows: mappings with ``track`` and ``time``, and as far as they have them ``until``, ``camera``, ``role`` and
            ``event``. Times are compared as float64: a row of float32 2.4 is not yet active at 2.4 of float64.
        at: the times, in the unit of the rows; a tolerance is in the same one.
        binding: the rule and which rows it looks at.

    Raises:
        Ambiguous: two rows for a rule that gives one.
        Rt2dataError: a rule that rows of an event do not have.
    """
    chosen = [
        number
        for number, row in enumerate(rows)
        if row["track"] == binding.track
        and (binding.camera is None or row.get("camera") == binding.camera)
        and (binding.role is None or row.get("role") == binding.role)
    ]
    if any(rows[number].get("event") for number in chosen):
        check_event(binding)
    chosen.sort(key=lambda number: float(rows[number]["time"]))
    seconds = np.array([float(rows[number]["time"]) for number in chosen], np.float64)
    ends = [rows[number].get("until") for number in chosen]
    until = np.array([np.nan if end is None else float(end) for end in ends], np.float64)
    event = np.array([bool(rows[number].get("event")) for number in chosen], np.bool_)
    until = np.where(event, np.nextafter(seconds, np.inf), until)
    asked = np.array([float(time) for time in at], np.float64)
    order = np.argsort(asked, kind="stable")
    # Ranks keep the order of times, and are whole numbers as steps are.
    every = np.unique(np.concatenate([seconds, until[~np.isnan(until)], asked]))
    ranks = [np.searchsorted(every, times).astype(np.int64) for times in (seconds, until, asked[order])]
    none = np.zeros(len(chosen), np.int64)
    lane = Lane(none, ranks[0], np.where(np.isnan(until), -1, ranks[1]), seconds)
    steps = Steps(np.zeros(len(asked), np.int64), ranks[2], asked[order])
    found = find(lane, steps, binding, reach=len(every))
    out: list[list[int]] = [[] for _ in asked]
    for place, position in enumerate(order.tolist()):
        own = found.rows[found.offsets[place] : found.offsets[place + 1]].tolist()
        out[position] = [chosen[row] for row in own]
        if len(own) > 1 and binding.rule in ONE:
            raise ambiguous(f"time {at[position]:g}", binding, len(own))
    return out


def check_event(binding: Binding) -> None:
    """Raise where the rule needs rows that last, and the track is one of events."""
    if binding.rule not in ("emitted", "all", "every"):
        found = f'the rule "{binding.rule}" for "{binding.track}", a track of events'
        raise Rt2dataError(
            f'the binding of "{binding.track}"', found, "emitted, all or every", "Events belong to their step"
        )


def ambiguous(where: str, binding: Binding, number: int) -> Ambiguous:
    """The error of `number` rows where `binding` asks for one."""
    said = [f'{name} "{value}"' for name, value in (("camera", binding.camera), ("role", binding.role)) if value]
    of = f" with {' and '.join(said)}" if said else ""
    name = binding.track
    repair = f"Say which camera or role, as {{{name}|camera(NAME)}} does, or ask for all of them, {{{name}|all}}"
    return Ambiguous(where, f'{number} rows of "{binding.track}"{of} by the rule {binding.rule}', "one", repair)
