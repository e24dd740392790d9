"""A mixture with kinds of sample, read by what training code uses: text alone, null prompts, lists of turns."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from support import spoken_mixture
from support.built_mixture import Built
from support.shard_readers import by_tarfile, plain

from rt2data import Loader, verify
from rt2data.mixture import reader

PICTURES = ("jpg", "png", "webp")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def without_null(value: Any) -> Any:
    """`datasets` gives each part of a turn every field of any; those that are null are not of this part."""
    if isinstance(value, dict):
        return {key: without_null(one) for key, one in value.items() if one is not None}
    return [without_null(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("streaming", [False, True])
def test_by_datasets(spoken: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    read = datasets.load_dataset(str(spoken.out), streaming=streaming, cache_dir=str(tmp_path))
    alone = 0
    for split, rows in read.items():
        wanted = by_tarfile(spoken.out, split)
        names = [name for name in rows.column_names if name.rpartition(".")[2] in PICTURES]
        for name in names:
            rows = rows.cast_column(name, datasets.Image(decode=False))
        seen = []
        for row in rows:
            members = wanted[row["__key__"]]
            meta = json.loads(members["json"])
            assert list(row["json"]) == list(meta)
            assert without_null(row["json"].pop("messages")) == meta.pop("messages")
            assert {name: plain(value) for name, value in row["json"].items()} == meta
            assert {name: row[name]["bytes"] for name in names if row[name]} == {n: members[n] for n in meta["images"]}
            alone += not meta["images"]
            seen.append(row["__key__"])
        assert seen == list(wanted)
    assert alone > 5


def test_by_webdataset_and_a_torch_loader(spoken: Built) -> None:
    wds = pytest.importorskip("webdataset")
    torch = pytest.importorskip("torch")
    wanted = by_tarfile(spoken.out, "train")
    files = [str(path) for path in sorted((spoken.out / "train").glob("*.tar"))]
    data = wds.WebDataset(files, shardshuffle=False)
    found = {}
    for sample in torch.utils.data.DataLoader(data, batch_size=None, num_workers=0):
        found[sample["__key__"]] = {name: value for name, value in sample.items() if not name.startswith("__")}
    assert found == wanted
    assert any(set(members) == {"json"} for members in found.values())


@pytest.fixture
def apart(tmp_path: Path, build: Callable[..., dict[str, Any]]) -> Built:
    """The mixture with kinds by source."""
    recipe = spoken_mixture.write(tmp_path)
    recipe.write_text(json.dumps(json.loads(recipe.read_text()) | {"form": "by_source"}))
    manifest = build(recipe, tmp_path / "out", data_root=tmp_path / "data")
    assert verify.verify(tmp_path / "out").ok
    return Built(recipe, tmp_path / "data", tmp_path / "out", manifest)


def test_the_mix_and_its_card(apart: Built, tmp_path: Path) -> None:
    loader = Loader(apart.out)
    first = [sample for _ in range(4096 // loader.size + 1) for sample in loader][:4096]
    robots = [sample for sample in first if sample.json["kind"] == "robot"]
    assert len(robots) == 0.75 * 4096
    assert {sample.json["recipe_kind"] for sample in robots} == set(spoken_mixture.KINDS)
    assert any(not sample.images for sample in robots)
    for shard in reader.shards(apart.manifest, "train", "bridge_dataset"):
        every = [sample.key for sample in reader.samples(apart.out / shard["name"], images=False)]
        alone = [n for n, key in enumerate(every) if "-memory" in key]
        for start in alone[:2]:
            assert [sample.key for sample in reader.samples(apart.out / shard["name"], start)] == every[start:]
    mine, *_, kinds = BLOCK.findall((apart.out / "README.md").read_text())
    shown = printed(mine, apart.out, tmp_path)
    expected = [sample.key for sample in islice(Loader(apart.out, seed=5), len(shown))]
    assert [line.split()[0] for line in shown] == expected
    assert all("'role': 'assistant'" in line for line in shown)
    pytest.importorskip("datasets")
    roles = Counter(line.split()[0] for line in printed(kinds, apart.out, tmp_path))
    assert roles["assistant"] >= 5


def printed(code: str, mixture: Path, cache: Path) -> list[str]:
    """The first 60 lines that a program of the card prints; it may print without end."""
    name = re.search(r'folder = "(/path/to/\w+)"', code)
    assert name is not None
    environment = os.environ | {"HF_DATASETS_CACHE": str(cache)}
    command = [sys.executable, "-u", "-c", code.replace(name[1], str(mixture))]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as run:
        lines = list(islice(run.stdout or (), 60))
        run.kill()
    return lines
