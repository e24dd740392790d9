"""Cost of four kinds of sample, with tracks of a file, beside one kind: as many samples of the same steps."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

from common import Bench, Row, build, ratio, remove, turns

KINDS: dict[str, Any] = {
    "act": {"turns": [{"user": "{images}{subtask}. State: {state}"}, {"assistant": "{action}"}]},
    "say": {"turns": [{"user": "{images}{instruction}"}, {"assistant": "{subtask}"}]},
    "both": {"turns": [{"user": "{images}{instruction}"}, {"assistant": "Subtask: {subtask}. Action: {action}"}]},
    "look": {
        "turns": [
            {"user": ["{images}What is done?", "{images}What does the robot do now?"]},
            {"assistant": "It is at step {step} of {steps}, {subtask|lower}."},
        ]
    },
}
ONE = {"act": {"turns": [{"user": "{images}{instruction}. State: {state}"}, {"assistant": "{action}"}]}}


def kinds(bench: Bench) -> None:
    """Seconds of a build of four kinds over those of one kind, per sample."""
    root = bench.data()
    build(bench, root, keep=True)
    notes = root / "notes.jsonl"
    notes.write_text("".join(json.dumps(row) + "\n" for row in subtasks(bench.out)))
    remove(bench.out)

    def seconds(chosen: dict[str, Any]) -> float:
        source = {
            "splits": {"train": ["train"]},
            "kinds": chosen,
            "annotations": [{"file": notes.name, "format": "rows"}],
        }
        return float(build(bench, root, sources=[source])["seconds"])

    one, four = turns(bench.rounds, lambda: seconds(ONE), lambda: seconds(KINDS))
    rounds = ", ".join(f"{b:.1f} / {a:.1f} s" for a, b in zip(one, four, strict=True))
    bench.rows.append(Row("a sample of four kinds, beside one of one kind", 1.3, ratio(four, one), "less", "", rounds))


def subtasks(out: Path) -> list[dict[str, Any]]:
    """A subtask for every 20 steps of each episode of a mixture."""
    episodes: dict[str, int] = {}
    for path in sorted(out.glob("train/*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    sample = json.loads(tar.extractfile(member).read())  # type: ignore[union-attr]
                    episodes[sample["episode"]] = sample["steps"]
    return [
        {"episode": episode, "track": "subtask", "step": step, "value": f"Part {step // 20} of the way"}
        for episode, steps in episodes.items()
        for step in range(0, steps, 20)
    ]
