"""Filters of a recipe: conditions on columns of the index. A row that misses one is left out as ``filter:COLUMN``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rt2data.declarations.declaration import Declaration
from rt2data.errors import Rt2dataError, near

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]

PREFIX = "filter:"
_TEXTS = {"vqa": ("question", "answer"), "caption": ("caption",), "robot": ("instruction",)}
TEXT_LENGTHS = ("characters", "words")

PIXELS = ("brightness", "contrast")
"""Columns that the image pass (`rt2data.samples.image_pass`) finds."""

DUPLICATES = {"duplicate_episode": 1, "duplicate_image": 2}
"""Filters that look at all parts together (`rt2data.samples.duplicates`), with their bit in the column DOUBLE."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on one column. A row without a value meets it only where it does nothing but refuse values.

    Attributes:
        column: its name.
        wanted: values of which it must be one; empty: any.
        refused: values of which it must be none.
        low, high: the least and the greatest value.
        top: only this share of the rows, those with the greatest values; ties with the last of them stay.
    """

    column: str
    wanted: tuple[Any, ...] = ()
    refused: tuple[Any, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    top: float | None = None


def parse_filters(raw: Mapping[str, Any], declaration: Declaration, where: Callable[[str], str]) -> tuple[Filter, ...]:
    """The filters of a recipe's source, duplicates last. `where` names the line of a column."""
    known = list_columns(declaration)
    found = []
    for name, rule in raw.items():
        if name == "success" and declaration.robot and name not in known:
            repair = "Declare success: with its field and rule, or leave the filter out"
            raise Rt2dataError(where(name), f"{declaration.name} does not declare which episodes succeeded",
                               "a source that does", repair)  # fmt: skip
        if name not in known:
            raise Rt2dataError(where(name), f'unknown column "{name}"', f"one of {', '.join(known)}", near(name, known))
        rule = {"in": [rule]} if isinstance(rule, bool) else {"in": rule} if isinstance(rule, list) else rule
        _check(name, rule, declaration, where(name))
        wanted, refused = (tuple(_plain(value) for value in rule.get(key, ())) for key in ("in", "not"))
        bounds = {"low": rule.get("min", -math.inf), "high": rule.get("max", math.inf)}
        found.append(Filter(name, wanted, refused, top=rule.get("top"), **bounds))
    return tuple(sorted(found, key=lambda one: DUPLICATES.get(one.column, 0)))


def _check(name: str, rule: dict[str, Any], declaration: Declaration, where: str) -> None:
    values = [*rule.get("in", ()), *rule.get("not", ())]
    flags = [isinstance(value, bool) for value in values]
    if name in DUPLICATES:
        if rule != {"in": [False]}:
            raise Rt2dataError(where, f"{name}: {rule}", f"{name}: false, which keeps the first of equal ones")
    elif name == "success":
        if not values or not all(flags) or set(rule) - {"in", "not"}:
            raise Rt2dataError(where, f"success: {rule}", "true; {not: [false]} keeps episodes without a verdict too")
    elif any(flags) and not (declaration.web and name in declaration.web.columns):
        raise Rt2dataError(where, f"true or false for {name}", "numbers or texts")
    if name == "language" and not values:
        raise Rt2dataError(where, f"a number for {name}", "in: or not:, with language tags")


def _plain(value: Any) -> Any:
    """A value as a column holds it: true and false are texts."""
    return str(value).lower() if isinstance(value, bool) else value


def list_columns(declaration: Declaration) -> list[str]:
    """The columns that a source can be filtered by."""
    lengths = [f"{text}_{what}" for text in _TEXTS[declaration.kind] for what in TEXT_LENGTHS]
    own = list(declaration.web.columns) if declaration.web else ["steps"]
    own += ["success"] if declaration.robot and declaration.robot.success else []
    doubles = [name for name in DUPLICATES if declaration.robot or name != "duplicate_episode"]
    return ["language", "width", "height", *lengths, *own, *PIXELS, *doubles]
