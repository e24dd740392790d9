"""Shards: tar files written by hand, held against `tarfile`."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rt2data import shard
from rt2data.errors import Rt2dataError


def filler(content: list[bytes]) -> shard.Fill:
    """Fills a window from `content`."""

    def fill(window: shard.Bytes, start: int, stop: int, places: Any) -> None:
        assert len(places) == stop - start
        for data, place in zip(content[start:stop], places.tolist(), strict=True):
            window[place : place + len(data)] = np.frombuffer(data, np.uint8)

    return fill


def write(path: Path, members: list[tuple[str, bytes]], buffers: shard.Buffers | None = None) -> shard.Written:
    sizes = np.array([len(data) for _, data in members], np.int64)
    return shard.write(path, [name for name, _ in members], sizes, filler([data for _, data in members]), buffers or shard.Buffers())


def by_tarfile(members: list[tuple[str, bytes]]) -> bytes:
    """The same archive by the standard library."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


NAMES = st.text("abcXYZ019_-.", min_size=1, max_size=100)


@settings(max_examples=60)
@given(st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=30))
def test_the_file_is_that_of_tarfile(tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, bytes]]) -> None:
    path = tmp_path_factory.mktemp("shard") / "a.tar"
    found = write(path, members)
    data = path.read_bytes()
    assert data == by_tarfile(members)
    assert found.bytes == len(data)
    assert found.crc32c == f"{google_crc32c.value(data):08x}" == shard.crc32c_of(path)
    lines = "".join(f"{name} {len(body)} {google_crc32c.value(body):08x}\n" for name, body in members)
    assert found.members == hashlib.sha256(lines.encode()).hexdigest()


@given(st.lists(st.integers(0, 8**11 - 1), min_size=1, max_size=50))
def test_headers_are_those_of_tarfile(sizes: list[int]) -> None:
    names = [f"member-{i}.jpg" for i in range(len(sizes))]
    found = shard.headers(names, np.array(sizes, np.int64))
    for name, size, header in zip(names, sizes, found, strict=True):
        info = tarfile.TarInfo(name)
        info.size = size
        assert header.tobytes() == info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("extra", [-1025, -1024, -513, -512, -1, 0, 1, 512])
def test_members_on_the_border_of_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: int) -> None:
    """Two members that end a little before, on, or after the end of the window, and more after them."""
    monkeypatch.setattr(shard, "WINDOW", 8192)
    second = shard.WINDOW - 2 * shard.BLOCK - 2048 + extra
    members = [("a.jpg", b"\1" * 2048), ("b.json", b"\2" * second), ("c.jpg", b"\3" * 20_000), ("d.json", b""), ("e.json", b"\4")]
    buffers = shard.Buffers()
    for _ in range(2):  # a buffer that was used before holds other bytes
        path = tmp_path / "a.tar"
        found = write(path, members, buffers)
        assert path.read_bytes() == by_tarfile(members)
        assert found.crc32c == shard.crc32c_of(path)


def test_padding_is_zero_even_in_a_used_buffer(tmp_path: Path) -> None:
    buffers = shard.Buffers()
    write(tmp_path / "a.tar", [("a", b"\xff" * 5000)], buffers)
    write(tmp_path / "b.tar", [("b", b"x"), ("c", b"y" * 513)], buffers)
    assert (tmp_path / "b.tar").read_bytes() == by_tarfile([("b", b"x"), ("c", b"y" * 513)])


def test_nothing_is_left_behind_when_it_fails(tmp_path: Path) -> None:
    def fill(*_: Any) -> None:
        raise Rt2dataError("w", "f", "e")

    with pytest.raises(Rt2dataError, match="w: f"):
        shard.write(tmp_path / "a.tar", ["a"], np.array([1]), fill, shard.Buffers())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Rt2dataError, match=r"a\.tar: (Not a directory|File exists); expected room and permission to write a shard\."):
        write(tmp_path / "file" / "a.tar", [("a", b"")])


def test_an_older_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"old" * 100_000)
    write(path, [("a", b"new")])
    assert path.read_bytes() == by_tarfile([("a", b"new")])
