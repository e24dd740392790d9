"""Write an RLDS dataset of any size for benchmarks: images like photographs, no two with the same bytes.

    python benchmarks/generate.py DIR --gigabytes 1.5
    python benchmarks/generate.py DIR --gigabytes 4 --cameras 3 --png --name bench_png

The fields are those of the bundled demo data, with more cameras on request: ``observation/image``, ``image_1``, ... A
few hundred images are generated and reused; each use carries its own comment, so that its bytes are unique.
"""

from __future__ import annotations

import argparse
import io
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rt2data.rlds.writer import ImageSpec, TensorSpec, TextSpec, write_rlds

HEIGHT, WIDTH = 256, 320
JPEG_BYTES = 20_000  # of one picture, about
PART_BYTES = 100_000_000  # of one file, about
POOL = 300
STEPS = (100, 200)  # per episode
TASKS = ("push the red star to the blue cube", "pick up the green cup", "open the drawer", "wipe the table")


def picture(rng: np.random.Generator) -> Image.Image:
    """Smoothed noise with fine texture: compresses about as well as a photograph."""
    layers = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for cells, weight in ((3, 90.0), (9, 45.0), (30, 22.0), (90, 12.0)):
        small = rng.integers(0, 256, (cells, cells * WIDTH // HEIGHT, 3), np.uint8)
        large = Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        layers += (np.asarray(large, np.float32) / 127.5 - 1.0) * weight
    layers += rng.normal(0.0, 4.0, (HEIGHT, WIDTH, 1)).astype(np.float32)
    return Image.fromarray(np.clip(layers + 128, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, quality: int | None) -> bytes:
    """Encode an image as JPEG of the given quality, or as PNG."""
    out = io.BytesIO()
    if quality is None:
        image.save(out, "PNG", compress_level=1)
    else:
        image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def unique(data: bytes, number: int) -> bytes:
    """The same image with the comment `number`, after the headers, which the frames of a camera share."""
    text = b"rt2data %012d" % number
    if data[:2] == b"\xff\xd8":
        at = 2
        while data[at + 1] != 0xDA:  # up to the start of the scan
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        return b"".join((data[:at], b"\xff\xfe", struct.pack(">H", len(text) + 2), text, data[at:]))
    body = b"tEXtComment\0" + text
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return b"".join((data[:33], chunk, data[33:]))  # after the signature and IHDR


def make_pool(seed: int, png: bool) -> list[bytes]:
    """The images that are reused."""
    rng = np.random.default_rng(seed)
    images = [picture(rng) for _ in range(POOL)]
    if png:  # dear to encode, and large: fewer will do
        return [encoded(image, None) for image in images[: POOL // 3]]
    quality = min(range(40, 98, 2), key=lambda q: abs(len(encoded(images[0], q)) - JPEG_BYTES))
    return [encoded(image, quality) for image in images]


def features(cameras: int, png: bool) -> dict[str, Any]:
    """The fields: those of the demo data, with `cameras` images per step."""
    image = ImageSpec((HEIGHT, WIDTH, 3), "png" if png else "jpeg")
    return {
        "steps": {
            "observation": dict.fromkeys(names(cameras), image) | {"state": TensorSpec((7,), "float32")},
            "action": TensorSpec((7,), "float32"),
            "language_instruction": TextSpec(),
            "reward": TensorSpec((), "float32"),
            "discount": TensorSpec((), "float32"),
            **{flag: TensorSpec((), "bool") for flag in ("terminate", "is_first", "is_last", "is_terminal")},
        },
        "episode_metadata": {"episode_id": TensorSpec((), "int64")},
    }


def names(cameras: int) -> list[str]:
    return ["image", *(f"image_{i}" for i in range(1, cameras))]


def episodes(pool: list[bytes], cameras: int, size: int, seed: int) -> Iterator[dict[str, Any]]:
    """Episodes until their images have `size` bytes."""
    rng = np.random.default_rng([seed, 1])
    written = used = episode = 0
    while written < size:
        steps = int(rng.integers(STEPS[0], STEPS[1] + 1))
        choice = rng.integers(0, len(pool), (cameras, steps)).tolist()
        pictures = {}
        for camera, row in zip(names(cameras), choice, strict=True):
            pictures[camera] = [unique(pool[index], used + k) for k, index in enumerate(row)]
            used += steps
            written += sum(map(len, pictures[camera]))
        gripper = (np.arange(steps) // 40 % 2).astype(np.float32)
        action = rng.normal(0.0, [0.01, 0.01, 0.01, 0.03, 0.03, 0.03, 0.0], (steps, 7)).astype(np.float32)
        action[:, 6] = gripper
        last = np.arange(steps) == steps - 1
        yield {
            "steps": {
                "observation": pictures | {"state": action.cumsum(axis=0, dtype=np.float32)},
                "action": action,
                "language_instruction": [TASKS[episode % len(TASKS)]] * steps,
                "reward": last.astype(np.float32),
                "discount": np.ones(steps, np.float32),
                "terminate": last,
                "is_first": np.arange(steps) == 0,
                "is_last": last,
                "is_terminal": last,
            },
            "episode_metadata": {"episode_id": episode},
        }
        episode += 1


def write(folder: Path, size: int, *, cameras: int = 1, png: bool = False, name: str = "bench", seed: int = 0) -> Path:
    """Write a dataset with `size` bytes of images below `folder`; return the folder of its files."""
    return write_rlds(
        folder,
        name=name,
        version="1.0.0",
        features=features(cameras, png),
        splits={"train": episodes(make_pool(seed, png), cameras, size, seed)},
        shards={"train": max(1, round(size / PART_BYTES))},
        description="Noise that compresses like photographs, to measure with.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--gigabytes", type=float, default=1.5, help="of 10^9 bytes (default: %(default)s)")
    parser.add_argument("--cameras", type=int, default=1)
    parser.add_argument("--png", action="store_true", help="PNG, about 160 KB each, instead of JPEG of about 20 KB")
    parser.add_argument("--name", default="bench")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    start = time.perf_counter()
    folder = write(
        arguments.dir,
        int(arguments.gigabytes * 1e9),
        cameras=arguments.cameras,
        png=arguments.png,
        name=arguments.name,
        seed=arguments.seed,
    )
    files = [p.stat().st_size for p in folder.iterdir()]
    print(f"{folder}: {len(files) - 2} parts, {sum(files) / 1e9:.2f} GB, {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
