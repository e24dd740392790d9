"""Read the wire format of ``tf.train.Example`` in place: the position of each feature's values, and numbers as arrays.

An Example is ``{1: Features}``, Features ``{1: entry}*``, an entry ``{1: key, 2: Feature}``, a Feature one of
``{1: BytesList | 2: FloatList | 3: Int64List}``, each list ``{1: values}*`` (protobuf; numbers packed or not).
`find_spans` skips values, so an image costs a few byte reads whatever its size.

Every function takes the buffer of the whole file and absolute positions, and returns positions in the file. Malformed
bytes raise `Malformed` with the position, and nothing else.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BYTES, FLOATS, INTS = 1, 2, 3  # field numbers inside Feature
KINDS = {0: "no values", BYTES: "bytes", FLOATS: "floats", INTS: "integers"}


class Malformed(Exception):
    """Bytes that do not decode; `dataset` turns it into an `Rt2dataError` that names path and record.

    Attributes:
        offset: position in the file, in bytes.
        found, expected: as in `Rt2dataError`.
        field: path of the field at fault, where known.
        repair: as in `Rt2dataError`.
    """

    def __init__(self, offset: int, found: str, expected: str) -> None:
        super().__init__(f"byte {offset}: {found}; expected {expected}")
        self.offset, self.found, self.expected = offset, found, expected
        self.field: str | None = None
        self.repair = ""


class Span(NamedTuple):
    """The position of a feature's values: the body of its list, `start` to `end` in the file.

    `kind` is BYTES, FLOATS, INTS or, for a feature without a list, 0.
    """

    kind: int
    start: int
    end: int


def find_spans(view: memoryview, start: int, end: int, wanted: Container[bytes]) -> dict[bytes, Span]:
    """Find the features of the Example at `start`..`end` whose names are in `wanted`; returns them by name.

    Of several entries with one name the last counts, as in protobuf.
    """
    spans: dict[bytes, Span] = {}
    position = start
    try:
        while position < end:
            if view[position] != 0x0A:
                position = _skip(view, position, end)
                continue
            position, stop = _body(view, position + 1, end)
            while position < stop:
                if view[position] != 0x0A:
                    position = _skip(view, position, stop)
                    continue
                # The bodies below are unrolled, without calls: this loop runs for every field of every episode.
                length = view[position + 1]
                position += 2
                if length > 127:
                    length, position = _varint(view, position - 1)
                limit = position + length
                if limit > stop:
                    raise Malformed(position, f"an entry of {length} bytes", f"at most {stop - position}, what is left")
                # The form that every writer uses: key, then value, then one list that fills it. Names are short.
                if length > 2 and view[position] == 0x0A and (width := view[position + 1]) < 128:
                    key_end = position + 2 + width
                    if key_end < limit:
                        key = view[position + 2 : key_end].tobytes()
                        if key not in wanted:
                            position = limit
                            continue
                        if view[key_end] == 0x12:
                            body, body_end = _body(view, key_end + 1, limit)
                            if body_end == limit and body < limit and (tag := view[body]) in _LIST_TAGS:
                                first, last = _body(view, body + 1, limit)
                                if last == limit:
                                    spans[key] = Span(tag >> 3, first, last)
                                    position = limit
                                    continue
                key, span = _entry(view, position, limit)
                if key in wanted:
                    spans[key] = span
                position = limit
    except IndexError:
        raise Malformed(end, "the end of the file", "the rest of a tf.train.Example") from None
    return spans


def list_names(view: memoryview, start: int, end: int) -> list[bytes]:
    """List the names of all features of the Example at `start`..`end`, sorted; for error messages."""
    every = _Everything()
    return sorted(find_spans(view, start, end, every))


def find_strings(view: memoryview, span: Span) -> tuple[list[int], list[int]]:
    """Return positions and lengths of the values of a BytesList, both as long as the list."""
    starts: list[int] = []
    lengths: list[int] = []
    add_start, add_length = starts.append, lengths.append
    position, end = span.start, span.end
    try:
        while position < end:
            if view[position] != 0x0A:
                position = _skip(view, position, end)
                continue
            # The varint is unrolled: this loop runs once per image of the dataset.
            length = view[position + 1]
            position += 2
            if length > 127:
                byte = view[position]
                position += 1
                length += (byte << 7) - 128
                if byte > 127:
                    byte = view[position]
                    position += 1
                    length += (byte << 14) - (128 << 7)
                    if byte > 127:
                        byte = view[position]
                        position += 1
                        length += (byte << 21) - (128 << 14)
                        if byte > 127:
                            more, position = _varint(view, position)
                            length += (more << 28) - (128 << 21)
            add_start(position)
            add_length(length)
            position += length
    except IndexError:
        raise Malformed(end, "the end of the file", "the rest of a list of values") from None
    if position > end:
        raise Malformed(end, f"a value that ends at byte {position}", f"one that ends at byte {end} or before")
    return starts, lengths


def find_repeated(view: memoryview, span: Span) -> tuple[bytes, int] | None:
    """Return a BytesList's value and count where all values are equal; None where they differ or exceed 127 bytes."""
    raw = view[span.start : span.end].tobytes()
    if len(raw) < 2 or raw[0] != 0x0A or raw[1] > 127:
        return None
    count, rest = divmod(len(raw), 2 + raw[1])
    first = raw[: 2 + raw[1]]
    return (first[2:], count) if not rest and raw == first * count else None


def read_floats(view: memoryview, span: Span) -> NDArray[np.float32]:
    """Read a FloatList, float32 (n,): a view, perhaps unaligned, where it is packed, which is usual."""
    start, end = span.start, span.end
    if start == end:
        return np.empty(0, np.float32)
    runs: list[NDArray[np.float32]] = []
    for wire, first, last in _values(view, start, end, unpacked=5):
        if wire == 2 and (last - first) % 4:
            raise Malformed(first, f"{last - first} bytes of packed floats", "a multiple of 4")
        runs.append(np.frombuffer(view, np.dtype("<f4"), (last - first) // 4, first))
    return runs[0] if len(runs) == 1 else np.concatenate(runs) if runs else np.empty(0, np.float32)


def read_integers(view: memoryview, span: Span) -> NDArray[np.int64]:
    """Read an Int64List, int64 (n,)."""
    start, end = span.start, span.end
    if start == end:
        return np.empty(0, np.int64)
    if view[start] == 0x08:  # not packed: a stream of varints "tag 8, value, tag 8, value ..."
        numbers, widths = _varints(view, start, end)
        if numbers.size % 2 == 0 and (numbers[::2] == 8).all() and (widths is None or (widths[::2] == 1).all()):
            return numbers[1::2]
    runs = [_varints(view, first, last)[0] for _, first, last in _values(view, start, end, unpacked=0)]
    return runs[0] if len(runs) == 1 else np.concatenate(runs) if runs else np.empty(0, np.int64)


_LIST_TAGS = frozenset({0x0A, 0x12, 0x1A})


class _Everything:
    def __contains__(self, name: object) -> bool:
        return True


def _entry(view: memoryview, start: int, end: int) -> tuple[bytes, Span]:
    """Return name and values of a map entry in any form that protobuf allows, except a value in several parts."""
    key, values = b"", Span(0, end, end)
    seen = False
    position = start
    while position < end:
        tag = view[position]
        if tag == 0x0A:
            first, position = _body(view, position + 1, end)
            key = view[first:position].tobytes()
        elif tag == 0x12:
            if seen:
                raise Malformed(position, "a second value in one entry", "one value")
            seen = True
            first, position = _body(view, position + 1, end)
            values = _feature(view, first, position)
        else:
            position = _skip(view, position, end)
    return key, values


def _feature(view: memoryview, start: int, end: int) -> Span:
    values = Span(0, start, start)
    position = start
    while position < end:
        tag = view[position]
        if tag not in _LIST_TAGS:
            position = _skip(view, position, end)
            continue
        if values.kind:
            raise Malformed(position, "a second list of values in one feature", "one list")
        first, position = _body(view, position + 1, end)
        values = Span(tag >> 3, first, position)
    return values


def _values(view: memoryview, start: int, end: int, *, unpacked: int) -> Iterator[tuple[int, int, int]]:
    """Yield the runs of numbers in a list: wire type, start, end. `unpacked` is the wire type of a single number."""
    try:
        position = start
        while position < end:
            tag = view[position]
            if tag == 0x0A:
                first, position = _body(view, position + 1, end)
                if first < position:
                    yield 2, first, position
            elif tag == 0x08 | unpacked:
                first = position + 1
                position = _skip(view, position, end)
                yield unpacked, first, position
            else:
                position = _skip(view, position, end)
    except IndexError:
        raise Malformed(end, "the end of the file", "the rest of a list of numbers") from None


def _body(view: memoryview, position: int, end: int) -> tuple[int, int]:
    """Return start and end of the length-delimited value whose length is at `position`; it must end by `end`."""
    length = view[position]
    position += 1
    if length > 127:
        length, position = _varint(view, position - 1)
    stop = position + length
    if stop > end:
        raise Malformed(position, f"a length of {length} bytes", f"at most {max(end - position, 0)}, what is left")
    return position, stop


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    """Read the varint at `position`; returns it and the position after it."""
    number = view[position]
    position += 1
    shift = 7
    byte = number
    while byte > 127:
        byte = view[position]
        position += 1
        number += (byte << shift) - (128 << (shift - 7))
        shift += 7
        if shift > 70:
            raise Malformed(position - 11, "a varint of more than 10 bytes", "at most 10")
    return number, position


def _skip(view: memoryview, position: int, end: int) -> int:
    """Return the position after the field at `position`; it must end by `end`."""
    start = position
    tag, position = _varint(view, position)
    wire = tag & 7
    if wire == 0:
        position = _varint(view, position)[1]
    elif wire == 1:
        position += 8
    elif wire == 2:
        position = _body(view, position, end)[1]
    elif wire == 5:
        position += 4
    else:
        raise Malformed(start, f"protobuf wire type {wire}", "0, 1, 2 or 5")
    if position > end:
        raise Malformed(start, f"a field that ends at byte {position}", f"one that ends at byte {end} or before")
    return position


def _varints(view: memoryview, start: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Read all varints in `start`..`end` as int64, with the width of each in bytes (None: all have one byte)."""
    raw = view[start:end].tobytes()
    data = np.frombuffer(raw, np.uint8)
    if raw.isascii():  # no byte has its upper bit set: flags and small integers, the usual case
        return data.astype(np.int64), None
    if data[-1] > 127:
        raise Malformed(end, "the end of a list inside a number", "a whole varint")
    last = np.flatnonzero(data < 128)
    first = np.empty_like(last)
    first[0], first[1:] = 0, last[:-1] + 1
    widths = last - first + 1
    longest = int(widths.max())
    if longest > 10:
        raise Malformed(start + int(first[widths.argmax()]), "a varint of more than 10 bytes", "at most 10")
    numbers = (data[first] & np.uint8(127)).astype(np.uint64)
    for k in range(1, longest):
        longer = np.flatnonzero(widths > k)
        group = (data[first[longer] + k] & np.uint8(127)).astype(np.uint64)
        numbers[longer] |= group << np.uint64(7 * k)
    return numbers.view(np.int64), widths
