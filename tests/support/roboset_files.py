"""Small RoboSet files for tests, of real frames where the shared footage is there, else of noise."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

FOOTAGE = (
    Path(os.environ.get("RT2DATA_SAMPLE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / "roboset"
)
HOME = np.array([0.0, -0.3, 0.0, -2.2, 0.0, 0.3, 0.0])  # a posture above the table, in RoboHive's joint angles
FILE = "baking_prep_slide_open_drawer_scene_1/baking_prep_open_drawer_scene_1_20230307-144708.h5"


@cache
def frames(count: int) -> Any:
    """`count` frames, uint8 (count, 120, 212, 3)."""
    gif = FOOTAGE / "footage" / "baking_prep_open_drawer_scene_1.gif"
    if not gif.is_file():
        return np.random.default_rng(0).integers(0, 256, (count, 120, 212, 3), np.uint8)
    with Image.open(gif) as footage:
        found = [
            f.convert("RGB").resize((212, 120))
            for _, f in zip(range(count), ImageSequence.Iterator(footage), strict=False)
        ]
    return np.stack([np.asarray(one) for one in found])


def trial(steps: int, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """The datasets of a trial of `steps` rows, the last two without a command. A change to None removes a dataset."""
    rng = np.random.default_rng(seed)
    joints = HOME + np.cumsum(rng.normal(scale=0.03, size=(steps, 7)), axis=0)
    arm, hand = np.clip(joints / 3, -1, 1), np.where(np.arange(steps) < steps // 2, -1.0, 1.0)[:, None]
    arm[-2:], hand[-2:] = np.nan, np.nan
    content = {
        "data/ctrl_arm": arm,
        "data/ctrl_ee": hand,
        "data/qp_arm": joints,
        "data/qp_ee": np.linspace(0, 0.8, steps),
        "data/qv_arm": np.gradient(joints, axis=0),
        "data/qv_ee": np.zeros(steps),
        "data/time": np.arange(steps) * 0.2,
        **{
            f"data/rgb_{name}": np.roll(frames(steps), k, axis=2)
            for k, name in enumerate(("left", "right", "top", "wrist"))
        },
        "config/solved": np.float16(1),
    }
    return {key: value for key, value in (content | changes).items() if value is not None}


def write(path: Path, *trials: dict[str, Any]) -> Path:
    """A file of trials, as RoboHive writes it: float16, gzip."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for number, content in enumerate(trials):
            group = file.create_group(f"Trial{number}")
            for key, value in content.items():
                data = np.asarray(value)
                data = data.astype(np.float16) if data.dtype == np.float64 else data
                group.create_dataset(key, data=data, **({"compression": "gzip"} if data.ndim else {}))
    return path


def folder(root: Path) -> Path:
    """``root/roboset_hdf5`` with two files and everything that real ones get wrong."""
    joints = trial(9)["data/qp_arm"].copy()
    joints[3] = np.inf
    write(
        root / "roboset_hdf5" / FILE,
        trial(6),
        trial(7, 1, **{"data/rgb_wrist": None, "config/solved": np.float16(0.25)}),
        trial(9, **{"data/qp_arm": joints}),
    )
    write(
        root / "roboset_hdf5" / "making_tea_uncap_lid_Scene_2.h5",
        trial(8, 2, **{"data/rgb_top": frames(8)[:7], "data/qp_ee": np.zeros((8, 1)), "config/solved": None}),
        trial(2, 3),
    )
    write(root / "roboset_hdf5" / "juggling_scene_1.h5", trial(5, 4))
    return root
