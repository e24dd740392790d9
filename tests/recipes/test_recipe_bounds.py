"""`bounds` and `share_bounds` of recipes: every spelling, the defaults, statistics files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rt2data import resources
from rt2data.errors import Rt2dataError
from rt2data.recipes import recipe
from rt2data.recipes.bounds import Bounds
from rt2data.recipes.recipe import Recipe, read_recipe

BRIDGE = "- {source: bridge}\n"
# The shape of OpenVLA's dataset_statistics.json; numbers of its bridge_orig, rounded.
FILE: dict[str, Any] = {
    "bridge_orig": {
        "action": {
            "mask": [True] * 6 + [False],
            "q01": [-0.0287, -0.0417, -0.0261, -0.0809, -0.0929, -0.2072, 0.0],
            "q99": [0.0283, 0.0409, 0.0402, 0.0819, 0.0779, 0.2038, 1.0],
        },
        "num_transitions": 2135463,
    },
    "other": {"action": {"q01": [0, 1], "q99": [2, 3]}},
}


def read(folder: Path, tokenizer: str, sources: str = BRIDGE, head: str = "") -> Recipe:
    (folder / "r.yaml").write_text(f"name: x\n{head}tokenizer: {tokenizer}\nsources:\n{sources}")
    return read_recipe(folder / "r.yaml")


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("robust", Bounds("robust")),
        ("minmax", Bounds("minmax")),
        ("fixed", Bounds("fixed")),
        ("quantiles", Bounds("quantiles", (0.01, 0.99))),
        ("{quantiles: [0.01, 0.99]}", Bounds("quantiles")),
        ("{quantiles: [0.001, 0.999]}", Bounds("quantiles", (0.001, 0.999))),
        ("{quantiles: [0, 1]}", Bounds("quantiles", (0.0, 1.0))),
    ],
)
def test_every_rule_of_the_mixture_or_of_a_source(tmp_path: Path, written: str, wanted: Bounds) -> None:
    assert read(tmp_path, f"{{bounds: {written}}}").sources[0].bounds == wanted
    own = read(tmp_path, "{bounds: minmax}", f"- {{source: bridge, bounds: {written}}}\n- {{source: droid}}\n")
    assert [source.bounds for source in own.sources] == [wanted, Bounds("minmax")]
    for first in (own, read(tmp_path, f"{{bounds: {written}}}")):
        again = recipe.parse_recipe(json.loads(json.dumps(first.resolved)), first.file)
        assert [s.bounds for s in again.sources] == [s.bounds for s in first.sources]
        assert again.resolved == first.resolved


def test_the_default_is_robust_and_that_of_openvla_and_octo_the_percentiles(tmp_path: Path) -> None:
    both = "- {source: bridge, compat: openvla}\n- {source: droid}\n"
    found = read(tmp_path, "{spec: rt2}", both)
    assert [source.bounds.rule for source in found.sources] == ["quantiles", "robust"]
    assert found.resolved["tokenizer"]["bounds"] == "robust"
    again = recipe.parse_recipe(found.resolved, found.file)
    assert [source.bounds.rule for source in again.sources] == ["quantiles", "robust"]
    whole = read(tmp_path, "{spec: rt2}", head="compat: octo\n")
    assert (whole.sources[0].bounds.rule, whole.resolved["tokenizer"]["bounds"]) == ("quantiles", "quantiles")
    said = read(tmp_path, "{bounds: robust}", both)
    assert [source.bounds.rule for source in said.sources] == ["robust", "robust"]
    again = recipe.parse_recipe(said.resolved, said.file)
    assert [source.bounds.rule for source in again.sources] == ["robust", "robust"]


def test_bundled_recipes_named_after_other_projects_keep_their_bounds() -> None:
    ours = {"quickstart", "quickstart_kinds", "bridge_coco_vqa", "roboset_kitchen", "rt2_cot", "rt2_palix", "rt2_palme"}
    others = {"rt2_language_table": "fixed", "vla0": "minmax", "rdt2": "none"}
    for path in resources.files("mixtures", ".yaml"):
        robots = [s for s in read_recipe(path).sources if s.declaration.robot]
        if path.stem not in ours and any(s.kinds for s in robots):
            continue  # the recipe says which actions it has
        rules = {s.bounds for s in robots}
        wanted = "robust" if path.stem in ours else others.get(path.stem, "quantiles")
        assert rules == {Bounds(wanted)}, path.stem


def test_bounds_of_a_statistics_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "stats.json").write_text(json.dumps(FILE))
    action = FILE["bridge_orig"]["action"]
    for written in ("{from: data/stats.json}", "{from: data/stats.json, key: bridge_orig}"):
        found = read(tmp_path, f"{{bounds: {written}}}")
        assert (list(found.sources[0].bounds.low), list(found.sources[0].bounds.high)) == (action["q01"], action["q99"])
        assert str(tmp_path) not in json.dumps(found.resolved)
        assert "data/" not in json.dumps(found.resolved)
        # A worker reads the resolved recipe, where there may be no such file.
        again = recipe.parse_recipe(json.loads(json.dumps(found.resolved)), "elsewhere/r.yaml")
        assert again.sources[0].bounds.low == found.sources[0].bounds.low
        assert again.resolved == found.resolved


def _row(first: float) -> list[float]:
    return [first, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]


MEASURES = {"mean": _row(0), "std": _row(1), "min": _row(-4), "max": _row(4), "q01": _row(-3), "q99": _row(3)}
NO_QUANTILES = {key: MEASURES[key] for key in ("mean", "std", "min", "max")}
EPISODE = {"observation.state": NO_QUANTILES | {"count": [5]}, "action": NO_QUANTILES | {"count": [5]}}


@pytest.mark.parametrize(
    ("content", "written", "low"),
    [
        ({"bridge": {"action": MEASURES}, "x": {"action": NO_QUANTILES}}, "", -3),
        ({"bridge": {"action": {"mean": _row(0), "std": _row(1), "p01": _row(-2), "p99": _row(2)}}}, "", -2),
        ({"norm_stats": {"actions": MEASURES, "state": MEASURES}}, "", -3),
        ({"action": MEASURES | {"count": [9]}, "observation.state": MEASURES}, "", -3),
        ({"action": NO_QUANTILES | {"count": [9]}, "observation.state": MEASURES | {"min": _row(-9)}}, "", -4),
        ({"action": NO_QUANTILES | {"count": [9]}, "s": NO_QUANTILES | {"min": _row(-9)}}, ", key: s", -9),
        ({"episode_index": 0, "stats": EPISODE}, "", -4),
        ({"action": MEASURES, "observation.state": MEASURES}, "", -4),  # GR00T scales by minimum and maximum
        ({"bridge": {"action": MEASURES, "state": MEASURES}}, "", -3),
        ({"metadata_by_tag": {"bridge_orig": {"action_stats": MEASURES}, "y": {"action_stats": MEASURES}}}, "", -3),
    ],
    ids=["openvla", "octo", "openpi", "lerobot", "lerobot without quantiles", "key", "lerobot v2.1", "gr00t", "starvla",
         "molmoact2"],
)  # fmt: skip
def test_bounds_of_the_file_of_any_stack(tmp_path: Path, content: Any, written: str, low: float) -> None:
    (tmp_path / "s.json").write_text(json.dumps(content))
    bounds = read(tmp_path, f"{{bounds: {{from: s.json{written}}}}}").sources[0].bounds
    assert bounds.low == tuple(_row(low))
    assert bounds.high[0] == (-low if low > -9 else 4)


def test_statistics_of_each_step_are_no_bounds_of_a_recipe(tmp_path: Path) -> None:
    relative = {"action": {key: [values] * 2 for key, values in MEASURES.items()}}
    (tmp_path / "s.json").write_text(json.dumps(relative))
    with pytest.raises(Rt2dataError, match="statistics of 2 steps; expected one set for all steps"):
        read(tmp_path, "{bounds: {from: s.json}}")


@pytest.mark.parametrize(
    ("content", "written", "message"),
    [
        (None, "{from: no.json}", "no.json: No such file or directory; expected a statistics file"),
        ("[", "{from: s.json}", "s.json: not valid JSON"),
        ("[" * 100_000, "{from: s.json}", "s.json: not valid JSON"),
        ("[1]", "{from: s.json}", "s.json: [1]; expected an object"),
        ({"a": {}, "b": {}}, "{from: s.json}", "s.json: an object with a, b; expected statistics as one of OpenVLA"),
        (FILE, "{from: s.json, key: bridge_ori}", "s.json: no 'bridge_ori'; expected one of bridge_orig, other."),
        (FILE, "{from: s.json, key: other}", "2 dimensions in s.json; expected 7, in this order: x y z roll pitch yaw"),
        ({"bridge": {"action": {"q01": "no", "q99": []}}}, "{from: s.json}", "s.json: an object with bridge; expected"),
        ({"bridge": {"action": {"q01": [9] * 7, "q99": [1] * 7}}}, "{from: s.json}", "bounds 9.0 and 1.0 of x"),
        ('{"bridge": {"action": {"q01": [0, 0, 0, 0, 0, 0, 0], "q99": [1e999, 1, 1, 1, 1, 1, 1]}}}',
         "{from: s.json}", "s.json: bridge: action: q99 with a number that is not finite"),
        ({"bridge": {"action": {"q01": [0] * 7, "q99": [10**400] * 7}}}, "{from: s.json}", "a list of numbers"),
        (FILE, "{from: s.json, low: [1]}", "low"),
        (FILE, "{from: s.json, low: [1], high: [1, 2]}", "1 low and 2 high bounds"),
        (FILE, "{quantiles: [0.9, 0.1]}", "the quantiles 0.9 and 0.1; expected the lower one first"),
        (FILE, "{quantiles: [0.9]}", "{quantiles: [LOW, HIGH]}"),
        (FILE, "{quantiles: [0.1, 2]}", "{quantiles: [LOW, HIGH]}"),
        (FILE, "percentiles", "robust"),
        (FILE, "{}", "robust, quantiles, minmax"),
    ],
)  # fmt: skip
def test_bounds_that_are_refused(tmp_path: Path, content: Any, written: str, message: str) -> None:
    if content is not None:
        (tmp_path / "s.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(Rt2dataError) as caught:
        read(tmp_path, f"{{bounds: {written}}}")
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/r.yaml:2: ")


def test_bounds_are_of_robots(tmp_path: Path) -> None:
    with pytest.raises(Rt2dataError, match=r'r\.yaml:4: "bounds" for a vqa source; expected a robot source'):
        read(tmp_path, "{spec: rt2}", "- {source: vqav2, bounds: minmax}\n")


BOTH = "- {source: droid}\n- {source: bridge}\n- {source: vqav2}\n"


def test_sources_share_bounds_by_any_of_their_names(tmp_path: Path) -> None:
    found = read(tmp_path, "{share_bounds: [[bridge_orig, droid]]}", BOTH)
    assert found.shared == (("droid", "bridge_dataset"),)
    assert [found.sharing(n) for n in range(3)] == [[0, 1], [0, 1], []]
    assert found.resolved["tokenizer"]["share_bounds"] == [["droid", "bridge_dataset"]]
    assert recipe.parse_recipe(found.resolved, found.file).shared == found.shared


@pytest.mark.parametrize(
    ("tokenizer", "sources", "message"),
    [
        ("{share_bounds: [[brigde, droid]]}", BOTH, '"brigde" shares bounds; expected robot sources of the recipe'),
        ("{share_bounds: [[vqav2, droid]]}", BOTH, '"vqav2" shares bounds; expected robot sources of the recipe'),
        ("{share_bounds: [[bridge, bridge_orig]]}", BOTH, "bridge and bridge_orig alone share bounds"),
        ("{share_bounds: [[bridge, droid], [droid, bridge]]}", BOTH, "a source in two groups of share_bounds"),
        ("{share_bounds: [[bridge]]}", BOTH, "2 or more entries"),
        ("{bounds: fixed, share_bounds: [[bridge, droid]]}", BOTH, "Only measured bounds can be shared"),
        ("{share_bounds: [[bridge, droid]]}", "- {source: droid, bounds: minmax}\n- {source: bridge}\n",
         "droid and bridge_dataset share bounds, which are minmax and robust; expected the same bounds: for both"),
        ("{share_bounds: [[bridge, language_table]]}", "- {source: bridge}\n- {source: language_table}\n",
         "expected the same dimensions and units"),
    ],
)  # fmt: skip
def test_groups_that_are_refused(tmp_path: Path, tokenizer: str, sources: str, message: str) -> None:
    with pytest.raises(Rt2dataError) as caught:
        read(tmp_path, tokenizer, sources)
    assert message in str(caught.value)
    assert "/r.yaml:2: " in str(caught.value)
