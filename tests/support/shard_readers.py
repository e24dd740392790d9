"""Samples of shards as other readers give them."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np


def by_tarfile(out: Path, split: str) -> dict[str, dict[str, bytes]]:
    """Members of every sample, by key and suffix."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted((out / split).glob("*.tar")):
        with tarfile.open(path) as tar:
            for info in tar:
                key, _, suffix = info.name.partition(".")
                file = tar.extractfile(info)
                assert file is not None
                found.setdefault(key, {})[suffix] = file.read()
    return found


def plain(value: Any) -> Any:
    """A value as JSON has it: float32 to the shortest decimal that gives it back."""
    if isinstance(value, list) and value and isinstance(value[0], float):
        return [float(str(np.float32(v))) for v in value]
    return value
