"""A built mixture, read back: its manifest and samples, the mix of its sources, statistics, export to chat formats.

Reading a manifest and samples needs the standard library alone, `Mix` also numpy; training code imports them.

May import: `tokenizer`, `prompts`, `storage`, `errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rt2data.mixture.reader import Sample, load_manifest, samples

if TYPE_CHECKING:
    from rt2data.mixture.mix import Mix

__all__ = ["Mix", "Sample", "load_manifest", "samples"]


def __getattr__(name: str) -> Any:
    if name == "Mix":  # loads numpy
        from rt2data.mixture.mix import Mix

        return Mix
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
