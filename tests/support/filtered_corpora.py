"""Small datasets for filters: dark frames, repeated images and episodes, failed ones."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from support import small_corpora
from support.web_corpus import declared, write

BRIDGE = "bridge_dataset"


def encoded(pixels: Any, kind: str = "JPEG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(out, kind)
    return out.getvalue()


def dark(seed: int, top: int = 6) -> bytes:
    """A black frame with a sensor's noise, and one bright pixel: a lamp."""
    pixels = np.random.default_rng(seed).integers(0, top, (12, 16, 3))
    pixels[3, 4] = 255
    return encoded(pixels, "PNG")


def plain(colour: tuple[int, int, int]) -> bytes:
    return encoded(np.full((12, 16, 3), colour), "PNG")


def episode(number: int, replaced: dict[tuple[int, str], bytes] | None = None, **changes: Any) -> dict[str, Any]:
    """Episode `number`, with some images replaced: {(step, field): bytes}."""
    one = small_corpora.episode(number, **changes)
    for (step, name), data in (replaced or {}).items():
        one["steps"]["observation"][name][step] = data
    return one


def renamed(one: dict[str, Any], number: int) -> dict[str, Any]:
    """The same episode under another id."""
    return one | {"episode_metadata": {"file_path": "/again/out.npy", "episode_id": number}}


def recipe(folder: Path, *rules: dict[str, Any], name: str = "r", **more: Any) -> Path:
    """A recipe of sources with filters; train only unless `more` says otherwise."""
    plain: dict[str, Any] = {"splits": None, "cameras": ["primary", "secondary"], "sources": list(rules)}
    return small_corpora.write_recipe(folder / f"{name}.yaml", **(plain | more))


def samples(out: Path, split: str = "train") -> list[dict[str, Any]]:
    """The JSON of every sample of a split."""
    found = []
    for shard in sorted((out / split).glob("*.tar")):
        with tarfile.open(shard) as tar:
            contents = [tar.extractfile(member) for member in tar if member.name.endswith(".json")]
            found += [json.load(one) for one in contents if one is not None]
    return found


def toy(folder: Path, name: str, pictures_of: list[str], **raw: Any) -> None:
    """A caption corpus whose example n shows the file ``pictures_of[n]``."""
    declared(folder, name=name, id=name, paths=[name], fields={"id": "id", "captions": "text", "image": "image"}, **raw)
    (folder / "toy.yaml").rename(folder / f"{name}.yaml")
    every = [{"id": n, "text": f"{name} {n}", "image": file} for n, file in enumerate(pictures_of)]
    write(folder / name / "train.json", every)
