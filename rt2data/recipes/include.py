"""Read a recipe as it is written and merge the recipes that it includes; every value keeps its place in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rt2data import resources
from rt2data.declarations import declaration, yaml_file
from rt2data.declarations.declaration import Declaration
from rt2data.declarations.yaml_file import Where
from rt2data.errors import Rt2dataError, near

AMOUNTS = ("weight", "repeat", "samples")
RATES = ("stride", "hz")
MERGED = ("tokenizer", "prompts", "actions")
OF_ONE_FILE = ("description", "include", "without", "sources")


@dataclass(slots=True)
class WrittenSource:
    """A source as written: its declaration, its fields, and the place (FILE:LINE) of the source and of each field."""

    declaration: Declaration
    fields: dict[str, Any]
    place: str
    places: dict[Where, str]

    def at(self, *where: str | int) -> str:
        """Return the place of a field, or of an element of a list."""
        return _nearest(self.places, where, self.place)


@dataclass(slots=True)
class WrittenRecipe:
    """A recipe with its includes merged: its fields except for the sources, their places, and the sources."""

    file: str
    fields: dict[str, Any]
    places: dict[Where, str]
    entries: list[WrittenSource] = field(default_factory=list)

    def at(self, *where: str) -> str:
        """Return the place of a field."""
        return _nearest(self.places, where, f"{self.file}:1")


def _nearest(places: dict[Where, str], where: Where, else_: str) -> str:
    """Return the place of a field, or of the nearest field around it."""
    while where and where not in places:
        where = where[:-1]
    return places.get(where, else_)


def read_written(path: Path) -> WrittenRecipe:
    """Read a recipe file and what it includes. Raises Rt2dataError that names the file and the line."""
    raw, lines = yaml_file.read_yaml(path)
    return parse_written(raw, str(path), lines)


def parse_written(
    raw: Any, file: str, lines: dict[Where, int] | None, given: Sequence[Declaration] = (), above: tuple[str, ...] = ()
) -> WrittenRecipe:
    """Parse the content of a recipe file, and read and merge what it includes.

    Args:
        raw: the content.
        file: the recipe file; files that it names are beside it.
        lines: line of each value, where known.
        given: declarations that are not bundled.
        above: recipe files that include this one.
    """
    yaml_file.check_schema(raw, "recipe", file, lines)

    def at(*where: str | int) -> str:
        return f"{file}:{yaml_file.line_of(lines, where)}"

    places = {where: f"{file}:{line}" for where, line in (lines or {}).items()}
    own = WrittenRecipe(file, {key: value for key, value in raw.items() if key != "sources"}, places)
    for number, entry in enumerate(raw.get("sources", ())):
        here = at("sources", number, "source")
        inside = {where[2:]: place for where, place in places.items() if where[:2] == ("sources", number) and where[2:]}
        declared = _find_declaration(entry["source"], file, here, given)
        own.entries.append(WrittenSource(declared, entry, here, inside))
    check_unique(own.entries)
    if "include" not in raw:
        if "without" in raw:
            raise Rt2dataError(at("without"), '"without" and no include', "a recipe to leave sources out of")
        return own
    path = _find_included(raw["include"], file, at("include"), above)
    base_raw, base_lines = yaml_file.read_yaml(path)
    base = parse_written(base_raw, str(path), base_lines, given, (*above, str(Path(file).resolve())))
    return _merge(_without(base, own), own)


def check_unique(entries: Sequence[WrittenSource]) -> None:
    """Raise where a source is given twice, or where a name, alias or id means two sources."""
    owners: dict[str, WrittenSource] = {}
    for entry in entries:
        own = entry.declaration
        for name in own.names:
            owner = owners.setdefault(name, entry)
            if owner is entry:
                continue
            other = owner.declaration
            if other.name == own.name:
                found = f'source "{own.name}" is given twice'
                repair = "Take more dataset splits with splits:, or more copies with repeat:"
                raise Rt2dataError(entry.place, found, "each source once", repair)
            found = f'"{name}" means both {other.name} and {own.name}'
            repair = f"Change the name, alias or id in the declaration of one of them, such as {own.file}"
            raise Rt2dataError(entry.place, found, "names, aliases and ids that differ", repair)


def _find_declaration(name: str, file: str, where: str, given: Sequence[Declaration]) -> Declaration:
    """Find a source's declaration: one of `given`, a file beside the recipe, or a bundled one."""
    for candidate in given:
        if name in candidate.names:
            return candidate
    return declaration.open_declaration(name, where, Path(file).parent)


def _find_included(name: str, file: str, where: str, above: tuple[str, ...]) -> Path:
    known = {path.stem: path for path in resources.files("mixtures", ".yaml")}
    path = Path(file).parent / name if name.endswith(".yaml") else known.get(name)
    if path is None or not path.is_file():
        expected = f"a file beside this one, or one of {', '.join(known)}"
        raise Rt2dataError(where, f'no recipe "{name}" to include', expected, near(name, known))
    if str(path.resolve()) in (*above, str(Path(file).resolve())):
        raise Rt2dataError(where, f"{Path(file).name} includes itself, by {name}", "a recipe that stands on others")
    return path


def _without(base: WrittenRecipe, own: WrittenRecipe) -> WrittenRecipe:
    """Return `base` without the sources that `own` leaves out."""
    left = list(base.entries)
    for name in own.fields.get("without", ()):
        entry = next((e for e in left if name in e.declaration.names), None)
        if entry is None:
            names = [e.declaration.name for e in left]
            found = f'without "{name}", which {Path(base.file).stem} does not have'
            raise Rt2dataError(
                own.at("without"),
                found,
                f"one of {', '.join(names)}",
                near(name, [n for e in left for n in e.declaration.names]),
            )
        left.remove(entry)
    return WrittenRecipe(base.file, base.fields, base.places, left)


def _merge(base: WrittenRecipe, own: WrittenRecipe) -> WrittenRecipe:
    """Merge `own` over `base`.

    A field of `own` replaces that of `base`. The fields of MERGED are merged key by key, sources by name and field by
    field. An amount (AMOUNTS) replaces any amount. New sources come last.
    """
    fields = _over(own.fields, {key: value for key, value in base.fields.items() if key not in OF_ONE_FILE})
    for key in MERGED:
        if key in base.fields and key in own.fields:
            fields[key] = base.fields[key] | own.fields[key]
    entries = {entry.declaration.name: entry for entry in base.entries}
    for entry in own.entries:
        under = entries.get(entry.declaration.name)
        if under is not None:
            merged_fields = _over(entry.fields, under.fields)
            entry = WrittenSource(entry.declaration, merged_fields, entry.place, under.places | entry.places)
        entries[entry.declaration.name] = entry
    merged = WrittenRecipe(own.file, fields, base.places | own.places, list(entries.values()))
    if not entries:
        raise Rt2dataError(own.at("without"), "no source is left", "at least one source")
    check_unique(merged.entries)
    return merged


def _over(own: dict[str, Any], under: dict[str, Any]) -> dict[str, Any]:
    """Merge the fields `own` over `under`; one of AMOUNTS or RATES replaces all of them."""
    replaced = {key for group in (AMOUNTS, RATES) if any(key in own for key in group) for key in group}
    return {key: value for key, value in under.items() if key not in replaced} | own
