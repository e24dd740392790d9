"""Episodes: the values of one RLDS record, decoded field by field from the positions that `example.spans` finds.

How TFDS stores a field named ``path`` in a record:

- one list of values for the whole episode, the steps' values one after the other, each flattened in C order;
- inside further Sequences, ``path/ragged_flat_values`` and, per level, ``path/ragged_row_lengths_I`` (outermost first);
- integers and bools as int64 varints (uint64 as its int64 bit pattern), all floats as float32, text as bytes;
- with encoding ``bytes`` or ``zlib``, each step's array as one string of its native little-endian bytes; when more than
  one of its lengths varies, ``path/value`` holds the strings and ``path/shape`` the shapes;
- images as one encoded string per step.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rt2data.errors import Rt2dataError, near
from rt2data.rlds.features import Field, Shape
from rt2data.rlds.tf_example import (
    BYTES,
    FLOATS,
    INTS,
    KINDS,
    Malformed,
    Span,
    find_repeated,
    find_spans,
    find_strings,
    list_names,
    read_floats,
    read_integers,
)
from rt2data.rlds.tfrecord import Record

MAX_TENSOR_BYTES = 1 << 28
"""Limit on one decompressed tensor, should its declared shape set none or a higher one: two 4K float32 RGBD frames."""


class ImageRefs(NamedTuple):
    """Where encoded images lie: `offset` and `length` in bytes, int64 (n,), absolute in the shard's file.

    An image of length 0 was stored empty.
    """

    offset: NDArray[np.int64]
    length: NDArray[np.int64]


class Episode:
    """One record: where it lies, how many steps it has, and the wanted fields, by ``episode[path]``.

    What ``episode[path]`` is:

    - tensor per step: ndarray (T, *shape) of the declared dtype; read-only and a view of the file's buffer (which may
      be unaligned) where the stored form allows, as for float32;
    - tensor per episode: ndarray (*shape);
    - image: `ImageRefs` of T images per step, of one per episode;
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


class _Stored(NamedTuple):
    """A field with what reading it needs, worked out once per file."""

    field: Field
    values: bytes  # name of the feature with the values
    rows: tuple[bytes, ...]  # names of the features with row lengths
    shapes: bytes | None  # name of the feature with the shapes, where several lengths vary
    kind: int  # BYTES, FLOATS or INTS
    dtype: np.dtype[Any] | None  # of the decoded array; None: strings
    item: tuple[int, ...] | None  # shape of one value; None where a length varies
    size: int  # numbers in one value; 0 where a length varies

    @property
    def counts_steps(self) -> bool:
        """Whether the number of steps follows from this field alone, in every record."""
        return self.field.per_step and not self.field.optional and (self.kind == BYTES or bool(self.rows or self.size))


class Reader:
    """Reads the `wanted` of `fields` from records; `path` is named in errors."""

    def __init__(self, fields: Mapping[str, Field], wanted: Sequence[str], path: str) -> None:
        unknown = [name for name in wanted if name not in fields]
        if unknown:
            expected = f"one of the {len(fields)} fields of features.json"
            raise Rt2dataError(path, f'unknown field "{unknown[0]}"', expected, near(unknown[0], fields))
        for name in wanted:
            problem = _unreadable(fields[name])
            if problem:
                raise Rt2dataError(f'{path}: field "{name}"', problem, "a layout that can be read")
        stored = [_stored(fields[name]) for name in dict.fromkeys(wanted)]
        # Fields that tell the number of steps come first; where none of the wanted ones does, another is read for it.
        stored.sort(key=lambda one: not one.counts_steps)
        self._stored = stored
        self._extra = "" if stored and stored[0].counts_steps else _counter(fields, path)
        if self._extra:
            self._stored = [_stored(fields[self._extra]), *stored]
        self._names = frozenset(
            name for one in self._stored for name in (one.values, *one.rows, one.shapes) if name is not None
        )

    def episode(self, view: memoryview, number: int, record: Record) -> Episode:
        """The episode in `record`; raises `Malformed`."""
        end = record.offset + record.length
        found = find_spans(view, record.offset, end, self._names)
        values: dict[str, Any] = {}
        steps: int | None = None
        for stored in self._stored:
            field = stored.field
            span = found.get(stored.values)
            if span is None:
                if not field.optional:
                    raise _missing(view, record, stored)
                values[field.path] = None
                continue
            try:
                value, count = _decode(view, stored, span, found, steps)
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


def _unreadable(field: Field) -> str:
    """Why `field` cannot be read; "" if it can."""
    if field.kind == "unsupported":
        return f"a feature that rt2data does not know ({field.doc})"
    unknown = field.item_shape.count(None) if field.kind in ("tensor", "audio") else 0
    if unknown > 1 and field.ragged:
        return "several varying lengths inside a Sequence inside the steps"
    if unknown > 1 and field.encoding == "none":
        return "several varying lengths and no encoding, which TFDS refuses to write"
    if unknown and field.encoding == "none" and (field.ragged or (field.sequence and not field.per_step)):
        return "a varying length inside a Sequence and no encoding, which TFDS cannot read either"
    return ""


def _stored(field: Field) -> _Stored:
    name = field.path.encode()
    shape = () if field.kind == "image" else field.item_shape
    encoded = field.kind in ("tensor", "audio") and field.encoding in ("bytes", "zlib")
    rows = tuple(name + b"/ragged_row_lengths_%d" % level for level in range(field.ragged))
    values = name + b"/ragged_flat_values" if rows else name
    shapes = None
    if encoded and shape.count(None) > 1:
        values, shapes = name + b"/value", name + b"/shape"
    dtype = None if field.dtype == "string" or field.kind == "image" else np.dtype(field.dtype)
    kind = BYTES if encoded or dtype is None else FLOATS if dtype.kind == "f" else INTS
    item = None if None in shape else tuple(size for size in shape if size is not None)
    return _Stored(field, values, rows, shapes, kind, dtype, item, 0 if item is None else math.prod(item))


def _counter(fields: Mapping[str, Field], path: str) -> str:
    """The cheapest field that tells the number of steps; "" where no field is per step."""
    per_step = [field for field in fields.values() if field.per_step]
    able = [field for field in per_step if not _unreadable(field) and _stored(field).counts_steps]
    if per_step and not able:
        raise Rt2dataError(path, "no field that tells the number of steps", "one per step whose lengths are declared")
    able.sort(key=lambda field: (field.dtype != "bool", field.shape != (), _stored(field).size, field.path))
    return able[0].path if able else ""


def _missing(view: memoryview, record: Record, stored: _Stored) -> Malformed:
    present = [
        name.decode("utf-8", "replace") for name in list_names(view, record.offset, record.offset + record.length)
    ]
    problem = Malformed(record.offset, f'no feature "{stored.values.decode()}" in the record', "every declared field")
    problem.field = stored.field.path
    problem.repair = near(stored.values.decode(), present)
    return problem


def _decode(
    view: memoryview, stored: _Stored, span: Span, found: Mapping[bytes, Span], steps: int | None
) -> tuple[Any, int]:
    """The value of a field and, per step, for how many steps it has one."""
    field = stored.field
    if span.kind != stored.kind and span.start != span.end:  # an empty list says nothing by its kind
        raise Malformed(span.start, KINDS[span.kind], f"{KINDS[stored.kind]} ({field.kind} of {field.dtype})")
    flat: Any
    if stored.kind == BYTES:
        flat, count = _strings(view, stored, span, found)
    else:
        flat = _numbers(view, stored, span)
        if stored.item is None:
            return _varying(flat, stored, span, steps)
        if stored.size:
            count = flat.size // stored.size
        else:  # a declared length of 0: nothing is stored
            count = (steps or 0) if field.per_step else 1
        if count * stored.size != flat.size:
            raise Malformed(span.start, f"{flat.size} numbers", f"a multiple of {stored.size} (shape {field.shape})")
        flat = flat.reshape(count, *stored.item)
    if stored.rows:
        return _rows(view, stored, span, flat, count, found)
    if field.sequence:
        if not field.per_step and field.shape[0] not in (None, count):
            raise Malformed(span.start, f"{count} values", f"{field.shape[0]}")
        return flat, count
    if count != 1:
        raise Malformed(span.start, f"{count} values of shape {field.shape}", "one, for the episode")
    return (flat if isinstance(flat, ImageRefs) else flat[0] if stored.item else _single(flat)), count


def _single(flat: Any) -> Any:
    """The one value in `flat`, a scalar as an array without dimensions."""
    return flat.reshape(()) if isinstance(flat, np.ndarray) else flat[0]


def _numbers(view: memoryview, stored: _Stored, span: Span) -> NDArray[Any]:
    """The numbers of a field as its declared dtype, (n,); integers that it cannot hold raise."""
    dtype = stored.dtype
    if span.start == span.end:
        return np.empty(0, dtype)
    if stored.kind == FLOATS:
        stored_floats = read_floats(view, span)
        return stored_floats if dtype == np.float32 else stored_floats.astype(dtype)
    wide = read_integers(view, span)
    if dtype == np.bool_:
        flags: NDArray[Any] = wide != 0
        return flags
    if dtype == np.uint64:
        return wide.view(np.uint64)
    narrow: NDArray[Any] = wide.astype(dtype, copy=False)
    if narrow is not wide and (narrow != wide).any():
        value = int(wide[narrow != wide][0])
        raise Malformed(span.start, f"the number {value}", f"numbers that fit {dtype}")
    return narrow


def _varying(flat: NDArray[Any], stored: _Stored, span: Span, steps: int | None) -> tuple[NDArray[Any], int]:
    """Numbers of a shape with one length that is not declared: it follows from how many there are."""
    field = stored.field
    if field.per_step and steps is None:
        raise Malformed(span.start, f"{flat.size} numbers of shape {field.shape} per step", "a field that counts steps")
    count = steps if field.per_step and steps is not None else 1
    rest = count * math.prod(size for size in field.item_shape if size is not None)
    length = flat.size // rest if rest else 0
    if length * rest != flat.size:
        raise Malformed(span.start, f"{flat.size} numbers", f"a multiple of {rest} (shape {field.shape})")
    shape = tuple(length if size is None else size for size in field.item_shape)
    return flat.reshape(count, *shape) if field.per_step else flat.reshape(shape), count


def _strings(view: memoryview, stored: _Stored, span: Span, found: Mapping[bytes, Span]) -> tuple[Any, int]:
    """The values of a field stored as strings, and their number: image positions, texts or decoded arrays."""
    field = stored.field
    if stored.dtype is None and not field.item_shape and field.kind != "image":
        same = find_repeated(view, span)  # an instruction is stored with every step
        if same is not None:
            return [same[0]] * same[1], same[1]
    starts, lengths = find_strings(view, span)
    if field.kind == "image":
        return ImageRefs(np.array(starts, np.int64), np.array(lengths, np.int64)), len(starts)
    texts = [view[start : start + length].tobytes() for start, length in zip(starts, lengths, strict=True)]
    if stored.dtype is None:
        if not field.item_shape:
            return texts, len(texts)
        return _text_array(texts, stored, span)
    shapes = _shapes(view, stored, len(texts), found)
    arrays = [
        _array(text, stored, shape, start) for text, shape, start in zip(texts, shapes, starts, strict=True)
    ]  # fmt: skip
    if stored.item is None:
        return arrays, len(arrays)
    return (np.stack(arrays) if arrays else np.empty((0, *stored.item), stored.dtype)), len(arrays)


def _text_array(texts: list[bytes], stored: _Stored, span: Span) -> tuple[NDArray[np.object_], int]:
    if stored.item is None or not stored.size:
        raise Malformed(span.start, f"text of shape {stored.field.shape}", "text whose lengths are declared")
    if len(texts) % stored.size:
        raise Malformed(span.start, f"{len(texts)} texts", f"a multiple of {stored.size} (shape {stored.field.shape})")
    array = np.empty(len(texts), object)
    array[:] = texts
    count = len(texts) // stored.size
    return array.reshape(count, *stored.item), count


def _shapes(view: memoryview, stored: _Stored, count: int, found: Mapping[bytes, Span]) -> list[Shape]:
    """The shape of each encoded tensor, with None for a length that its bytes must tell."""
    declared = stored.field.item_shape
    if stored.shapes is None:
        return [declared] * count
    span = _companion(stored, stored.shapes, found)
    numbers = read_integers(view, span)
    if numbers.size != count * len(declared) or (numbers < 0).any():
        raise Malformed(span.start, f"{numbers.size} lengths", f"{count} shapes of {len(declared)} lengths from 0")
    rows: list[list[int]] = numbers.reshape(count, len(declared)).tolist()
    for row in rows:
        if any(size not in (None, length) for size, length in zip(declared, row, strict=True)):
            raise Malformed(span.start, f"shape {tuple(row)}", f"one that fits {declared}")
    return [tuple(row) for row in rows]


def _array(text: bytes, stored: _Stored, shape: Shape, offset: int) -> NDArray[Any]:
    """The tensor whose (compressed) bytes are `text`."""
    dtype = stored.dtype
    if dtype is None:  # strings have been dealt with
        raise TypeError(stored.field.path)
    known = math.prod(size for size in shape if size is not None) * dtype.itemsize
    if stored.field.encoding == "zlib":
        text = _inflate(text, MAX_TENSOR_BYTES if None in shape else min(known, MAX_TENSOR_BYTES), offset)
    size = len(text)
    if None in shape:
        length = size // known if known else 0
        if length * known != size:
            raise Malformed(offset, f"{size} bytes of {dtype}", f"a multiple of {known} (shape {shape})")
        shape = tuple(length if one is None else one for one in shape)
    elif size != known:
        raise Malformed(offset, f"{size} bytes of {dtype}", f"{known} (shape {shape})")
    if dtype == np.bool_:
        return np.frombuffer(text, np.uint8).astype(bool).reshape(shape)  # type: ignore[arg-type]
    return np.frombuffer(text, dtype.newbyteorder("<")).reshape(shape)  # type: ignore[arg-type]


def _inflate(text: bytes, most: int, offset: int) -> bytes:
    """`text` decompressed; more than `most` bytes, fewer than the stream says, or bytes after it raise."""
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(text, most + 1)
    except zlib.error as error:
        raise Malformed(offset, f"a damaged zlib stream ({error})", "a zlib stream") from None
    if len(data) > most:
        raise Malformed(offset, f"a zlib stream of more than {most} bytes", f"at most {most}")
    if not stream.eof or stream.unused_data:
        raise Malformed(offset, "a zlib stream that does not end with its value", "a whole zlib stream")
    return data


def _rows(
    view: memoryview, stored: _Stored, span: Span, flat: Any, count: int, found: Mapping[bytes, Span]
) -> tuple[Any, int]:
    """`flat`, `count` values, cut into the rows of the Sequences inside the outermost one, innermost first."""
    field = stored.field
    lengths = field.shape if field.per_step else field.shape[1:]
    for level in reversed(range(len(stored.rows))):
        row_span = _companion(stored, stored.rows[level], found)
        rows = read_integers(view, row_span)
        # No row is longer than `count` where the sum is formed, so that it cannot overflow.
        if (rows < 0).any() or (rows > count).any() or rows.sum() != count:
            raise Malformed(row_span.start, f"row lengths that do not sum to {count}", f"rows of the {count} values")
        declared = lengths[level]
        if declared is not None and (rows != declared).any():
            raise Malformed(row_span.start, "rows of other lengths", f"rows of {declared}")
        count = rows.size
        if declared is not None and isinstance(flat, np.ndarray):
            flat = flat.reshape(count, declared, *flat.shape[1:])
            continue
        bounds = [0, *np.cumsum(rows).tolist()]
        flat = [_cut(flat, first, last) for first, last in pairwise(bounds)]
    if not field.per_step and field.shape[0] not in (None, count):
        raise Malformed(span.start, f"{count} values", f"{field.shape[0]}")
    return flat, count


def _cut(flat: Any, first: int, last: int) -> Any:
    if isinstance(flat, ImageRefs):
        return ImageRefs(flat.offset[first:last], flat.length[first:last])
    return flat[first:last]


def _companion(stored: _Stored, name: bytes, found: Mapping[bytes, Span]) -> Span:
    """The feature that goes with the values of `stored` and holds row lengths or shapes."""
    span = found.get(name)
    if span is None:
        raise Malformed(found[stored.values].start, f'no feature "{name.decode()}"', "one beside the values")
    if span.kind != INTS and span.start != span.end:
        raise Malformed(span.start, f'{KINDS[span.kind]} in "{name.decode()}"', "integers")
    return span
