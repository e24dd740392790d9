"""What a build will need: tokens, bytes, hours. The measured constants are here and nowhere else."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from rt2data.images import codec as pictures
from rt2data.plan import requests
from rt2data.plan.plan import KindPlan, Plan, SourcePlan
from rt2data.recipes.recipe import Recipe, RecipeSource
from rt2data.samples import selection
from rt2data.storage.object_store import Url
from rt2data.storage.places import Place
from rt2data.turns.kinds import Kind

# Bytes of a sample in a shard beyond its image, and in the work directory: of the bridge_coco_vqa mixture, rounded up.
SAMPLE_BYTES, WORK_BYTES = 2400, 600

# Characters of a text: means over the test data, rounded (the instructions of BridgeData V2 and of its annotated
# episodes, 21 questions and 133 answers of VQAv2, GQA and TextVQA, 400 captions of COCO, 63 plans of annotated steps).
# Characters per token: a rule of thumb for English. An action is one token per number, as for RT-2.
CHARACTERS = {"instruction": 40, "question": 35, "answer": 7, "caption": 54, "plan": 136}
CHARACTERS_PER_TOKEN = 4

# Seconds of one worker, on two datasets of benchmarks/generate.py, 1.5 GB each: 78,206 steps with a JPEG of 20 kB, and
# 9,344 with a PNG of 160 kB. `plan --index --check` gives those per step and byte that are indexed, `build --workers 1`
# the rest; files in the page cache, two cores of which others used one or two. START is Beam and the imports, whatever
# the size. An image of 256x320 decoded, resized and encoded anew as JPEG: 370 a second.
START_S = 3.0
INDEX_S, INDEX_BYTE_S = 2.2e-5, 0.2e-9
SAMPLE_S, BYTE_S = 1.7e-5, 0.5e-9
REENCODE_S = 1 / 370
# Bytes per pixel of an image encoded anew, by quality: 40 photographs of COCO at 224x224. Textures decide; the scenes
# of robots take less.
PIXEL_BYTES = {
    "jpg": {50: 0.15, 75: 0.21, 85: 0.28, 90: 0.35, 95: 0.5, 100: 0.96},
    "webp": {50: 0.12, 75: 0.16, 85: 0.24, 90: 0.3, 95: 0.41, 100: 0.54},
    "png": {100: 1.8},
}

# Bytes per second of the disk of the same machine, whatever the workers: dd of 2 GB, iflag=direct and conv=fsync.
READ_RATE, WRITE_RATE = 2.6e9, 1.3e9


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a build will need, about. Unknown sources are not in it.

    Attributes:
        tokens: of the prompts and targets of all samples.
        images: bytes of the images; those of the source also where they are encoded anew at the size that they have.
        encoded, encode_hours: how many images are encoded anew, and how long one worker takes for them, in `hours`.
        shards, disk: bytes of the shards; of the shards and the work directory with its blobs.
        workers, hours: how long so many workers take, with a disk like the one that was measured (READ_RATE).
        complete: whether every source's samples and bytes are known.
        staged: bytes in the work directory of images that are staged, in `disk`; they are removed in the end.
        lists, gets, puts: requests to object storage, where the build must do everything; a HEAD counts as a GET, and
            each part of an upload as a PUT.
    """

    tokens: int
    images: int
    encoded: int
    encode_hours: float
    shards: int
    disk: int
    workers: int
    hours: float
    complete: bool
    staged: int
    lists: int
    gets: int
    puts: int


def make(recipe: Recipe, plan: Plan, workers: int | None = None, out: Place | None = None) -> Forecast:
    """The forecast of a plan for `workers` workers; for as many as there are processors where None.

    `out` is where the mixture goes.
    """
    workers = workers or os.cpu_count() or 1
    blobs = sum(source.blob_bytes for source in plan.sources)
    samples = sum(plan.splits.values())
    images = encoded = 0
    seconds = read = 0.0
    for source, counts in zip(recipe.sources, plan.sources, strict=True):
        drawn = sum(counts.quota.values())
        once = counts.image_bytes * min(1.0, sum(counts.samples.values()) / max(1, drawn))
        seconds += counts.rows * INDEX_S + once * INDEX_BYTE_S + drawn * SAMPLE_S + counts.image_bytes * BYTE_S
        anew = drawn * _reencoded(recipe, source)
        if not anew and counts.remarks["turned"]:
            anew = round(counts.remarks["turned"] * drawn / max(1, sum(counts.samples.values())))
        encoded += anew
        images += round(anew * each) if (each := _encoded_bytes(recipe)) else counts.image_bytes
        read += once + counts.image_bytes
    seconds += encoded * REENCODE_S
    shards = images + samples * SAMPLE_BYTES
    staged = sum(source.image_bytes for source in plan.sources if source.staged)
    lists, gets, puts = requests.build_requests(plan, shards, workers, remote=isinstance(out, Url))
    seconds = START_S + max(seconds / workers, read / READ_RATE + shards / WRITE_RATE)
    return Forecast(
        tokens=round(sum(tokens(s, p) for s, p in zip(recipe.sources, plan.sources, strict=True))),
        images=images, encoded=encoded, encode_hours=encoded * REENCODE_S / 3600,
        shards=shards, disk=shards + samples * WORK_BYTES + blobs + staged,
        workers=workers, hours=seconds / 3600,
        complete=not any(p.unknown for p in plan.sources),
        staged=staged, lists=lists, gets=gets, puts=puts,
    )  # fmt: skip


def tokens(source: RecipeSource, plan: SourcePlan) -> float:
    """Tokens of the text of a source's drawn samples."""
    kind, robot = source.declaration.kind, source.declaration.robot
    if source.kinds:
        return sum(_kind_tokens(source, one, plan.kinds[one.name]) for one in source.kinds)
    blank = {"robot": "{instruction}", "vqa": "{question}", "caption": ""}[kind]
    characters = len(source.prompts[kind]) - len(blank)
    characters += {"robot": CHARACTERS["instruction"], "vqa": CHARACTERS["question"], "caption": 0}[kind]
    characters += {"robot": 0, "vqa": CHARACTERS["answer"], "caption": CHARACTERS["caption"]}[kind]
    numbers = (1 + len(robot.dims)) * source.sampling.horizon if robot else 0
    numbers += len(robot.proprio_dims) if robot and source.sampling.state else 0
    return sum(plan.quota.values()) * (characters / CHARACTERS_PER_TOKEN + numbers) + _plan_tokens(source, plan)


def _kind_tokens(source: RecipeSource, kind: Kind, plan: KindPlan) -> float:
    """Tokens of the text of a kind's drawn samples: what is literal in its turns, and about what fills them."""
    robot = source.declaration.robot
    numbers: dict[str, float] = {}
    if robot:
        numbers = {"action": (1 + len(robot.dims)) * source.sampling.horizon, "state": len(robot.proprio_dims)}
    total = 0.0
    for turn, _ in kind.flat():
        for template in turn.pool:
            for piece in template:
                if isinstance(piece, str):
                    total += len(piece) / CHARACTERS_PER_TOKEN / len(turn.pool)
                elif not piece.is_image:
                    text = CHARACTERS["instruction"] / CHARACTERS_PER_TOKEN
                    total += numbers.get(piece.name, text) / len(turn.pool)
    return sum(plan.quota.values()) * total


def _plan_tokens(source: RecipeSource, plan: SourcePlan) -> float:
    """What the text of samples with a plan in words has more than that of others."""
    rule, prompts = source.reasoning, source.prompts
    if rule is None or plan.plans is None:
        return 0.0
    longer = len(prompts["plan"]) + len(prompts["planned"]) - len("{plan}{action}") - len(prompts["robot"])
    characters = len(rule.text) - len("{instruction}") + CHARACTERS["instruction"]
    longer += characters if rule.origin == "template" else CHARACTERS["plan"]
    return sum(map(int, (plan.plans["samples"] or {}).values())) * longer / CHARACTERS_PER_TOKEN


def _reencoded(recipe: Recipe, source: RecipeSource) -> int:
    """How many images of a sample are encoded anew."""
    robot, used = source.declaration.robot, selection.cameras(source)
    if recipe.image is not None:
        return len(used) * source.sampling.history if robot else 1
    swapped = sum(camera.name in used and camera.colour == "bgr" for camera in robot.cameras) if robot else 0
    return swapped * source.sampling.history


def _encoded_bytes(recipe: Recipe) -> float | None:
    """Bytes of an image of the size and quality that the recipe asks for; None where it asks for no size."""
    if recipe.image is None or "size" not in recipe.image:
        return None
    width, height = recipe.image["size"]
    known = PIXEL_BYTES[recipe.image["format"]]
    quality = recipe.image.get("quality", pictures.ImageSpec().quality)
    return float(np.interp(quality, list(known), list(known.values())) * width * height)
