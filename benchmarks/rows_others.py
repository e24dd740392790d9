"""Rows from the stand-alone benchmarks: other pipelines, very many samples, image codecs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from common import HERE, Bench, Row


def printed(script: str, *arguments: str) -> list[dict[str, Any]]:
    """Run a benchmark script and return the JSON lines that it prints."""
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def others(bench: Bench) -> None:
    """Steps per second of the build command on the largest dataset, relative to TFDS with webdataset and to Beam with
    images in a GroupByKey, both on a dataset of ordinary size.
    """
    size, times, rounds = f"{bench.gigabytes:g}", str(round(bench.large / bench.gigabytes)), str(min(2, bench.rounds))
    lines = printed("bench_others.py", "--gigabytes", size, "--times", times, "--rounds", rounds)
    goals = {
        "tfds": ("TFDS per episode into webdataset.ShardWriter", 20),
        "beam": ("Beam with images through GroupByKey", 30),
    }
    for line in lines:
        name, goal = goals[line["benchmark"].rpartition(" ")[2]]
        bench.rows.append(
            Row(
                f"whole command, steps/s / {name}",
                goal,
                line["ratio"],
                unit="x",
                note=f"{bench.large:g} GB, the other {size} GB",
            )
        )


def scale(bench: Bench) -> None:
    """Peak memory of planning and exchanging very many samples."""
    millions = 100 if bench.large > 10 else 2
    (line,) = printed("bench_scale.py", "--millions", str(millions))
    stages = [value for value in line.values() if isinstance(value, dict)]
    most = max(float(v["megabytes"]) for stage in stages for v in (stage, *stage.values()) if _measured(v))
    note = f"{millions} million samples"
    bench.rows.append(Row("peak memory of a process that plans and exchanges", 2000, most, "less", "MB", note))


def _measured(value: Any) -> bool:
    return isinstance(value, dict) and "megabytes" in value


def codecs(bench: Bench) -> None:
    """Resizing and re-encoding: speedup of two processes over one."""
    lines = printed("bench_codecs.py", "--rounds", str(bench.rounds))
    bench.rows.append(Row("resize and re-encode, speedup of 2 cores over 1", 1.8, lines[-1]["ratio"], unit="x"))
