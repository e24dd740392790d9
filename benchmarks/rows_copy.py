"""Build throughput, index to commit, relative to `cat` and `sync` of the same bytes: warm, cold, PNG, several sizes."""

from __future__ import annotations

import statistics

from common import Bench, Row, build, cat, evict, parts, ratio, turns


def warm(bench: Bench) -> None:
    """Source files in the page cache; JPEG and PNG; one and two workers, against as many `cat` processes."""
    for kind in ("jpeg", "png"):
        root = bench.data(kind)
        files = parts(root)
        for processes in (1, 2):
            copies, builds = turns(
                bench.rounds,
                lambda files=files, n=processes: cat(files, bench.folder / "copy", n),
                lambda root=root, n=processes: build(bench, root, workers=n)["seconds"],
            )
            times = f"cat {statistics.median(copies):.2f} s, build {statistics.median(builds):.2f} s"
            what = f"build throughput / cat, warm, {kind.upper()}, workers={processes}"
            figure = ratio(copies, builds)
            bench.rows.append(Row(what, 0.45, figure, note=times))
            bench.rows.append(Row(f"{what} (stretch)", 0.6, figure))


def cold(bench: Bench) -> None:
    """Source files evicted from the page cache before each run."""
    root = bench.data()
    files = parts(root)
    used = sum(path.stat().st_size for path in files)
    read: list[float] = []

    def copied() -> float:
        evict(files)
        return cat(files, bench.folder / "copy")

    def built() -> float:
        evict(files)
        found = build(bench, root)
        read.append(found["read"] / used)
        return float(found["seconds"])

    copies, builds = turns(bench.rounds, copied, built)
    note = f"cat {statistics.median(copies):.2f} s, build {statistics.median(builds):.2f} s"
    bench.rows.append(Row("build throughput / cat, cold", 0.4, ratio(copies, builds), note=note))
    figure = statistics.median(read)
    bench.rows.append(Row("bytes read from disk / bytes used, cold", 1.3, figure, "less"))


def sizes(bench: Bench) -> None:
    """Throughput relative to `cat` at 1, 4 and 16 times the data: the largest deviation from the mean of the three."""
    found = []
    for times in (1, 4, 16):
        root = bench.data(gigabytes=times * bench.gigabytes / 4)
        files = parts(root)
        copies, builds = turns(
            bench.rounds,
            lambda files=files: cat(files, bench.folder / "copy"),
            lambda root=root: build(bench, root)["seconds"],
        )
        found.append(ratio(copies, builds))
    mean = statistics.mean(found)
    spread = 100 * max(abs(one - mean) for one in found) / mean
    note = f"throughput / cat at 1x, 4x, 16x of {bench.gigabytes / 4:g} GB: {', '.join(f'{one:.2f}' for one in found)}"
    bench.rows.append(Row("deviation of time per step at 1x, 4x, 16x the data", 25, spread, "less", "%", note))
