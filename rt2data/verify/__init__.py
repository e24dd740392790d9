"""`rt2data verify`: reads a built mixture back and checks every promise of docs/format.md that its files can show.

It is a second program. It may import `rt2data.storage`, `rt2data.resources`, `rt2data.errors` and itself: what it
computes again (prompts, bins, keys, hashes, statistics, shares) is written here from the documentation, one value at a
time and simple rather than fast, and no constant is the writer's. A fault in code that both used would not be found.
"""

from __future__ import annotations

from rt2data.verify.flow import verify
from rt2data.verify.report import Check, Report

__all__ = ["Check", "Report", "verify"]
