"""Records in text files: JSON, JSON Lines, CSV and TSV."""

from __future__ import annotations

import csv
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, TypeAlias

import orjson

from rt2data import storage
from rt2data.declarations.declaration import Declaration
from rt2data.errors import Rt2dataError
from rt2data.sources import json_lines
from rt2data.sources.web import json_stream
from rt2data.sources.web.examples import Example
from rt2data.sources.web.records import Records
from rt2data.storage.places import Place

MAX_FIELD = 1 << 20  # characters of a field in CSV

Keyed: TypeAlias = tuple[str, dict[str, Any]]  # a record with its key or number


class Json(Records):
    """One JSON per file. `records` is the way to the records: ``*`` for each of a list or mapping, keys between."""

    def checked(self, records: Iterable[dict[str, Any]], split: str, name: str) -> Iterator[dict[str, Any]]:
        """Yield the records of a file; of one that is a record itself, others may have the fields that it lacks."""
        yield from super().checked(records, split, name) if "*" in self.web.records else records

    def records(self, split: str, name: str) -> Iterator[dict[str, Any]]:
        path = self.root / name
        keys, star, rest = self.web.records.partition("*")
        outer = keys.rstrip(".").split(".") if keys else []
        if not star:  # the file is one record
            elements: Any = [("", json_stream.value_at(path, outer))] if json_stream.kind_at(path, outer) else []
            if not elements:
                raise Rt2dataError(str(path), f'no "{keys}"', f'records at "{self.web.records}"')
        else:
            elements = json_stream.elements(path, outer)
        inner = rest.removeprefix(".").split(".") if rest else []
        row = 0
        for key, entry in elements:
            for own, record in self._entry_records(key, entry, inner, path):
                yield record | {"$row": row, "$key": own}
                row += 1

    def _entry_records(self, key: str, entry: Any, keys: list[str], path: Place) -> Iterator[Keyed]:
        """Yield the record that an element of the file is, or each record inside it."""
        if not keys:
            yield from _one(entry, key, path, {})
        elif isinstance(entry, dict):
            yield from self._nested_records(entry, keys, path, {k: v for k, v in entry.items() if k != keys[0]})
        else:
            raise Rt2dataError(f"{path}[{key}]", "no object", f'records at "{self.web.records}"')

    def _nested_records(self, data: Any, keys: list[str], path: Place, above: dict[str, Any]) -> Iterator[Keyed]:
        """Yield each record below `keys`. A record inside another one has the fields of that one too."""
        key, *rest = keys
        if key != "*":
            if not isinstance(data, dict) or key not in data:
                raise Rt2dataError(str(path), f'no "{key}"', f'records at "{self.web.records}"')
            yield from self._nested_records(data[key], rest, path, above) if rest else _one(data[key], "", path, above)
            return
        if not isinstance(data, (list, dict)):
            found = f"{type(data).__name__} in place of records"
            raise Rt2dataError(str(path), found, f'a list or mapping at "{self.web.records}"')
        for own in list(data) if isinstance(data, dict) else range(len(data)):
            entry = data[own]
            if not rest:
                yield from _one(entry, str(own), path, above)
            elif isinstance(entry, dict):
                plain = {k: v for k, v in entry.items() if k != rest[0]}
                yield from self._nested_records(entry, rest, path, above | plain)
            else:
                raise Rt2dataError(f"{path}[{own}]", "no object", f'records at "{self.web.records}"')


def _one(entry: Any, key: str, path: Place, above: dict[str, Any]) -> Iterator[Keyed]:
    if not isinstance(entry, dict):
        raise Rt2dataError(f"{path}[{key}]", "no object", "an object for each record")
    yield key, above | entry


class JsonColumns(Records):
    """One JSON of lists of one length, a list per field, as SBU's ``sbu-captions-all.json``."""

    field_word = "column"

    def records(self, split: str, name: str) -> Iterator[dict[str, Any]]:
        path = self.root / name
        try:
            data = orjson.loads(storage.read_bytes(path).removeprefix(BOM_UTF8))
        except orjson.JSONDecodeError as error:
            raise Rt2dataError(str(path), f"not JSON ({error})", "annotations in JSON") from None
        lists = {k: v for k, v in data.items() if isinstance(v, list)} if isinstance(data, dict) else {}
        sizes = {len(v) for v in lists.values()}
        if len(sizes) != 1:
            found = ", ".join(f"{k} has {len(v)}" for k, v in lists.items()) or "no lists"
            raise Rt2dataError(str(path), found, "a mapping of lists of one length")
        for row, values in enumerate(zip(*lists.values(), strict=True)):
            yield dict(zip(lists, values, strict=True)) | {"$row": row}


class Jsonl(Records):
    """A JSON object per line."""

    def records(self, split: str, name: str) -> Iterator[dict[str, Any]]:
        path = self.root / name
        for number, record in json_lines.read_objects(path):
            yield record | {"$row": number - 1}


class Lines(Records):
    """A text file per field, line n of each together, as SBU's captions and URLs. Roles are the names of the fields."""

    field_word = "column"

    def __init__(self, declaration: Declaration, root: Place) -> None:
        super().__init__(declaration, root)
        self.roles = tuple(next(iter(self.web.splits.values())))

    def read(self, split: str, files: Sequence[str]) -> Iterable[Example]:
        records = self.checked(self._records(files), split, files[0])
        return self.complete(e for record in records for e in self.read_record(record, split, files[0]))

    def first_records(self, split: str) -> Iterator[dict[str, Any]]:
        """Yield nothing: each split has a file for each field."""
        yield from ()

    def _records(self, files: Sequence[str]) -> Iterator[dict[str, Any]]:
        paths = [self.root / name for name in files]
        for row, values in enumerate(zip_longest(*(texts(path) for path in paths))):
            short = next((path for path, value in zip(paths, values, strict=True) if value is None), None)
            if short is not None:
                names = ", ".join(path.name for path in paths)
                raise Rt2dataError(str(short), f"{row} lines", f"as many as in the others of {names}")
            lines = [value.rstrip("\r\n") for value in values]
            yield dict(zip(self.roles, lines, strict=True)) | {"$row": row}


class Csv(Records):
    """A table as text, with quotes as RFC 4180 has them; `delimiter`, and `header` where the file has none."""

    field_word = "column"

    def records(self, split: str, name: str) -> Iterator[dict[str, Any]]:
        path = self.root / name
        csv.field_size_limit(MAX_FIELD)
        yield from self._table(path, csv.reader(texts(path), delimiter=self.web.delimiter, skipinitialspace=True))

    def _table(self, path: Place, rows: Iterator[list[str]]) -> Iterator[dict[str, Any]]:
        header, row = list(self.web.header), -1
        try:
            for cells in rows:
                if not cells:
                    continue
                if not header:
                    header = [cell.strip() for cell in cells]
                    continue
                row += 1
                if len(cells) != len(header):
                    found, expected = f"{len(cells)} columns", f"{len(header)}: {', '.join(header)}"
                    raise Rt2dataError(f"{path} row {row + 1}", found, expected)
                yield dict(zip(header, cells, strict=True)) | {"$row": row}
        except csv.Error as error:
            raise Rt2dataError(f"{path} row {row + 2}", str(error), "a table as text") from None


class Tsv(Csv):
    """Columns with tabs between them and no quotes: a quote is a character like any other."""

    def records(self, split: str, name: str) -> Iterator[dict[str, Any]]:
        path = self.root / name
        yield from self._table(path, (line.rstrip("\r\n").split("\t") for line in texts(path) if line.strip()))


def texts(path: Place) -> Iterator[str]:
    """Yield the lines of a file in UTF-8."""
    for number, line in enumerate(json_lines.read_lines(path), 1):
        try:
            yield line.decode().replace("\0", "")  # which `csv` refuses before Python 3.11
        except UnicodeDecodeError as error:
            repair = "Convert the file, as with iconv -f WINDOWS-1252 -t UTF-8"
            raise Rt2dataError(
                f"{path}:{number}", f"byte {error.start} of the line is not UTF-8", "text in UTF-8", repair
            ) from None
