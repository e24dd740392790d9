"""Declared fields that no record of a file has: a misspelt column would read as one without content in every row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rt2data.declarations.web import PLACEHOLDER, WebFields
from rt2data.errors import Rt2dataError, near

OPTIONAL = frozenset({"language", "url", "width", "height"})  # what a record need not have
LISTED = 12  # names in a message
_AT = re.compile(r"\|at\(([^()]+)\)")
_IMAGE = re.compile(r"\{([^{}:]+)(?::0\d+d)?\}")


class AbsentFields:
    """Look for the declared fields of a split in the records of a file.

    Args:
        web: the declaration.
        split: the split that the file belongs to, for its `where`.
        columns: whether the declared columns must be there too.
        table: whether every record has the same fields.
    """

    def __init__(self, web: WebFields, split: str, *, columns: bool = True, table: bool = False) -> None:
        # Per field the alternatives: of one of them every path must be there.
        wanted = {f"fields: {name}": [_paths(path)] for name, path in web.fields.items() if name not in OPTIONAL}
        if web.captions:
            wanted["fields: captions"] = [_paths(path) for path in web.captions.values()]
        wanted |= {f"columns: {name}": [_paths(path)] for name, path in web.columns.items() if columns}
        wanted |= {f"where: {path}": [_paths(path)] for path in web.where.get(split, {})}
        # Of several images a record may lack some, but a column is one that each of them names.
        every = () if web.imageless_files else web.image if table else web.image[:1]
        wanted |= {f"fields: image {path}" if web.image[1:] else "fields: image": [_paths(path)] for path in every}
        if web.images and not web.imageless_files:
            given = {"image"} if web.image else set[str]()
            named = (_IMAGE.findall(pattern) for pattern in web.images)
            patterns = ([name for name in names if name.partition("|")[0] not in given] for names in named)
            wanted["images"] = [[path for name in names for path in _paths(name)] for names in patterns]
        self._absent = {name: alternatives for name, alternatives in wanted.items() if all(alternatives)}
        self._names: dict[str, None] = {}
        self.records = 0

    def see(self, record: dict[str, Any]) -> None:
        """Look at a record; once all fields were seen it costs nothing."""
        self.records += 1
        if not self._absent:
            return
        if len(self._names) < 1000:
            self._names |= dict.fromkeys(_names(record))
        for name in [n for n, ways in self._absent.items() if any(all(_has(record, p) for p in way) for way in ways)]:
            del self._absent[name]

    def refuse(self, where: str, word: str, others: Iterable[dict[str, Any]] = ()) -> None:
        """Raise where there were records, and a field is in none of them.

        Args:
            where: the file.
            word: what a field is in such a file, such as ``column``.
            others: records of other splits, looked at where a field is missing: what one of them has is not misspelt,
                such as the answers that a test split does not have.

        Raises:
            Rt2dataError: names the file, the field, and the nearest names that the file has.
        """
        if not self.records or not self._absent:
            return
        names = dict(self._names)
        for record in others:
            self.see(record)
        for name, ways in self._absent.items():
            path = next(path for path in ways[0] if path not in names)
            listed = ", ".join(list(names)[:LISTED]) + (", ..." if len(names) > LISTED else "")
            found = f'no {word} "{path}", which the declaration names ({name})'
            expected = f"one of {listed}" if listed else "records with fields"
            raise Rt2dataError(where, found, expected, near(path, names))


def _paths(path: str) -> list[str]:
    """The paths of a declared field, without functions; none of what every record has."""
    texts = PLACEHOLDER.findall(path) if "{" in path else [path]
    inner = [text for path in texts for text in _AT.findall(path)]
    return [keys for text in [*texts, *inner] if not (keys := text.partition("|")[0]).startswith("$")]


def _has(record: dict[str, Any], path: str) -> bool:
    return path in record or _reaches(record, path.split("."))


def _reaches(value: Any, keys: Sequence[str]) -> bool:
    """Whether keys lead somewhere. What is null or an empty list does not tell."""
    if not keys or value is None:
        return True
    key, *rest = keys
    if isinstance(value, dict):
        inner = list(value.values()) if key == "*" else [value[key]] if key in value else []
        return any(_reaches(element, rest) for element in inner) or (key == "*" and not inner)
    if isinstance(value, list):
        return not value or ((key == "*" or key.isdecimal()) and any(_reaches(e, rest) for e in value))
    return False


def _names(value: Any, before: str = "", depth: int = 3) -> Iterator[str]:
    """The names of a record's fields, of those inside others too, as a declaration writes them."""
    if isinstance(value, list) and value and before:
        yield from _names(value[0], f"{before}*.", depth)
    if isinstance(value, dict) and depth:
        for key, inner in value.items():
            if not str(key).startswith("$"):
                yield f"{before}{key}"
                if isinstance(inner, (dict, list)):
                    yield from _names(inner, f"{before}{key}.", depth - 1)
