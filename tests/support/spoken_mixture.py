"""A small mixture with kinds of sample, and what its annotations say of each step, row by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support import small_corpora

EPISODES = {f"/data/{n // 2}/out.npy:{n}": 3 + n % 5 for n in range(12)}  # of small_corpora, with their steps

KINDS: dict[str, Any] = {
    "subtask": {
        "weight": 0.3,
        "parts": {"before": {"text": "Before: {subtask|previous}. ", "missing": "skip"}},
        "turns": [{"user": "{images}{instruction|lower}"}, {"assistant": "{before_part}Now: {subtask}"}],
    },
    "act": {
        "weight": 0.4,
        "turns": [
            {"system": "You act at {hz} Hz."},
            {"user": "Look: {image:primary}{subtask}. State: {state}"},
            {"assistant": "Go. {action} Done."},
        ],
    },
    "memory": {
        "weight": 0.1,
        "turns": [
            {"user": "Step {step} of {steps}."},
            {"assistant": "{memory}", "missing": "empty", "end": False},
        ],
    },
    "recall": {
        "weight": 0.1,
        "turns": [
            {"user": "Before?"},
            {"assistant": "{subtask}", "loss": "none"},
            {"user": "{image:secondary}{image:secondary}Now?"},
            {"assistant": "{action}"},
        ],
    },
    "questions": {
        "weight": 0.1,
        "requires": ["vqa|all|role(user)"],
        "turns": [
            {"user": "{image:secondary}"},
            {"each": {"q": "vqa|all|role(user)", "a": "vqa|all|role(assistant)"},
             "turns": [{"user": "{q}"}, {"assistant": "{a}"}]},
        ],
    },
    "head": {
        "weight": 0.1,
        "turns": [
            {"user": "{images}{robot}, {control}: {instruction}"},
            {"assistant": "{subtask}"},
            {"user": "State: {state}", "loss": "action"},
        ],
    },
}  # fmt: skip


def notes() -> list[dict[str, Any]]:
    """Annotations of all episodes: two subtasks, one memory, questions at even steps."""
    rows: list[dict[str, Any]] = []
    for number, (episode, steps) in enumerate(EPISODES.items()):
        for step, text in ((0, "reach"), (2, 'grasp "it"')):
            rows.append({"episode": episode, "track": "subtask", "step": step, "value": text})
        rows.append({"episode": episode, "track": "memory", "step": 1, "value": f"touched\n{number}"})
        for step in range(0, steps, 2):
            for n in range(1 + step % 3):
                at = {"episode": episode, "track": "vqa", "step": step, "until": step + 1}
                rows.append(at | {"role": "user", "value": f"q{n}?"})
                rows.append(at | {"role": "assistant", "value": f"a{n}"})
    return rows


def said(episode: str, step: int) -> dict[str, Any]:
    """The values of a step by the keys of placeholders, those that there are."""
    rows = [row for row in notes() if row["episode"] == episode]
    values: dict[str, Any] = {"step": str(step), "steps": str(EPISODES[episode])}
    for name in ("subtask", "memory"):
        known = [row["value"] for row in rows if row["track"] == name and row["step"] <= step]
        if known:
            values[name] = known[-1]
        if len(known) > 1:
            values[f"{name}|previous"] = known[-2]
    for role in ("user", "assistant"):
        asked = [r["value"] for r in rows if r["track"] == "vqa" and r["step"] == step and r["role"] == role]
        if asked:
            values[f"vqa|all|role({role})"] = asked
    return values


def write(folder: Path, **source: Any) -> Path:
    """Write the corpora with their annotations into a folder, and a recipe of robot episodes and captions beside."""
    data = small_corpora.write_corpora(folder / "data")
    (data / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in notes()))
    annotations = [{"file": "notes.jsonl", "format": "rows"}]
    robot = {"source": "bridge_dataset", "weight": 3, "kinds": KINDS, "annotations": annotations} | source
    recipe = {
        "name": "spoken", "seed": 5, "samples_per_shard": 40, "cameras": ["primary", "secondary"],
        "splits": {"train": 0.7, "val": 0.3}, "sources": [robot, {"source": "coco_captions", "weight": 1}],
    }  # fmt: skip
    path = folder / "spoken.yaml"
    path.write_text(json.dumps(recipe))
    return path
