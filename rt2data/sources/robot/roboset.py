"""RoboSet as its authors publish it, in HDF5 files.

One declaration reads this format and, with ``format: rlds``, what `rt2data.sources.robot.roboset_to_rlds` writes of it:
with the same samples.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rt2data import index, storage
from rt2data.declarations.declaration import Declaration
from rt2data.errors import Rt2dataError
from rt2data.index import blobs
from rt2data.rlds import tfrecord
from rt2data.rlds.episodes import ImageRefs
from rt2data.robot import match
from rt2data.sources.base import Part
from rt2data.sources.counts import Counts
from rt2data.sources.robot import episode_rows
from rt2data.sources.robot.episode_rows import Rows
from rt2data.sources.robot.roboset_trials import CAMERAS, FIELDS, SUFFIXES, Trial, files, names, opened, trials
from rt2data.storage.places import Place

Array = npt.NDArray[Any]

ENCODING = "png1"  # of the pictures in a blob: another one has another name


class _Episode:
    """A trial as `Rows` takes an episode."""

    def __init__(self, trial: Trial, record: int, pictures: Mapping[str, ImageRefs]) -> None:
        self.record, self.steps = record, len(trial.rows)
        self.length = self.length_crc = self.data_crc = 0  # of a TFRecord
        self._values: dict[str, Any] = trial.values()
        self._values |= {f"steps/observation/image_{name}": refs for name, refs in pictures.items()}

    def __getitem__(self, path: str) -> Any:
        return self._values[path]


class RobosetHdf5:
    """A folder of RoboSet's HDF5 files; a part is one file. All is in the split ``train``.

    `blobs`: where encoded pictures go. Without it, and in a quick index, the first picture of each camera of a trial is
    encoded and stands for all of them: sizes are estimates then.
    """

    blobs: Path | None = None
    counts = Counts()

    def __init__(self, declaration: Declaration, root: Place) -> None:
        if declaration.robot is None:
            raise Rt2dataError(declaration.file, f"kind {declaration.kind} in format roboset_hdf5", "kind robot")
        self.declaration, self.root, self.robot = declaration, root, declaration.robot
        self.fields = dict(FIELDS)
        for problem in match.problems(self.robot, self.fields, f"{declaration.name} in HDF5", declaration.file):
            raise problem
        if any(path == "steps/language_instruction" for path in self.robot.fields):
            where, found = declaration.file, "steps/language_instruction in HDF5, which has no text"
            raise Rt2dataError(where, found, "instruction: a table of episode_metadata/file_task, or none")
        self.files = files(root)
        if not self.files:
            raise Rt2dataError(
                str(root), "no HDF5 file", f"files of RoboSet ({', '.join(SUFFIXES)}) in this folder or below"
            )

    def splits(self) -> dict[str, int]:
        about = (self.declaration.digest,)
        return {"train": sum(self.counts.of(self.root, (f,), about, partial(self._count, f)) for f in self.files)}

    def _count(self, file: str) -> int:
        """The trials of a file."""
        with opened(self.root / file) as content:
            return len(names(content))

    def parts(self, split: str) -> list[Part]:
        return [Part(split, file, (file,)) for file in self.files]

    def digest(self, part: Part) -> str:
        """Of the file's bytes: HDF5 keeps no checksums that could stand for them."""
        return _digest(self.root, part.name)

    def watched(self, part: Part) -> list[str]:
        """Nothing else: a part is its file."""
        return []

    def estimate(self, split: str, cameras: Sequence[str]) -> tuple[int, int]:
        """From the first trials of the first file."""
        wanted = [self._camera(c.field) for c in self.robot.cameras if c.name in cameras]
        found: list[tuple[int, int]] = []
        for trial, _ in zip(trials(self.root, self.files[0]), range(4), strict=False):
            size = sum(len(picture) for name in wanted for picture in trial.pictures(name, 1))
            found.append((len(trial.rows), len(trial.rows) * size))
        scale = self.splits()["train"] / max(1, len(found))
        return round(scale * sum(n for n, _ in found)), round(scale * sum(size for _, size in found))

    def index(self, part: Part, *, check: str) -> pa.Table:
        digest = self.digest(part)
        quick = check == "quick" or self.blobs is None
        name = f"{blobs.PREFIX}roboset_hdf5/{digest}-{ENCODING}"
        rows = Rows(self, part, file=name)
        buffer, refs = self._first(part) if quick else self._all(part, name)
        place, left_out = 0, []
        for record, trial in enumerate(trials(self.root, part.name)):
            steps, pictures = len(trial.rows), {}
            for camera in CAMERAS:
                offset, length = refs
                span = slice(place, place + (1 if quick else steps))
                one = ImageRefs(offset[span], length[span])
                pictures[camera] = (
                    ImageRefs(np.repeat(one.offset, steps), np.repeat(one.length, steps)) if quick else one
                )
                place += 1 if quick else steps
            rows.add(_Episode(trial, record, pictures))
            left_out.append(["not_finite"] * trial.not_finite + ["unequal_length"] * trial.unequal)
        table = rows.table(buffer, check)
        meta = index.meta(table) | {"digest": digest, "blobs": json.dumps([] if quick else [name])}
        return episode_rows.append(table, rows, left_out).replace_schema_metadata(meta)

    def _all(self, part: Part, name: str) -> tuple[Array, tuple[Array, Array]]:
        """The blob of a part, written if it is not there."""
        assert self.blobs is not None  # noqa: S101  # the caller saw it
        path = self.blobs / name[len(blobs.PREFIX) :]
        if not path.is_file():
            blobs.write(
                path,
                (p for trial in trials(self.root, part.name) for camera in CAMERAS for p in trial.pictures(camera)),
            )
        data = tfrecord.map_file(path)
        return data, blobs.refs(data)

    def _first(self, part: Part) -> tuple[Array, tuple[Array, Array]]:
        """A first picture of each camera of each trial, one after the other."""
        found = [next(t.pictures(c, 1), b"") for t in trials(self.root, part.name) for c in CAMERAS]
        lengths = np.array([len(p) for p in found], np.int64)
        return np.frombuffer(b"".join(found), np.uint8), (np.cumsum(lengths) - lengths, lengths)

    def _camera(self, field: str) -> str:
        return field.rpartition("_")[2]


def _digest(root: Place, file: str) -> str:
    h = hashlib.blake2b(file.encode() + b"\0", digest_size=20)
    with storage.open_file(root / file) as content:
        while piece := content.read(1 << 22):
            h.update(piece)
    return h.hexdigest()
