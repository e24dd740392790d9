"""Plan and exchange any number of samples on a synthetic index: memory, and elements through Beam.

    python benchmarks/bench_scale.py [--millions 100] [--workers 2] [--dir DIR]

The index of a small dataset from benchmarks/generate.py is repeated with other episodes until it has that many rows, a
million per part. There are no images behind it, so the measurement ends before GATHER: MEASURE and EXCHANGE in worker
processes, PLAN in a process of its own; each sample is drawn once. Needs 350 bytes of disk per sample, and Linux.

Prints one JSON line: per stage the seconds and the largest anonymous memory of a process (mapped files belong to the
page cache), the bytes on disk, and the number of elements that a build passes to Beam.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rt2data import index, sources
from rt2data.pipeline import exchange, indexing, tokenizers
from rt2data.pipeline import stages as flow
from rt2data.plan import plan, planner
from rt2data.recipes import recipe
from rt2data.runners import workers
from rt2data.samples import job
from rt2data.samples.groups import exchange_limits
from rt2data.samples.parts import IndexedPart, Member
from rt2data.storage.workdir import WorkDir
from rt2data.tokenizer import ActionTokenizer

HERE = Path(__file__).resolve().parent
ROWS = 1_000_000  # of a part


class Memory:
    """The largest anonymous memory of any of some processes, looked at 20 times a second; and, twice a second, how much
    they hold in memory of mapped files below `folder`.
    """

    def __init__(self, pids: list[int], folder: Path | None = None) -> None:
        self.pids, self.folder, self._end = pids, folder, threading.Event()
        self.most = self.most_mapped = 0
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        looks = 0
        while not self._end.wait(0.05):
            self.most = max([self.most, *(anonymous(pid) for pid in self.pids)])
            if self.folder and looks % 10 == 0:
                self.most_mapped = max([self.most_mapped, *(mapped(pid, self.folder) for pid in self.pids)])
            looks += 1


def anonymous(pid: int) -> int:
    """The anonymous memory of a process in bytes; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def mapped(pid: int, folder: Path) -> int:
    """Bytes in memory of mapped files below `folder` in a process; 0 where it has ended."""
    inside, found = str(folder.resolve()) + "/", 0
    try:
        lines = Path(f"/proc/{pid}/smaps").read_text().splitlines()
    except OSError:
        return 0
    ours = False
    for line in lines:
        name, *rest = line.split()
        if not name.endswith(":"):  # the first line of a mapping, which ends with its file
            ours = inside in line
        elif ours and name == "Rss:":
            found += 1024 * int(rest[0])
    return found


def children() -> list[int]:
    """The processes that this one started."""
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def base_index(root: Path, work: Path) -> tuple[Any, pa.Table]:
    """The source of a small dataset, and the index of its first part."""
    command = [sys.executable, str(HERE / "generate.py"), str(root), "--gigabytes", "0.05"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    the_recipe = recipe.read_recipe(HERE / "bench.yaml")
    found = sources.open_source(the_recipe.sources[0].declaration, root)
    (task,) = indexing.tasks(found, found.parts("train")[:1], WorkDir(work), check="header")
    return found, index.read(work / indexing.index_parts(task).file)


def synthetic(base: pa.Table, number: int) -> tuple[pa.Table, dict[str, str]]:
    """The index of part `number`: the base again and again, each episode under an id of its own."""
    times = -(-ROWS // base.num_rows)
    begins = index.numbers(base, "step") == 0
    episodes = int(begins.sum())
    which = np.concatenate([np.cumsum(begins) - 1 + episodes * n for n in range(times)]).astype(np.int32)
    names = [f"{number}/{n}" for n in range(episodes * times)]
    units = np.array([index.digest(name) for name in names], "S10")[which]
    hashes = np.array([index.split_hash("bench", name) for name in names], np.uint64)[which]
    table = pa.concat_tables([base] * times).unify_dictionaries().combine_chunks()
    fixed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(10), len(which), [None, pa.py_buffer(units.tobytes())])
    new = {"unit": fixed, "split_hash": pa.array(hashes), "episode": index.dictionary(which, names)}
    for name, column in new.items():
        table = table.set_column(table.column_names.index(name), name, column)
    lengths = index.numbers(base, "steps")[begins].tolist() * times
    listed = json.dumps([[name, length] for name, length in zip(names, lengths, strict=True)])
    return table.slice(0, ROWS), index.meta(base) | {"units": listed}


def make_job(scratch: Path, millions: int) -> job.Job:
    """A job of so many rows."""
    found, base = base_index(scratch / "data", scratch / "work")
    parts = []
    for number in range(millions):
        table, meta = synthetic(base, number)
        file = f"index/bench/{number:06d}.arrow"
        index.write(scratch / "work" / file, table, meta)
        member = Member(f"part-{number:06d}", f"{number:040x}", table.num_rows)
        parts.append(IndexedPart(0, "train", file, (member,)))
    return job.make_job(WorkDir(scratch / "work"), recipe.read_recipe(HERE / "bench.yaml"), [str(found.root)], parts)


class Stages:
    """Runs stages in worker processes, as a local build does, and notes time, memory and tasks of each."""

    def __init__(self, pool: workers.Pool, pids: list[int]) -> None:
        self.pool, self.pids = pool, pids
        self.found: dict[str, dict[str, float]] = {}
        self.tasks: dict[str, int] = {}

    def run(self, stages: Any, *_: Any) -> None:
        """As `rt2data.runners.engine.Engine.run`."""
        for stage, tasks in stages:
            self.tasks[stage] = len(tasks)
            with noted(self.found, stage, self.pids):
                futures = [self.pool.submit(stage, task) for task in tasks]
                wait(futures)
            for future in futures:
                if "error" in future.result():
                    raise SystemExit(str(future.result()["error"]))


@contextmanager
def noted(into: dict[str, dict[str, float]], name: str, pids: list[int]) -> Iterator[None]:
    """Note seconds and memory of what runs inside."""
    start = time.perf_counter()
    with Memory(pids) as memory:
        yield
    into[name] = {"seconds": round(time.perf_counter() - start, 1), "megabytes": round(memory.most / 1e6)}


def child(scratch: Path, file: str) -> None:
    """PLAN, in a process of its own: writes the plan and prints what it measured."""
    the_job = job.load_job(Path(file))
    tokenizer = ActionTokenizer.from_pretrained(str(scratch / "tokenizer"))
    found: dict[str, dict[str, float]] = {}
    with noted(found, "plan", [os.getpid()]):
        the_plan = planner.make_plan(the_job, [tokenizer.to_dict()], [{}])
    files = the_job.work.build(the_plan.digest)
    the_plan.save(files.folder)
    tokenizer.save_pretrained(str(files.folder))
    print(json.dumps(found | {"digest": the_plan.digest}))


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), sys.argv[3])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=int, default=100)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--dir", type=Path, help="where the synthetic index goes; removed afterwards")
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="rt2data-scale-", dir=args.dir) as folder,
        workers.Pool(args.workers) as pool,
    ):
        print(json.dumps({"benchmark": "scale"} | measured(Path(folder), args.millions, pool)))


def measured(scratch: Path, millions: int, pool: workers.Pool) -> dict[str, Any]:
    """All stages up to EXCHANGE."""
    the_job = make_job(scratch, millions)
    stages = Stages(pool, children())
    statistics = flow.measure_all(the_job, stages)  # type: ignore[arg-type]  # it runs stages as an engine does
    tokenizer = tokenizers.resolve(the_job.recipe, tokenizers.open_tokenizer(the_job.recipe), statistics)
    tokenizer.save_pretrained(str(scratch / "tokenizer"))
    command = [sys.executable, __file__, "--child", str(scratch), str(the_job.save())]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    planned = json.loads(done.stdout)
    the_plan = plan.load_plan(the_job.work.build(planned.pop("digest")).folder)
    stages.found |= planned
    drawn = [sum(s.quota.values()) for s in the_plan.sources]
    the_job = the_job.regrouped(exchange_limits(the_job.recipe, the_job.parts, drawn))
    file = the_job.save()
    stages.run([("exchange", [exchange.ExchangeTask(file, the_plan.digest, g) for g in range(len(the_job.groups))])])
    stages.tasks |= {"index": len(the_job.parts), "gather": exchange.shard_groups(the_plan)}
    return {
        "samples": sum(the_plan.splits.values()),
        "parts": len(the_job.parts),
        "shards": the_plan.shards,
        "stages": stages.found,
        "disk_gb": round(sum(f.stat().st_size for f in scratch.rglob("*") if f.is_file()) / 1e9, 1),
        "beam_elements": stages.tasks | {"all": sum(stages.tasks.values())},
    }


if __name__ == "__main__":
    main()
