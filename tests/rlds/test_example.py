"""The wire-format scan against protobuf's own parser, and against bytes that are no Example."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import example as case
from hypothesis import given, settings
from hypothesis import strategies as st

from rt2data.rlds.tf_example import (
    BYTES,
    FLOATS,
    INTS,
    Malformed,
    Span,
    find_repeated,
    find_spans,
    find_strings,
    list_names,
    read_floats,
    read_integers,
)

INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT32 = st.floats(width=32)


def varint(number: int) -> bytes:
    out = bytearray()
    number &= 2**64 - 1
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def block(tag: int, body: bytes) -> bytes:
    return bytes([tag]) + varint(len(body)) + body


def value_list(kind: int, body: bytes) -> bytes:
    return block(kind << 3 | 2, body)


def entry(name: bytes, feature: bytes) -> bytes:
    return block(0x0A, block(0x0A, name) + block(0x12, feature))


def one(kind: int, body: bytes) -> bytes:
    """An Example with one feature, "x"."""
    return block(0x0A, entry(b"x", value_list(kind, body)))


class Everything:
    def __contains__(self, name: object) -> bool:
        return True


def read(data: bytes, margin: bytes = b"") -> dict[bytes, list[object]]:
    """Every feature of an Example that lies between two margins, decoded."""
    view = memoryview(margin + data + margin)
    start, end = len(margin), len(margin) + len(data)
    result: dict[bytes, list[object]] = {}
    for name, span in find_spans(view, start, end, Everything()).items():
        assert start <= span.start <= span.end <= end
        if span.kind == BYTES:
            starts, lengths = find_strings(view, span)
            result[name] = [view[first : first + size].tobytes() for first, size in zip(starts, lengths, strict=True)]
            assert all(first + size <= span.end for first, size in zip(starts, lengths, strict=True))
        elif span.kind == FLOATS:
            result[name] = read_floats(view, span).view(np.uint32).tolist()
        elif span.kind == INTS:
            result[name] = read_integers(view, span).tolist()
        else:
            result[name] = []
    return result


def example_message() -> Any:
    """protobuf's class for tf.train.Example."""
    pytest.importorskip("tensorflow_datasets")
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example


def protobuf(data: bytes) -> dict[bytes, list[object]]:
    """The same by protobuf."""
    result: dict[bytes, list[object]] = {}
    for name, feature in example_message().FromString(data).features.feature.items():
        kind = feature.WhichOneof("kind")
        values = list(getattr(feature, kind).value) if kind else []
        if kind == "float_list":
            values = np.array(values, np.float32).view(np.uint32).tolist()
        result[name.encode()] = values
    return result


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
        st.one_of(
            st.lists(st.binary(max_size=300), max_size=6),
            st.lists(FLOAT32, max_size=40).map(lambda values: np.array(values, np.float32)),
            st.lists(st.one_of(INT64, st.integers(0, 1), st.integers(-3, 300)), max_size=40).map(tuple),
            st.none(),
        ),
        max_size=6,
    ),
    st.binary(max_size=20),
)
def test_reads_what_protobuf_writes(values: dict[str, object], margin: bytes) -> None:
    message = example_message()()
    for name, value in values.items():
        feature = message.features.feature[name]
        if isinstance(value, list):
            feature.bytes_list.value.extend(value)
            feature.bytes_list.SetInParent()
        elif isinstance(value, tuple):
            feature.int64_list.value.extend(value)
        elif value is not None:
            feature.float_list.value.extend(value)
    data = message.SerializeToString()
    assert read(data, margin) == protobuf(data)


def test_packed_floats_are_a_view() -> None:
    data = one(FLOATS, block(0x0A, struct.pack("<3f", 1, 2, 3)))
    view = memoryview(data)
    (span,) = find_spans(view, 0, len(data), {b"x"}).values()
    values = read_floats(view, span)
    assert values.tolist() == [1, 2, 3]
    assert np.shares_memory(values, np.frombuffer(data, np.uint8))
    assert not values.flags.writeable


@pytest.mark.parametrize(
    "numbers", [[], [0], [1, 0, 1], [127, 128, 129], [-1], [5, -1, 300, 2**63 - 1, -(2**63), 8, 8]]
)
def test_integers_packed_and_not(numbers: list[int]) -> None:
    packed = one(INTS, block(0x0A, b"".join(map(varint, numbers))))
    unpacked = one(INTS, b"".join(b"\x08" + varint(number) for number in numbers))
    half = len(numbers) // 2
    mixed = one(
        INTS,
        b"".join(b"\x08" + varint(number) for number in numbers[:half])
        + block(0x0A, b"".join(map(varint, numbers[half:]))),
    )
    for data in (packed, unpacked, mixed):
        assert read(data) == protobuf(data) == {b"x": numbers}


def test_floats_not_packed_and_in_pieces() -> None:
    pieces = b"\x0d" + struct.pack("<f", 1.5) + block(0x0A, struct.pack("<2f", 2.5, 3.5)) + block(0x0A, b"")
    data = one(FLOATS, pieces)
    assert read(data) == protobuf(data)
    assert len(read(data)[b"x"]) == 3


def test_forms_that_other_writers_may_use() -> None:
    ints = value_list(INTS, block(0x0A, b"\x07"))
    unknown = block(0x7A, b"skipped") + b"\x78\x01" + b"\x79" + bytes(8) + b"\x7d" + bytes(4)
    for data in (
        block(0x0A, block(0x0A, block(0x12, ints) + block(0x0A, b"x"))),  # value before key
        block(0x0A, entry(b"x", value_list(INTS, block(0x0A, b"\x01"))) + entry(b"x", ints)),  # the last of two counts
        block(0x0A, entry(b"y", ints)) + block(0x0A, entry(b"x", ints)),  # two Features messages
        unknown + block(0x0A, unknown + block(0x0A, block(0x0A, b"x") + block(0x12, unknown + ints))) + unknown,
        one(INTS, unknown + block(0x0A, b"\x07") + unknown),
        one(BYTES, unknown + block(0x0A, b"\x07") + unknown),
        one(FLOATS, unknown + block(0x0A, b"\x07\x00\x00\x00") + unknown),
        block(0x0A, entry(b"x" * 200, ints)),
        block(0x0A, block(0x0A, block(0x0A, b"x"))),  # no value
        block(0x0A, block(0x0A, block(0x12, ints))),  # no name
        b"",
    ):
        assert read(data) == protobuf(data)
    # protobuf's upb drops map entries that hold anything unknown, against its specification.
    assert read(block(0x0A, block(0x0A, unknown + block(0x0A, b"x") + block(0x12, ints)))) == {b"x": [7]}


def test_long_strings_are_stepped_over() -> None:
    strings = [b"", b"a", b"b" * 127, b"c" * 128, b"d" * 16383, b"e" * 16384, b"f" * (2**21 - 1), b"g" * 2**21]
    data = one(BYTES, b"".join(block(0x0A, string) for string in strings))
    assert read(data) == {b"x": strings}


def test_only_the_wanted_are_read() -> None:
    data = block(0x0A, entry(b"a", value_list(INTS, b"")) + entry(b"b", b"\xff\xff\xff") + entry(b"c", b""))
    assert set(find_spans(memoryview(data), 0, len(data), {b"a", b"c", b"z"})) == {b"a", b"c"}
    with pytest.raises(Malformed):
        find_spans(memoryview(data), 0, len(data), {b"b"})
    assert list_names(memoryview(data[:2] + data[2:]), 0, 0) == []


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (block(0x0A, entry(b"x", value_list(INTS, b"") * 2)), "second list"),
        (block(0x0A, block(0x0A, block(0x0A, b"x") + block(0x12, b"") * 2)), "second value"),
        (one(FLOATS, block(0x0A, bytes(5))), "multiple of 4"),
        (one(INTS, block(0x0A, b"\x80")), "whole varint"),
        (one(INTS, block(0x0A, b"\x80" * 10 + b"\x00")), "more than 10 bytes"),
        (one(BYTES, b"\x0a\x05ab"), "ends at byte"),
        (one(BYTES, b"\x0a" + b"\xff" * 9 + b"\x01"), "ends at byte"),
        (b"\x0a\x05", "at most 0"),
        (b"\x0a" + b"\xff" * 12, "more than 10 bytes"),
        (b"\x0b", "wire type 3"),
        (b"\x0a", "end of the file"),
    ],
)
def test_malformed_bytes_say_what_is_wrong(data: bytes, word: str) -> None:
    with pytest.raises(Malformed, match=word):
        read(data)


VALID = block(
    0x0A,
    entry(b"steps/image", value_list(BYTES, block(0x0A, b"j" * 150) * 3))
    + entry(b"steps/action", value_list(FLOATS, block(0x0A, struct.pack("<6f", *range(6)))))
    + entry(b"steps/flag", value_list(INTS, block(0x0A, b"\x01\x00\xac\x02")))
    + entry(b"plain", value_list(INTS, b"\x08\x01\x08\x02")),
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=4),
    st.integers(0, len(VALID)),
    st.binary(max_size=3),
)
@case([], len(VALID), b"")
def test_mutated_bytes_parse_or_are_malformed(changes: list[tuple[int, int]], cut: int, tail: bytes) -> None:
    """Wherever both parsers accept the bytes, they also read the same values."""
    data = bytearray(VALID)
    for position, byte in changes:
        data[position] = byte
    mutated = bytes(data[:cut]) + tail
    try:
        ours = read(mutated)
    except Malformed:
        return
    from google.protobuf.message import DecodeError

    try:
        theirs = protobuf(mutated)
    except (DecodeError, UnicodeDecodeError):
        return  # protobuf also refuses, for example, group tags, names that are not UTF-8
    for name in ours.keys() & theirs.keys():  # not all: upb drops map entries that hold anything unknown
        assert ours[name] == theirs[name]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_parse_or_are_malformed(data: bytes) -> None:
    for margin in (b"", b"\xff" * 30, b"\x0a" * 30):
        try:
            read(data, margin)
        except Malformed as problem:
            assert 0 <= problem.offset <= len(data) + 2 * len(margin)
    for decode in (find_strings, read_floats, read_integers):
        try:
            decode(memoryview(data), Span(0, 0, len(data)))
        except Malformed:
            pass


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([b"go"] * 3, (b"go", 3)),
        ([b""] * 2, (b"", 2)),
        ([b"x" * 127], (b"x" * 127, 1)),
        ([b"x" * 128] * 2, None),
        ([b"go", b"on"], None),
        ([b"go", b"gone"], None),
        ([], None),
    ],
)
def test_repeated(values: list[bytes], found: tuple[bytes, int] | None) -> None:
    raw = b"".join(
        b"\x0a" + (bytes([n]) if (n := len(v)) < 128 else bytes([n & 127 | 128, n >> 7])) + v for v in values
    )
    assert find_repeated(memoryview(b"?" + raw), Span(BYTES, 1, 1 + len(raw))) == found
