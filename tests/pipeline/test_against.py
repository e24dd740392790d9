"""`rt2data stats DATASET --against FILE` and `--format STACK`: exact shares, findings in words, files that are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import small_corpora
from support.built_mixture import Built

from rt2data import cli
from rt2data.cli.mixtures import read_stats
from rt2data.errors import Rt2dataError
from rt2data.mixture import stats
from rt2data.mixture.statistics_export import write_statistics
from rt2data.pipeline.dataset_stats import Against, of_dataset
from rt2data.tokenizer.statistics import read_statistics

MEAN = np.array([0.002, -0.02, 0.01, 0.03, -0.1, 0.4])
STD = np.array([0.005, 0.03, 0.01, 0.1, 0.05, 0.3])
Measures = dict[str, Any]


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray[Any, Any]]:
    """The folder of a dataset, and the actions of its steps but for the gripper."""
    root = tmp_path_factory.mktemp("bridge")
    episodes, kept = [], []
    for number in range(12):
        actions = small_corpora.episode(number, steps=40)["steps"]["action"]
        actions[:, :6] = np.random.default_rng(number).normal(MEAN, STD, (40, 6))
        actions[:, 6] = np.arange(40) < 30
        episodes.append(small_corpora.episode(number, steps=40, action=actions))
        kept.append(actions[:, :6])
    small_corpora.write_bridge(root, episodes, shards=2)
    return root / "bridge_dataset", np.concatenate(kept)


@pytest.fixture(scope="module")
def own(bridge: tuple[Path, Any]) -> Measures:
    """The dataset's own statistics, as a file of OpenVLA has them."""
    train = of_dataset(bridge[0], check=False)["sources"][0]["actions"]["train"]
    return {name: train[name] for name in ("mean", "std", "min", "max", "q01", "q99")} | {"mask": [True] * 6 + [False]}


def against(folder: Path, path: Path, measures: Measures) -> Measures:
    path.write_text(json.dumps({"bridge_dataset": {"action": measures}, "other": {"action": measures}}))
    found = of_dataset(folder, check=False, against=Against(str(path)))["sources"][0]["against"]
    assert isinstance(found, dict)
    return found


def times(measures: Measures, factors: list[float]) -> Measures:
    """Statistics of values that are multiplied by positive factors."""
    return {
        name: values if name == "mask" else [v * f for v, f in zip(values, factors, strict=True)]
        for name, values in measures.items()
    }


def test_shares_are_exact(bridge: tuple[Path, Any], own: Measures, tmp_path: Path) -> None:
    folder, actions = bridge
    found = against(folder, tmp_path / "own.json", own)
    assert found["findings"] == []
    assert (found["stack"], found["count"], found["clips"]) == ("OpenVLA", len(actions), True)
    values = actions.astype(np.float64)
    assert found["below"][:6] == (values < own["q01"][:6]).sum(axis=0).tolist()
    assert found["above"][:6] == (values > own["q99"][:6]).sum(axis=0).tolist()
    assert (found["low"][6], found["high"][6], found["below"][6]) == (-1.0, 1.0, 0)  # passes as it is
    assert found["shift"] == [0.0] * 7
    assert found["scale"] == [1.0] * 7


def test_what_does_not_fit_is_said_in_words(bridge: tuple[Path, Any], own: Measures, tmp_path: Path) -> None:
    folder, file = bridge[0], tmp_path / "statistics.json"

    def findings(measures: Measures) -> list[str]:
        return against(folder, file, measures)["findings"]

    degrees = findings(times(own, [1, 1, 1, *[180 / np.pi] * 3, 1]))
    assert degrees[0].startswith("roll, pitch, yaw: 0.0175 times as wide as in the file: the file may be in degrees")
    assert "the file may be in millimetres" in findings(times(own, [1000, 1000, 1000, 1, 1, 1, 1]))[0]
    # Bridge is controlled at 5 Hz.
    assert "the file may be per second, and the data per step" in findings(times(own, [5] * 6 + [1]))[0]

    swapped = [1, 0, 2, 3, 4, 5, 6]
    order = {name: [values[i] for i in swapped] for name, values in own.items()}
    assert findings(order)[0] == "the order may differ: x is like number 2, y is like number 1 of the file"

    turned = {name: list(values) for name, values in own.items()}
    turned["mean"][5], turned["q01"][5], turned["q99"][5] = -own["mean"][5], -own["q99"][5], -own["q01"][5]
    turned["mean"][6] = 1 - own["mean"][6]
    turned["mask"] = [True] * 7
    said = findings(turned)
    assert said[:2] == ["yaw: the sign may be the opposite", "gripper: open and closed may be swapped"]
    assert any(s.startswith("yaw: ") and s.endswith("outside of the file's bounds and are clipped") for s in said)

    moved = {name: list(values) for name, values in own.items()}
    moved["mean"][1] -= 0.03
    moved["std"][2], moved["q01"][2], moved["q99"][2] = 0.002, 0.009, 0.011
    said = findings(moved)
    assert any(s.startswith("y: its mean lies +1.") for s in said)
    assert any(s.startswith("z: 4.") and s.endswith("times as wide as in the file") for s in said)
    assert any(s.startswith("z: ") and s.endswith("and are clipped") for s in said)


def test_a_file_that_cannot_be_compared(bridge: tuple[Path, Any], own: Measures, tmp_path: Path) -> None:
    short = {name: values[:6] for name, values in own.items()}
    with pytest.raises(Rt2dataError, match=r"6 dimensions; expected 7: x y z roll pitch yaw gripper\. "):
        against(bridge[0], tmp_path / "short.json", short)


def test_the_command_prints_a_table(
    bridge: tuple[Path, Any], own: Measures, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "norm_stats.json"
    wide = {name: own[name] for name in ("mean", "std", "q01", "q99")}
    wide["q99"] = [*own["q99"][:2], own["q01"][2] + 1e-3, *own["q99"][3:]]
    file.write_text(json.dumps({"norm_stats": {"actions": wide}}))
    assert cli.main(["stats", str(bridge[0]), "--against", str(file)]) == 0
    out = capsys.readouterr().out
    assert f"  against {file}: actions (openpi):\n" in out
    assert "the values lie outside of the file's bounds and become numbers beyond" in " ".join(out.split())


def test_a_mixture_is_not_compared(mixture: Built) -> None:
    with pytest.raises(Rt2dataError, match="a mixture, and --against x; expected --against with a dataset's folder"):
        read_stats(mixture.out, against="x")


def test_statistics_are_written_for_a_stack(
    bridge: tuple[Path, Any], own: Measures, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "stats"
    assert cli.main(["stats", str(bridge[0]), "--format", "lerobot", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{out / 'meta' / 'stats.json'}\n")
    assert "an envelope over episodes" in said
    written = read_statistics(out / "meta" / "stats.json")
    assert (written.stack, written.count) == ("lerobot", 480)
    for name in ("mean", "std", "min", "max", "q01", "q99"):
        assert written.measure(name).tolist() == own[name]
    assert read_statistics(out / "meta" / "stats.json", feature="state").dims == 7
    assert cli.main(["stats", str(bridge[0]), "--format", "lerobot"]) == 2
    assert "--format or --out alone; expected both" in capsys.readouterr().err


def test_statistics_of_a_mixture_are_written(mixture: Built, tmp_path: Path) -> None:
    found = stats.read_mixture_stats(mixture.out)
    (name,) = [s["source"] for s in found["sources"] if s["actions"]]
    assert cli.main(["stats", str(mixture.out), "--format", "openvla", "--out", str(tmp_path)]) == 0
    written = read_statistics(tmp_path / "dataset_statistics.json", name)
    train = next(s["actions"]["train"] for s in found["sources"] if s["actions"])
    assert written.measure("q99").tolist() == train["q99"]
    assert written.mask is not None
    assert written.mask.tolist() == [True] * 6 + [False]
    with pytest.raises(Rt2dataError, match=r"--source: none; expected one of"):
        write_statistics(found, "openvla", tmp_path, "none")
