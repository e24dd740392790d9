"""Memory of a worker, from little data to much."""

from __future__ import annotations

from common import Bench, Row, build


def private(bench: Bench) -> None:
    """Anonymous memory of a worker, and whether it keeps source files mapped."""
    sizes = [bench.gigabytes / 4, bench.gigabytes, bench.large]
    found = [build(bench, bench.data(gigabytes=size)) for size in sizes]
    most = [one["private"] / 1e6 for one in found]
    note = ", ".join(f"{size:.3g} GB: {mb:.0f} MB" for size, mb in zip(sizes, most, strict=True))
    bench.rows.append(Row("private memory of a worker", 400, max(most), "less", "MB", note))
    mapped = max(one["mapped"] for one in found) / 1e6
    bench.rows.append(Row("source files mapped after the build", 0, mapped, "less", "MB"))
