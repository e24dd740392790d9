"""Shards: tar files written by hand, held against `tarfile`."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import struct
import tarfile
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rt2data.errors import Rt2dataError
from rt2data.index import text_columns
from rt2data.shards import direct_writer
from rt2data.shards import tar as shard
from rt2data.shards.direct_writer import Sink

# A member: its name, its bytes, and whether it is an image, which is read when its turn comes.
Member = tuple[str, bytes, bool]


def read(image: bytes, into: shard.Bytes) -> None:
    into[:] = np.frombuffer(image, np.uint8)


def write(path: Path, members: list[Member], sink: Sink | None = None, begins: tuple[int, ...] = (0,)) -> shard.Written:
    """Write the members from ``begins[0]`` on, of samples that begin at `begins`."""
    names = text_columns.of([name for name, *_ in members])
    held = text_columns.of([None if image else data for _, data, image in members])
    images = [data for _, data, image in members[begins[0] :] if image]
    sizes = np.array([len(data) for _, data, _ in members], np.int64)
    crcs = np.array([google_crc32c.value(data) if image else 0 for _, data, image in members], np.int64)
    own = sink or Sink()
    try:
        packed = shard.pack(names, sizes, held, crcs)
        return shard.write(path, packed, np.array([*begins, len(members)]), images, read, own)
    finally:
        if sink is None:
            own.end()


def by_tarfile(members: list[Member]) -> bytes:
    """The same archive by the standard library."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data, _ in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


NAMES = st.text("abcXYZ019_-.", min_size=1, max_size=100)
MEMBERS = st.lists(st.tuples(NAMES, st.binary(max_size=1500), st.booleans()), max_size=30)


@settings(max_examples=60, deadline=None)  # each file is synced
@given(MEMBERS)
def test_the_file_is_that_of_tarfile(tmp_path_factory: pytest.TempPathFactory, members: list[Member]) -> None:
    path = tmp_path_factory.mktemp("shard") / "a.tar"
    found = write(path, members)
    data = path.read_bytes()
    assert data == by_tarfile(members)
    assert found.bytes == len(data)
    assert found.crc32c == f"{google_crc32c.value(data):08x}" == shard.crc32c_of(path)
    lines = "".join(f"{name} {len(body)} {google_crc32c.value(body):08x}\n" for name, body, _ in members)
    assert found.members == hashlib.sha256(lines.encode()).hexdigest()


@pytest.mark.parametrize("begins", [(0,), (0, 1, 2, 3), (2, 5, 6), (3, 7)])
def test_the_index_says_where_samples_begin_in_the_file(tmp_path: Path, begins: tuple[int, ...]) -> None:
    sizes = [700, 0, 512, 1, 90_000, 513, 0, 1024]
    members = [(f"{i}.jpg", bytes(size), i % 3 != 0) for i, size in enumerate(sizes)]
    found = write(tmp_path / "a.tar", members, begins=begins)
    index = (tmp_path / "a.tar.idx").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        there = {info.name: info.offset for info in tar}
        expected = [there[f"{begin}.jpg"] for begin in begins] + [tar.offset]
    assert struct.unpack(f"<{len(expected)}Q", index) == tuple(expected)
    assert found.index == f"{google_crc32c.value(index):08x}"
    assert (tmp_path / "a.tar").read_bytes() == by_tarfile(members[begins[0] :])


@given(st.lists(st.integers(0, 8**11 - 1), min_size=1, max_size=50))
def test_headers_are_those_of_tarfile(sizes: list[int]) -> None:
    names = [f"member-{i}.jpg" for i in range(len(sizes))]
    found = shard.headers(text_columns.of(names), np.array(sizes, np.int64))
    for name, size, header in zip(names, sizes, found, strict=True):
        info = tarfile.TarInfo(name)
        info.size = size
        assert header.tobytes() == info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("by_ref", [True, False])
@pytest.mark.parametrize("extra", [-1025, -513, -512, -1, 0, 1, 512])
def test_members_on_the_border_of_a_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: int, by_ref: bool
) -> None:
    """Two members that end a little before, on, or after the end of the chunk, and others after them."""
    monkeypatch.setattr(direct_writer, "CHUNK", 8192)
    sizes = [2048, 8192 - 2048 + extra, 20_000, 0, 1, 8192, 8191, 1]
    members = [(f"{i}.jpg", bytes([i + 1]) * size, by_ref) for i, size in enumerate(sizes)]
    own = Sink()
    for _ in range(2):  # a buffer that was used before holds other bytes
        path = tmp_path / "a.tar"
        found = write(path, members, own)
        assert path.read_bytes() == by_tarfile(members)
        assert found.crc32c == shard.crc32c_of(path)
    own.end()


@pytest.mark.parametrize("past_the_cache", [True, False])
def test_a_file_of_many_chunks_and_one_member_larger_than_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, past_the_cache: bool
) -> None:
    if not past_the_cache:
        monkeypatch.setattr(direct_writer, "_DIRECT", 0)
    rng = np.random.default_rng(0)
    sizes = [300_000, 1, direct_writer.CHUNK, 3 * direct_writer.CHUNK + 5, 700_001, 999_999, 12]
    members = [(f"{i}.png", rng.bytes(size), i % 2 == 0) for i, size in enumerate(sizes)]
    found = write(tmp_path / "a.tar", members)
    assert (tmp_path / "a.tar").read_bytes() == by_tarfile(members)
    assert found.crc32c == shard.crc32c_of(tmp_path / "a.tar")


@pytest.mark.parametrize("refused_at", ["open", "open, when the file is made", "write"])
def test_a_file_system_that_has_no_way_past_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused_at: str
) -> None:
    """Some refuse at open, some when they see the size or the place."""
    really_open, really_write = os.open, os.write
    direct = getattr(os, "O_DIRECT", 0)

    def open_file(path: Any, flags: int, mode: int = 0o777) -> int:
        if flags & direct and refused_at != "write":
            if refused_at != "open":  # as Linux does: tmpfs before 6.6
                os.close(really_open(path, flags & ~direct, mode))
            raise OSError(errno.EINVAL, "Invalid argument")
        return really_open(path, flags, mode)

    def write_file(file: int, data: Any) -> int:
        if fcntl.fcntl(file, fcntl.F_GETFL) & direct and refused_at == "write":
            raise OSError(errno.EINVAL, "Invalid argument")
        return really_write(file, data)

    monkeypatch.setattr(direct_writer.os, "open", open_file)
    monkeypatch.setattr(direct_writer.os, "write", write_file)
    members = [(f"{i}.png", bytes([i]) * 900_000, i % 2 == 0) for i in range(5)]
    write(tmp_path / "a.tar", members)
    assert (tmp_path / "a.tar").read_bytes() == by_tarfile(members)


@pytest.mark.parametrize("most", [1, 511, 512, 513, 10_000])
def test_a_write_that_is_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    whole = os.write
    calls = []

    def short(descriptor: int, data: Any) -> int:
        calls.append(1)
        return whole(descriptor, data[:most] if len(calls) == 1 else data)

    monkeypatch.setattr(direct_writer.os, "write", short)
    members = [(f"{i}.jpg", bytes([i]) * 700, i % 2 == 0) for i in range(5)]
    write(tmp_path / "a.tar", members)
    assert len(calls) > 1
    assert (tmp_path / "a.tar").read_bytes() == by_tarfile(members)


def test_nothing_is_left_behind_when_it_fails(tmp_path: Path) -> None:
    def fail(image: bytes, into: shard.Bytes) -> None:
        raise Rt2dataError("w", "f", "e")

    one, held = np.ones(1, np.int64), text_columns.of([None])
    packed = shard.pack(text_columns.of(["a"]), one, held, one)
    with pytest.raises(Rt2dataError, match="w: f"):
        shard.write(tmp_path / "a.tar", packed, np.array([0, 1]), [b"x"], fail, Sink())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        Rt2dataError, match=r"a\.tar: (Not a directory|File exists); expected room and permission to write a shard\."
    ):
        write(tmp_path / "file" / "a.tar", [("a", b"", False)])


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(direct_writer.os, "write", full)
    for size in (1, 5_000_000):  # in one chunk, and in several
        with pytest.raises(
            Rt2dataError, match=r"a\.tar: No space left on device; expected room and permission to write a shard\."
        ):
            write(tmp_path / "a.tar", [("a", b"x" * size, False)])
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"old" * 100_000)
    write(path, [("a", b"new", False)])
    assert path.read_bytes() == by_tarfile([("a", b"new", False)])
