"""Declarations: one YAML file in ``builders/`` per dataset, which says where its fields are and what they mean."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from rt2data import config, resources
from rt2data.errors import Rt2dataError, near

ARM = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera: its name, the field of its images, and whether they are mere padding."""

    name: str
    field: str
    padding: bool
    colour: str


@dataclass(frozen=True, slots=True)
class Term:
    """Columns of one numeric field that become dimensions of the action, in order."""

    field: str
    columns: tuple[int, ...] | None
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Robot:
    """What a robot dataset's fields mean. Units after the terms: metres, radians, gripper openness 0..1."""

    episode_id: tuple[str, ...]
    cameras: tuple[Camera, ...]
    instruction: str
    proprio: str | None
    proprio_dims: tuple[str, ...]
    dims: tuple[str, ...]
    terms: tuple[Term, ...]
    kind: str
    frame: str
    terminate: str
    valid_action: str
    control_hz: float | None


@dataclass(frozen=True, slots=True)
class Web:
    """Where a VQA or caption corpus keeps its annotations and pictures."""

    splits: dict[str, dict[str, tuple[str, ...]]]
    images: tuple[str, ...]
    image_namespace: str


@dataclass(frozen=True, slots=True)
class Declaration:
    """A dataset as declared. `digest` is of the file's meaning: a comment does not change it."""

    name: str
    id: str
    kind: str
    format: str
    aliases: tuple[str, ...]
    paths: tuple[str, ...]
    language: str | None
    raw: dict[str, Any] = field(repr=False, compare=False)
    digest: str
    file: str
    robot: Robot | None
    web: Web | None

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras; a web corpus has the one camera ``image``."""
        return tuple(c.name for c in self.robot.cameras) if self.robot else ("image",)


def read(path: Path) -> Declaration:
    """Read and check one declaration file. Raises Rt2dataError that names the line."""
    raw, lines = config.read_yaml(path)
    config.check(raw, "declaration", str(path), lines)
    robot = _robot(raw, path, lines) if raw["kind"] == "robot" else None
    web = None
    if robot is None:
        for split, files in raw["splits"].items():
            if raw["kind"] == "vqa" and "questions" not in files:
                line = config.line_of(lines, ("splits", split))
                raise Rt2dataError(f"{path}:{line}", f'split "{split}" has no "questions"', "question files of a VQA corpus")
        splits = {s: {k: tuple(v) for k, v in files.items()} for s, files in raw["splits"].items()}
        web = Web(splits, tuple(raw["images"]), raw["image_namespace"])
    # Only what changes the index belongs to the digest: prose may be improved without re-reading the data.
    prose = {"title", "licence", "citation", "homepage", "bucket", "published", "verified", "notes", "conflicts", "aliases", "paths"}
    meaning = {key: value for key, value in raw.items() if key not in prose}
    digest = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()
    return Declaration(
        name=raw["name"], id=raw["id"], kind=raw["kind"], format=raw["format"], aliases=tuple(raw.get("aliases", ())),
        paths=tuple(raw["paths"]), language=raw.get("language"), raw=raw, digest=digest, file=str(path), robot=robot, web=web,
    )  # fmt: skip


def _robot(raw: dict[str, Any], path: Path, lines: dict[config.Where, int]) -> Robot:
    action = raw["action"]
    dims = tuple(action["dims"])
    terms = tuple(
        Term(t["field"], tuple(t["columns"]) if "columns" in t else None, tuple(t["to"])) for t in action["terms"]
    )
    given = [name for term in terms for name in term.to]
    if sorted(given) != sorted(dims):
        where = f"{path}:{config.line_of(lines, ('action', 'terms'))}"
        raise Rt2dataError(where, f"the terms give {', '.join(given)}", f"each of {', '.join(dims)} once")
    for index, term in enumerate(terms):
        if term.columns is not None and len(term.columns) != len(term.to):
            where = f"{path}:{config.line_of(lines, ('action', 'terms', index))}"
            raise Rt2dataError(where, f"{len(term.columns)} columns for {len(term.to)} dimensions", "as many columns as dimensions")
    if action["kind"] == "displacement" and dims != ARM:
        where = f"{path}:{config.line_of(lines, ('action', 'dims'))}"
        raise Rt2dataError(where, f"dims are {', '.join(dims)}", f"{', '.join(ARM)} for a displacement of an arm")
    proprio = raw.get("proprio", {})
    return Robot(
        episode_id=tuple(raw.get("episode_id", ())),
        cameras=tuple(
            Camera(name, c["field"], c.get("padding", False), c.get("colour", "rgb")) for name, c in raw["cameras"].items()
        ),
        instruction=raw["instruction"],
        proprio=proprio.get("field"),
        proprio_dims=tuple(proprio.get("dims", ())),
        dims=dims,
        terms=terms,
        kind=action["kind"],
        frame=action["frame"],
        terminate=raw["terminate"],
        valid_action=raw["valid_action"],
        control_hz=raw.get("control_hz"),
    )  # fmt: skip


@cache
def declared() -> dict[str, Declaration]:
    """Every declaration that comes with rt2data, by name. Raises where two share a name, alias or id."""
    found: dict[str, Declaration] = {}
    taken: dict[tuple[str, str], str] = {}
    for path in resources.files("builders", ".yaml"):
        one = read(path)
        for claim in (("name", one.name), *(("name", alias) for alias in one.aliases), ("id", one.id)):
            if claim in taken:
                raise Rt2dataError(str(path), f'{claim[0]} "{claim[1]}" is also that of {taken[claim]}', "a name of its own")
            taken[claim] = str(path)
        found[one.name] = one
    return found


def find(name: str, where: str = "datasets") -> Declaration:
    """The declaration called `name`, by name or alias. `where` begins the error for an unknown name."""
    known = declared()
    if name in known:
        return known[name]
    names = {alias: one for one in known.values() for alias in one.aliases}
    if name in names:
        return names[name]
    raise Rt2dataError(where, f'unknown source "{name}"', f"one of {len(known)} declarations", near(name, [*known, *names]))
