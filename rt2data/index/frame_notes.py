"""What an index says of the frames of its videos, for the plan: numbers under ``CAMERA.WHAT``.

WHAT is one of

- ``off_time``: steps whose frame is not within the tolerance, but nearer than half a step; ``farthest``: seconds;
- ``out_of_step``: episodes whose frames have other steps by their number than by their times; ``late``: seconds by
  which their videos begin late;
- ``slowest``, ``fastest``: frames a second, of the episodes that these two count;
- ``longer``: episodes with more frames than steps;
- ``clock``: steps for which the column ``timestamp`` would choose another frame, or none.

Of no camera are ``fps``, the steps a second that ``meta`` states, and ``length``: episodes of which it states another
number of steps than there are rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_GREATEST, _LEAST = ("farthest", "late", "fastest", "fps"), ("slowest",)


def combined(notes: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Combine the notes of several episodes, or of several parts."""
    total: dict[str, float] = {}
    for some in notes:
        for name, value in some.items():
            what = name.rpartition(".")[2]
            join = max if what in _GREATEST else min if what in _LEAST else float.__add__
            total[name] = join(total[name], float(value)) if name in total else float(value)
    return total
