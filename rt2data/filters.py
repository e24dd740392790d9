"""Filters of a recipe: conditions on columns of the index. A row that misses one is left out as ``filter:COLUMN``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from rt2data import index
from rt2data.declaration import Declaration
from rt2data.errors import Rt2dataError, near

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]

PREFIX = "filter:"
_TEXTS = {"vqa": ("question", "answer"), "caption": ("caption",), "robot": ("instruction",)}
_COLUMN = {"question": "question", "answer": "answers", "caption": "captions", "instruction": "instruction"}
_LENGTHS = ("characters", "words")


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


def parse(raw: Mapping[str, Any], declaration: Declaration, where: Callable[[str], str]) -> tuple[Filter, ...]:
    """The filters of a recipe's source. `where` names the line of a column."""
    known = columns(declaration)
    found = []
    for name, rule in raw.items():
        if name not in known:
            raise Rt2dataError(where(name), f'unknown column "{name}"', f"one of {', '.join(known)}", near(name, known))
        if isinstance(rule, list):
            found.append(Filter(name, wanted=tuple(rule)))
            continue
        bounds = {"low": rule.get("min", -math.inf), "high": rule.get("max", math.inf)}
        found.append(Filter(name, tuple(rule.get("in", ())), tuple(rule.get("not", ())), top=rule.get("top"), **bounds))
        if name == "language" and not (found[-1].wanted or found[-1].refused):
            raise Rt2dataError(where(name), f"a number for {name}", "in: or not:, with language tags")
    return tuple(found)


def columns(declaration: Declaration) -> list[str]:
    """The columns that a source can be filtered by."""
    lengths = [f"{text}_{what}" for text in _TEXTS[declaration.kind] for what in _LENGTHS]
    own = list(declaration.web.columns) if declaration.web else ["steps"]
    return ["language", "width", "height", *lengths, *own]


def passes(table: pa.Table, one: Filter, camera: str) -> Mask:
    """Which rows of an index meet a filter, bool (rows,). Width and height are those of `camera`'s image."""
    if one.column == "language":
        codes, values = index.codes(table, "language")
        ok = np.array([_among(one, value) for value in [*values, None]], np.bool_)  # the last one is for null
        return np.asarray(ok[codes]) if len(codes) else np.zeros(0, np.bool_)
    least, greatest, texts = _values(table, one.column, camera)
    found = np.ones(len(least), np.bool_)
    if math.isfinite(one.low) or math.isfinite(one.high):  # a row without a number, NaN, compares as false
        found = (least >= one.low) & (greatest <= one.high)
    if one.wanted or one.refused:
        pairs = zip(texts or [None] * len(least), least.tolist(), strict=True)
        values = [text if text is not None else None if math.isnan(number) else number for text, number in pairs]
        found &= np.array([_among(one, value) for value in values], np.bool_)
    return np.asarray(found)


def _among(one: Filter, value: Any) -> bool:
    return value not in one.refused and (not one.wanted or value in one.wanted)


def _values(table: pa.Table, column: str, camera: str) -> tuple[Numbers, Numbers, list[str | None]]:
    """The least and greatest number of each row (NaN: none), and its text where the column has texts."""
    if column in ("width", "height", "steps"):
        numbers = index.numbers(table, column if column == "steps" else f"{camera}.{column}").astype(np.float64)
        return numbers, numbers, []
    text, _, what = column.rpartition("_")
    if what in _LENGTHS and text in _COLUMN:
        return *_lengths(table.column(_COLUMN[text]), what), []
    stored = table.column(f"{index.COLUMN}{column}").combine_chunks()
    stored = pa.concat_arrays(stored.chunks) if isinstance(stored, pa.ChunkedArray) and stored.num_chunks else stored
    if isinstance(stored, pa.ChunkedArray):
        return np.empty(0), np.empty(0), []
    numbers = stored.field("number").to_numpy(zero_copy_only=False).astype(np.float64)
    return numbers, numbers, stored.field("text").to_pylist()


def _lengths(column: pa.ChunkedArray, what: str) -> tuple[Numbers, Numbers]:
    """The shortest and the longest text of each row, in characters (Unicode code points) or words."""
    least, greatest = [np.empty(0)], [np.empty(0)]
    for chunk in column.chunks:
        chunk = chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk
        single = not pa.types.is_list(chunk.type)
        flat = chunk if single else chunk.flatten()
        if what == "characters":
            counts = pa.compute.utf8_length(flat)
        else:
            counts = pa.compute.count_substring_regex(flat, pattern=r"\S+")
        numbers = counts.cast(pa.float64()).to_numpy(zero_copy_only=False)
        if single:
            least.append(numbers)
            greatest.append(numbers)
            continue
        sizes = pa.compute.list_value_length(chunk).fill_null(0).to_numpy().astype(np.int64)
        rows = np.repeat(np.arange(len(sizes)), sizes)
        low, high = np.full(len(sizes), np.inf), np.full(len(sizes), -np.inf)
        np.minimum.at(low, rows, numbers)
        np.maximum.at(high, rows, numbers)
        least.append(np.where(sizes > 0, low, np.nan))
        greatest.append(np.where(sizes > 0, high, np.nan))
    return np.concatenate(least), np.concatenate(greatest)


def resolve(
    filters: Sequence[Filter], rows: Callable[[Sequence[Filter]], Iterable[tuple[pa.Table, Mask]]], camera: str
) -> tuple[Filter, ...]:
    """The filters with a number in place of each share.

    Args:
        filters: of a source.
        rows: the source's index tables, and which of their rows are usable and meet the filters that it is given.
        camera: whose width and height are meant.
    """
    found = [one for one in filters if one.top is None]
    for one in filters:
        if one.top is None:
            continue
        values = np.concatenate([np.empty(0), *(_values(t, one.column, camera)[0][kept] for t, kept in rows(found))])
        values = values[~np.isnan(values)]
        number = math.ceil(Fraction(repr(one.top)) * len(values))  # 0.2 is a fifth
        low = float(np.partition(values, len(values) - number)[len(values) - number]) if number else -math.inf
        found.append(replace(one, low=max(low, one.low), top=None))
    return tuple(sorted(found, key=lambda one: [f.column for f in filters].index(one.column)))
