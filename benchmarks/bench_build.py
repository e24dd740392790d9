"""The whole build against `cat` of the same bytes with `sync`, in one run: a ratio, since machines differ.

    python benchmarks/bench_build.py [--gigabytes 1.5] [--rounds 3] [--dir DIR]

Prints one line: the median over rounds of (time of cat) / (time of `rt2data build`), and both medians. The command is
timed whole, imports and Beam included; each round builds anew, from no index. Source files are in the page cache for
both. `--dir` keeps the dataset for another run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--dir", type=Path, help="keep the dataset here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rt2data-bench-") as scratch:
        root = args.dir or Path(scratch) / "data"
        if not (root / "bench").is_dir():
            command = [sys.executable, str(HERE / "generate.py"), str(root), "--gigabytes", str(args.gigabytes)]
            subprocess.run(command, check=True, stdout=sys.stderr)
        parts = sorted((root / "bench" / "1.0.0").glob("*.tfrecord-*"))
        copies, builds = [], []
        for _ in range(args.rounds):
            copies.append(copy(parts, Path(scratch) / "copy"))
            builds.append(build(root, Path(scratch) / "out", args.workers))
        size = sum(p.stat().st_size for p in parts)
    ratios = [c / b for c, b in zip(copies, builds, strict=True)]
    print(
        json.dumps(
            {
                "benchmark": "build against cat",
                "bytes": size,
                "workers": args.workers,
                "rounds": args.rounds,
                "cat_s": round(statistics.median(copies), 2),
                "build_s": round(statistics.median(builds), 2),
                "ratio": round(statistics.median(ratios), 3),
            }
        )
    )


def copy(parts: list[Path], target: Path) -> float:
    """Seconds of `cat PARTS > TARGET` and `sync TARGET`."""
    start = time.perf_counter()
    with target.open("wb") as out:
        subprocess.run(["cat", *map(str, parts)], check=True, stdout=out)
    subprocess.run(["sync", str(target)], check=True)
    seconds = time.perf_counter() - start
    target.unlink()
    return seconds


def build(root: Path, out: Path, workers: int) -> float:
    """Seconds of the build command, from nothing to the manifest."""
    command = [
        sys.executable,
        "-m",
        "rt2data.cli",
        "build",
        str(HERE / "bench.yaml"),
        "--data-root",
        str(root),
        "--out",
        str(out),
        "--workers",
        str(workers),
    ]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    shutil.rmtree(out)
    shutil.rmtree(f"{out}.work")
    return seconds


if __name__ == "__main__":
    main()
