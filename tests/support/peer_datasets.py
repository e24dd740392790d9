"""Small robot datasets with given instructions, states and actions, to hold samples against those of other projects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rt2data.rlds.writer import ImageSpec, TensorSpec, TextSpec, write_rlds
from support.small_corpora import picture


class Episode(NamedTuple):
    """An instruction, and of each step the state and the action."""

    instruction: str
    states: Sequence[Sequence[float]]
    actions: Sequence[Sequence[float]]


def between(low: Sequence[float], high: Sequence[float], steps: int = 120) -> list[list[float]]:
    """Rows of which one half is `low` and the other `high`: these are the 1st and the 99th percentile then, also of
    more rows, as long as fewer than one in a hundred lie outside.
    """
    return [list(map(float, (low, high)[step % 2])) for step in range(steps)]


def write(root: Path, recipes: Path, name: str, episodes: Sequence[Episode]) -> str:
    """Write a dataset below `root` and its declaration ``NAME.yaml`` beside the recipes; return that file's name.

    Its actions are absolute numbers joint_0, ..., its states state_0, ..., its cameras primary and wrist.
    """
    wide, states = len(episodes[0].actions[0]), len(episodes[0].states[0])
    images = {camera: ImageSpec((8, 8, 3), "jpeg") for camera in ("image", "wrist_image")}
    numbers = {"state": TensorSpec((states,), "float32")}
    features: Any = {
        "steps": {
            "action": TensorSpec((wide,), "float32"),
            "observation": images | numbers,
            "language_instruction": TextSpec(),
            "is_terminal": TensorSpec((), "bool"),
        },
        "episode_metadata": {"episode_id": TensorSpec((), "int64")},
    }
    content = []
    for number, one in enumerate(episodes):
        steps = len(one.actions)
        shown = [picture(10 * number + step % 5, size=(8, 8)) for step in range(steps)]
        inner = {
            "action": np.array(one.actions, np.float32),
            "observation": {"image": shown, "wrist_image": shown, "state": np.array(one.states, np.float32)},
            "language_instruction": [one.instruction] * steps,
            "is_terminal": np.arange(steps) == steps - 1,
        }
        content.append({"steps": inner, "episode_metadata": {"episode_id": number}})
    write_rlds(root, name=name, version="1.0.0", features=features, splits={"train": content}, shards={"train": 1})
    dims = [f"joint_{number}" for number in range(wide)]
    declaration: dict[str, Any] = {
        "name": name, "id": name, "kind": "robot", "format": "rlds", "title": name, "paths": [name],
        "licence": "Apache-2.0", "language": "en", "robot": "none", "verified": "own data",
        "episode_id": ["episode_metadata/episode_id"],
        "cameras": {
            camera: {"field": f"steps/observation/{name}"}
            for camera, name in (("primary", "image"), ("wrist", "wrist_image"))
        },
        "instruction": "steps/language_instruction",
        "proprio": {"field": "steps/observation/state", "dims": [f"state_{number}" for number in range(states)]},
        "action": {
            "dims": dims, "kind": "absolute", "units": dict.fromkeys(dims, "rad"),
            "terms": [{"field": "steps/action", "to": dims}],
        },
        "terminate": "is_terminal", "valid_action": "all", "control_hz": 15,
    }  # fmt: skip
    (recipes / f"{name}.yaml").write_text(json.dumps(declaration))
    return f"{name}.yaml"
