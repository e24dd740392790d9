"""`rt2data datasets check`: reads some episodes of a dataset and holds them against what its declaration says.

Each claim of the declaration gets evidence from the data and a verdict. `rt2data.check.claims` has the rules;
here episodes are read. A verdict is ``objects`` only where the claim cannot be true of data like these; what nobody can
know from the data (the colour order, the meaning of a gripper that never moves) is ``cannot tell``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rt2data import sources
from rt2data.check import claims, evidence
from rt2data.check.evidence import Claim, Seen
from rt2data.declarations.declaration import Declaration
from rt2data.errors import Rt2dataError
from rt2data.rlds.episodes import ImageRefs
from rt2data.robot import actions, instruction
from rt2data.robot.fields import Robot
from rt2data.storage.places import Place

EPISODES = 50  # that are read by default
PICTURES = 3  # decoded of each camera and episode: the first, the middle and the last
FLAGS = ("is_first", "is_last", "is_terminal")


@dataclass(frozen=True, slots=True)
class Report:
    """What `check` found. `ok` is whether no claim is contradicted."""

    dataset: str
    folder: str
    episodes: int
    steps: int
    claims: tuple[Claim, ...]

    @property
    def ok(self) -> bool:
        return not any(claim.verdict == evidence.OBJECTS for claim in self.claims)

    def to_dict(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        rows = [{"claim": c.claim, "evidence": c.evidence, "verdict": c.verdict} for c in self.claims]
        return {
            "dataset": self.dataset,
            "folder": self.folder,
            "episodes": self.episodes,
            "steps": self.steps,
            "ok": self.ok,
            "claims": rows,
        }

    def text(self) -> str:
        """A table of at most 120 columns."""
        lines = [f"{self.dataset} in {self.folder}: {self.episodes:,} episodes, {self.steps:,} steps read", ""]
        lines.append(f"{'verdict':<13}{'claim':<43}evidence")
        for claim in self.claims:
            left, right = _wrapped(claim.claim, 41), _wrapped(claim.evidence, 64)
            for i in range(max(len(left), len(right))):
                word = claim.verdict if i == 0 else ""
                lines.append(
                    f"{word:<13}{left[i] if i < len(left) else '':<43}{right[i] if i < len(right) else ''}".rstrip()
                )
        count = {
            word: sum(c.verdict == word for c in self.claims)
            for word in (evidence.AGREES, evidence.OBJECTS, evidence.UNKNOWN)
        }
        lines += ["", ", ".join(f"{n} {word}" for word, n in count.items() if n)]
        return "\n".join(lines)


def check(
    declared: Declaration, data_root: Place | None, *, path: str | None = None, episodes: int = EPISODES
) -> Report:
    """Read `episodes` episodes, spread over the dataset's files, and test the declaration's claims.

    Raises:
        Rt2dataError: no robot declaration, or the dataset is not there or does not fit the declaration's fields.
    """
    robot = declared.robot
    if robot is None:
        expected = "a robot dataset: `rt2data datasets NAME` lists what is declared of others"
        raise Rt2dataError(declared.name, f"kind {declared.kind}", expected)
    source = sources.open_source(declared, data_root, path)
    seen = [_seen(robot, raw, f"{declared.name}, episode {n}") for n, raw in enumerate(_episodes(source, episodes))]
    seen = [one for one in seen if one.steps]
    if not seen:
        raise Rt2dataError(str(source.root), "no episode with a step", "a dataset to check")
    return Report(
        declared.name,
        str(source.root),
        len(seen),
        sum(one.steps for one in seen),
        tuple(claims.all_of(declared, robot, seen)),
    )


class _Raw:
    """An episode of any format: its fields, and its encoded pictures by camera field and step."""

    def __init__(
        self, values: Any, steps: int, fields: Any, pictures: dict[str, dict[int, bytes]], flags: tuple[str, ...]
    ) -> None:
        self.values, self.steps, self.fields, self.pictures, self.flags = values, steps, fields, pictures, flags

    def read(self, path: str) -> npt.NDArray[Any]:
        """A numeric field, (T, ...)."""
        values = np.asarray(self.values[path])
        return values if self.fields[path].per_step else np.broadcast_to(values, (self.steps, *values.shape))


def _seen(robot: Robot, raw: _Raw, where: str) -> Seen:
    with np.errstate(all="ignore"):
        found = actions.of_episode(robot, raw.read, raw.steps, where)
    return Seen(
        steps=raw.steps,
        read=raw.read,
        action=found.values,
        known=found.known,
        ends=found.ends,
        texts=instruction.texts(robot.instruction, raw.values.__getitem__, raw.steps),
        flags={name: np.asarray(raw.values[f"steps/{name}"], np.bool_).reshape(raw.steps) for name in raw.flags},
        pictures={
            c.name: [
                data
                for t, data in raw.pictures[c.field].items()
                if c.valid is None or actions.holds(c.valid, raw.read, raw.steps, where)[t]
            ]
            for c in robot.cameras
        },
    )


def _chosen(steps: int) -> list[int]:
    return sorted({round(t) for t in np.linspace(0, steps - 1, PICTURES)}) if steps else []


def _episodes(source: Any, count: int) -> Iterator[_Raw]:
    """Up to `count` episodes of train, or of the first split: as many of each of some files at equal distances."""
    splits = source.splits()
    parts = source.parts("train" if "train" in splits else next(iter(splits))) if splits else []
    if not parts:
        return
    files = [parts[i] for i in sorted({round(x) for x in np.linspace(0, len(parts) - 1, min(len(parts), count))})]
    left = count
    for number, part in enumerate(files):
        share = math.ceil(left / (len(files) - number))
        taken = 0
        for raw in _of_part(source, part):
            if taken == share:
                break
            taken += 1
            yield raw
        left -= taken


def _of_part(source: Any, part: Any) -> Iterator[_Raw]:
    cameras = [camera.field for camera in source.robot.cameras]
    if source.declaration.format == "roboset_hdf5":
        from rt2data.sources.robot import roboset_trials

        for trial in roboset_trials.trials(source.root, part.name):
            steps, pictures = len(trial.rows), {}
            for camera in cameras:
                name = camera.rpartition("_")[2]
                pictures[camera] = {t: trial.picture(name, t) for t in _chosen(steps)}
            yield _Raw(trial.values(), steps, source.fields, pictures, FLAGS)
        return
    if source.declaration.format == "lerobot":
        for episode, pictures in source.look(part, _chosen):
            yield _Raw(episode, episode.steps, source.fields, pictures, ())
        return
    there = source.dataset.fields if hasattr(source, "dataset") else None
    if there is None:
        expected = "format rlds, roboset_hdf5 or lerobot"
        raise Rt2dataError(
            source.declaration.name,
            f"format {source.declaration.format}",
            expected,
            "Its episodes cannot be checked yet",
        )
    flags = tuple(name for name in FLAGS if f"steps/{name}" in there)
    wanted = {path: there[path] for path in [*source.fields, *(f"steps/{name}" for name in flags)]}
    for episode, buffer in source.episodes(part.name, wanted, list(wanted), check=False):
        pictures = {}
        for camera in cameras:
            refs = episode[camera]
            if not isinstance(refs, ImageRefs):
                raise Rt2dataError(part.name, f"{camera} is not an encoded image", "an image feature")
            spans = [(t, int(refs.offset[t]), int(refs.length[t])) for t in _chosen(episode.steps)]
            pictures[camera] = {t: buffer[offset : offset + length].tobytes() for t, offset, length in spans}
        yield _Raw(episode, episode.steps, wanted, pictures, flags)


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width) or [""]
