"""Shots: the pictures of a LeRobot dataset that are read from one file in one go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rt2data.rlds.episodes import ImageRefs
from rt2data.sources.robot import video
from rt2data.sources.robot.lerobot import table
from rt2data.sources.robot.lerobot.episodes import Episode
from rt2data.storage.places import Place

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Shots:
    """Pictures of one camera in one file, in the order in which they lie there.

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
        """Those at the positions `some`."""
        arrays = (self.episode[some], self.step[some], self.at[some], self.limit[some])
        return Shots(self.camera, self.file, self.moving, *arrays)

    def first(self) -> Shots:
        """The first picture of each episode alone."""
        return self.take(np.unique(self.episode, return_index=True)[1])

    def pictures(self, root: Place, tolerance: float, quality: int) -> Iterator[bytes]:
        """The encoded pictures, n; b"" where there is none."""
        path = root / self.file
        if not self.moving:
            return table.pictures(path, self.camera, self.at)
        return video.frames(path, self.at.tolist(), self.limit.tolist(), tolerance=tolerance, quality=quality)


def plan(episodes: Sequence[Episode], cameras: Sequence[str], root: Place, fps: float) -> Iterator[Shots]:
    """What is read from which file, camera by camera. Pictures of a file that is not there are left out."""
    for camera in cameras:
        files: dict[tuple[str, bool], list[tuple[Array, ...]]] = {}
        for position, episode in enumerate(episodes):
            found = _of_episode(episode, camera, fps)
            if found is not None:
                key, at, limit = found
                step = np.arange(episode.steps)
                files.setdefault(key, []).append((np.full_like(step, position), step, at, np.full(len(at), limit)))
        for (file, moving), parts in files.items():
            if (root / file).is_file():
                arrays = [np.concatenate(part) for part in zip(*parts, strict=True)]
                yield Shots(camera, file, moving, *arrays).take(np.argsort(arrays[2], kind="stable"))


def _of_episode(episode: Episode, camera: str, fps: float) -> tuple[tuple[str, bool], Array, float] | None:
    """The file of an episode's pictures and whether it is a video, where they lie in it, and the limit; or None."""
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
    shots: Sequence[Shots], episodes: Sequence[Episode], found: tuple[Array, Array], *, spread: bool
) -> dict[str, list[ImageRefs]]:
    """The pictures of each camera and episode, from the offsets and lengths of those of all `shots` in their order.

    `spread`: a picture stands for all of its episode. A step without a picture has length 0.
    """
    offsets, lengths = found
    out = {one.camera: [ImageRefs(*np.zeros((2, e.steps), np.int64)) for e in episodes] for one in shots}
    base = 0
    for one in shots:
        mine = slice(base, base + len(one.at))
        for position, step, offset, length in zip(
            one.episode.tolist(), one.step.tolist(), offsets[mine].tolist(), lengths[mine].tolist(), strict=True
        ):
            steps = slice(None) if spread else step
            out[one.camera][position].offset[steps], out[one.camera][position].length[steps] = offset, length
        base += len(one.at)
    return out
