"""Samples that are read per CPU second, undecoded, from shards in the page cache: ours, and what else reads them."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from common import Bench, Row, build, remove

# Each reads every sample of the shards in DIR once, all members' bytes, and prints how many. In rt2data alone the order
# is a new permutation of all samples; the others read shard after shard.
READERS = {
    "rt2data": """
from rt2data import Loader
count = sum(len(sample.members) > 1 for sample in Loader(DIR))
""",
    "rt2data, JSON parsed": """
from rt2data import Loader
count = sum("key" in sample.json for sample in Loader(DIR))
""",
    "webdataset": """
from glob import glob
import webdataset
count = sum(1 for _ in webdataset.WebDataset(sorted(glob(DIR + "/train/*.tar")), shardshuffle=False))
""",
    "tarfile": """
import tarfile
from glob import glob
count = 0
for path in sorted(glob(DIR + "/train/*.tar")):
    with tarfile.open(path) as tar:
        for member in tar:
            tar.extractfile(member).read()
            count += member.name.endswith(".json")
""",
    "datasets": """
import datasets
count = sum(1 for _ in datasets.load_dataset(DIR, split="train", streaming=True).decode(False))
""",
}
_AROUND = """
import json, sys, time
DIR = sys.argv[1]
{code}
start = time.process_time()
{code}
print(json.dumps([count, time.process_time() - start]))
"""


def reading(bench: Bench) -> None:
    """Samples per CPU second of each reader, in turns; the second pass of a process, whose imports are done."""
    root = bench.data()
    build(bench, root, keep=True)
    rates: dict[str, list[float]] = {name: [] for name in READERS}
    for _ in range(bench.rounds):
        for name, code in READERS.items():
            rates[name].append(_rate(code, bench.out))
    size = sum(path.stat().st_size for path in bench.out.glob("train/*.tar"))
    samples = json.loads((bench.out / "manifest.json").read_bytes())["splits"]["train"]["samples"]
    middle = {name: statistics.median(found) for name, found in rates.items()}
    others = ", ".join(f"{name} {rate:,.0f}" for name, rate in middle.items() if not name.startswith("rt2data"))
    note = f"{size / samples / 1000:.1f} KB a sample; JSON parsed {middle['rt2data, JSON parsed']:,.0f}; {others}"
    bench.rows.append(
        Row("samples read per CPU second, in a new order", 50_000, middle["rt2data"], unit="/s", note=note)
    )
    best = max(rate for name, rate in middle.items() if not name.startswith("rt2data"))
    bench.rows.append(Row("the same, beside the best of the others", 2, middle["rt2data"] / best, unit="x"))
    remove(bench.out)


def _rate(code: str, folder: Path) -> float:
    command = [sys.executable, "-c", _AROUND.format(code=code), str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    count, seconds = json.loads(done.stdout.splitlines()[-1])
    return float(count / seconds)
