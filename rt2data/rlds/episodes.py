"""Read the episodes of an RLDS dataset: one record is one episode, of which the wanted fields are decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rt2data.errors import Rt2dataError, near
from rt2data.rlds.features import Field
from rt2data.rlds.field_values import StoredField, decode_field, explain_unreadable, locate_values
from rt2data.rlds.tf_example import Malformed, find_spans, list_names
from rt2data.rlds.tfrecord import Record


class Episode:
    """One episode: its position in the file, its number of steps, and the wanted fields by ``episode[path]``.

    What ``episode[path]`` is:

    - tensor per step: ndarray (T, *shape) of the declared dtype; read-only and a view of the file's buffer (which may
      be unaligned) where the stored form allows, as for float32;
    - tensor per episode: ndarray (*shape);
    - image: `ImageRefs`, of T images where there is one per step, else of one;
    - text per step: list of T bytes; per episode: bytes; text of a declared shape: object ndarray (T, *shape);
    - Sequences inside a step, and encoded tensors of varying shape: list of T arrays (lists, ImageRefs), nested once
      per level; a dense array where all lengths are declared;
    - None: the field is declared optional and the record lacks it.

    Attributes:
        record: number of the record in the file, from 0.
        offset, length: of the payload in the file, in bytes.
        length_crc, data_crc: the stored, masked CRC-32Cs.
        steps: number of steps T (0 where the dataset declares no steps).
    """

    __slots__ = ("_values", "data_crc", "length", "length_crc", "offset", "record", "steps")

    def __init__(self, number: int, record: Record, steps: int, values: dict[str, Any]) -> None:
        self.record = number
        self.offset, _, self.length, self.length_crc, self.data_crc = record
        self.steps = steps
        self._values = values

    def __getitem__(self, path: str) -> Any:
        try:
            return self._values[path]
        except KeyError:
            raise Rt2dataError(
                f"record {self.record}", f'field "{path}" was not read', "a field named in `wanted`",
                near(path, self._values),
            ) from None  # fmt: skip


class Reader:
    """Reads episodes with the `wanted` of `fields` from the records of a file; `path` is named in errors."""

    def __init__(self, fields: Mapping[str, Field], wanted: Sequence[str], path: str) -> None:
        unknown = [name for name in wanted if name not in fields]
        if unknown:
            expected = f"one of the {len(fields)} fields of features.json"
            raise Rt2dataError(path, f'unknown field "{unknown[0]}"', expected, near(unknown[0], fields))
        for name in wanted:
            problem = explain_unreadable(fields[name])
            if problem:
                raise Rt2dataError(f'{path}: field "{name}"', problem, "a layout that can be read")
        stored = [locate_values(fields[name]) for name in dict.fromkeys(wanted)]
        # Fields that tell the number of steps come first. Where no wanted field does, another one is read for it.
        stored.sort(key=lambda field: not field.counts_steps)
        self._stored = stored
        self._extra = "" if stored and stored[0].counts_steps else _counter(fields, path)
        if self._extra:
            self._stored = [locate_values(fields[self._extra]), *stored]
        self._names = frozenset(
            name for field in self._stored for name in (field.values, *field.rows, field.shapes) if name is not None
        )

    def episode(self, view: memoryview, number: int, record: Record) -> Episode:
        """Decode the episode in `record`; raises `Malformed`."""
        end = record.offset + record.length
        spans = find_spans(view, record.offset, end, self._names)
        values: dict[str, Any] = {}
        steps: int | None = None
        for stored in self._stored:
            field = stored.field
            span = spans.get(stored.values)
            if span is None:
                if not field.optional:
                    raise _missing(view, record, stored)
                values[field.path] = None
                continue
            try:
                value, count = decode_field(view, stored, span, spans, steps)
                if field.per_step and count != steps:
                    if steps is not None:
                        shown = f"({', '.join(map(str, (count, *field.shape)))})".replace("None", "any")
                        raise Malformed(span.start, f"{count} values, shape {shown}", f"{steps}, one per step")
                    steps = count
            except Malformed as problem:
                problem.field = field.path
                raise
            values[field.path] = value
        if self._extra:
            values.pop(self._extra)
        return Episode(number, record, steps or 0, values)


def _counter(fields: Mapping[str, Field], path: str) -> str:
    """Return the cheapest field that tells the number of steps; "" where no field is per step."""
    per_step = [field for field in fields.values() if field.per_step]
    able = [field for field in per_step if not explain_unreadable(field) and locate_values(field).counts_steps]
    if per_step and not able:
        raise Rt2dataError(path, "no field that tells the number of steps", "one per step whose lengths are declared")
    able.sort(key=lambda field: (field.dtype != "bool", field.shape != (), locate_values(field).size, field.path))
    return able[0].path if able else ""


def _missing(view: memoryview, record: Record, stored: StoredField) -> Malformed:
    present = [
        name.decode("utf-8", "replace") for name in list_names(view, record.offset, record.offset + record.length)
    ]
    problem = Malformed(record.offset, f'no feature "{stored.values.decode()}" in the record', "every declared field")
    problem.field = stored.field.path
    problem.repair = near(stored.values.decode(), present)
    return problem
