"""Declarations: YAML files in ``builders/`` that say where a dataset's fields are and what they mean."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from rt2data import resources
from rt2data.declarations import robot_parser, yaml_file
from rt2data.declarations import web as corpus
from rt2data.declarations.web import WebFields
from rt2data.errors import Rt2dataError, near
from rt2data.robot.fields import ARM, RobotFields

UNDECLARED = "undeclared.yaml"
"""The file in ``builders/`` that lists datasets that are not declared, with the reason."""

COMPAT = ("openvla", "octo")
"""The projects whose standardisation a declaration may hold."""

# Only what changes the index belongs to the digest: prose may be improved without re-reading the data.
_PROSE = {
    "title", "licence", "citation", "homepage", "bucket", "published", "verified", "notes", "conflicts", "unverified",
    "aliases", "paths", "versions", "robot", "depth", "compat",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Declaration:
    """A dataset as declared. `digest` is of its meaning: a comment does not change it.

    `reference` finds it again in another process (`load_declaration`): the file, and the name where the file declares several.
    `compat` holds the same dataset as other projects standardise it, by the project's name.
    """

    name: str
    id: str
    kind: str
    format: str
    aliases: tuple[str, ...]
    paths: tuple[str, ...]
    versions: tuple[str, ...]
    language: str | None
    raw: dict[str, Any] = field(repr=False, compare=False)
    digest: str
    file: str
    reference: str
    robot: RobotFields | None
    web: WebFields | None
    compat: dict[str, Declaration] = field(repr=False, compare=False)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras; a web corpus has ``image``, and ``i1``, ``i2``, ... where examples have several."""
        return tuple(c.name for c in self.robot.cameras) if self.robot else self.web.cameras if self.web else ()

    @property
    def standardisation(self) -> str | None:
        """The project (of COMPAT) whose reading of the dataset this is; None for the dataset's own meaning."""
        found: str | None = self.raw.get("standardisation")
        return found

    @property
    def unverified(self) -> tuple[tuple[str, str], ...]:
        """What no source settles, each (about, reason)."""
        return tuple((one["about"], one["reason"]) for one in self.raw.get("unverified", ()))


def read_declaration(path: Path) -> Declaration:
    """Read and check a file that declares one dataset. Raises Rt2dataError that names the line."""
    found = read_declarations(path)
    if len(found) > 1:
        raise Rt2dataError(str(path), f"{len(found)} variants", "a declaration of one dataset")
    return found[0]


def read_declarations(path: Path) -> list[Declaration]:
    """Read and check one declaration file: each of its variants, or the one dataset that it declares."""
    raw, lines = yaml_file.read_yaml(path)
    yaml_file.check_schema(raw, "declaration", str(path), lines)
    if "variants" not in raw:
        return [_one(raw, path, lines, str(path))]
    for key in ("name", "id", "aliases"):
        if key in raw:
            where = f"{path}:{yaml_file.line_of(lines, (key,))}"
            raise Rt2dataError(where, f'"{key}" beside variants', f'a "{key}" in each variant')
    common = {key: value for key, value in raw.items() if key != "variants"}
    return [_one(common | variant, path, lines, f"{path}#{variant['name']}") for variant in raw["variants"]]


def _one(raw: dict[str, Any], path: Path, lines: dict[yaml_file.Where, int], reference: str) -> Declaration:
    compat = {}
    if raw["kind"] == "robot":
        arm, web = robot_parser.parse_robot_fields(raw, str(path), lines), None
        for name, block in raw.get("compat", {}).items():
            compat[name] = _compat(raw, name, block, path, lines, f"{reference}@{name}")
    else:
        arm, web = None, corpus.parse_web_fields(raw, str(path), lines)
    return _declaration(raw, path, reference, arm, web, compat)


def _compat(
    raw: dict[str, Any], name: str, block: dict[str, Any], path: Path, lines: dict[yaml_file.Where, int], reference: str
) -> Declaration:
    """The declaration as project `name` reads the dataset.

    None of them keeps a terminate flag or leaves out the last step, and all but a few actions are seven numbers that
    are taken for the displacement of an arm, whatever they mean.
    """
    like = block.get("like")
    if like is not None:
        other = raw["compat"].get(like, {})
        if like == name or "like" in other or "action" not in other:
            where = f"{path}:{yaml_file.line_of(lines, ('compat', name, 'like'))}"
            raise Rt2dataError(where, f"like: {like}", "the other project, with an action of its own")
        block = other | {key: value for key, value in block.items() if key != "like"}
    changed = {key: value for key, value in block.items() if key != "quirks"}
    action = {"gripper": f"as {name} makes it", "kind": "displacement", "dims": list(ARM)}
    if changed["action"].get("kind", "displacement") == "displacement":
        action |= {"frame": "unverified", "unit": "controller"}
    own = {key: value for key, value in raw.items() if key not in ("compat", "notes", "conflicts", "unverified")}
    own |= {"terminate": "none", "valid_action": "all"} | changed | {"action": action | changed["action"]}
    own |= {"notes": block["quirks"], "standardisation": name}
    start = ("compat", name)
    here = {
        where[2:]: line for where, line in lines.items() if where[:2] == start and where[2:3] and where[2] in changed
    }
    arm = robot_parser.parse_robot_fields(
        own, str(path), {w: n for w, n in lines.items() if w[:1] not in {h[:1] for h in here}} | here, compat=True
    )
    return _declaration(own, path, reference, arm, None, {})


def _declaration(
    raw: dict[str, Any],
    path: Path,
    reference: str,
    arm: RobotFields | None,
    web: WebFields | None,
    compat: dict[str, Declaration],
) -> Declaration:
    names = (raw["name"], *raw.get("aliases", ()))
    paths = raw.get("paths") or [*names, *(f"rlds/{name}" for name in names)]
    return Declaration(
        name=raw["name"], id=raw["id"], kind=raw["kind"], format=raw["format"], aliases=tuple(raw.get("aliases", ())),
        paths=tuple(paths), versions=tuple(raw.get("versions", ())), language=raw.get("language"), raw=raw,
        digest=_digest(raw), file=str(path), reference=reference, robot=arm, web=web, compat=compat,
    )  # fmt: skip


def _digest(raw: dict[str, Any]) -> str:
    meaning = {key: value for key, value in raw.items() if key not in _PROSE}
    if isinstance(meaning.get("action"), dict):
        meaning["action"] = {key: value for key, value in meaning["action"].items() if key != "gripper"}
    if isinstance(meaning.get("instruction"), dict):
        meaning["instruction"] = {key: value for key, value in meaning["instruction"].items() if key != "evidence"}
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


@cache
def list_declarations() -> dict[str, Declaration]:
    """Every declaration that comes with rt2data, by name. Raises where two share a name, alias or id."""
    found: dict[str, Declaration] = {}
    taken: dict[tuple[str, str], str] = {}
    for path in resources.files("builders", ".yaml"):
        if path.name == UNDECLARED:
            continue
        for one in read_declarations(path):
            for claim in (("name", one.name), *(("name", alias) for alias in one.aliases), ("id", one.id)):
                if claim in taken:
                    raise Rt2dataError(
                        str(path), f'{claim[0]} "{claim[1]}" is also that of {taken[claim]}', "a name of its own"
                    )
                taken[claim] = one.reference
            found[one.name] = one
    return found


@cache
def list_undeclared() -> dict[str, str]:
    """Datasets in use that are not declared, each with the reason."""
    path = resources.folder("builders") / UNDECLARED
    entries = yaml_file.read_yaml(path)[0] if path.is_file() else []
    return {entry["name"]: entry["reason"] for entry in entries}


def load_declaration(reference: str) -> Declaration:
    """The declaration of a `Declaration.reference`.

    Reads that one file: workers call it, and reading all takes a second.
    """
    base, _, compat = reference.rpartition("@")
    file = (base if compat in COMPAT else reference).partition("#")[0]
    changed = Path(file).stat().st_mtime_ns if Path(file).is_file() else 0
    return _load(reference, file, changed)


@cache
def _load(reference: str, file: str, changed: int) -> Declaration:  # noqa: ARG001  # part of the cache's key
    for one in _with_compat(read_declarations(Path(file))):
        if one.reference == reference:
            return one
    variant = reference.removeprefix(file)
    raise Rt2dataError(file, f'no variant "{variant}"', "the declaration that it had when the job began")


def _with_compat(declarations: Iterable[Declaration]) -> Iterator[Declaration]:
    for one in declarations:
        yield one
        yield from one.compat.values()


def find_standardised(one: Declaration, project: str, where: str) -> Declaration:
    """The declaration of the same dataset as `project` (of COMPAT) standardises it. `where` begins the error."""
    if one.standardisation == project:
        return one
    if project in one.compat:
        return one.compat[project]
    found = f"nobody has declared how {project} standardises {one.name}"
    repair = "Take it as it is declared with compat: none, or leave it out"
    raise Rt2dataError(where, found, f"compat: {project}: in {one.file}", repair)


def find_declaration(name: str, where: str = "datasets") -> Declaration:
    """The declaration called `name`, by name or alias. `where` begins the error for an unknown name."""
    for path in resources.files("builders", f"{name}.yaml"):  # most files are called after what they declare
        for one in read_declarations(path) if path.stem == name else []:
            if name in (one.name, *one.aliases):
                return one
    known = list_declarations()
    if name in known:
        return known[name]
    names = {alias: one for one in known.values() for alias in one.aliases}
    if name in names:
        return names[name]
    if name in list_undeclared():
        raise Rt2dataError(
            where, f'"{name}" is not declared: {list_undeclared()[name]}', "a dataset that `rt2data datasets` lists"
        )
    repair = near(name, [*known, *names]) or "`rt2data datasets` lists them"
    raise Rt2dataError(where, f'unknown source "{name}"', f"one of {len(known)} declarations", repair)
