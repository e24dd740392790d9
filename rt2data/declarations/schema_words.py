"""Say in words what a violation of a JSON Schema found and what would be right; the schema's own terms stay inside."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, cast

import jsonschema

from rt2data.errors import near

Where = tuple[Hashable, ...]

# What a rule expects; for other rules the schema's description is used.
_RULES = {
    "minimum": "at least {}", "maximum": "at most {}", "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}", "minLength": "text of {} or more characters",
    "maxLength": "text of at most {} characters", "minItems": "{} or more entries", "maxItems": "at most {} entries",
    "minProperties": "{} or more entries", "maxProperties": "at most {} entries", "uniqueItems": "no entry twice",
    "const": "{}",
}  # fmt: skip
_TYPES = {
    "object": "fields with values", "array": "a list", "string": "text", "integer": "a whole number",
    "number": "a number", "boolean": "true or false", "null": "nothing",
}  # fmt: skip


def explain(error: jsonschema.ValidationError) -> tuple[Where, str, str, str]:
    """Explain a violation.

    Returns:
        Where it is in the file, what was found there, what was expected, and how to repair it, if that is known.
    """
    where: Where = tuple(error.absolute_path)
    value, rule = error.instance, error.validator_value
    own: Any = error.schema
    field = f'"{dotted_path(where)}"' if where else "the file"
    if error.validator in ("oneOf", "anyOf"):
        forms: list[dict[str, Any]] = list(cast("Any", rule))
        if all(set(form) == {"required"} for form in forms):
            expected = " or ".join(f"the field {_expected(form)}" for form in forms)
            return where, f"{field} is {_short(value)}", expected, ""
        meant = _meant(error)
        return explain(meant) if meant else (where, f"{field} is {_short(value)}", _expected(own), "")
    if error.validator == "additionalProperties" and isinstance(value, dict):
        known = sorted(own.get("properties", {}))
        unknown = next(key for key in value if key not in known)
        repair = near(str(unknown), known)
        return (*where, unknown), f'unknown field "{unknown}"', f"one of {', '.join(known)}", repair
    if error.validator == "required" and isinstance(rule, list):
        missing = next(key for key in rule if key not in cast("dict[str, Any]", value))
        return where, f'{field} has no "{missing}"', f'the field "{missing}"', ""
    if "propertyNames" in error.schema_path:
        return where, f"{field} has the name {_short(value)}", _expected(own), ""
    found, repair = f"{field} is {_short(value)}", ""
    if error.validator == "enum" and isinstance(rule, list):
        expected, repair = _one_of(rule), near(str(value), map(str, rule))
    elif error.validator == "type":
        expected = _types(rule)
    elif error.validator in _RULES:
        expected = _RULES[str(error.validator)].format(_short(rule))
    else:
        expected = _expected(own)
    return where, found, expected, repair


def dotted_path(where: Iterable[Hashable]) -> str:
    """Join a path: ``sources.0.weight`` for ("sources", 0, "weight")."""
    return ".".join(str(p) for p in where)


def _meant(error: jsonschema.ValidationError) -> jsonschema.ValidationError | None:
    """Return the violation of the one form, of those allowed, that was meant; None where that cannot be told.

    A form is not meant where the value is of another type, or where a word that names the form is another.
    """
    forms: dict[Any, list[jsonschema.ValidationError]] = {}
    for inner in error.context or ():
        forms.setdefault(inner.schema_path[0], []).append(inner)
    meant = [inner for inner in forms.values() if not any(_tells_apart(error, e) for e in inner)]
    return min(meant[0], key=lambda e: (e.validator == "required", len(e.path))) if len(meant) == 1 else None


def _tells_apart(error: jsonschema.ValidationError, inner: jsonschema.ValidationError) -> bool:
    depth = len(inner.absolute_path) - len(error.absolute_path)
    return (inner.validator == "type" and depth == 0) or (inner.validator == "const" and depth <= 1)


def _expected(schema: Any) -> str:
    """Describe what a schema allows: by its description, else by its forms."""
    if not isinstance(schema, dict):
        return "no such value"
    if text := schema.get("description"):
        acronym = len(text.split()[0]) > 1 and text[:2].isupper()  # NAMESPACE:ID stays as it is
        return str(text if acronym else text[0].lower() + text[1:]).rstrip(".")
    if forms := schema.get("oneOf", schema.get("anyOf")):
        return " or ".join(dict.fromkeys(_expected(form) for form in forms))
    if "const" in schema:
        return _short(schema["const"])
    if "enum" in schema:
        return _one_of(schema["enum"])
    if set(schema) == {"required"}:
        return " and ".join(f'"{name}"' for name in schema["required"])
    words = _types(schema["type"]) if "type" in schema else "another value"
    items = schema.get("items", {})
    return f"{words} of {_many(items)}" if "type" in items and words == _TYPES["array"] else words


def _many(schema: dict[str, Any]) -> str:
    words = {"string": "texts", "integer": "whole numbers", "number": "numbers"}
    return words.get(str(schema["type"]), "values")


def _types(rule: Any) -> str:
    return " or ".join(_TYPES[str(kind)] for kind in (rule if isinstance(rule, list) else [rule]))


def _one_of(values: Sequence[Any]) -> str:
    return f"one of {', '.join(map(str, values))}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
