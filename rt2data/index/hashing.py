"""Hashes that depend on nothing but their content."""

from __future__ import annotations

import hashlib


def digest(*parts: str | bytes, size: int = 10) -> bytes:
    """Return blake2b of the parts, each with its length before it, so that no two lists of parts look alike."""
    h = hashlib.blake2b(digest_size=size)
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        h.update(len(raw).to_bytes(8, "big") + raw)
    return h.digest()


def split_hash(namespace: str, unit: str) -> int:
    """Hash a split unit to 64 bits, in every recipe alike: an image or episode is never in two splits."""
    return int.from_bytes(digest("split", namespace, unit, size=8), "big")
