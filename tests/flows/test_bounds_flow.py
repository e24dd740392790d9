"""Mixtures by every rule of bounds: measured on the train steps, alone or shared, and computed anew by `verify`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support import bounds_by_rule, small_corpora
from support.builds import samples
from support.damaged_mixtures import change_json, failing

from rt2data import resources
from rt2data.rlds.writer import write_rlds
from rt2data.verify import verify

Build = Callable[..., dict[str, Any]]
NAMES = ("bridge_dataset", "twin")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bridge, and a second arm that moves twice as far, with its declaration beside the recipe."""
    root = tmp_path_factory.mktemp("data")
    small_corpora.write_bridge(root)
    far = [small_corpora.episode(100 + n) for n in range(9)]
    for episode in far:
        episode["steps"]["action"][:, :6] *= 2
    write_rlds(
        root, name="twin", version="1.0.0", features=small_corpora.FEATURES, splits={"train": far}, shards={"train": 2}
    )
    declared = (resources.folder("builders") / "bridge" / "bridge_dataset.yaml").read_text()
    declared = declared.replace("name: bridge_dataset\n", "name: twin\n").replace("id: bridge\n", "id: twin\n")
    kept = [line for line in declared.splitlines() if not line.startswith(("aliases:", "paths:"))]
    (root / "twin.yaml").write_text("\n".join([*kept, "paths: [twin]", ""]))
    return root


def build_with(build: Build, data: Path, tmp_path: Path, tokenizer: Any, *sources: Any) -> Path:
    (tmp_path / "twin.yaml").write_text((data / "twin.yaml").read_text())
    both = [{"source": "bridge_dataset"}, {"source": "twin.yaml"}]
    recipe = small_corpora.write_recipe(tmp_path / "r.yaml", tokenizer=tokenizer, sources=[*(sources or both)])
    build(recipe, tmp_path / "out", data_root=data)
    return tmp_path / "out"


def actions(out: Path, source: str) -> npt.NDArray[np.float64]:
    """The actions of the train samples, (n, 7)."""
    rows = [s["json"]["action"] for s in samples(out) if s["json"]["source"] == source]
    return np.array(rows, np.float32).astype(np.float64)


def bounds(out: Path, source: str) -> npt.NDArray[np.float64]:
    """Low and high of the first six dimensions, (6, 2)."""
    spec = json.loads((out / "tokenizer.json").read_bytes())
    return np.array([(dim["low"], dim["high"]) for dim in spec["sources"][source]["dims"]])[:6]


def robust(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.array([bounds_by_rule.scalar_robust(values[:, i].tolist()) for i in range(6)])


def extremes(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.array([values.min(0), values.max(0)]).T[:6]


def tenth(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.quantile(values, [0.1, 0.8], axis=0).T[:6]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("rule", "wanted"), [("robust", robust), ("minmax", extremes), ({"quantiles": [0.1, 0.8]}, tenth)]
)
def test_bounds_are_measured_on_train(
    build: Build, data: Path, tmp_path: Path, rule: Any, wanted: Any, shared: bool
) -> None:
    tokenizer = {"bounds": rule} | ({"share_bounds": [list(NAMES)]} if shared else {})
    out = build_with(build, data, tmp_path, tokenizer)
    values = {name: actions(out, name) for name in NAMES}
    for name in NAMES:
        own = np.concatenate(list(values.values())) if shared else values[name]
        np.testing.assert_array_equal(bounds(out, name), wanted(own))
    stats = json.loads((out / "statistics.json").read_bytes())["sources"]
    needs = rule != "minmax"
    for name in NAMES:
        assert ("q_low" in stats[name]["train"]) == needs
        assert "q_low" not in stats[name]["all"]
        assert ("shared" in stats[name]) == shared
        assert stats[name]["train"]["count"] == len(values[name])
    assert not failing(verify(out))


def test_a_statistics_file_and_rules_of_sources(build: Build, data: Path, tmp_path: Path) -> None:
    low, high = [-0.03 - i / 100 for i in range(7)], [0.04 + i / 100 for i in range(7)]
    (tmp_path / "stats.json").write_text(json.dumps({"somewhere": {"action": {"q01": low, "q99": high}}}))
    sources = {"source": "bridge", "bounds": {"from": "stats.json"}}, {"source": "twin.yaml", "bounds": "fixed"}
    out = build_with(build, data, tmp_path, {"spec": "rt2"}, *sources)
    np.testing.assert_array_equal(bounds(out, "bridge_dataset"), np.array([low, high]).T[:6])
    assert bounds(out, "twin")[0].tolist() == [-1.0, 1.0]
    spec = json.loads((out / "tokenizer.json").read_bytes())["sources"]
    assert [spec["bridge_dataset"]["dims"][6][end] for end in ("low", "high")] == [0.0, 1.0]  # a gripper's are fixed
    (tmp_path / "stats.json").unlink()
    assert not failing(verify(out))
    change_json(out / "manifest.json", lambda m: m["recipe"]["sources"][0]["bounds"]["low"].__setitem__(2, -1.0))
    assert "tokenizer" in failing(verify(out))
    change_json(out / "manifest.json", lambda m: m["recipe"]["sources"][0]["bounds"]["low"].pop())
    assert "tokenizer" in failing(verify(out))


@pytest.fixture(scope="module")
def shared(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture whose two arms share bounds by the default rule; not to be changed."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "twin.yaml").write_text((data / "twin.yaml").read_text())
    sources = [{"source": "bridge_dataset"}, {"source": "twin.yaml"}]
    recipe = small_corpora.write_recipe(folder / "r.yaml", tokenizer={"share_bounds": [list(NAMES)]}, sources=sources)
    small_corpora.build(recipe, folder / "out", data_root=data)
    return folder / "out"


def in_train(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda content: change(content["sources"]["twin"]["train"])


def in_shared(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda content: [change(one["shared"]) for one in content["sources"].values()]


def in_tokenizer(**changes: Any) -> Callable[[Any], Any]:
    return lambda content: content["recipe"]["tokenizer"].update(changes)


FAULTS: list[tuple[str, str, Callable[[Any], Any], str]] = [
    ("q_low", "statistics", in_train(lambda s: s["q_low"].__setitem__(1, 0.0)), "statistics"),
    ("no q_high", "statistics", in_train(lambda s: s.pop("q_high")), "statistics"),
    ("q_low of all", "statistics", lambda s: s["sources"]["twin"]["all"].update(q_low=[0.0] * 7), "statistics"),
    ("shared of one", "statistics", lambda s: s["sources"]["twin"]["shared"]["max"].__setitem__(0, 9.0), "statistics"),
    ("shared count", "statistics", in_shared(lambda s: s.update(count=7)), "statistics"),
    ("shared mean", "statistics", in_shared(lambda s: s["mean"].__setitem__(0, 0.5)), "statistics"),
    ("shared q_high", "statistics", in_shared(lambda s: s["q_high"].__setitem__(0, 0.0)), "statistics"),
    ("no shared", "statistics", lambda s: [one.pop("shared") for one in s["sources"].values()], "statistics"),
    ("another rule", "manifest", in_tokenizer(bounds="minmax"), "statistics"),
    ("other quantiles", "manifest", in_tokenizer(bounds={"quantiles": [0.3, 0.6]}), "statistics"),
    ("no group", "manifest", lambda m: m["recipe"]["tokenizer"].pop("share_bounds"), "statistics"),
    ("a rule of one", "manifest", lambda m: m["recipe"]["sources"][0].update(bounds="minmax"), "statistics"),
    ("a stranger", "manifest", in_tokenizer(share_bounds=[["twin", "nobody"]]), "statistics"),
    ("a bound", "tokenizer", lambda t: t["sources"]["twin"]["dims"][0].update(low=-1.0), "tokenizer"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "change", "wanted"), [pytest.param(*fault[1:], id=fault[0]) for fault in FAULTS])
def test_verify_finds_other_bounds(shared: Path, tmp_path: Path, file: str, change: Any, wanted: str) -> None:
    out = tmp_path / "out"
    shutil.copytree(shared, out)
    change_json(out / f"{file}.json", change)
    assert wanted in failing(verify(out))


def test_the_shared_mixture_is_whole(shared: Path) -> None:
    assert not failing(verify(shared))
