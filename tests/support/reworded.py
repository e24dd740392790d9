"""A small RLDS dataset whose episodes are told in up to three wordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from rt2data.rlds.writer import TextSpec, write_rlds
from support import small_corpora

FIELDS = ("steps/language_instruction", "steps/language_instruction_2", "steps/language_instruction_3")
TOLD = (
    ("put it in the bowl", "place the thing into the dish", "the object goes in the bowl"),
    ("open the drawer", "open the drawer", "pull the drawer out"),  # the second says the same
    ("wipe the table", "", "clean the desk"),
    ("no task", "push the button", "push the button"),  # the first is a dummy
    ("lift the can", "", ""),
    ("close the drawer", "shut the drawer", ""),
)
"""What the data hold of each episode."""

POOLS = [set(texts) - {"", "no task"} for texts in TOLD]
STEPS = 4


def write(root: Path, told: tuple[tuple[str, ...], ...] = TOLD, *, shards: int = 2, **changes: Any) -> Path:
    """Write ``root/mine`` and its declaration ``root/mine.yaml``; returns the declaration. `changes` are of it."""
    features = small_corpora.FEATURES | {
        "steps": small_corpora.FEATURES["steps"] | {path.partition("/")[2]: TextSpec() for path in FIELDS}
    }
    episodes = []
    for number, texts in enumerate(told):
        one = small_corpora.episode(number, STEPS)
        one["steps"]["action"][:, 6] = 1
        one["steps"] |= {path.partition("/")[2]: [text] * STEPS for path, text in zip(FIELDS, texts, strict=True)}
        episodes.append(one)
    write_rlds(root, name="mine", version="1.0.0", features=features, splits={"train": episodes},
               shards={"train": shards})  # fmt: skip
    return declare(root, **changes)


def declare(root: Path, **changes: Any) -> Path:
    """Write ``root/mine.yaml``."""
    declared = {
        "name": "mine", "id": "mine", "kind": "robot", "format": "rlds", "licence": "none", "paths": ["mine"],
        "episode_id": ["episode_metadata/episode_id"],
        "cameras": {"primary": {"field": "steps/observation/image_0"}},
        "instruction": {"field": list(FIELDS), "dummy": ["no task"]},
        "action": {
            "dims": ["x", "y", "z", "roll", "pitch", "yaw", "gripper"], "kind": "displacement", "frame": "base",
            "unit": "m_rad", "gripper": "1 = open",
            "terms": [
                {"field": "steps/action", "columns": "0:3", "to": ["x", "y", "z"]},
                {"field": "steps/action", "columns": "3:6", "to": ["roll", "pitch", "yaw"]},
                {"field": "steps/action", "columns": [6], "to": ["gripper"]},
            ],
        },
        "terminate": "is_last", "valid_action": "all", "control_hz": 5,
    }  # fmt: skip
    path = root / "mine.yaml"
    path.write_text(json.dumps(declared | changes), encoding="utf-8")
    return path


def told(samples: list[dict[str, Any]]) -> dict[tuple[int, int], list[str]]:
    """The instructions of the samples of each step, by episode and step."""
    found: dict[tuple[int, int], list[str]] = {}
    for sample in sorted(samples, key=lambda s: s["key"]):
        found.setdefault((int(sample["episode"]), sample["step"]), []).append(sample["instruction"])
    return found


def mean(samples: list[dict[str, Any]]) -> list[float]:
    """The mean action of the steps of samples, each step once."""
    steps = {(sample["episode"], sample["step"]): sample["action"][:7] for sample in samples}
    return [float(x) for x in np.mean(np.array(list(steps.values()), np.float64), axis=0)]
