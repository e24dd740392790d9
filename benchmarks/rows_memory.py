"""Memory of a worker over the amount of data."""

from __future__ import annotations

from common import Bench, Row, build


def private(bench: Bench) -> None:
    """Private (anonymous) memory of a worker, its growth with the data, and its memory-mapped source files."""
    sizes = sorted({bench.gigabytes / 4, bench.gigabytes, min(4 * bench.gigabytes, bench.large), bench.large})
    found = [build(bench, bench.data(gigabytes=size)) for size in sizes]
    most = [one["private"] / 1e6 for one in found]
    note = ", ".join(f"{size:.3g} GB: {mb:.0f} MB" for size, mb in zip(sizes, most, strict=True))
    bench.rows.append(Row("private memory of a worker", 400, max(most), "less", "MB", note))
    grown = max(most[1:]) / most[1]
    note = f"largest / that at {sizes[1]:.3g} GB"
    bench.rows.append(Row("growth of private memory from 4x the data on", 1.25, grown, "less", "x", note))
    during = max(one["mapped"] for one in found) / 1e6
    note = "pages of mapped files, which the system takes back when it needs them; the target is our own"
    bench.rows.append(Row("mapped source files in worker memory, during the build", 400, during, "less", "MB", note))
    kept = max(one["kept"] for one in found) / 1e6
    bench.rows.append(Row("mapped source files in worker memory, after the build", 0, kept, "less", "MB"))
