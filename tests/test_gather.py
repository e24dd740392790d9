"""How GATHER reads images: what is asked for beforehand, and that files are closed again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest

from rt2data import gather
from rt2data.errors import Rt2dataError
from rt2data.shard import Ref

pytestmark = pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="reading without waiting is Linux's")


@pytest.fixture
def refs(tmp_path: Path) -> list[tuple[Ref, int]]:
    """Images of two files, in no order."""
    data = np.random.default_rng(0).bytes(3000)
    for name in "ab":
        (tmp_path / name).write_bytes(data)
    places = [("b", 2000), ("a", 1000), ("b", 0), ("a", 0)]
    return [(Ref(str(tmp_path / f), o, google_crc32c.value(data[o : o + 500])), 500) for f, o in places]


@pytest.mark.parametrize("answer", ["there", "not there", "cannot say"])
def test_images_that_are_not_in_memory_are_asked_for_in_the_order_of_files(
    refs: list[tuple[Ref, int]], monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    asked: list[tuple[str, int]] = []
    really = os.preadv

    def preadv(descriptor: int, into: Any, offset: int, flags: int = 0) -> int:
        if flags and answer == "not there":
            raise BlockingIOError
        if flags and answer == "cannot say":
            raise OSError(95, "Operation not supported")
        return really(descriptor, into, offset)

    def fadvise(descriptor: int, offset: int, size: int, advice: int) -> None:
        assert (size, advice) == (500, os.POSIX_FADV_WILLNEED)
        asked.append((os.readlink(f"/proc/self/fd/{descriptor}"), offset))

    monkeypatch.setattr(gather.os, "preadv", preadv)
    monkeypatch.setattr(gather.os, "posix_fadvise", fadvise)
    files = gather.Files()
    files.prefetch(refs)
    assert asked == (sorted((ref.file, ref.offset) for ref, _ in refs) if answer == "not there" else [])
    for ref, size in refs:
        files.read(ref, np.empty(size, np.uint8))
    files.prefetch([])
    files.close()


def test_the_oldest_file_is_closed_for_a_new_one(refs: list[tuple[Ref, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MAX_OPEN", 1)
    before, files = len(os.listdir("/proc/self/fd")), gather.Files()
    for ref, size in refs:
        files.read(ref, np.empty(size, np.uint8))
        assert len(os.listdir("/proc/self/fd")) == before + 1
    files.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_another_image_than_the_indexed_one_stops_the_build(refs: list[tuple[Ref, int]]) -> None:
    (ref, size), files = refs[0], gather.Files()
    with pytest.raises(Rt2dataError, match="bytes 2000 to 2500 are not the image that was indexed"):
        files.read(ref._replace(crc=ref.crc ^ 1), np.empty(size, np.uint8))
    with pytest.raises(Rt2dataError, match="bytes 2000 to 3001 are not"):
        files.read(ref, np.empty(1001, np.uint8))
    files.close()
