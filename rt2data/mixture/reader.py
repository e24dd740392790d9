"""A built mixture, read back with the standard library alone: its manifest, its shards, their samples."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rt2data import storage
from rt2data.errors import Rt2dataError
from rt2data.storage.places import Place

FORMAT = "rt2data.mixture/1"
CLAIM = ".rt2data-building"  # lies in OUT and holds the plan's digest while a build is under way

_SHARD = re.compile(r"[a-z][a-z0-9_]*/([a-z0-9][a-z0-9_]*/)?[a-z0-9][a-z0-9_-]*\.tar")


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a shard.

    Attributes:
        key: as docs/format.md defines it.
        images: the encoded images by the suffix of their member (``jpg``, ``wrist.png``), in the order of the prompt.
        meta: the content of ``KEY.json``.
    """

    key: str
    images: dict[str, bytes]
    meta: dict[str, Any]


def load_manifest(path: str | Place) -> dict[str, Any]:
    """The manifest of a built mixture.

    Args:
        path: the mixture's folder, or its ``manifest.json``.

    Raises:
        Rt2dataError: no manifest, or one of another format.
    """
    found_at = storage.place(path)
    file = found_at / "manifest.json" if found_at.is_dir() else found_at
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        repair = (
            "A build that did not end has none: run the same build again, and it continues"
            if (file.parent / CLAIM).exists()
            else ""
        )
        raise Rt2dataError(str(path), "no manifest.json", "the folder of a built mixture", repair) from None
    except (OSError, ValueError) as error:
        raise Rt2dataError(str(file), str(error), "a manifest in JSON") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        kind = found.get("format") if isinstance(found, dict) else type(found).__name__
        raise Rt2dataError(str(file), f"format {kind}", FORMAT)
    return found


def shards(manifest: dict[str, Any], split: str, source: str | None = None) -> list[dict[str, Any]]:
    """The shards of a split, as the manifest lists them: all, or those of one source where the form is by_source.

    Raises:
        Rt2dataError: no such split, or a name that is not one of a shard: it would be read outside of the mixture.
    """
    if split not in manifest["splits"]:
        raise Rt2dataError(manifest["name"], f'no split "{split}"', f"one of {', '.join(manifest['splits'])}")
    found = [s for s in manifest["splits"][split]["shards"] if source is None or s["source"] == source]
    for shard in found:
        if not _SHARD.fullmatch(shard["name"]):
            raise Rt2dataError("manifest.json", f'a shard named "{shard["name"]}"', "names as a build gives them")
    return found


def samples(path: Place, start: int = 0) -> Iterator[Sample]:
    """The samples of a shard from number `start` on; of those before it the headers are read, and no image.

    Raises:
        Rt2dataError: a file that cannot be read, or members that are not those of a sample.
    """
    images: dict[str, bytes] = {}
    try:
        with tarfile.open(storage.near(path), "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps every header it has seen
                key, _, suffix = member.name.partition(".")
                if start:
                    start -= suffix == "json"
                    continue
                content = tar.extractfile(member)
                data = content.read() if content else b""
                if suffix != "json":
                    images[suffix] = data
                    continue
                meta = json.loads(data)
                if not isinstance(meta, dict) or meta.get("key") != key or meta.get("images") != list(images):
                    raise ValueError(f"{member.name} does not describe the members before it")
                yield Sample(key, images, meta)
                images = {}
    except (OSError, tarfile.TarError, ValueError, RecursionError) as error:
        raise Rt2dataError(
            str(path), str(error), "a whole shard", "`rt2data verify` says what is wrong with it"
        ) from None
