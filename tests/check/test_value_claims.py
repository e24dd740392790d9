"""`rt2data datasets check` on the size of numbers, and of declarations in files of one's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support import small_corpora

from rt2data import cli
from rt2data.check import check
from rt2data.check.evidence import OBJECTS, UNKNOWN
from rt2data.declarations import declaration
from rt2data.errors import Rt2dataError


def written(folder: Path, change: Any) -> Path:
    """A data root with six episodes of ten steps, changed, and a declaration file of their own."""
    episodes = [small_corpora.episode(number, 10) for number in range(6)]
    for number, episode in enumerate(episodes):
        change(number, episode["steps"]["action"])
    small_corpora.write_bridge(folder, episodes)
    raw = {k: v for k, v in declaration.find_declaration("bridge").raw.items() if k != "compat"}
    raw |= {"name": "mine", "id": "mine", "aliases": [], "paths": ["bridge_dataset"]}
    (folder / "mine.yaml").write_text(yaml.safe_dump(raw))
    return folder


def claims(folder: Path) -> dict[str, tuple[str, str]]:
    report = check.check(declaration.open_declaration(str(folder / "mine.yaml"), "datasets"), folder)
    return {claim.claim: (claim.verdict, claim.evidence) for claim in report.claims}


def test_impossible_values_and_noise(tmp_path: Path) -> None:
    def change(number: int, action: Any) -> None:
        action[:, 3] = np.random.default_rng(number).normal(scale=1e-8, size=10)
        action[4, 2] = 3e38 if number == 2 else action[4, 2]

    found = claims(written(tmp_path, change))
    verdict, evidence = found["z lies in -3 to 3 m"]
    assert verdict == OBJECTS
    assert evidence == "outside in 1 of 60 steps: 3e+38 in episode /data/1/out.npy:2, step 4"
    verdict, evidence = found["roll is a dimension of the action"]
    assert verdict == UNKNOWN
    assert "but for noise of" in evidence


def test_nothing_where_all_is_well(tmp_path: Path) -> None:
    found = claims(written(tmp_path, lambda *_: None))
    assert not [claim for claim in found if "lies in -" in claim or "dimension" in claim]


def test_a_gripper_in_other_units(tmp_path: Path) -> None:
    def percent(number: int, action: Any) -> None:
        action[:, 6] *= 100

    found = claims(written(tmp_path, percent))
    assert found["gripper lies in [0, 1] and uses both ends"][0] == OBJECTS
    assert not [claim for claim in found if "lies in -" in claim]


def test_the_commands_take_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, lambda *_: None)
    mine = str(tmp_path / "mine.yaml")
    assert cli.main(["datasets", mine]) == 0
    assert capsys.readouterr().out.startswith("mine")
    assert cli.main(["datasets", mine, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "mine"
    assert cli.main(["datasets", "check", mine, "--data-root", str(tmp_path), "--json"]) in (0, 1)
    assert json.loads(capsys.readouterr().out)["dataset"] == "mine"


def test_a_file_of_variants_and_of_other_readings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    libero = declaration.find_declaration("libero_10_no_noops")
    assert declaration.open_declaration(libero.reference, "datasets") == libero
    assert declaration.open_declaration(f"{libero.reference}@openvla", "datasets") == libero.compat["openvla"]
    with pytest.raises(Rt2dataError, match=r"libero\.yaml: several datasets; expected one of libero\.yaml#libero_"):
        declaration.open_declaration(libero.file, "datasets")
    with pytest.raises(Rt2dataError, match=r'no variant "#libero_11_no_noops"; expected one of .* Did you mean'):
        declaration.open_declaration(f"{libero.file}#libero_11_no_noops", "datasets")
    assert cli.main(["datasets", f"{libero.reference}@openvla"]) == 0
    assert "libero_10_no_noops" in capsys.readouterr().out


@pytest.mark.parametrize("path", ["{name}", "./{name}", "../here/{name}", "{folder}/{name}"])
def test_a_file_is_named_as_the_shell_completes_it(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    written(here, lambda *_: None)
    shutil.copy(declaration.find_declaration("libero_10_no_noops").file, here / "libero.yaml")
    assert cli.main(["datasets", path.format(name="mine.yaml", folder=here)]) == 0
    assert capsys.readouterr().out.startswith("mine")
    libero = path.format(name="libero.yaml", folder=here)
    for variant in ("libero_goal_no_noops", "libero_goal"):  # its name and its short id
        assert cli.main(["datasets", f"{libero}#{variant}@openvla"]) == 0
        assert capsys.readouterr().out.startswith("libero_goal_no_noops")
    recipe = here / "recipe.yaml"
    recipe.write_text(f'name: own\nsources:\n  - {{source: "{libero}#libero_goal"}}\n')
    assert cli.main(["plan", str(recipe)]) == 0
    assert "libero_goal_no_noops" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["datasets"], ["datasets", "check"]])
def test_a_file_that_is_not_there_or_no_declaration(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text, said in (("none.yaml", None, "No such file"), ("bad.yaml", "name: mine\n", 'the file has no "')):
        if text:
            (tmp_path / name).write_text(text)
        assert cli.main([*words, str(tmp_path / name), "--data-root", str(tmp_path)]) == 2
        assert said in capsys.readouterr().err


def test_stats_of_a_declared_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--dataset takes a file or a name; without it the files are looked at, and the error says how to go on."""
    written(tmp_path, lambda *_: None)
    folder = tmp_path / "bridge_dataset"
    for given, name in ((str(tmp_path / "mine.yaml"), "mine"), ("bridge", "bridge_dataset")):
        assert cli.main(["stats", str(folder), "--dataset", given, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["name"], found["sources"][0]["rows"]) == (name, 60)
    info = next(folder.rglob("dataset_info.json"))
    info.write_text(info.read_text().replace("bridge_dataset", "nobody_knows_it"))
    assert cli.main(["stats", str(folder)]) == 2
    assert "Name its declaration file with --dataset" in capsys.readouterr().err


def test_stats_of_a_corpus_that_is_declared_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.jsonl").write_text('{"i": 1, "image": "1.jpg", "q": "What is it?", "a": "a cup"}\n')
    (tmp_path / "mine" / "1.jpg").write_bytes(small_corpora.picture(1))
    raw = {
        "name": "mine", "id": "mine", "kind": "vqa", "format": "jsonl", "language": "en", "licence": "mine",
        "splits": {"train": {"annotations": ["a.jsonl"]}},
        "fields": {"id": "i", "image": "image", "question": "q", "answers": "a"},
        "images": ["{image}"],
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(raw))
    assert cli.main(["stats", str(tmp_path / "mine"), "--dataset", str(tmp_path / "mine.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["sources"][0]["usable"]) == ("mine", {"train": 1})


def test_stats_of_a_mixture_takes_no_dataset(mixture: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["stats", str(mixture.out), "--dataset", "bridge"]) == 2
    assert "a mixture, and --dataset bridge; expected --dataset with a dataset's folder" in capsys.readouterr().err
