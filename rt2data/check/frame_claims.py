"""The claim that a video has a frame for each step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rt2data.check.evidence import AGREES, OBJECTS, UNKNOWN, Claim
from rt2data.index import frame_notes
from rt2data.plan import video_frames

_LOST = ("out_of_step", "off_time")


def check_frames(cameras: Sequence[str], notes: Sequence[Mapping[str, float]]) -> Iterator[Claim]:
    """Test that steps and the frames of each camera agree; `notes` are those of each episode."""
    together = frame_notes.combined(notes)
    for camera in cameras if together else ():
        said = video_frames.sentences(together | {"length": 0.0}, [camera])
        lost = any(f"{camera}.{what}" in together for what in _LOST)
        text = "; ".join(sentence.partition(": ")[2] for sentence in said) or "as the column timestamp says too"
        yield Claim(f"camera {camera}: frames belong to steps", text, OBJECTS if lost else UNKNOWN if said else AGREES)
