"""The last line of a build: what was written, and by which tokenizer."""

from __future__ import annotations

from typing import Any

from rt2data.plan.text import amount, size
from rt2data.storage.places import Place


def summary(out: Place, manifest: dict[str, Any]) -> str:
    """Samples, shards and bytes of a built mixture, in one line."""
    total = sum(s["bytes"] for split in manifest["splits"].values() for s in split["shards"])
    splits = ", ".join(f"{amount(s['samples'], len(s['shards']))} of {name}" for name, s in manifest["splits"].items())
    return f"{out}: {splits}; {size(total)}; tokenizer {manifest['tokenizer'][:12]}"
