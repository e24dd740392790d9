"""Prompts that write the state as pi0.5, OpenTau or MolmoAct2 do: built, verified, and written again for serving."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import small_corpora
from support.builds import samples
from support.damaged_mixtures import failing

from rt2data.errors import Rt2dataError
from rt2data.recipes.recipe import read_recipe
from rt2data.serving.robot_prompt import RobotPrompt
from rt2data.tokenizer import ActionTokenizer, proprio
from rt2data.verify import verify

Build = Callable[..., dict[str, Any]]

PROMPT = {"robot": "Task: {instruction}, State: {proprio};\nAction: "}
FORMS = {
    "proprio-pi05": r"-?[0-9]+( -?[0-9]+){6}",
    "proprio-molmoact2": r"<state_start>(<state_[0-9]+>){7}<state_end>",
}


def write_recipe(folder: Path, **fields: Any) -> Path:
    sources = [{"source": "bridge_dataset"}]
    return small_corpora.write_recipe(folder / "r.yaml", sources=sources, splits=None, prompts=PROMPT, **fields)


@pytest.mark.parametrize("name", FORMS)
def test_prompts_write_the_state_by_the_scheme(name: str, build: Build, tmp_path: Path) -> None:
    small_corpora.write_bridge(tmp_path / "data", [small_corpora.episode(n, 6) for n in range(4)], shards=1)
    recipe = write_recipe(tmp_path, state={"spec": name})
    found = build(recipe, tmp_path / "out", data_root=tmp_path / "data")
    assert found["recipe"]["state"] == {"spec": name}
    report = verify(tmp_path / "out")
    assert failing(report) == set(), report.text()
    own = ActionTokenizer.from_pretrained(tmp_path / "out" / proprio.FILE).for_source("bridge")
    prompt = RobotPrompt(tmp_path / "out", "bridge")
    assert own.spec.scheme == ActionTokenizer.from_pretrained(name).spec.scheme
    written = set()
    for sample in samples(tmp_path / "out", "train"):
        row = sample["json"]
        assert prompt(row["instruction"], row["proprio"]) == row["prompt"]
        text = re.fullmatch(rf"Task: .*, State: ({FORMS[name]});\nAction: ", row["prompt"])
        assert text is not None
        assert own.parse(text[1]).tolist() == own.encode(np.array(row["proprio"], np.float32)).tolist()
        written.add(text[1])
    assert len(written) > 5


@pytest.mark.parametrize(("name", "message"), [("rt2", "without a terminate field"), ("no-such", "no such tokenizer")])
def test_what_is_no_scheme_of_states_is_refused(name: str, message: str, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, state={"spec": name})
    with pytest.raises(Rt2dataError, match=rf"r\.yaml:\d+: .*{message}"):
        read_recipe(recipe)


def test_by_default_nothing_of_a_recipe_changes(tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe(tmp_path))
    assert recipe.state == "proprio"
    assert "state" not in recipe.resolved
    assert proprio.load_scheme("proprio").fingerprint == "1b7db386fc3f1e7e9f20ad9ce92933c4"
