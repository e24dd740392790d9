"""What a plan says of kinds of sample before anything is built: what is assumed, and what collides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import small_corpora

from rt2data.errors import Rt2dataError
from rt2data.pipeline import estimate
from rt2data.plan.plan import Plan
from rt2data.recipes.recipe import read_recipe
from rt2data.tokenizer import ActionTokenizer

ACT = {"turns": [{"user": "{images}{task}"}, {"assistant": "{action}"}]}


def planned(tmp_path: Path, kinds: dict[str, Any], **changes: Any) -> Plan:
    """The plan of a recipe of kinds without its data."""
    recipe = {"name": "r", "cameras": ["primary"], "train_samples": 300,
              "sources": [{"source": "bridge_dataset", "weight": 1, "kinds": kinds}]} | changes  # fmt: skip
    path = tmp_path / "r.yaml"
    path.write_text(json.dumps(recipe))
    return estimate.make(read_recipe(path), None, tmp_path / "work", index=False, check=False)


def said(plan: Plan, *words: str) -> list[str]:
    return [one for one in plan.warnings if all(word in one for word in words)]


def locate(form: str) -> dict[str, Any]:
    text = f"{{box|all|form({form})}}"
    return {"turns": [{"user": "{images}Where?"}, {"assistant": text}]}


def test_steps_that_nobody_has_counted(tmp_path: Path) -> None:
    say = {"requires": ["subtask"], "turns": [{"user": "{images}"}, {"assistant": "{subtask}"}]}
    (found,) = said(planned(tmp_path, {"act": ACT, "say": say}), "require")
    assert found == (
        "bridge_dataset: every step is taken to have what the kinds say require; only an index counts those that do "
        "(plan --index)"
    )
    assert not said(planned(tmp_path, {"act": ACT}), "require")


def test_images_of_kinds_that_show_none(tmp_path: Path) -> None:
    """A kind of text alone takes no images, one that shows both cameras the bytes of both."""
    blind = {"turns": [{"user": "{task}"}, {"assistant": "{action}"}]}
    every = planned(tmp_path, {"act": ACT}).sources[0].image_bytes
    assert every > 0
    assert planned(tmp_path, {"act": blind}).sources[0].image_bytes == 0
    assert planned(tmp_path, {"act": ACT, "blind": blind}).sources[0].image_bytes == pytest.approx(every / 2, rel=0.01)


def test_examples_without_an_image_are_counted(tmp_path: Path) -> None:
    records = [
        {"id": str(n), "conversations": [{"from": "human", "value": f"{n}?"}, {"from": "gpt", "value": "Yes."}]}
        | ({"image": "a.jpg"} if n < 3 else {})
        for n in range(10)
    ]
    small_corpora.write_json(tmp_path / "chat" / "chat.json", records)
    (tmp_path / "chat" / "a.jpg").write_bytes(small_corpora.picture(1))
    (tmp_path / "chat.yaml").write_text(
        "name: chat\nid: chat\nkind: vqa\nformat: json\nlicence: not stated\nlanguage: en\n"
        'splits: {train: {annotations: [chat.json]}}\nrecords: "*"\n'
        'fields: {id: id, image: image, conversation: conversations}\nimages: ["{image}"]\n'
    )
    path = tmp_path / "r.yaml"
    source = {"source": str(tmp_path / "chat.yaml"), "repeat": 1, "splits": {"train": ["train"]}}
    path.write_text(json.dumps({"name": "r", "splits": {"train": 1}, "sources": [source]}))
    recipe = read_recipe(path)
    guessed = estimate.make(recipe, tmp_path, tmp_path / "work", index=False, check=False)
    assert guessed.sources[0].estimated
    exact = estimate.make(recipe, tmp_path, tmp_path / "work", index=True, check=False)
    for plan in (guessed, exact):
        assert plan.sources[0].remarks["text_only"] == 7
        assert said(plan, "samples of text alone: 7")
    absent = estimate.make(recipe, None, tmp_path / "no work", index=False, check=False)
    assert said(absent, "how many samples are text alone is known only from an index")


def test_action_ids_on_location_tokens(tmp_path: Path) -> None:
    """openpi's FAST begins at the last location token of PaliGemma; pi052's begins below the first."""
    (found,) = said(planned(tmp_path, {"locate": locate("paligemma")}, tokenizer={"spec": "fast"}), "location")
    assert "(its id 0 is 257023, <loc1023>), which also stand for places in bridge_dataset, kind locate" in found
    fast = ActionTokenizer.from_pretrained("fast").to_dict()
    own = tmp_path / "own.json"
    own.write_text(json.dumps(fast | {"name": "own", "vocabulary": {"place": "tail", "skip": 1152}}))
    for spec, form in ((str(own), "paligemma"), ("fast", "qwen3-vl"), ("rt2", "paligemma")):
        assert not said(planned(tmp_path, {"locate": locate(form)}, tokenizer={"spec": spec}), "location")
    (found,) = said(planned(tmp_path, {"locate": locate("paligemma")}, tokenizer={"spec": "openvla"}), "location")
    assert "(its id 128 is 257023, <loc1023>)" in found
    further = {"fast": {"spec": "fast", "horizon": 2}}
    plan = planned(tmp_path, {"locate": locate("paligemma"), "act": ACT}, tokenizer={"horizon": 2}, actions=further)
    assert said(plan, "the tokenizer fast writes actions with PaliGemma's location tokens")


def test_pixels_of_a_model_s_resize(tmp_path: Path) -> None:
    (found,) = said(planned(tmp_path, {"locate": locate("qwen2.5-vl"), "act": ACT}), "processor")
    assert found == (
        "bridge_dataset: the form qwen2.5-vl (kind locate) counts pixels of the image that the model resizes: "
        "rule transformers, factor 28, 3,136 to 1,003,520 pixels; its processor needs the same bounds"
    )
    assert not said(planned(tmp_path, {"locate": locate("qwen3-vl")}), "processor")


def test_kinds_that_ask_the_same(tmp_path: Path) -> None:
    reason = {"turns": [{"user": "{images}{task}"}, {"assistant": "{subtask}"}, {"assistant": "{action}"}]}
    (found,) = said(planned(tmp_path, {"act": ACT, "reason": reason}), "ask the same")
    assert found == (
        "bridge_dataset: the kinds act and reason ask the same and answer differently, so that a model cannot tell "
        'which is wanted: "user: {images}{task}"'
    )
    pool = {"turns": [{"user": ["{images}Why?", "{images}{task}"]}, {"assistant": "{subtask}"}]}
    assert said(planned(tmp_path, {"act": ACT, "reason": pool}), "ask the same")
    told = {"turns": [{"system": "Think."}, *reason["turns"]]}
    again = {"turns": ACT["turns"], "requires": ["subtask"]}
    assert not said(planned(tmp_path, {"act": ACT, "reason": told, "again": again}), "ask the same")


def test_two_action_spaces_under_one_text_of_a_pool(tmp_path: Path) -> None:
    pool = {"turns": [{"user": ["{images}Go.", "{images}{task}"]}, {"assistant": "{action}"}]}
    sources = [
        {"source": "bridge_dataset", "weight": 1, "kinds": {"act": ACT}},
        {"source": "berkeley_rpt", "weight": 1, "kinds": {"go": pool}},
    ]
    with pytest.raises(Rt2dataError, match=r"have the same prompt; .* Give one of them its own with kinds: \{go"):
        planned(tmp_path, {}, sources=sources, cameras=["primary", "wrist"])
