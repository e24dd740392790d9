"""A built mixture, read back: its manifest and samples, the mix of its sources, statistics, export to chat formats.

The reader and the mix need the standard library and numpy only; training code imports them.

May import: `tokenizer`, `prompts`, `storage`, `errors`.
"""

from __future__ import annotations

from rt2data.mixture.mix import Mix
from rt2data.mixture.reader import Sample, load_manifest, samples

__all__ = ["Mix", "Sample", "load_manifest", "samples"]
