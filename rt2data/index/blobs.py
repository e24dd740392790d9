"""Blobs: images that no file of the dataset holds as bytes, encoded once into a file of the work directory.

In an index such an image has ``blob:NAME`` for its file. NAME is made of the part's digest, so a blob never goes stale:
other content has another name, and several declarations of one dataset share it. A blob appears whole or not at all,
and may be written twice.

A file is the images one after the other, the length of each (int64, little-endian), and their number (int64).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rt2data import storage
from rt2data.storage import atomic
from rt2data.storage.workdir import WorkDir

PREFIX = "blob:"


def locate(file: str, root: str, work: Path) -> str:
    """Return the path or URL of an image file: below `root`, the dataset's folder, or a blob of the work directory.

    A file that is absolute, as no file of an index is, stays as it is.
    """
    if file.startswith(PREFIX):
        return str(WorkDir(work).blobs / file[len(PREFIX) :])
    return os.path.join(root, file) if "://" not in root or os.path.isabs(file) else str(storage.place(root) / file)


def write(path: Path, pictures: Iterable[bytes]) -> None:
    """Write a blob of encoded images, which are taken one at a time."""
    lengths: list[int] = []
    with atomic.replacing(path, "room and permission to write a blob") as temporary, temporary.open("wb") as file:
        for picture in pictures:
            file.write(picture)
            lengths.append(len(picture))
        file.write(np.array([*lengths, len(lengths)], "<i8").tobytes())


def refs(data: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return offsets and lengths, each int64 (n,), of the images of a blob whose bytes are `data`."""
    count = int(data[-8:].view("<i8")[0])
    lengths = data[-8 * (count + 1) : -8].copy().view("<i8").astype(np.int64)
    return np.cumsum(lengths) - lengths, lengths
