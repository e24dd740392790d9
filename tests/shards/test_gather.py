"""How GATHER reads images: what is asked for beforehand, and that files are closed again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from support import small_corpora

from rt2data.errors import Rt2dataError
from rt2data.images import reader
from rt2data.images.reader import ImageRanges
from rt2data.pipeline import gather

pytestmark = pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="reading without waiting is Linux's")


@pytest.fixture
def found(tmp_path: Path) -> ImageRanges:
    """Images of two files, in no order."""
    data = np.random.default_rng(0).bytes(3000)
    for name in "ab":
        (tmp_path / name).write_bytes(data)
    offset = np.array([2000, 1000, 0, 0])
    crc = np.array([google_crc32c.value(data[o : o + 500]) for o in offset.tolist()])
    files = [str(tmp_path / name) for name in "ba"]
    return ImageRanges(files, np.array([0, 1, 0, 1]), offset, np.full(4, 500), crc)


def refs(images: ImageRanges) -> list[reader.ImageRef]:
    files = [images.files[file] for file in images.file]
    return list(zip(files, images.offset.tolist(), images.crc.tolist(), strict=True))


@pytest.mark.parametrize("answer", ["there", "not there", "cannot say"])
def test_images_that_are_not_in_memory_are_asked_for_in_the_order_of_files(
    found: ImageRanges, monkeypatch: pytest.MonkeyPatch, answer: str
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

    monkeypatch.setattr(reader.os, "preadv", preadv)
    monkeypatch.setattr(reader.os, "posix_fadvise", fadvise)
    files = reader.ImageReader()
    files.prefetch(found)
    assert asked == (sorted(ref[:2] for ref in refs(found)) if answer == "not there" else [])
    for ref in refs(found):
        files.read(ref, np.empty(500, np.uint8))
    files.prefetch(found.take(np.empty(0, np.int64)))
    files.close()


def test_the_oldest_file_is_closed_for_a_new_one(found: ImageRanges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_OPEN", 1)
    before, files = len(os.listdir("/proc/self/fd")), reader.ImageReader()
    for ref in refs(found):
        files.read(ref, np.empty(500, np.uint8))
        assert len(os.listdir("/proc/self/fd")) == before + 1
    files.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_another_image_than_the_indexed_one_stops_the_build(found: ImageRanges) -> None:
    (path, offset, crc), files = refs(found)[0], reader.ImageReader()
    with pytest.raises(Rt2dataError, match="bytes 2000 to 2500 are not the image that was indexed"):
        files.read((path, offset, crc ^ 1), np.empty(500, np.uint8))
    with pytest.raises(Rt2dataError, match="bytes 2000 to 3001 are not"):
        files.read((path, offset, crc), np.empty(1001, np.uint8))
    files.close()


@pytest.mark.parametrize("form", ["mixed", "by_source"])
def test_small_shards_are_the_same_whether_they_are_made_together(
    build: Callable[..., dict[str, Any]], corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    recipe = small_corpora.write_recipe(tmp_path / "r.yaml", samples_per_shard=3, form=form)
    trees = []
    for samples in (1, 10, 2000):
        monkeypatch.setattr(gather, "TOGETHER", samples)
        build(recipe, tmp_path / str(samples), data_root=corpora, work=tmp_path / f"{samples}.work")
        trees.append(small_corpora.tree(tmp_path / str(samples)))
    assert len(trees[0]) > 20
    assert trees[0] == trees[1] == trees[2]


def test_of_shards_made_together_one_that_is_lost_is_made_again(
    build: Callable[..., dict[str, Any]], corpora: Path, tmp_path: Path
) -> None:
    recipe = small_corpora.write_recipe(tmp_path / "r.yaml", samples_per_shard=3)
    out = tmp_path / "out"
    build(recipe, out, data_root=corpora)
    before = small_corpora.tree(out)
    for lost in sorted(out.rglob("*.tar"))[1:6:2]:
        lost.unlink()
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}
    build(recipe, out, data_root=corpora)
    assert small_corpora.tree(out) == before
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())
