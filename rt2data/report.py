"""What a build tells its user: the plan, the progress, the summary. All of it on stderr."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rt2data.plan import Plan
from rt2data.recipe import Recipe


class Reporter:
    """Prints to stderr, or nothing at all."""

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled

    def line(self, text: str) -> None:
        if self.enabled:
            print(text, file=sys.stderr, flush=True)

    def plan(self, recipe: Recipe, plan: Plan) -> None:
        self.line(plan_text(recipe, plan))

    def summary(self, out: Path, manifest: dict[str, Any]) -> None:
        total = sum(s["bytes"] for split in manifest["splits"].values() for s in split["shards"])
        found = ", ".join(f"{s['samples']:,} samples in {len(s['shards'])} shards of {name}" for name, s in manifest["splits"].items())
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
    """The plan as a table of at most 100 columns."""
    lines = [f"plan of {recipe.name} ({recipe.file}): exact"]
    lines.append(f"{'source':<22} {'kind':<8} {'found':>17} {'left out':>9} {'usable':>9} {'copies':>7} {'train':>9} {'share':>7}")
    total = plan.splits[0].samples
    for s in plan.sources:
        found = f"{s.units:,} ep {s.rows:,} st" if s.kind == "robot" else f"{s.rows:,}"
        used = s.quota["train"] / s.samples["train"]
        share = f"{100 * s.quota['train'] / total:.1f} %"
        lines.append(f"{s.dataset[:22]:<22} {s.kind:<8} {found:>17} {sum(s.left_out.values()):>9,} {sum(s.samples.values()):>9,} {used:>7.2f} {s.quota['train']:>9,} {share:>7}")
        if s.left_out or s.not_drawn:
            reasons = [f"{n:,} {reason}" for reason, n in s.left_out.most_common()] + ([f"{s.not_drawn:,} not_drawn"] if s.not_drawn else [])
            lines.append(f"{'':<22} left out: {', '.join(reasons)}")
    for split in plan.splits:
        lines.append(f"{split.name}: {split.samples:,} samples in {split.shards} shards")
    images = sum(s.image_bytes for s in plan.sources)
    samples = sum(s.samples for s in plan.splits)
    lines.append(f"images {size(images)}; shards about {size(images + 2300 * samples)}; work about {size(600 * samples)}")
    lines += [f"note: {warning}" for warning in plan.warnings]
    return "\n".join(lines)
