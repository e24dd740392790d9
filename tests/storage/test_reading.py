"""Reads that the system refuses: tried again, then an error that names the file; never an answer about the data."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rt2data import storage
from rt2data.errors import Rt2dataError
from rt2data.storage import reading

REFUSALS = (errno.EIO, errno.EACCES, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PAUSES", (0, 0, 0))


def failing(code: int, times: int) -> tuple[Callable[[], str], list[int]]:
    """A read that the system refuses some times, and the list of its attempts."""
    attempts: list[int] = []

    def read() -> str:
        attempts.append(code)
        if len(attempts) <= times:
            raise OSError(code, os.strerror(code))
        return "content"

    return read, attempts


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refused_read_is_tried_again(code: int) -> None:
    read, attempts = failing(code, 3)
    assert reading.retry("a.jpg", read) == "content"
    assert len(attempts) == 4


@pytest.mark.parametrize("code", REFUSALS)
def test_a_read_that_stays_refused_names_the_file(code: int) -> None:
    read, attempts = failing(code, 99)
    with pytest.raises(Rt2dataError, match=rf"^data/a\.jpg: {os.strerror(code)}; expected a file that can be read\."):
        reading.retry("data/a.jpg", read)
    assert len(attempts) == 4


@pytest.mark.parametrize("code", sorted(reading.ABSENT))
def test_a_file_that_is_not_there_is_no_refusal(code: int) -> None:
    read, attempts = failing(code, 99)
    with pytest.raises(FileNotFoundError):
        reading.retry("a.jpg", read)
    assert len(attempts) == 1


def test_what_names_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "link").symlink_to("a.jpg")
    os.mkfifo(tmp_path / "pipe")
    names = ["a.jpg", "link", "none", "folder", "dangling", "circle", "pipe", "a.jpg/b", "x" * 5000, "a\0b"]
    assert [name for name in names if storage.is_file(tmp_path, name)] == ["a.jpg", "link"]


@pytest.mark.parametrize("function", ["stat", "scandir"])
def test_a_folder_that_cannot_be_read_is_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "a.tar").write_bytes(b"x")
    monkeypatch.setattr(reading.os, function, refuse)
    with pytest.raises(Rt2dataError, match="Permission denied; expected a file that can be read"):
        storage.list_matching(tmp_path, "*.tar")


@pytest.mark.parametrize("pattern", ["*.tar", "a/*.tar", "**/*", "a/**/*.tar", "*/x.tar", "./a/x.tar", "a/[xy].tar"])
def test_patterns_match_as_those_of_pathlib(tmp_path: Path, pattern: str) -> None:
    for name in ("x.tar", ".y.tar", "a/x.tar", "a/y.tar", "a/b/x.tar", "a/b/c/z.tar", "b/x.tar", "a/b/n.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    wanted = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.glob(pattern) if p.is_file())
    assert wanted
    assert storage.list_matching(tmp_path, pattern) == wanted


def refuse_reads(monkeypatch: pytest.MonkeyPatch, path: Path, times: int) -> None:
    """Have the system refuse the first reads of a file with EIO."""
    left, plain = [times], io.FileIO.readinto

    class Failing(reading.LocalFile):
        def readinto(self, buffer: object, /) -> int | None:
            return self._retry(lambda: self._read(buffer))

        def _read(self, buffer: object) -> int | None:
            if str(self.name) == str(path) and left[0]:
                left[0] -= 1
                raise OSError(errno.EIO, "Input/output error")
            return plain(self, buffer)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "LocalFile", Failing)


@pytest.mark.parametrize("open_file", [storage.open_file, storage.open_partly])
def test_a_read_in_the_middle_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_file: Callable[[Path], io.BufferedReader]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"line\n" * 100_000)
    refuse_reads(monkeypatch, path, 2)
    with open_file(path) as file:
        assert sum(1 for _ in file) == 100_000
    refuse_reads(monkeypatch, path, 99)
    with pytest.raises(Rt2dataError, match=r"a\.jsonl: Input/output error"), open_file(path) as file:
        file.read(10)


def test_a_library_that_hides_a_refused_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x" * 10)
    refuse_reads(monkeypatch, path, 99)

    def read() -> None:
        with storage.open_partly(path) as file, contextlib.suppress(ValueError):  # as if the bytes were at fault
            file.read(1)

    with pytest.raises(Rt2dataError, match="Input/output error"):
        read()
