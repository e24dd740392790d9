"""Indexing alone, which statistics need: warm cache, cold cache, and reuse by a second build."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import Bench, Row, build, evict, parts, ratio, recipe, remove, turns


def child(file: Path, root: Path, *, cold: bool) -> None:
    """Index each part once, as `rt2data stats` does, and print the CPU seconds and the seconds."""
    from rt2data.pipeline import stages
    from rt2data.recipes import recipe

    the_recipe = recipe.read_recipe(file)
    found = stages.open_source(the_recipe.sources[0], root)
    every = stages.parts(the_recipe.sources[0], found)
    found.index(every[0], check="quick")  # what it imports is no part of the time
    if cold:
        evict(parts(root))
    start, cpu = time.perf_counter(), time.process_time()
    for part in every:
        found.index(part, check="quick")
    print(json.dumps([time.process_time() - cpu, time.perf_counter() - start]))


def index(bench: Bench, root: Path, *, cold: bool = False) -> tuple[float, float]:
    """CPU seconds and seconds of indexing in a fresh process."""
    command = [sys.executable, __file__, str(recipe(bench.folder)), str(root), "cold" if cold else "warm"]
    cpu, seconds = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return cpu, seconds


def speed(bench: Bench) -> None:
    """Source bytes per CPU second, warm; throughput relative to one sequential read, cold."""
    root = bench.data()
    files = parts(root)
    size = sum(path.stat().st_size for path in files) / 1e9
    index(bench, root)
    rates = [size / index(bench, root)[0] for _ in range(bench.rounds)]
    bench.rows.append(Row("indexing throughput per core, warm", 2, statistics.median(rates), unit="GB/s"))

    def read() -> float:
        evict(files)
        start = time.perf_counter()
        subprocess.run(["cat", *map(str, files)], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start

    reads, indexes = turns(bench.rounds, read, lambda: index(bench, root, cold=True)[1])
    bench.rows.append(Row("indexing throughput / one sequential read, cold", 1, ratio(reads, indexes)))


def second(bench: Bench) -> None:
    """Build again with another seed, tokenizer and amount: what it reads of the sources before their images."""
    root = bench.data(gigabytes=bench.gigabytes / 4)
    work = Path(f"{bench.out}.work")
    build(bench, root, keep=True)
    before = {path: path.stat().st_mtime_ns for path in (work / "index").rglob("*.arrow")}
    shutil.rmtree(bench.out)
    other = {"seed": 18, "tokenizer": {"spec": "rt2", "bounds": "fixed"}}
    file = recipe(bench.folder, **other)
    command = [sys.executable, __file__, str(file), str(root), "again", str(work)]
    opened, others, seconds = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    build(bench, root, keep=True, **other)
    after = {path: path.stat().st_mtime_ns for path in (work / "index").rglob("*.arrow")}
    remove(bench.out)
    again = sum(before.get(path) != then for path, then in after.items())
    bench.rows.append(Row("second build: parts indexed again", 0, again, "less", "parts"))
    note = f"before planning; it opens {others} metadata files: features.json and dataset_info.json"
    bench.rows.append(Row("second build: data files opened again", 0, opened, "less", "files", note))
    bench.rows.append(Row("second build: time to index", 0.1, seconds, "less", "s", f"{len(before)} parts"))


def again(file: Path, root: Path, work: Path) -> None:
    """Find the index of a dataset in a work directory that has it, and print how many of its data files and other files
    Python opened for that, and the seconds. The time is that of doing it once more: imports are no part of it.
    """
    from rt2data.pipeline import stages
    from rt2data.recipes import recipe
    from rt2data.runners import progress
    from rt2data.runners.engine import Direct

    opened: set[str] = set()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).startswith(str(root.resolve())):
            opened.add(str(arguments[0]))

    def index_all() -> float:
        start = time.perf_counter()
        found = [stages.open_source(the_recipe.sources[0], root.resolve(), work)]
        stages.index_all(
            the_recipe, found, work, Direct(progress.Reporter(enabled=False)), check=the_recipe.image_check
        )
        return time.perf_counter() - start

    the_recipe = recipe.read_recipe(file)
    sys.addaudithook(hook)
    index_all()
    seconds = index_all()
    data = opened & {str(path.resolve()) for path in parts(root)}
    print(json.dumps([len(data), len(opened - data), seconds]))


if __name__ == "__main__":
    if sys.argv[3] == "again":
        again(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[4]))
    else:
        child(Path(sys.argv[1]), Path(sys.argv[2]), cold=sys.argv[3] == "cold")
