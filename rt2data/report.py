"""What a build tells its user: the plan, the progress, the summary. All of it on stderr."""

from __future__ import annotations

import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rt2data.plan import Plan
from rt2data.recipe import Recipe

# Bytes of a sample in a shard beyond its image, and in the work directory: of the bridge_coco_vqa mixture, rounded up.
SAMPLE_BYTES, WORK_BYTES = 2400, 600


class Reporter:
    """Prints to stderr, or nothing at all."""

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled

    def line(self, text: str) -> None:
        if self.enabled:
            print(text, file=sys.stderr, flush=True)

    def summary(self, out: Path, manifest: dict[str, Any]) -> None:
        total = sum(s["bytes"] for split in manifest["splits"].values() for s in split["shards"])
        found = ", ".join(
            f"{s['samples']:,} samples in {len(s['shards'])} shards of {name}" for name, s in manifest["splits"].items()
        )
        self.line(f"{out}: {found}; {size(total)}; tokenizer {manifest['tokenizer'][:12]}")

    @contextmanager
    def progress(self, word: str, done: Callable[[], int] | None, total: int) -> Iterator[None]:
        """A progress bar that counts finished files, the same on every runner."""
        if not self.enabled or done is None or not total:
            yield
            return
        from tqdm import tqdm

        stop = threading.Event()
        with tqdm(total=total, desc=word, unit="", file=sys.stderr, leave=False, mininterval=0.5) as bar:

            def watch() -> None:
                while not stop.wait(0.3):
                    bar.update(done() - bar.n)

            thread = threading.Thread(target=watch, daemon=True)
            thread.start()
            try:
                yield
                bar.update(total - bar.n)
            finally:
                stop.set()
                thread.join()


def size(count: float) -> str:
    """Bytes for a person."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def plan_text(recipe: Recipe, plan: Plan) -> str:
    """The plan as a table of at most 100 columns. ``~`` marks what is estimated."""
    guessed = any(s.estimated for s in plan.sources)
    how = "estimated where marked ~" if guessed else "exact"
    lines = [f"plan of {recipe.name} ({Path(recipe.file).name}): {how}"]
    heads = ("units", 11), ("rows", 12), ("left out", 10), ("train", 11), ("copies", 8), ("drawn", 11)
    lines.append(f"{'source':<24}{'kind':<8}" + "".join(f"{head:>{width}}" for head, width in heads))
    total = plan.splits[0].samples
    for s in plan.sources:
        mark = "~" if s.estimated else ""
        left = "?" if s.estimated else count(sum(s.left_out.values()))
        units, rows, train, drawn = (mark + count(n) for n in (s.units, s.rows, s.samples["train"], s.quota["train"]))
        used = s.quota["train"] / s.samples["train"]
        lines.append(
            f"{s.dataset[:23]:<24}{s.kind:<8}{units:>11}{rows:>12}{left:>10}{train:>11}{used:>8.2f}{drawn:>11}"
        )
        wanted = f", wanted {100 * s.wanted:.2f} %" if s.wanted is not None else ""
        lines.append(f"  {100 * s.quota['train'] / total:.2f} % of train{wanted}")
        reasons = [f"{n:,} {reason}" for reason, n in s.left_out.most_common()]
        reasons += [f"{s.not_drawn:,} not_drawn"] if s.not_drawn else []
        if reasons:
            lines += _wrapped(f"left out: {', '.join(reasons)}")
        if s.other_splits:
            others = ", ".join(f"split {name} ({n:,})" for name, n in s.other_splits.items())
            lines += _wrapped(f"not taken: {others}")
    mark = "~" if guessed else ""
    for split in plan.splits:
        lines.append(f"{split.name}: {mark}{split.samples:,} samples in {mark}{split.shards:,} shards")
    images = sum(s.image_bytes for s in plan.sources)
    samples = sum(s.samples for s in plan.splits)
    shards = images + samples * SAMPLE_BYTES
    disk = size(shards + samples * WORK_BYTES)
    lines.append(f"images {mark}{size(images)}; shards ~{size(shards)}; disk needed ~{disk} with the work directory")
    for warning in plan.warnings:
        lines += textwrap.wrap(f"note: {warning}", 100, subsequent_indent="      ")
    return "\n".join(lines)


def count(number: int) -> str:
    """A whole number in at most ten columns."""
    return f"{number:,}" if number < 100_000_000 else f"{number / 1e6:,.1f}M"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent="  ", subsequent_indent="    ")
