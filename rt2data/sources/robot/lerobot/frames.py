"""Shots: the images of a LeRobot dataset that are read from one file in one go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rt2data import storage
from rt2data.rlds.field_values import ImageRefs
from rt2data.sources.robot import video
from rt2data.sources.robot.lerobot import table
from rt2data.sources.robot.lerobot.episodes import Episode
from rt2data.storage.places import Place

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Shots:
    """Images of one camera in one file, in the order in which they lie there.

    `episode` (a position in a list of episodes) and `step` say of which step each is, `at` where it lies: the row, or
    in a video the time in seconds, which must be below `limit`. All four are (n,). `moving`: the file is a video.
    """

    camera: str
    file: str
    moving: bool
    episode: Array
    step: Array
    at: Array
    limit: Array

    def take(self, some: Array) -> Shots:
        """Return the shots at the positions `some`."""
        arrays = (self.episode[some], self.step[some], self.at[some], self.limit[some])
        return Shots(self.camera, self.file, self.moving, *arrays)

    def first(self) -> Shots:
        """Return the first shot of each episode alone."""
        return self.take(np.unique(self.episode, return_index=True)[1])

    def pictures(self, root: Place, tolerance: float, quality: int) -> Iterator[bytes]:
        """Yield the encoded images, n; b"" where there is none."""
        path = root / self.file
        if not self.moving:
            return table.pictures(path, self.camera, self.at)
        return video.frames(path, self.at.tolist(), self.limit.tolist(), tolerance=tolerance, quality=quality)


def list_shots(episodes: Sequence[Episode], cameras: Sequence[str], root: Place, fps: float) -> Iterator[Shots]:
    """Yield what is read from which file, camera by camera. Images of a file that is not there are left out."""
    for camera in cameras:
        files: dict[tuple[str, bool], list[tuple[Array, ...]]] = {}
        for position, episode in enumerate(episodes):
            located = _locate(episode, camera, fps)
            if located is not None:
                key, at, limit = located
                step = np.arange(episode.steps)
                files.setdefault(key, []).append((np.full_like(step, position), step, at, np.full(len(at), limit)))
        for (file, moving), parts in files.items():
            if storage.is_file(root, file):
                arrays = [np.concatenate(part) for part in zip(*parts, strict=True)]
                yield Shots(camera, file, moving, *arrays).take(np.argsort(arrays[2], kind="stable"))


def _locate(episode: Episode, camera: str, fps: float) -> tuple[tuple[str, bool], Array, float] | None:
    """Locate an episode's images: (file, whether it is a video), where they lie in it, and the limit; or None."""
    if not episode.place:
        return None
    step = np.arange(episode.steps)
    if camera not in episode.values:  # no column of Parquet: a video, if ``meta`` says which
        where = episode.videos.get(camera)
        if where is None:
            return None
        # The next episode's first frame is at `stop`, but LeRobot adds durations up in floats.
        return (where.file, True), where.start + episode.values.get("frame_index", step) / fps, where.stop - 0.5 / fps
    return (episode.place.file, False), step + episode.place.start, np.inf


def refs(
    shots: Sequence[Shots], episodes: Sequence[Episode], places: ImageRefs, *, spread: bool
) -> dict[str, list[ImageRefs]]:
    """Return the images of each camera and episode, from the offsets and lengths of all `shots` in their order.

    `spread`: an image stands for all of its episode. A step without an image has length 0.
    """
    offsets, lengths = places.offset, places.length
    image_refs = {shot.camera: [ImageRefs(*np.zeros((2, e.steps), np.int64)) for e in episodes] for shot in shots}
    base = 0
    for shot in shots:
        own = slice(base, base + len(shot.at))
        for position, step, offset, length in zip(
            shot.episode.tolist(), shot.step.tolist(), offsets[own].tolist(), lengths[own].tolist(), strict=True
        ):
            steps = slice(None) if spread else step
            own_refs = image_refs[shot.camera][position]
            own_refs.offset[steps], own_refs.length[steps] = offset, length
        base += len(shot.at)
    return image_refs
