"""TFRecord framing: what is found, and what every kind of damage is called."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.errors import Rt2dataError
from rt2data.rlds.tfrecord import byte_view, map_file, masked_crc, scan_records


def crc32c_reference(data: bytes) -> int:
    """CRC-32C bit by bit (Castagnoli polynomial, reflected)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    return crc ^ 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
    header = struct.pack("<Q", len(payload))
    return header + struct.pack("<I", masked_crc(header)) + payload + struct.pack("<I", masked_crc(payload))


def test_crc_is_the_published_one() -> None:
    assert crc32c_reference(b"123456789") == 0xE3069283  # the check value of CRC-32C
    crc = crc32c_reference(b"robot")
    assert masked_crc(b"robot") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_records_come_back_with_their_positions(payloads: list[bytes]) -> None:
    file = b"".join(map(frame, payloads))
    records = list(scan_records(file, path="f", check=True))
    assert [record.data.tobytes() for record in records] == payloads
    for record, payload in zip(records, payloads, strict=True):
        assert file[record.offset : record.offset + record.length] == payload
        assert record.length_crc == masked_crc(struct.pack("<Q", len(payload)))
        assert record.data_crc == masked_crc(payload)


def test_records_are_read_only_views(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(frame(b"abc"))
    data = map_file(tmp_path / "f")
    (record,) = scan_records(data, path="f", check=True)
    assert np.shares_memory(record.data, data)
    with pytest.raises(ValueError, match="read-only"):
        record.data[0] = 0


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    assert list(scan_records(map_file(tmp_path / "f"), path="f", check=True)) == []


def test_truncation_names_file_record_and_byte() -> None:
    file = frame(b"first") + frame(b"second record")
    second = len(frame(b"first"))
    assert len(list(scan_records(file[:second], path="f", check=True))) == 1
    for cut in range(second + 1, len(file)):
        with pytest.raises(Rt2dataError, match=f"f: record 1, byte {second}: .*truncated"):
            list(scan_records(file[:cut], path="f", check=False))


@given(st.integers(0, 16 + 40 - 1), st.integers(1, 255))
def test_every_changed_byte_is_found(position: int, change: int) -> None:
    file = bytearray(frame(b"x" * 40))
    file[position] ^= change
    with pytest.raises(Rt2dataError, match=r"^f: record 0, byte 0: "):
        list(scan_records(bytes(file), path="f", check=True))


def test_a_changed_payload_passes_without_check() -> None:
    file = bytearray(frame(b"x" * 40))
    file[20] ^= 1
    assert len(list(scan_records(file, path="f", check=False))) == 1


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_records_or_an_error(data: bytes, check: bool) -> None:
    try:
        list(scan_records(data, path="f", check=check))
    except Rt2dataError as error:
        assert str(error).startswith("f: record ")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "Git LFS"),
        (b"\x1f\x8b\x08" + bytes(40), "gzip"),
        (b"PAR1" + bytes(40), "Parquet"),
        (b"version ", "Git LFS"),
    ],
)
def test_files_of_other_kinds_are_called_by_their_name(content: bytes, word: str) -> None:
    with pytest.raises(Rt2dataError, match=word):
        list(scan_records(content, path="f", check=False))


def test_byte_view_takes_any_buffer() -> None:
    for buffer in (b"ab", bytearray(b"ab"), memoryview(b"ab"), np.frombuffer(b"ab", np.uint8)):
        view = byte_view(buffer)
        assert view.tobytes() == b"ab"
        assert not view.flags.writeable
