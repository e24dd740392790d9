"""Object storage over HTTP, against an S3 server on loopback (tests/objects.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import small

pytest.importorskip("obstore", reason="object storage needs the extra cloud")
pytest.importorskip("moto.server", reason="the tests of object storage need moto and flask-cors")

import objects
from objects import BUCKET, Server

Build = Callable[..., dict[str, Any]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with objects.serving(monkeypatch) as one:
        yield one


@pytest.mark.parametrize("staged", ["auto", "yes", "no"])
def test_sources_and_output_on_s3_give_the_same_bytes(
    staged: str, mixture: Any, build: Build, server: Server, tmp_path: Path
) -> None:
    data = server.upload(mixture.data, "data")
    server.asked.clear()
    build(mixture.recipe, f"s3://{BUCKET}/out", data_root=data, work=tmp_path / "work", staged=staged)
    assert small.tree(server.download("out", tmp_path / "out")) == small.tree(mixture.out)
