"""Sentences about the frames of videos that a source's images are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def sentences(notes: Mapping[str, float], cameras: Sequence[str]) -> list[str]:
    """Say of some cameras which steps have no frame of their own, and what to do (`rt2data.index.frame_notes`)."""
    out: list[str] = []
    if not notes:
        return out
    fps = notes["fps"]
    if count := int(notes.get("length", 0)):
        out.append(f"meta states another length than there are rows, of {_many(count, 'episode')}")
    for camera in cameras:
        said = {what: notes.get(f"{camera}.{what}", 0.0) for what in _ALL}
        rate = _rates(said["slowest"], said["fastest"])
        runs = f"{rate} frames a second, fps in meta/info.json is {fps:g}" if rate != f"{fps:.4g}" else ""
        if count := int(said["out_of_step"]):
            late = f"begins {said['late']:.3g} s late" if said["late"] >= 0.5 / fps else ""
            seen = "; ".join(filter(None, [runs, late])) or "their beginnings do not fit the number of frames"
            out.append(
                f"camera {camera}: {_many(count, 'episode')} left out, whose video has as many frames as there are "
                f"steps, but at the times of other steps ({seen}). Write it anew, or correct fps or from_timestamp in "
                "meta"
            )
        if count := int(said["off_time"]):
            farthest, seen = _rounded_up(said["farthest"]), f" ({runs})" if runs else ""
            out.append(
                f"camera {camera}: {_many(count, 'step')} left out, whose frame is up to {farthest} s from the step's "
                f"time{seen}. `video: {{tolerance: {farthest}}}` in the declaration takes them"
            )
        if count := int(said["longer"]):
            out.append(
                f"camera {camera}: the videos of {_many(count, 'episode')} have more frames than steps; those after "
                "the last step are not used"
            )
        if count := int(said["clock"]):
            out.append(
                f"camera {camera}: for {_many(count, 'step')} the column timestamp names another frame, or none; "
                "frames go by frame_index"
            )
    return out


_ALL = ("off_time", "farthest", "out_of_step", "late", "slowest", "fastest", "longer", "clock")


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'s' if count != 1 else ''}"


def _rates(slowest: float, fastest: float) -> str:
    low, high = f"{slowest:.4g}", f"{fastest:.4g}"
    return low if low == high else f"{low} to {high}"


def _rounded_up(seconds: float) -> str:
    """Return a number of two digits that is not below `seconds`."""
    unit = 10.0 ** (math.floor(math.log10(seconds)) - 1)
    return f"{math.ceil(seconds / unit * (1 - 1e-9)) * unit:.2g}"
