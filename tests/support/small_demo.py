"""A part of the sample that `rt2data sample` writes: all of it takes a test half a minute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from rt2data.demo import episodes, web, write_sample


def write(folder: Path, *, train: int, asked: Sequence[int], captioned: Sequence[int]) -> Path:
    """Write the sample with fewer episodes and pictures; return the folder.

    Args:
        folder: to write.
        train: number of train episodes; val has one.
        asked, captioned: the numbers of the pictures with questions, and with captions.
    """
    with (
        mock.patch.object(episodes, "SPLITS", {"train": train, "val": 1}),
        mock.patch.object(web, "_ASKED", asked),
        mock.patch.object(web, "_CAPTIONED", captioned),
    ):
        write_sample(folder)
    return folder
