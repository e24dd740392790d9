"""Real episodes of MT-Opt, whose arm has no target where the gripper is commanded: samples must show the commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import small_corpora
from support.builds import samples

from rt2data import verify
from rt2data.check import check
from rt2data.check.evidence import AGREES, OBJECTS
from rt2data.declarations import declaration
from rt2data.storage import place

Build = Callable[..., dict[str, Any]]
STILL = dict.fromkeys(("x", "y", "z", "roll", "pitch", "yaw"), 0.001)
PLAIN = {"splits": {"train": ["train"]}, "cameras": ["primary"], "tokenizer": {"spec": "rt2"}}


def built(build: Build, folder: Path, data: Path, **changes: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    path = small_corpora.write_recipe(folder / "r.yaml", **PLAIN | {"sources": [{"source": "mt_opt_rlds"}]} | changes)
    manifest = build(path, folder / "out", data_root=data, workers=1)
    report = verify.verify(folder / "out")
    assert report.ok, report.text()
    return manifest["sources"][0], sorted((s["json"] for s in samples(folder / "out")), key=lambda s: s["step"])


def test_every_step_of_mt_opt_is_a_sample(build: Build, shared_data: Path, tmp_path: Path) -> None:
    """An episode of 13 steps closes at step 4, one of 20 at step 10; the state shows it one step later."""
    entry, found = built(build, tmp_path, shared_data)
    assert (entry["usable"]["train"], entry["left_out"]) == (33, {})
    for steps, closes in ((13, 4), (20, 10)):
        episode = [s for s in found if s["steps"] == steps]
        assert [s["step"] for s in episode] == list(range(steps))
        assert [s["action"][6] for s in episode] == [1.0] * closes + [0.0] * (steps - closes)
        assert episode[closes]["action"] == [0.0] * 7
        assert episode[closes]["proprio"][7] == 0.0  # the hand is still open
        assert episode[closes + 1]["proprio"][7] == 1.0
        assert [s["step"] for s in episode if not s["action_valid"][0]] == [
            steps - 1
        ]  # the end, which commands nothing
        assert [s["step"] for s in episode if s["terminate"][0]] == [steps - 1]


@pytest.mark.parametrize("changes", [{"no_op": STILL}, {"tokenizer": {"spec": "rt2", "horizon": 4}}, {"stride": 2}])
def test_they_stay_in_every_sampling(build: Build, shared_data: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    entry, found = built(build, tmp_path, shared_data, **changes)
    assert not set(entry["left_out"]) - {"composed"}
    stride = changes.get("stride", 1)
    for steps, closes in ((13, 4), (20, 10)):
        episode = {s["step"]: s for s in found if s["steps"] == steps}
        assert list(episode) == list(range(0, steps, stride))
        at = episode[closes - closes % stride]
        assert (at["action"][6], at["proprio"][7]) == (0.0, 0.0)


def test_the_check_finds_commands_that_no_sample_shows(shared_data: Path, tmp_path: Path) -> None:
    raw = declaration.find_declaration("mt_opt_rlds").raw
    claims = [f"steps that {what} become samples" for what in ("close the gripper", "end an episode")]

    def verdicts(**changes: Any) -> list[str]:
        (tmp_path / "toy.yaml").write_text(yaml.safe_dump(raw | changes))
        root = place(str(shared_data / "rlds" / "mt_opt_rlds"))
        report = check.check(declaration.read_declaration(tmp_path / "toy.yaml"), None, path=str(root))
        found = {claim.claim: claim.verdict for claim in report.claims}
        return [found[claim] for claim in claims]

    primary = raw["cameras"]["primary"]
    pictured = {"cameras": {"primary": primary | {"valid": {"field": "steps/action/close_gripper", "below": 0.5}}}}
    ended = {"cameras": {"primary": primary | {"valid": {"field": "steps/is_last", "below": 0.5}}}}
    assert verdicts() == [AGREES, AGREES]
    assert verdicts(**pictured) == [OBJECTS, AGREES]
    assert verdicts(**ended) == [AGREES, OBJECTS]
