"""Features together, as a user combines them: one recipe with all of them, and pairs that touch the same code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import yaml
from test_windows import STILL, episode

from rt2data import export, flow
from rt2data.verify import verify

Build = Callable[..., dict[str, Any]]

JOINTS = "Q: what joint positions should the robot take to {instruction}? A:"
STATE = "Q: what action should the robot take to {instruction} from {proprio}? A:"


def corpora(root: Path) -> Path:
    """Bridge with pauses, a black frame, a state that is no number and an episode twice; LeRobot; VQA and captions."""
    lerobotfiles = pytest.importorskip("lerobotfiles")
    small.write_corpora(root)
    episodes = [episode(n) for n in range(13)]
    episodes[5]["steps"]["observation"]["state"][3] = np.nan
    episodes[7]["steps"]["observation"]["image_0"][4] = small.picture(0, "PNG", (1, 1))
    again = {"steps": episodes[9]["steps"], "episode_metadata": {"file_path": "/again/out.npy", "episode_id": 99}}
    small.write_bridge(root / "long", [*episodes, again])
    lerobotfiles.write(root, "v3.0", steps=(9, 5, 12, 3, 1, 7, 6, 8, 5, 4), per_file=3)
    socks = lerobotfiles.DECLARATION
    socks = socks | {"cameras": socks["cameras"] | {"wrist": socks["cameras"]["wrist"] | {"colour": "bgr"}}}
    (root / "socks.yaml").write_text(yaml.safe_dump(socks))
    return root


def everything(root: Path, **changes: Any) -> Path:
    """A recipe with every feature at once, beside the data in `root`."""
    content: dict[str, Any] = {
        "name": "everything", "samples_per_shard": 11, "cameras": ["primary", "wrist"], "weights": None,
        "image": {"format": "png", "size": [20, 14]},
        "tokenizer": {"spec": "fast", "horizon": 4}, "history": 3, "past_end": "pad", "no_op": STILL,
        "holdout": {"instructions": ["MOVE it"], "objects": ["USB"], "pictures": ["coco:3"]},
        "prompts": {"robot": STATE, "plan": "Instruction: {instruction}."},
        "sources": [
            {
                "source": "bridge_dataset", "path": str(root / "long/bridge_dataset"), "stride": 2, "weight": 5,
                "cameras": ["primary", "secondary"],
                "plans": {"from": "template", "text": "{instruction}", "share": 0.25},
                "filters": {"brightness": {"min": 32}, "duplicate_episode": False, "duplicate_image": False},
            },
            {
                "source": str(root / "socks.yaml"), "weight": 2, "no_op": None, "past_end": "drop",
                "prompts": {"robot": JOINTS}, "filters": {"contrast": {"min": 16}},
            },
            {"source": "vqav2", "weight": 2, "answers": "all", "filters": {"duplicate_image": False}},
            {"source": "coco_captions", "weight": 3, "captions": "draw", "filters": {"caption_words": {"min": 2}}},
        ],
    }  # fmt: skip
    return small.write_recipe(root / f"{len(list(root.glob('r*.yaml')))}r.yaml", **(content | changes))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpora(tmp_path_factory.mktemp("all"))


@pytest.mark.parametrize("form", ["mixed", "by_source"])
@pytest.mark.parametrize("image", ["keep", {"format": "png", "size": [20, 14]}])
def test_everything_at_once(form: str, image: Any, data: Path, build: Build, tmp_path: Path) -> None:
    recipe = everything(data, form=form, image=image)
    build(recipe, tmp_path / "a", data_root=data)
    report = verify(tmp_path / "a")
    assert report.ok, report.text()
    build(recipe, tmp_path / "b", data_root=data, work=tmp_path / "w", staged="yes")
    assert small.tree(tmp_path / "a") == small.tree(tmp_path / "b")
    if image == "keep" and form == "by_source":
        flow.build(recipe, tmp_path / "c", data_root=data, workers=2, progress=False)
        assert small.tree(tmp_path / "a") == small.tree(tmp_path / "c")
    for kind in ("messages", "llava"):
        found = export.export(tmp_path / "a", tmp_path / kind, kind)
        made = json.loads((tmp_path / "a" / "manifest.json").read_bytes())
        assert sum(found.samples.values()) == sum(one["samples"] for one in made["splits"].values())
