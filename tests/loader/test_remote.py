"""The loader over a mixture in an object store: the same samples, each byte fetched once, however it is shared."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.built_mixture import Built

pytest.importorskip("obstore", reason="object storage needs the extra cloud")
pytest.importorskip("moto.server", reason="the tests of object storage need moto and flask-cors")

from support.s3_server import BUCKET, Server

from rt2data.errors import Rt2dataError
from rt2data.loader import Loader, cache, order

OUT = f"s3://{BUCKET}/out"


@pytest.fixture
def indexed(mixture: Built, server: Server, tmp_path: Path) -> Path:
    """The small mixture, on the server at OUT and in this folder."""
    folder = Path(shutil.copytree(mixture.out, tmp_path / "out"))
    server.upload(folder, "out")
    server.asked.clear()
    return folder


def members(loader: Loader) -> list[tuple[str, dict[str, bytes]]]:
    return [(sample.key, sample.members) for sample in loader]


@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"rank": 1, "world_size": 3}, {"split": "val"}])
def test_the_same_samples_as_from_the_disk(indexed: Path, options: dict[str, Any]) -> None:
    assert members(Loader(OUT, **options)) == members(Loader(indexed, **options))
    loader = Loader(OUT, **options)
    assert loader[3].members == Loader(indexed, **options)[3].members
    assert loader.by_key(loader[3].key).members == loader[3].members


def test_old_shards_without_an_index(indexed: Path, server: Server) -> None:
    expected = members(Loader(indexed))
    manifest = json.loads((indexed / "manifest.json").read_text())
    for split in manifest["splits"].values():
        for entry in split["shards"]:
            del entry["index"]
    (indexed / "manifest.json").write_text(json.dumps(manifest))
    server.upload(indexed, "out")
    assert members(Loader(OUT)) == expected


def fetched(server: Server) -> int:
    """How many bytes of shards were asked for."""
    return sum(stop - start for path, start, stop in server.ranges if path.endswith(".tar"))


@pytest.mark.parametrize("readers", [1, 4, 7])
def test_what_is_fetched_is_read(indexed: Path, server: Server, tmp_path: Path, readers: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(order, "MIN_RUNS", 8)  # so that there are runs of several samples
    used = sum(sum(map(len, sample.members.values())) for sample in Loader(indexed))
    total = sum(path.stat().st_size for path in (indexed / "train").glob("*.tar"))
    options: list[dict[str, Any]] = [{}] if readers == 1 else [{"cache": tmp_path / "shared"}, {}]
    for option in options:
        server.ranges.clear()
        for rank in range(readers):
            for _ in Loader(OUT, rank=rank, world_size=readers, **option):
                pass
        padding = -len(Loader(indexed)) % readers
        assert used <= fetched(server) <= total + padding * total // len(Loader(indexed))


def test_many_share_a_folder_and_fetch_a_piece_once(indexed: Path, server: Server, tmp_path: Path) -> None:
    expected = members(Loader(indexed))
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: members(Loader(OUT, cache=tmp_path / "shared")), range(6)))
    assert found == [expected] * 6
    assert fetched(server) <= sum(path.stat().st_size for path in (indexed / "train").glob("*.tar"))


def test_a_folder_that_is_too_small_costs_requests_and_no_sample(
    indexed: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "LOOK", 1)
    folder = tmp_path / "small"
    assert members(Loader(OUT, cache=folder, cache_bytes=50_000)) == members(Loader(indexed))
    assert sum(path.stat().st_size for path in folder.iterdir()) < 150_000


def test_who_died_while_fetching_is_not_waited_for_long(
    indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shared"
    expected = members(Loader(OUT, cache=folder))
    for path in list(folder.iterdir()):
        path.rename(path.with_name(path.name + ".part"))
    monkeypatch.setattr(cache, "WAIT", 0.0)
    assert members(Loader(OUT, cache=folder)) == expected


def test_a_server_that_fails_now_and_then(indexed: Path, server: Server) -> None:
    numbers = iter(range(10**6))

    def fault(kind: str, _path: str) -> int | str | None:
        number = next(numbers)
        return 503 if number % 3 == 0 else "cut" if number % 4 == 0 and kind == "get" else None

    server.before = fault
    assert members(Loader(OUT)) == members(Loader(indexed))


def test_a_cache_that_cannot_be(indexed: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Rt2dataError, match="Set cache= or TMPDIR"):
        Loader(OUT, cache=tmp_path / "file")


def test_the_folder_goes_with_the_loader(indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    loader = Loader(OUT)
    next(iter(loader))
    assert len(list((tmp_path / "t").iterdir())) == 1
    del loader
    assert not list((tmp_path / "t").iterdir())
