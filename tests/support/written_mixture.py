"""A mixture of small samples, written by hand in a moment: for tests of reading that ask for many samples or shards."""

from __future__ import annotations

import hashlib
import json
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c

BLOCK, RECORD = 512, 10240


def member(name: str, data: bytes) -> bytes:
    """A member of a tar, with its header."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK)


def sample(source: str, number: int, size: int) -> tuple[str, bytes]:
    """The key and the members of a sample: a picture, which is none, of `size` bytes, and its JSON."""
    key = f"{source}-{hashlib.sha256(str(number).encode()).hexdigest()[:20]}-{number}"
    picture = hashlib.shake_128(key.encode()).digest(size)
    text = json.dumps({"key": key, "images": ["jpg"], "cameras": None, "number": number}).encode()
    return key, member(f"{key}.jpg", picture) + member(f"{key}.json", text)


def write(
    folder: Path, samples: int | Mapping[str, int], *, per_shard: int = 100, size: int = 600, index: bool = False
) -> list[str]:
    """Write a mixture whose split train has so many samples, or so many of each source in shards of its own.

    Returns:
        The keys, in the order of the shards.
    """
    apart = not isinstance(samples, int)
    entries, keys = [], []
    for source, count in samples.items() if isinstance(samples, Mapping) else [("any", samples)]:
        shards = -(-count // per_shard)
        for shard in range(shards):
            name = f"train/{source}/{shard:05}.tar" if apart else f"train/{shard:05}.tar"
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            own = [sample(source, i, size) for i in range(shard * count // shards, (shard + 1) * count // shards)]
            keys += [key for key, _ in own]
            data = b"".join(data for _, data in own)
            path.write_bytes(data + bytes(2 * BLOCK + -(len(data) + 2 * BLOCK) % RECORD))
            offsets = [0]
            for _, one in own:
                offsets.append(offsets[-1] + len(one))
            listed = struct.pack(f"<{len(offsets)}Q", *offsets)
            if index:
                path.with_name(path.name + ".idx").write_bytes(listed)
            digest = hashlib.sha256(data).hexdigest()
            entries.append(
                {"name": name, "source": source if apart else None, "samples": len(own)}
                | {"bytes": path.stat().st_size, "crc32c": digest[:8], "members": digest}
                | ({"index": f"{google_crc32c.value(listed):08x}"} if index else {})
            )
    sources = [
        {"source": source, "id": source, "aliases": [], "mix": count}
        for source, count in (samples.items() if isinstance(samples, Mapping) else [("any", samples)])
    ]
    manifest: dict[str, Any] = {"format": "rt2data.mixture/1", "name": "written", "sources": sources}
    manifest["splits"] = {"train": {"shards": entries}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return keys
