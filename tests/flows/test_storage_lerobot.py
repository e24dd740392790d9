"""LeRobot datasets over HTTP: the same bytes as from a disk, by ranges, whatever the server does."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import small_corpora

pytest.importorskip("av")
pytest.importorskip("obstore", reason="object storage needs the extra cloud")
pytest.importorskip("moto.server", reason="the tests of object storage need moto and flask-cors")
from support import lerobot_files as files
from support import s3_server
from support.s3_server import Server

from rt2data import cli, sources, storage
from rt2data.check import check
from rt2data.declarations import declaration
from rt2data.errors import Rt2dataError
from rt2data.pipeline import build as flow
from rt2data.plan import forecast, planner
from rt2data.recipes import recipe as recipes
from rt2data.storage import local_copies, object_store

Build = Callable[..., dict[str, Any]]
STEPS = (9, 5, 12, 3, 4, 7, 2, 6, 5, 3, 4, 6)
LONG = (30,) * 56  # a file of some 130 kB for each camera, of which the decoder takes 32 kB at a time


def written(
    folder: Path, version: str, steps: tuple[int, ...] = STEPS, per_file: int = 5, *, images: bool = False
) -> Path:
    """A recipe beside the data root ``root`` with a dataset of 12 episodes, in two parts."""
    files.write(folder / "root", version, steps=steps, per_file=per_file, images=images)
    (folder / "socks.yaml").write_text(yaml.safe_dump(files.DECLARATION))
    return small_corpora.write_recipe(
        folder / "recipe.yaml", cameras=["primary", "wrist"], sources=[{"source": "socks.yaml", "path": "socks"}]
    )


@pytest.mark.parametrize(
    ("version", "images"), [("v2.0", False), ("v2.1", False), ("v2.1", True), ("v3.0", False), ("v3.0", True)]
)
def test_each_layout_gives_the_same_bytes(
    version: str, images: bool, build: Build, server: Server, tmp_path: Path
) -> None:
    recipe = written(tmp_path, version, images=images)
    build(recipe, tmp_path / "local", data_root=tmp_path / "root")
    url = server.upload(tmp_path / "root", "data")
    build(recipe, tmp_path / "remote", data_root=url, work=tmp_path / "work")
    assert small_corpora.tree(tmp_path / "remote") == small_corpora.tree(tmp_path / "local")
    assert small_corpora.tree(tmp_path / "work" / "blobs") == small_corpora.tree(tmp_path / "local.work" / "blobs")
    assert list((tmp_path / "local").rglob("*.tar"))


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_what_is_not_there_or_broken_is_counted_the_same(
    version: str, build: Build, server: Server, tmp_path: Path
) -> None:
    recipe = written(tmp_path, version)
    videos = sorted((tmp_path / "root").rglob("*.mp4"))
    videos[0].write_bytes(videos[0].read_bytes()[:2000])  # cannot be opened
    damaged = bytearray(videos[1].read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 400] = bytes(400)
    videos[1].write_bytes(damaged)
    videos[-1].unlink()
    if version == "v2.1":
        sorted((tmp_path / "root").rglob("*.parquet"))[2].unlink()
    local = build(recipe, tmp_path / "local", data_root=tmp_path / "root")
    assert {"missing_image", "unreadable_image"} <= set(local["sources"][0]["left_out"])
    url = server.upload(tmp_path / "root", "data")
    build(recipe, tmp_path / "remote", data_root=url, work=tmp_path / "work")
    assert small_corpora.tree(tmp_path / "remote") == small_corpora.tree(tmp_path / "local")


def test_only_what_a_part_needs_of_a_file_is_asked_for(
    build: Build, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of many blocks: a part reads those of its own episodes, and each of them once."""
    recipe = written(tmp_path, "v3.0", LONG, per_file=len(LONG))
    build(recipe, tmp_path / "local", data_root=tmp_path / "root")
    url = server.upload(tmp_path / "root", "data")
    monkeypatch.setattr(object_store, "REQUEST_BYTES", 8 << 10)
    monkeypatch.setattr(local_copies, "BLOCK", 1 << 10)
    monkeypatch.setattr(local_copies, "AHEAD", 16 << 10)
    asked: list[tuple[str, int, int]] = []
    fetch = object_store.fetch_ranges

    def noted(ranges: Any, etag: str = "") -> Any:
        found = list(ranges)
        asked.extend((str(one), start, stop) for one, start, stop in found)
        return fetch(found, etag)

    monkeypatch.setattr(object_store, "fetch_ranges", noted)
    declared = declaration.read_declaration(tmp_path / "socks.yaml")
    source = sources.open_source(declared, storage.place(url), "socks")
    middle = source.parts("train")[3]
    asked.clear()
    source.index(middle, check="header")
    videos = {name: [(a, b) for n, a, b in asked if n == name] for name, *_ in asked if name.endswith(".mp4")}
    assert len(videos) == 2
    for name, ranges in videos.items():
        size = (tmp_path / "root" / name.partition("/data/")[2]).stat().st_size
        assert size > 100 << 10
        assert sum(b - a for a, b in ranges) < 0.7 * size
        assert all(b <= c for (_, b), (c, _) in itertools.pairwise(sorted(ranges)))  # none twice
    build(recipe, tmp_path / "remote", data_root=url, work=tmp_path / "work")
    assert small_corpora.tree(tmp_path / "remote") == small_corpora.tree(tmp_path / "local")


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_the_plan_counts_the_requests(
    version: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a worker process, which knows no listing of the client's."""
    recipe = written(tmp_path, version)
    url = server.upload(tmp_path / "root", "data")
    made: list[Any] = []
    make = planner.make_plan
    monkeypatch.setattr(planner, "make_plan", lambda *args: made.append(make(*args)) or made[-1])
    server.asked.clear()
    out = storage.place(f"s3://{s3_server.BUCKET}/out")
    flow.build(recipe, out, data_root=url, work=tmp_path / "work", workers=1, progress=False)
    wanted = forecast.make(recipes.read_recipe(recipe), made[-1], 1, out)
    assert wanted.lists == pytest.approx(server.asked["list"], rel=0.25)
    assert wanted.gets == pytest.approx(server.asked["get"] + server.asked["head"], rel=0.25)
    assert wanted.puts == server.asked["put"]


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_a_server_that_fails_now_and_then(version: str, build: Build, server: Server, tmp_path: Path) -> None:
    recipe = written(tmp_path, version)
    build(recipe, tmp_path / "local", data_root=tmp_path / "root")
    url = server.upload(tmp_path / "root", "data")
    numbers, failed = itertools.count(), []

    def fault(kind: str, path: str) -> int | str | None:
        number = next(numbers)
        found = 503 if number % 4 == 0 else "cut" if number % 5 == 0 and kind == "get" else None
        failed.extend([path.rpartition(".")[2]] if found else [])
        return found

    server.before = fault
    build(recipe, tmp_path / "remote", data_root=url, work=tmp_path / "work")
    assert {"mp4", "parquet"} <= set(failed)
    assert small_corpora.tree(tmp_path / "remote") == small_corpora.tree(tmp_path / "local")


@pytest.mark.parametrize("suffix", ["mp4", "parquet"])
def test_a_file_that_is_refused_is_no_damaged_one(suffix: str, build: Build, server: Server, tmp_path: Path) -> None:
    """A request that fails for good ends the build. No frame is counted as missing for it."""
    recipe = written(tmp_path, "v2.1")
    url = server.upload(tmp_path / "root", "data")
    server.before = lambda kind, path: 403 if kind == "get" and path.endswith(suffix) else None
    with pytest.raises(Rt2dataError, match=rf"\.{suffix}: get failed: .*same command continues"):
        build(recipe, tmp_path / "remote", data_root=url, work=tmp_path / "work")
    server.before = lambda _kind, _path: None
    build(recipe, tmp_path / "local", data_root=tmp_path / "root")
    build(recipe, tmp_path / "remote", data_root=url, work=tmp_path / "work")
    assert small_corpora.tree(tmp_path / "remote") == small_corpora.tree(tmp_path / "local")


def test_a_file_that_is_refused_in_the_middle(
    build: Build, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The beginning of the videos arrives, and reading them has begun."""
    recipe = written(tmp_path, "v3.0", LONG, per_file=len(LONG))
    url = server.upload(tmp_path / "root", "data")
    monkeypatch.setattr(object_store, "REQUEST_BYTES", 2 << 10)
    monkeypatch.setattr(local_copies, "BLOCK", 1 << 10)
    taken: list[str] = []

    def fault(kind: str, path: str) -> int | None:
        taken.extend([path] if kind == "get" and path.endswith(".mp4") else [])
        return 403 if taken.count(path) > 30 else None

    server.before = fault
    with pytest.raises(Rt2dataError, match=r"\.mp4: get failed"):
        build(recipe, tmp_path / "remote", data_root=url, work=tmp_path / "work")
    server.before = lambda _kind, _path: None
    build(recipe, tmp_path / "local", data_root=tmp_path / "root")
    build(recipe, tmp_path / "remote", data_root=url, work=tmp_path / "work")
    assert small_corpora.tree(tmp_path / "remote") == small_corpora.tree(tmp_path / "local")


def test_a_video_that_changes_between_two_requests(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "REQUEST_BYTES", 2 << 10)
    monkeypatch.setattr(local_copies, "BLOCK", 1 << 10)
    server.client().put_object(Bucket=s3_server.BUCKET, Key="video.mp4", Body=bytes(50_000))
    name = storage.place(f"s3://{s3_server.BUCKET}/video.mp4")

    def read() -> None:
        with storage.open_partly(name) as file:
            assert len(file.read(100)) == 100
            server.client().put_object(Bucket=s3_server.BUCKET, Key="video.mp4", Body=bytes([1]) * 50_000)
            object_store.forget_listings()
            file.seek(5000)
            file.read(100)

    with pytest.raises(Rt2dataError, match="it changed while it was read"):
        read()


def test_the_claims_of_a_declaration_are_checked_by_url(server: Server, tmp_path: Path) -> None:
    written(tmp_path, "v2.1")
    url = server.upload(tmp_path / "root", "data")
    declared = declaration.read_declaration(tmp_path / "socks.yaml")
    local = check.check(declared, tmp_path / "root", path="socks")
    remote = check.check(declared, storage.place(url), path="socks")
    assert local.claims == remote.claims
    assert local.steps == remote.steps == sum(STEPS)


def test_on_gs(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = written(tmp_path, "v3.0")
    build(recipe, tmp_path / "local", data_root=tmp_path / "root")
    with s3_server.emulating(monkeypatch, tmp_path / "root", "data") as url:
        build(recipe, tmp_path / "remote", data_root=url, work=tmp_path / "work")
    assert small_corpora.tree(tmp_path / "remote") == small_corpora.tree(tmp_path / "local")


def test_a_plan_without_an_index(server: Server, tmp_path: Path, capsys: Any) -> None:
    recipe = written(tmp_path, "v2.1")
    url = server.upload(tmp_path / "root", "data")
    common = ["plan", str(recipe), "--data-root", url, "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    found = []
    for more in ([], ["--index"]):
        assert cli.main([*common, "--json", *more]) == 0
        found.append(json.loads(capsys.readouterr().out)["forecast"])
    assert 0.5 < found[0]["gets"] / found[1]["gets"] < 2
