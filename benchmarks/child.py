"""Time one build from index to commit, in worker processes but without Beam, after all imports.

    python benchmarks/child.py RECIPE DATA OUT WORKERS

Each worker first builds a tiny mixture, so that the time excludes imports. Prints one JSON line: seconds; CPU seconds
of all processes; bytes that they read from disk; the largest anonymous memory of a worker; the most memory-mapped
source bytes that a worker held, and what it still holds afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import generate
from bench_scale import Memory, children, mapped
from common import HERE

from rt2data.errors import Rt2dataError
from rt2data.pipeline import build as flow
from rt2data.runners import progress
from rt2data.runners import workers as worker


class Plain:
    """Runs stages in worker processes: what is left of `rt2data.runners.engine.Engine` without Beam."""

    def __init__(self, pool: worker.Pool) -> None:
        self.pool, self.say = pool, progress.Reporter(enabled=False)

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, stages: Any, *_: Any) -> None:
        """As `Engine.run`."""
        for stage, tasks in stages:
            futures = [self.pool.submit(stage, task) for task in tasks]
            wait(futures)
            for future in futures:
                if "error" in future.result():
                    raise Rt2dataError(*future.result()["error"])


def cpu_and_reads(pids: list[int]) -> tuple[float, int]:
    """CPU seconds of some processes, and bytes that the disk read for them."""
    seconds, read = 0.0, 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        io = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        read += int(io["read_bytes"])
    return seconds, read


def main() -> None:
    recipe, root, out, workers = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    with worker.Pool(workers) as pool, tempfile.TemporaryDirectory(prefix="rt2data-bench-") as scratch:
        plain: Any = Plain(pool)
        flow.Engine = lambda *_: plain  # type: ignore[misc,assignment]
        generate.PART_BYTES, generate.POOL, generate.STEPS = 100_000, 2, (5, 5)
        generate.write(Path(scratch) / "data", 100_000 * 8 * workers)
        flow.build(HERE / "bench.yaml", Path(scratch) / "out", data_root=Path(scratch) / "data", progress=False)
        workers_of = children()
        pids = [os.getpid(), *workers_of]
        before, start = cpu_and_reads(pids), time.perf_counter()
        with Memory(workers_of, root) as memory:
            flow.build(recipe, out, data_root=root, progress=False)
        seconds, after = time.perf_counter() - start, cpu_and_reads(pids)
        found = {
            "seconds": seconds,
            "cpu": after[0] - before[0],
            "read": after[1] - before[1],
            "private": memory.most,
            "mapped": memory.most_mapped,
            "kept": max(mapped(pid, root) for pid in workers_of),
        }
        shutil.rmtree(scratch, ignore_errors=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
