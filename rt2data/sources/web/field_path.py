"""Values in records by the paths that declarations give, such as `answers[*].answer`."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from rt2data.declarations.web import PLACEHOLDER

_CALL = re.compile(r"(before|after)\((.*)\)", re.DOTALL)


def lookup(record: Any, path: str) -> Any:
    """Look up the value at a declared field (`rt2data.declarations.web.FIELD`); None where there is none."""
    if "{" in path:
        return _filled(record, path)
    keys, *calls = path.split("|")
    if keys in record:  # also a key that has dots of its own, such as the column of a table
        value: Any = record[keys]
    else:
        value = _walk(record, keys.split("."))
    for call in calls:
        if call.startswith("at("):
            place = lookup(record, call[3:-1])
            inside = isinstance(value, list) and isinstance(place, int) and 0 <= place < len(value)
            value = value[place] if inside and not isinstance(place, bool) else None
            continue
        value = [_apply(call, v) for v in value] if isinstance(value, list) else _apply(call, value)
    return value


def _filled(record: Any, text: str) -> str | None:
    """Fill the fields in braces of a text, values of a list with commas between; None where one has none."""
    values = {path: strings(lookup(record, path)) for path in PLACEHOLDER.findall(text)}
    if not all(values.values()):
        return None
    return PLACEHOLDER.sub(lambda match: ", ".join(values[match[1]]), text)


def _walk(value: Any, keys: Sequence[str]) -> Any:
    for n, key in enumerate(keys):
        if key == "*":
            inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
            values = [_walk(element, keys[n + 1 :]) for element in inner]
            return [v for element in values for v in (element if isinstance(element, list) else [element])]
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal() and len(key) < 10 and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _apply(call: str, value: Any) -> Any:
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        return None
    text = str(value)
    raw = text.encode("utf-8", "surrogatepass")
    if match := _CALL.fullmatch(call):
        before, separator, after = text.partition(match[2])
        return before if match[1] == "before" else after if separator else None
    match call:
        case "md5" | "sha1":  # of file names that downloaders make of URLs
            return hashlib.new(call, raw, usedforsecurity=False).hexdigest()
        case "crc32":
            return zlib.crc32(raw)
        case "name" | "stem":
            name = unquote(urlsplit(text).path if "://" in text else text).rpartition("/")[2]
            return name if call == "name" else PurePosixPath(name).stem
        case _:
            try:
                return orjson.loads(raw)
            except orjson.JSONDecodeError:
                return None


def strings(value: Any) -> list[str]:
    """Return the texts of a value: a text, a list of texts, or of objects with `answer`, `text` or `caption`."""
    stored = []
    for element in value if isinstance(value, list) else [value]:
        if isinstance(element, dict):
            element = next((element[key] for key in ("answer", "text", "caption", "raw") if key in element), None)
        stored.append(element)
    return texts(stored)


def texts(values: Any) -> list[str]:
    """Return the non-empty strings of what should be a list of strings, and was read from data."""
    return [value for value in values if isinstance(value, str) and value.strip()] if isinstance(values, list) else []
