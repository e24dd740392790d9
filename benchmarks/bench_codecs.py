"""Resizing and re-encoding: ours against other codecs, and two processes against one.

    python benchmarks/bench_codecs.py [--rounds 5] [--pictures DIR]

Each way decodes a JPEG, resizes it to 224 x 224 and to 256 x 256, and encodes it as JPEG (quality 95, 4:2:0), on one
core. Codecs whose library is not installed are skipped (`pip install opencv-python-headless simplejpeg
"pyvips[binary]"`). `--pictures`: your own JPEG files as a third kind; photographs have sharper edges than ours.

Prints one line per codec and kind of image: images per CPU second, the speed relative to ours in the same run, and the
mean and largest pixel difference to ours, both decoded by Pillow, in levels of 0..255. The last line is the wall-clock
speedup of two processes over one.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import generate
import numpy as np
import PIL
from PIL import Image

from rt2data.images import codec

QUALITY = 95
SIZES = ((224, 224), (256, 256))
COUNT = 40  # pictures of each kind
KINDS = {"320x256": (320, 256), "640x480": (640, 480)}
Way = Callable[[bytes, tuple[int, int]], bytes]


def ours(data: bytes, size: tuple[int, int]) -> bytes:
    """What a recipe with ``image:`` does: Pillow, Lanczos with antialiasing."""
    return codec.reencode(data, codec.ImageSpec(format="jpg", quality=QUALITY, size=size))


def pillow_reduced(data: bytes, size: tuple[int, int]) -> bytes:
    """Pillow, where libjpeg halves the picture while it decodes, if it is at least twice as large."""
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", size)
    out = io.BytesIO()
    image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(out, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return out.getvalue()


def opencv(data: bytes, size: tuple[int, int]) -> bytes:
    """OpenCV with its only filter that antialiases."""
    import cv2

    pixels = cv2.resize(
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), size, interpolation=cv2.INTER_AREA
    )
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])


def simplejpeg_pillow(data: bytes, size: tuple[int, int]) -> bytes:
    """libjpeg-turbo without Pillow around it; Pillow resizes."""
    import simplejpeg

    pixels = Image.fromarray(simplejpeg.decode_jpeg(data, fastdct=False, fastupsample=False))
    small = np.ascontiguousarray(pixels.resize(size, Image.Resampling.LANCZOS))
    return bytes(simplejpeg.encode_jpeg(small, quality=QUALITY, colorsubsampling="420", fastdct=False))


def vips(data: bytes, size: tuple[int, int]) -> bytes:
    """libvips, whose thumbnails halve while decoding."""
    import pyvips

    image = pyvips.Image.thumbnail_buffer(data, size[0], height=size[1], size="force")
    return bytes(image.jpegsave_buffer(Q=QUALITY, subsample_mode="on"))


WAYS: dict[str, tuple[Way, str]] = {
    "rt2data": (ours, "PIL"),
    "Pillow, reduced while decoding": (pillow_reduced, "PIL"),
    "OpenCV, area": (opencv, "cv2"),
    "simplejpeg, resized by Pillow": (simplejpeg_pillow, "simplejpeg"),
    "pyvips": (vips, "pyvips"),
}


def pictures(size: tuple[int, int]) -> list[bytes]:
    """Pictures as the benchmarks' datasets hold them, of another size."""
    rng = np.random.default_rng(0)
    return [generate.encoded(generate.picture(rng).resize(size), 92) for _ in range(COUNT)]


def seconds(way: Way, data: list[bytes], size: tuple[int, int]) -> float:
    """CPU seconds of one pass."""
    start = time.process_time()
    for one in data:
        way(one, size)
    return time.process_time() - start


def differences(way: Way, data: list[bytes], size: tuple[int, int]) -> tuple[float, int]:
    """The mean and the largest difference of pixels to ours."""
    found = []
    for one in data[:10]:
        theirs, mine = (np.asarray(Image.open(io.BytesIO(f(one, size))), np.int16) for f in (way, ours))
        found.append(np.abs(theirs - mine))
    return float(np.mean(found)), int(np.max(found))


def figures(rounds: int, folder: Path | None) -> list[dict[str, Any]]:
    """A row per way, picture and size."""
    there = {name: way for name, (way, library) in WAYS.items() if importlib.util.find_spec(library)}
    every = {kind: pictures(source) for kind, source in KINDS.items()}
    if folder:
        every[folder.name] = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))[:COUNT]]
    rows = []
    for kind, data in every.items():
        for size in SIZES:
            times: dict[str, list[float]] = {name: [] for name in there}
            for _ in range(rounds):
                for name, way in there.items():
                    times[name].append(seconds(way, data, size))
            for name, way in there.items():
                ratio = statistics.median(a / b for a, b in zip(times["rt2data"], times[name], strict=True))
                mean, largest = differences(way, data, size)
                rows.append(
                    {
                        "way": name,
                        "picture": kind,
                        "to": f"{size[0]}x{size[1]}",
                        "per_s": round(len(data) / statistics.median(times[name])),
                        "ratio": round(ratio, 2),
                        "mean_difference": round(mean, 2),
                        "largest_difference": largest,
                    }
                )
    return rows


def scaling(rounds: int) -> float:
    """Wall-clock speed of two processes over that of one, the median of rounds. Starting them is not counted."""
    ratios = []
    for _ in range(rounds):
        one, two = (wall(n) for n in (1, 2))
        ratios.append(2 * one / two)
    return statistics.median(ratios)


def wall(processes: int) -> float:
    """Seconds until each of some processes has encoded as many pictures."""
    command = [sys.executable, __file__, "--child"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    running = [subprocess.Popen(command, **pipes) for _ in range(processes)]  # type: ignore[call-overload]
    for one in running:
        one.stdout.readline()  # ready
    start = time.perf_counter()
    for one in running:
        one.stdin.close()
    for one in running:
        one.wait()
    return time.perf_counter() - start


def child() -> None:
    """Encode for a second or two, once stdin is closed."""
    data = pictures(KINDS["320x256"])
    print("ready", flush=True)
    sys.stdin.read()
    for _ in range(10):
        seconds(ours, data, SIZES[0])
    os._exit(0)  # the end of the interpreter is no part of the work


def main() -> None:
    if sys.argv[1:] == ["--child"]:
        child()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=Path, help="a folder of JPEG files")
    args = parser.parse_args()
    os.environ.setdefault("VIPS_CONCURRENCY", "1")
    if importlib.util.find_spec("cv2"):
        import cv2

        cv2.setNumThreads(1)
    print(json.dumps({"benchmark": "codecs", "pillow": PIL.__version__}))
    for row in figures(args.rounds, args.pictures):
        print(json.dumps(row))
    print(json.dumps({"benchmark": "re-encode on two cores over one", "ratio": round(scaling(args.rounds), 2)}))


if __name__ == "__main__":
    main()
