"""The episodes of a LeRobot dataset: which there are, by ``meta`` and by the data files, and where their rows lie."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any, NamedTuple

from rt2data import index, storage
from rt2data.errors import Rt2dataError
from rt2data.sources.base import Part
from rt2data.sources.robot import video
from rt2data.sources.robot.lerobot import table
from rt2data.sources.robot.lerobot.meta import Listed, Meta, Video
from rt2data.storage import object_store
from rt2data.storage.local_copies import Extent


class Place(NamedTuple):
    """Where the rows of an episode are: the first, and the one after the last; -1 where nobody has counted yet."""

    file: str
    start: int
    stop: int


@dataclass(slots=True)
class Episode:
    """An episode as `rt2data.sources.robot.episode_rows.EpisodeRows` takes it; `record` is its number.

    `listed`: what ``meta`` says of it, None where it is not listed; `place`: None where no file holds it.
    """

    record: int
    listed: Listed | None
    place: Place | None
    videos: Mapping[str, Video]
    values: dict[str, Any] = field(default_factory=dict)
    steps: int = 0

    def __post_init__(self) -> None:
        self.steps = self.place.stop - self.place.start if self.place else 0

    def __getitem__(self, path: str) -> Any:
        return self.values[path]


class Episodes:
    """The episodes of the dataset in `root`, with the videos of the cameras `videos`."""

    def __init__(self, root: storage.Place, meta: Meta, videos: tuple[str, ...]) -> None:
        self.root, self.meta, self.cameras = root, meta, videos

    @cached_property
    def listed(self) -> dict[int, Listed]:
        """The episodes that ``meta`` lists, there or not."""
        stamp = tuple((name, *storage.version(self.root / name)) for name in self.meta.files)
        return _listed(str(self.root), stamp, self.cameras)

    @cached_property
    def places(self) -> dict[int, Place]:
        """Where the rows of each episode are, listed or not. Those of v2 are not counted: it has a file for each."""
        return self._places(self._files())

    @cached_property
    def numbers(self) -> dict[str, list[int]]:
        """The episodes of each split, listed or not, there or not."""
        found: dict[str, list[int]] = {}
        for number in sorted({*self.listed, *self.places}):
            found.setdefault(self.meta.split(number), []).append(number)
        return found

    def sample(self) -> str | None:
        """Some data file that is there, the same each time."""
        object_store.survey({(self.root / one.data).parent for one in islice(self.listed.values(), 1)})
        found = (one.data for one in self.listed.values() if (self.root / one.data).is_file())
        return next(found, None) or next(iter(self._files()), None)

    def of(self, part: Part) -> list[Episode]:
        """The episodes of a part, in the order of their numbers."""
        numbers = [n for n in range(part.start, part.stop) if self.meta.split(n) == part.split]
        others = {*self.meta.files, *(one.file for n in numbers for one in self.videos(n).values())}
        places = self._places(name for name in part.files if name not in others)
        made = []
        for n in numbers:
            place = places.get(n)
            if place and place.stop < 0:
                place = place._replace(stop=table.count(self.root / place.file))
            if n in self.listed or place:
                made.append(Episode(n, self.listed.get(n), place, self.videos(n)))
        return made

    def steps(self, numbers: Iterable[int]) -> int:
        """The steps of some episodes that are there, as ``meta`` or their files state them."""
        total = 0
        for n in numbers:
            stated = self.listed[n].length if n in self.listed else 0
            place = self.places[n]
            total += place.stop - place.start if place.stop >= 0 else stated or table.count(self.root / place.file)
        return total

    def videos(self, number: int) -> Mapping[str, Video]:
        """The videos of an episode by camera, there or not."""
        if self.meta.version == 2:
            return {camera: Video(self.meta.video_file(number, camera)) for camera in self.cameras}
        return self.listed[number].videos if number in self.listed else {}  # nothing says where its frames begin

    def named(self, numbers: Iterable[int], places: Mapping[int, Place]) -> list[str]:
        """The files of some episodes, there or not."""
        names: dict[str, None] = {}
        for number in numbers:
            data = places[number].file if number in places else self.listed[number].data
            names |= dict.fromkeys([data, *(one.file for one in self.videos(number).values())])
        return list(names)

    def digests(self, part: Part, episodes: Iterable[Episode]) -> tuple[str, str, dict[str, Extent]]:
        """Digests of a part: of rows and encoded frames, and of these with all that ``meta`` says of them. And what of
        each file that is read they cover.
        """
        read: dict[str, Extent] = {}
        content: list[str | bytes] = [repr(self.meta.fps)]
        told: list[str | bytes] = [part.name, json.dumps(self.meta.sentences(), sort_keys=True)]
        for one in episodes:
            told.append(json.dumps([one.record, *((one.listed.length, one.listed.tasks) if one.listed else ())]))
            if not one.place:
                continue
            place = one.place
            rows, extent = table.fingerprint(self.root / place.file, place.start, place.stop)
            read[place.file] = extent.with_(read.get(place.file))
            content += [place.file, rows]
            for camera, where in one.videos.items():
                path = self.root / where.file
                content.append(json.dumps([one.record, camera, repr(where.start), repr(where.stop)]))
                frames = b""
                if path.is_file():
                    frames, extent = video.fingerprint(path, where.start, where.stop)
                    read[where.file] = extent.with_(read.get(where.file))
                content.append(frames)
        shown = index.digest(*content, size=20).hex()
        return shown, index.digest(shown, *told, size=20).hex(), read

    def _files(self) -> list[str]:
        """The data files that are there: those below ``data``, and others that ``meta`` names."""
        below = storage.matching(self.root, "data/**/*.parquet")
        there = {name for name in below if not name.rpartition("/")[2].startswith(".")}
        others = {one.data for one in self.listed.values()} - there
        object_store.survey({(self.root / name).parent for name in others})
        return sorted(there | {name for name in others if (self.root / name).is_file()})

    def _places(self, files: Iterable[str]) -> dict[int, Place]:
        single = {one.data: number for number, one in self.listed.items()} if self.meta.version == 2 else {}
        found: dict[int, Place] = {}
        for name in files:
            path = self.root / name
            spans = {single[name]: (0, -1)} if name in single else table.episodes(path)
            for number, (start, stop) in spans.items():
                if number in found:
                    where = f"rows of episode {number}, which has some in {found[number].file} too"
                    raise Rt2dataError(str(path), where, "an episode in one file")
                found[number] = Place(name, start, stop)
        return found


@lru_cache(maxsize=2)
def _listed(root: str, stamp: tuple[tuple[int | str, ...], ...], cameras: tuple[str, ...]) -> dict[int, Listed]:  # noqa: ARG001  # part of the cache's key
    """The episodes of a dataset: a worker reads the list once and not for each of its parts."""
    return Meta(storage.place(root)).episodes(cameras)
