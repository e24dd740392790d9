"""Decode the values of one field of an RLDS record.

How TFDS stores a field named ``path`` in a record:

- one list of values for the whole episode, the steps' values one after the other, each flattened in C order;
- inside further Sequences, ``path/ragged_flat_values`` and, per level, ``path/ragged_row_lengths_I`` (outermost first);
- integers and bools as int64 varints (uint64 as its int64 bit pattern), all floats as float32, text as bytes;
- with encoding ``bytes`` or ``zlib``, each step's array as one string of its native little-endian bytes; where several
  of its lengths vary, ``path/value`` holds the strings and ``path/shape`` the shapes;
- images as one encoded string per step.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rt2data.rlds.features import Field, Shape
from rt2data.rlds.tf_example import (
    BYTES,
    FLOATS,
    INTS,
    KINDS,
    Malformed,
    Span,
    find_repeated,
    find_strings,
    read_floats,
    read_integers,
)

MAX_TENSOR_BYTES = 1 << 28
"""Limit on one decompressed tensor where its declared shape sets none or a higher one: two 4K float32 RGBD frames."""


class ImageRefs(NamedTuple):
    """Positions of n encoded images in a file: `offset` and `length` in bytes, int64 (n,); length 0: stored empty."""

    offset: NDArray[np.int64]
    length: NDArray[np.int64]


class StoredField(NamedTuple):
    """How a field is stored in every record of a file."""

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
        """Whether this field alone tells the number of steps, in every record."""
        return self.field.per_step and not self.field.optional and (self.kind == BYTES or bool(self.rows or self.size))


def explain_unreadable(field: Field) -> str:
    """Say why `field` cannot be read; "" if it can."""
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


def locate_values(field: Field) -> StoredField:
    """Find out how TFDS stores a field (see above)."""
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
    return StoredField(field, values, rows, shapes, kind, dtype, item, 0 if item is None else math.prod(item))


def decode_field(
    view: memoryview, stored: StoredField, span: Span, spans: Mapping[bytes, Span], steps: int | None
) -> tuple[Any, int]:
    """Decode the value of a field; returns it and, for a field per step, the number of steps.

    What the value is, `rt2data.rlds.episodes.Episode` says. `steps` is None as long as no field has told their number.
    """
    field = stored.field
    if span.kind != stored.kind and span.start != span.end:  # an empty list says nothing by its kind
        raise Malformed(span.start, KINDS[span.kind], f"{KINDS[stored.kind]} ({field.kind} of {field.dtype})")
    flat: Any
    if stored.kind == BYTES:
        flat, count = _strings(view, stored, span, spans)
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
        return _rows(view, stored, span, flat, count, spans)
    if field.sequence:
        if not field.per_step and field.shape[0] not in (None, count):
            raise Malformed(span.start, f"{count} values", f"{field.shape[0]}")
        return flat, count
    if count != 1:
        raise Malformed(span.start, f"{count} values of shape {field.shape}", "one, for the episode")
    return (flat if isinstance(flat, ImageRefs) else flat[0] if stored.item else _single(flat)), count


def _single(flat: Any) -> Any:
    """Return the only value in `flat`, a scalar as an array without dimensions."""
    return flat.reshape(()) if isinstance(flat, np.ndarray) else flat[0]


def _numbers(view: memoryview, stored: StoredField, span: Span) -> NDArray[Any]:
    """Read the numbers of a field as its declared dtype, (n,); integers that it cannot hold raise."""
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


def _varying(flat: NDArray[Any], stored: StoredField, span: Span, steps: int | None) -> tuple[NDArray[Any], int]:
    """Reshape numbers of which one length is not declared: it follows from their count."""
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


def _strings(view: memoryview, stored: StoredField, span: Span, spans: Mapping[bytes, Span]) -> tuple[Any, int]:
    """Read a field that is stored as strings: image positions, texts or decoded arrays; and their number."""
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
    shapes = _shapes(view, stored, len(texts), spans)
    arrays = [_array(text, stored, shape, start) for text, shape, start in zip(texts, shapes, starts, strict=True)]
    if stored.item is None:
        return arrays, len(arrays)
    return (np.stack(arrays) if arrays else np.empty((0, *stored.item), stored.dtype)), len(arrays)


def _text_array(texts: list[bytes], stored: StoredField, span: Span) -> tuple[NDArray[np.object_], int]:
    if stored.item is None or not stored.size:
        raise Malformed(span.start, f"text of shape {stored.field.shape}", "text whose lengths are declared")
    if len(texts) % stored.size:
        raise Malformed(span.start, f"{len(texts)} texts", f"a multiple of {stored.size} (shape {stored.field.shape})")
    array = np.empty(len(texts), object)
    array[:] = texts
    count = len(texts) // stored.size
    return array.reshape(count, *stored.item), count


def _shapes(view: memoryview, stored: StoredField, count: int, spans: Mapping[bytes, Span]) -> list[Shape]:
    """Return the shape of each encoded tensor, with None for a length that its bytes must tell."""
    declared = stored.field.item_shape
    if stored.shapes is None:
        return [declared] * count
    span = _companion(stored, stored.shapes, spans)
    numbers = read_integers(view, span)
    if numbers.size != count * len(declared) or (numbers < 0).any():
        raise Malformed(span.start, f"{numbers.size} lengths", f"{count} shapes of {len(declared)} lengths from 0")
    rows: list[list[int]] = numbers.reshape(count, len(declared)).tolist()
    for row in rows:
        if any(size not in (None, length) for size, length in zip(declared, row, strict=True)):
            raise Malformed(span.start, f"shape {tuple(row)}", f"one that fits {declared}")
    return [tuple(row) for row in rows]


def _array(text: bytes, stored: StoredField, shape: Shape, offset: int) -> NDArray[Any]:
    """Decode the tensor whose bytes, perhaps compressed, are `text`."""
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
        shape = tuple(length if size is None else size for size in shape)
    elif size != known:
        raise Malformed(offset, f"{size} bytes of {dtype}", f"{known} (shape {shape})")
    if dtype == np.bool_:
        return np.frombuffer(text, np.uint8).astype(bool).reshape(shape)  # type: ignore[arg-type]
    return np.frombuffer(text, dtype.newbyteorder("<")).reshape(shape)  # type: ignore[arg-type]


def _inflate(text: bytes, most: int, offset: int) -> bytes:
    """Decompress `text`; more than `most` bytes, a truncated stream or bytes after it raise."""
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
    view: memoryview, stored: StoredField, span: Span, flat: Any, count: int, spans: Mapping[bytes, Span]
) -> tuple[Any, int]:
    """Cut `flat`, `count` values, into the rows of the Sequences inside the outermost one, innermost first."""
    field = stored.field
    lengths = field.shape if field.per_step else field.shape[1:]
    for level in reversed(range(len(stored.rows))):
        row_span = _companion(stored, stored.rows[level], spans)
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


def _companion(stored: StoredField, name: bytes, spans: Mapping[bytes, Span]) -> Span:
    """Return the feature that holds row lengths or shapes of the values of `stored`."""
    span = spans.get(name)
    if span is None:
        raise Malformed(spans[stored.values].start, f'no feature "{name.decode()}"', "one beside the values")
    if span.kind != INTS and span.start != span.end:
        raise Malformed(span.start, f'{KINDS[span.kind]} in "{name.decode()}"', "integers")
    return span
