"""YAML files that a person writes (recipes, declarations): safe reading, and errors that name the line.

The structure of each kind of file is defined once, in ``schemas/NAME.json`` (JSON Schema 2020-12).
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from rt2data import resources
from rt2data.errors import Rt2dataError, near

LIMIT = 4 << 20  # bytes: a recipe or declaration is a page of text; more is a mistake or an attack

Where = tuple[Hashable, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice and an alias bomb, and remembers the line of each node."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > 100:
                raise yaml.MarkedYAMLError(problem="more than 100 aliases", problem_mark=self.peek_event().start_mark)
        return super().compose_node(parent, index)


def read_yaml(path: Path) -> tuple[Any, dict[Where, int]]:
    """Read a YAML file.

    Returns:
        The data, and the line (from 1) of each value by its path of keys and indices.

    Raises:
        Rt2dataError: unreadable, not YAML, too large, or a key given twice.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise Rt2dataError(str(path), error.strerror or "cannot be read", "a readable YAML file") from None
    if len(raw) > LIMIT:
        raise Rt2dataError(str(path), f"{len(raw)} bytes", f"a YAML file of at most {LIMIT} bytes")
    try:
        loader = _Loader(raw.decode("utf-8"))
        node = loader.get_single_node()
        lines: dict[Where, int] = {(): 1}
        if node is not None:
            _lines(node, (), lines, path)
        return (loader.construct_document(node) if node is not None else None), lines
    except UnicodeDecodeError as error:
        raise Rt2dataError(f"{path}", f"byte {error.start} is not UTF-8", "a YAML file in UTF-8") from None
    except RecursionError:
        raise Rt2dataError(f"{path}", "lists or mappings nested too deeply", "a YAML file that a person wrote") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Rt2dataError(f"{path}:{line}", str(error.problem), "valid YAML") from None


def _lines(node: yaml.Node, where: Where, lines: dict[Where, int], path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*where, key.value)
            if here in lines:
                raise Rt2dataError(f"{path}:{key.start_mark.line + 1}", f'"{key.value}" is given twice', "each key once")
            lines[here] = key.start_mark.line + 1
            _lines(value, here, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*where, index)] = value.start_mark.line + 1
            _lines(value, (*where, index), lines, path)


@cache
def schema(name: str) -> dict[str, Any]:
    """The JSON Schema ``schemas/NAME.json``."""
    loaded: dict[str, Any] = json.loads((resources.folder("schemas") / f"{name}.json").read_text("utf-8"))
    return loaded


@cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema(name))


def check(data: Any, name: str, file: str, lines: dict[Where, int] | None = None) -> None:
    """Hold `data` to schema `name`; the first offence, from the top of the file, raises Rt2dataError."""
    errors = list(_validator(name).iter_errors(data))
    if errors:
        found = min(errors, key=lambda e: (line_of(lines, tuple(e.absolute_path)), len(e.absolute_path)))
        raise _explain(found, file, lines)


def line_of(lines: dict[Where, int] | None, where: Where) -> int:
    """The line of the value at `where`, or of the nearest value around it."""
    while lines and where and where not in lines:
        where = where[:-1]
    return (lines or {}).get(where, 1)


def dotted(where: Iterable[Hashable]) -> str:
    """``sources.0.weight`` for ("sources", 0, "weight")."""
    return ".".join(str(p) for p in where)


def _explain(error: jsonschema.ValidationError, file: str, lines: dict[Where, int] | None) -> Rt2dataError:
    where: Where = tuple(error.absolute_path)
    value, rule = error.instance, error.validator_value
    field = f'"{dotted(where)}"' if where else "the file"
    repair = ""
    if error.validator == "additionalProperties" and isinstance(value, dict):
        known = sorted(error.schema.get("properties", {}))
        unknown = next(key for key in value if key not in known)
        where = (*where, unknown)
        found, expected = f'unknown field "{unknown}"', f"one of {', '.join(known)}"
        repair = near(str(unknown), known)
    elif error.validator == "required" and isinstance(rule, list):
        missing = next(key for key in rule if key not in value)
        found, expected = f'{field} has no "{missing}"', f'the field "{missing}"'
    elif error.validator == "enum" and isinstance(rule, list):
        found, expected = f"{field} is {json.dumps(value)}", f"one of {', '.join(map(str, rule))}"
        repair = near(str(value), map(str, rule))
    elif error.validator == "type":
        kinds = rule if isinstance(rule, list) else [rule]
        found, expected = f"{field} is {_short(value)}", f"a value of type {' or '.join(map(str, kinds))}"
    else:
        text = error.schema.get("description", "") if isinstance(error.schema, dict) else ""
        found, expected = f"{field} is {_short(value)}", text or f"{error.validator} {_short(rule)}"
    return Rt2dataError(f"{file}:{line_of(lines, where)}" if lines else file, found, expected.rstrip("."), repair)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
