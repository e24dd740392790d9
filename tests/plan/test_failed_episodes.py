"""Episodes that failed: the published mixtures leave Kuka's out, and a plan says what a source keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import small_corpora
from support.fake_datasets import fake

from rt2data import sources
from rt2data.declarations import declaration
from rt2data.pipeline import estimate
from rt2data.plan.plan import Plan
from rt2data.recipes import recipe
from rt2data.rlds.dataset import read_episodes
from rt2data.rlds.tfrecord import map_file

MIXTURES = recipe.resources.folder("mixtures")
REPAIR = "; filters: {success: true} leaves them out"


def planned(folder: Path, data: Path | None = None, *, index: bool = False, **changes: Any) -> Plan:
    base = {"sources": [{"source": "kuka"}], "splits": {"train": ["train"]}, "cameras": ["primary"]}
    path = small_corpora.write_recipe(folder / "r.yaml", **base | changes)
    return estimate.make(recipe.read_recipe(path), data, folder / "work", index=index, check=False)


def told(plan: Plan) -> list[str]:
    return [warning for warning in plan.warnings if "fail" in warning]


@pytest.mark.parametrize(
    "name", ["oxe_rtx", "oxe_rtx_franka", "oxe_magic_soup", "oxe_magic_soup_plus", "oxe_magic_soup_plus_minus",
             "octo_rtx", "octo_rtx_franka", "octo_magic_soup", "octo_flex_act_soup", "octo_full"],
)  # fmt: skip
def test_the_published_mixtures_have_the_grasps_that_held(name: str, tmp_path: Path) -> None:
    """2,455,879 steps, by the statistics that are published with OpenVLA's and Octo's models."""
    read = recipe.read_recipe(MIXTURES / f"{name}.yaml")
    found = estimate.make(read, None, tmp_path, index=False, check=False)
    kuka = next(source for source in found.sources if source.source == "kuka")
    assert (kuka.units, kuka.rows, kuka.samples["train"]) == (580_392, 8_583_978, 2_455_879)
    assert kuka.left_out == {"filter:success": 8_583_978 - 2_455_879}
    assert not [warning for warning in told(found) if warning.startswith("kuka")]


def test_kuka_weighs_as_much_as_rt_1(tmp_path: Path) -> None:
    """OpenVLA's paper gives both the same share of the mixture: their weights make up for their sizes."""
    read = recipe.read_recipe(MIXTURES / "oxe_magic_soup_plus.yaml")
    found = estimate.make(read, None, tmp_path, index=False, check=False)
    quota = {source.source: source.quota["train"] for source in found.sources}
    rt_1 = next(source.source for source in found.sources if source.dataset == "fractal20220817_data")
    assert quota["kuka"] == pytest.approx(quota[rt_1], rel=1e-3)


def test_a_plan_without_data_says_what_is_kept(tmp_path: Path) -> None:
    assert told(planned(tmp_path)) == [f"kuka: ~370,512 of 580,392 episodes failed and are kept{REPAIR}"]
    assert told(planned(tmp_path, sources=[{"source": "kuka", "filters": {"success": {"not": [False]}}}])) == []
    unstated = planned(tmp_path, sources=[{"source": "droid"}])
    assert told(unstated) == [f"droid: episodes that failed are kept, and nobody states how many{REPAIR}"]
    filtered = planned(tmp_path, sources=[{"source": "droid", "filters": {"success": True}}])
    wanted = "droid: how many episodes failed is not known without its data: none is taken off here"
    assert told(filtered) == [wanted]
    assert told(planned(tmp_path, sources=[{"source": "bridge_dataset"}])) == []


def test_the_plan_of_the_data_counts_them(tmp_path: Path) -> None:
    one = declaration.find_declaration("kuka")
    folder = fake(one, tmp_path / "data", episodes=12, steps=4)
    source: Any = sources.load_format(one, one.file)(one, folder)
    held = [
        bool(episode["success"])
        for part in source.parts("train")
        for episode in read_episodes(
            map_file(source.root / part.name), part.name, source.fields, ["success"], check=True
        )
    ]
    assert 0 < sum(held) < 12
    every = planned(tmp_path, tmp_path / "data", index=True)
    failed = 12 - sum(held)
    assert every.sources[0].failed == failed
    assert told(every) == [f"kuka: {failed} of 12 episodes failed and are kept{REPAIR}"]
    good = planned(tmp_path, tmp_path / "data", index=True, sources=[{"source": "kuka", "filters": {"success": True}}])
    assert (good.sources[0].failed, told(good)) == (0, [])
    bad = planned(tmp_path, tmp_path / "data", index=True, sources=[{"source": "kuka", "filters": {"success": False}}])
    assert bad.sources[0].failed == failed


def test_an_estimate_from_the_files_takes_the_published_share(tmp_path: Path) -> None:
    fake(declaration.find_declaration("kuka"), tmp_path / "data", episodes=12, steps=4)
    kept = planned(tmp_path, tmp_path / "data").sources[0]
    good = planned(tmp_path, tmp_path / "data", sources=[{"source": "kuka", "filters": {"success": True}}]).sources[0]
    assert kept.estimated
    assert good.samples["train"] == round(kept.samples["train"] * 2455879 / 8583978)
    assert good.rows == kept.rows
    assert good.image_bytes < kept.image_bytes
