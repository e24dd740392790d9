"""Cost of one more part (input file) and one more shard at constant data: tiny images in 10 to 10,000 of either."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import generate
from common import Bench, Row, build, lengths, parts, removed, slope, state_lengths

from rt2data.rlds import tfrecord

EPISODES = 10_000  # of two steps


def tiny(folder: Path, episodes: int) -> Path:
    """A data root of one part whose images have less than a kilobyte."""
    usual: dict[str, Any] = {name: getattr(generate, name) for name in ("HEIGHT", "WIDTH", "POOL", "STEPS")}
    generate.HEIGHT, generate.WIDTH, generate.POOL, generate.STEPS = 16, 20, 4, (2, 2)
    try:
        one = len(generate.unique(generate.make_pool(0, png=False)[0], 0))
        generate.write(folder, one * 2 * episodes)
    finally:
        for name, value in usual.items():
            setattr(generate, name, value)
    return folder


def divided(source: Path, target: Path, count: int) -> Path:
    """Distribute the records of a dataset of one part over `count` parts."""
    here, there = source / "bench" / "1.0.0", target / "bench" / "1.0.0"
    there.mkdir(parents=True)
    shutil.copy(here / "features.json", there)
    (path,) = parts(source)
    raw = path.read_bytes()
    records = [
        raw[r.offset - 12 : r.offset + r.length + 4] for r in tfrecord.scan_records(raw, path=path.name, check=False)
    ]
    groups = [records[number::count] for number in range(count)]
    for number, group in enumerate(groups):
        (there / f"bench-train.tfrecord-{number:05d}-of-{count:05d}").write_bytes(b"".join(group))
    state_lengths(here, there, [len(group) for group in groups])
    return target


def counts(bench: Bench) -> list[int]:
    return [n for n in (10, 100, 1000, 10_000) if n <= bench.most]


def per_part(bench: Bench) -> None:
    """Slope of build time over the number of parts, with 10 shards."""
    base = tiny(bench.folder / "tiny", min(EPISODES, bench.most))
    total = sum(lengths(base / "bench" / "1.0.0"))
    points = []
    for count in counts(bench):
        with removed(bench.folder / "divided") as folder:
            root = divided(base, folder, count)
            points.append((count, build(bench, root, samples_per_shard=-(-2 * total // 10))["seconds"]))
    note = ", ".join(f"{count}: {seconds:.1f} s" for count, seconds in points)
    cost = 1e3 * slope(*zip(*points, strict=True))
    bench.rows.append(Row("cost of one more part (input file)", 3, cost, "less", "ms", note))


def per_shard(bench: Bench) -> None:
    """Slope of build time over the number of shards, less that of writing and syncing as many files."""
    root = bench.folder / "tiny"
    if not root.is_dir():
        tiny(root, min(EPISODES, bench.most))
    total = 2 * sum(lengths(root / "bench" / "1.0.0"))
    points, disk = [], []
    for count in counts(bench):
        disk.append((count, files(bench.folder / "files", count, 3000 * total // count)))
        points.append((count, build(bench, root, samples_per_shard=-(-total // count))["seconds"]))
    note = ", ".join(f"{count}: {seconds:.1f} s" for count, seconds in points)
    synced = 1e3 * slope(*zip(*disk, strict=True))
    cost = 1e3 * slope(*zip(*points, strict=True)) - synced
    bench.rows.append(
        Row("cost of one more shard beyond fsync", 3, cost, "less", "ms", f"fsync {synced:.1f} ms; {note}")
    )


def files(folder: Path, count: int, size: int) -> float:
    """Seconds to write `count` files of `size` bytes and as many of 88, each synced under a temporary name and renamed:
    shards and their indexes.
    """
    with removed(folder):
        folder.mkdir()
        start = time.perf_counter()
        for number in range(2 * count):
            temporary = folder / f".{number}"
            with temporary.open("wb") as file:
                file.write(bytes(88 if number % 2 else size))
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(folder / f"{number}")
        return time.perf_counter() - start
