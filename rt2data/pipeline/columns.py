"""The tracks that datasets themselves have, of each source of a recipe: from its indexes into one file."""

from __future__ import annotations

from collections.abc import Sequence

from rt2data.recipes.recipe import Recipe
from rt2data.samples.parts import IndexedPart
from rt2data.storage.workdir import WorkDir
from rt2data.tracks.columns import ColumnsTask, find_task


def tasks(work: WorkDir, recipe: Recipe, parts: Sequence[IndexedPart]) -> list[ColumnsTask | None]:
    """The task of each source of a recipe whose indexes hold tracks; None for others."""
    found: list[ColumnsTask | None] = []
    for number, source in enumerate(recipe.sources):
        robot = source.declaration.robot
        files = [part.file for part in parts if part.source == number] if robot else []
        found.append(find_task(work, source.name, (robot and robot.control_hz) or 0.0, files))
    return found


def added(tracks: Sequence[Sequence[str]], own: Sequence[ColumnsTask | None]) -> list[list[str]]:
    """The files of tracks of each source: those of annotation files (`tracks`), then that of the dataset itself."""
    files = tracks or [[] for _ in own]
    return [[*before, *([task.file] if task else [])] for before, task in zip(files, own, strict=True)]
