"""Tiny corpora for tests: an RLDS dataset named as Bridge, a VQA set and captions of the same pictures, and recipes."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

from rt2data.rlds.writer import ImageSpec, TensorSpec, TextSpec, write_rlds

CAMERAS = ("image_0", "image_1", "image_2", "image_3")
FEATURES: Any = {
    "steps": {
        "action": TensorSpec((7,), "float32"),
        "observation": {name: ImageSpec((12, 16, 3), "jpeg") for name in CAMERAS}
        | {"state": TensorSpec((7,), "float32")},
        "language_instruction": TextSpec(),
        "is_first": TensorSpec((), "bool"),
        "is_last": TensorSpec((), "bool"),
        "is_terminal": TensorSpec((), "bool"),
    },
    "episode_metadata": {"file_path": TextSpec(), "episode_id": TensorSpec((), "int64")},
}
INSTRUCTIONS = ("Put the pot on the stove.", "  pick up the USB stick", "MOVE it", "将红色方块推向蓝色方块")


def picture(seed: int, kind: str = "JPEG", size: tuple[int, int] = (16, 12)) -> bytes:
    """A small encoded picture of noise."""
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def episode(number: int, steps: int | None = None, **changes: Any) -> dict[str, Any]:
    """Episode `number`. `changes` replace fields of its steps, or the instruction of all steps."""
    t = 3 + number % 5 if steps is None else steps
    rng = np.random.default_rng(number)
    action = rng.normal(scale=0.02, size=(t, 7)).astype(np.float32)
    action[:, 6] = rng.integers(0, 2, t)
    last = np.arange(t) == t - 1
    inner: dict[str, Any] = {
        "action": action,
        "observation": {name: [picture(1000 * number + 10 * k + c) for k in range(t)] for c, name in enumerate(CAMERAS)}
        | {"state": rng.normal(size=(t, 7)).astype(np.float32)},
        "language_instruction": [INSTRUCTIONS[number % len(INSTRUCTIONS)]] * t,
        "is_first": np.arange(t) == 0,
        "is_last": last,
        "is_terminal": last,
    }
    observation = changes.pop("observation", {})
    inner |= changes
    inner["observation"] = inner["observation"] | observation
    return {"steps": inner, "episode_metadata": {"file_path": f"/data/{number // 2}/out.npy", "episode_id": number}}


def write_bridge(
    root: Path,
    episodes: list[dict[str, Any]] | None = None,
    *,
    shards: int = 3,
    val: list[dict[str, Any]] | None = None,
) -> Path:
    """Write ``root/bridge_dataset/1.0.0``, by default 12 episodes of train in 3 files, and perhaps a val split."""
    splits = {"train": [episode(n) for n in range(12)] if episodes is None else episodes}
    files = {"train": shards}
    if val is not None:
        splits["val"], files["val"] = val, 1
    return write_rlds(root, name="bridge_dataset", version="1.0.0", features=FEATURES, splits=splits, shards=files)


def write_json(path: Path, content: Any) -> Path:
    """Write `content` as JSON, or as it is where it is bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode())
    return path


def write_vqa(
    root: Path,
    questions: list[Mapping[str, Any]],
    annotations: list[Mapping[str, Any]],
    pictures: Mapping[int, bytes] | None = None,
) -> Path:
    """Write ``root/vqav2`` in the layout of VQA v2.0."""
    folder = root / "vqav2"
    write_json(
        folder / "v2_OpenEnded_mscoco_train2014_questions.json", {"data_subtype": "train2014", "questions": questions}
    )
    write_json(folder / "v2_mscoco_train2014_annotations.json", {"annotations": annotations})
    for number, data in (pictures or {}).items():
        path = folder / "train2014" / f"COCO_train2014_{number:012d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return folder


def question(number: int, image: int, text: str = "What colour is it?", **more: Any) -> dict[str, Any]:
    return {"question_id": number, "image_id": image, "question": text} | more


def answers(number: int, *texts: str) -> dict[str, Any]:
    return {"question_id": number, "answers": [{"answer": text, "answer_id": i} for i, text in enumerate(texts, 1)]}


def write_coco(
    root: Path,
    images: list[Mapping[str, Any]],
    captions: list[Mapping[str, Any]],
    pictures: Mapping[str, bytes] | None = None,
) -> Path:
    """Write ``root/coco_captions`` in COCO's layout."""
    folder = root / "coco_captions"
    write_json(folder / "annotations" / "captions_train2017.json", {"images": images, "annotations": captions})
    for name, data in (pictures or {}).items():
        path = folder / "train2017" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return folder


def write_corpora(root: Path) -> Path:
    """Write all three: 12 episodes, 24 questions, 10 captioned pictures; a PNG and a WebP, not all English."""
    write_bridge(root)
    numbers = range(1, 11)
    pictures = {n: picture(n, {3: "PNG", 4: "WEBP"}.get(n, "JPEG")) for n in numbers}
    asked = [
        question(
            100 + n,
            1 + n % 10,
            f"Wie viele Würfel sind hier, {n}?" if n % 4 == 0 else f"Is {n} red?",
            **({"language": "de"} if n % 4 == 0 else {}),
        )
        for n in range(24)
    ]
    write_vqa(
        root, asked, [answers(100 + n, "yes", "no" if n % 2 else "yes", "да", "yes") for n in range(24)], pictures
    )
    entries = [{"id": n, "file_name": f"{n:012d}.jpg"} for n in numbers]
    texts = [
        {"id": 10 * n + k, "image_id": n, "caption": f"A picture of {n}, caption {k}."}
        for n in numbers
        for k in range(2)
    ]
    write_coco(root, entries, texts, {f"{n:012d}.jpg": data for n, data in pictures.items()})
    return root


RECIPE: dict[str, Any] = {
    "name": "small",
    "seed": 5,
    "samples_per_shard": 9,
    "cameras": ["primary", "secondary"],
    "splits": {"train": 0.7, "val": 0.3},
    "sources": [
        {"source": "bridge_dataset", "weight": 5},
        {"source": "vqav2", "weight": 2, "answers": "majority"},
        {"source": "coco_captions", "weight": 3, "captions": "all"},
    ],
}


def write_recipe(path: Path, **changes: Any) -> Path:
    """RECIPE with `changes`, as a file (JSON is YAML); a change to None removes the field."""
    content = {key: value for key, value in (RECIPE | changes).items() if value is not None}
    path.write_text(json.dumps(content, indent=1))
    return path


def tree(folder: Path) -> dict[str, str]:
    """Every file below `folder` with the SHA-256 of its bytes."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def edit(path: Path, change: Callable[[bytearray], None]) -> None:
    """Change a file's bytes in place."""
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def in_process() -> type[Any]:
    """What stands in for `rt2data.pipeline.stages.Engine` in tests: the stages run here, one after the other, without
    Beam.
    """
    from rt2data.pipeline import stages
    from rt2data.runners import progress

    class InProcess(stages.Direct):
        def __init__(self, *_: Any) -> None:
            super().__init__(progress.Reporter(enabled=False))

        def __enter__(self) -> InProcess:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    return InProcess


def build(recipe: Path, out: Path, **options: Any) -> dict[str, Any]:
    """`rt2data.build` with its stages run in this process, one task after the other; for fixtures of a whole module."""
    from rt2data.pipeline import build as flow

    with mock.patch.object(flow, "Engine", in_process()):
        return flow.build(recipe, out, progress=False, **options)
