"""The command `rt2data build` as a user runs it, imports and Beam included."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import Bench, Row, cat, parts, ratio, recipe, remove, turns


def run(bench: Bench, root: Path, workers: int = 2) -> tuple[float, float]:
    """Seconds of the command, and seconds until it printed its first line."""
    command = [sys.executable, "-m", "rt2data.cli", "build", str(recipe(bench.folder)), "--data-root", str(root)]
    command += ["--out", str(bench.out), "--workers", str(workers)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr
    process.stderr.readline()
    first = time.perf_counter() - start
    process.stderr.read()
    if process.wait():
        raise SystemExit("the build failed")
    seconds = time.perf_counter() - start
    remove(bench.out)
    return seconds, first


def large(bench: Bench) -> None:
    """The whole command on much data, two workers, against two `cat`."""
    root = bench.data(gigabytes=bench.large)
    files = parts(root)
    copies, builds = turns(
        min(3, bench.rounds), lambda: cat(files, bench.folder / "copy", 2), lambda: run(bench, root)[0]
    )
    note = f"{bench.large:g} GB: cat {statistics.median(copies):.1f} s, command {statistics.median(builds):.1f} s"
    bench.rows.append(Row("the whole command against cat, two processes each", 0.4, ratio(copies, builds), note=note))


def fixed(bench: Bench) -> None:
    """What the command costs whatever the data, and how soon it says something."""
    runs = [run(bench, bench.data(gigabytes=0.001)) for _ in range(bench.rounds)]
    bench.rows.append(Row("fixed cost of the command", 6, statistics.median(s for s, _ in runs), "less", "s"))
    bench.rows.append(Row("start to first line of progress", 3, statistics.median(f for _, f in runs), "less", "s"))
