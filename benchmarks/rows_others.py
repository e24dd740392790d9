"""Against what people do instead, and what needs no files: the figures of the benchmarks that stand on their own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from common import HERE, Bench, Row


def printed(script: str, *arguments: str) -> list[dict[str, Any]]:
    """The JSON lines that a script prints."""
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def others(bench: Bench) -> None:
    """Steps per second of the build command, on the largest dataset, against TFDS with webdataset, and Beam with images
    in a GroupByKey, on an ordinary one.
    """
    size, times, rounds = f"{bench.gigabytes:g}", str(round(bench.large / bench.gigabytes)), str(min(2, bench.rounds))
    lines = printed("bench_others.py", "--gigabytes", size, "--times", times, "--rounds", rounds)
    goals = {"tfds": ("TFDS per episode into webdataset.ShardWriter", 20), "beam": ("images through GroupByKey", 30)}
    for line in lines:
        name, goal = goals[line["benchmark"].rpartition(" ")[2]]
        bench.rows.append(
            Row(
                f"the whole command against {name}",
                goal,
                line["ratio"],
                unit="x",
                note=f"{bench.large:g} GB against {size} GB",
            )
        )


def scale(bench: Bench) -> None:
    """Memory of planning and exchanging very many samples."""
    millions = 100 if bench.large > 10 else 2
    (line,) = printed("bench_scale.py", "--millions", str(millions))
    stages = [value for value in line.values() if isinstance(value, dict)]
    most = max(float(v["megabytes"]) for stage in stages for v in (stage, *stage.values()) if _measured(v))
    note = f"{millions} million samples"
    bench.rows.append(Row("largest process that plans and exchanges", 2000, most, "less", "MB", note))


def _measured(value: Any) -> bool:
    return isinstance(value, dict) and "megabytes" in value


def codecs(bench: Bench) -> None:
    """Resizing and encoding anew, two processes over one."""
    lines = printed("bench_codecs.py", "--rounds", str(bench.rounds))
    bench.rows.append(Row("resize and re-encode, two cores over one", 1.8, lines[-1]["ratio"], unit="x"))
