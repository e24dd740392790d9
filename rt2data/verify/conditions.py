"""The recipe's filters and its holdout, checked again on what samples and their images show.

What a sample does not show is not checked: declared columns of web corpora, whether an episode succeeded, and shares
(`top`), which depend on what was left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from rt2data.verify.images import ImageFacts
from rt2data.verify.report import Report

Json = dict[str, Any]

DUPLICATES = ("duplicate_episode", "duplicate_image")
PIXELS = ("brightness", "contrast")
_WORDS = re.compile(r"[^\t\n\f\r ]+")
_TEXTS = {"question": "question", "answer": "answers", "caption": "captions", "instruction": "instruction"}
# Signs of scripts without spaces are words of their own; elsewhere a word is letters and digits.
_SIGN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_SAID = re.compile(rf"[{_SIGN}]|[^\W_{_SIGN}]+")


class Conditions:
    """Holds samples to the filters of their source and to the holdout."""

    def __init__(self, recipe: Json, sources: dict[str, Json], rules: dict[str, Json], report: Report) -> None:
        self.check, self.report = report["filters"], report
        self.filters = {name: _rules(rule.get("filters", {})) for name, rule in rules.items()}
        encoded = recipe["image"] != "keep"
        hidden = set[str]()
        for name, found in self.filters.items():
            for column in list(found):
                images = column in (*PIXELS, *DUPLICATES, "width", "height")
                if (encoded and images) or not _shown(column, found[column], sources[name]["kind"]):
                    hidden.add(f"{name} {column}")
                    del found[column]
        if hidden:
            report.notes.append(f"filters that the samples do not show: {', '.join(sorted(hidden))}")
        self.pixels = any(column in PIXELS for found in self.filters.values() for column in found)
        self.held = Held(recipe.get("holdout"))

    def asked(self, source: str, column: str) -> bool:
        """Whether a source's samples must meet a filter that can be checked."""
        return column in self.filters.get(source, {})

    def check_sample(self, where: str, sample: Json, pictures: Sequence[ImageFacts | None]) -> None:
        """Check a sample; `pictures` are its images, None for one that did not decode."""
        for column, rule in self.filters.get(sample["source"], {}).items():
            if column in DUPLICATES:
                continue
            values = _values(column, sample, pictures)
            ok = _meets(rule, values)
            self.check.expect(ok, where, f"{column} {', '.join(map(str, values[:5]))}", f"{column}: {rule}")
        if sample["kind"] == "robot" and self.held.split:
            why = self.held.why(sample)
            self.report["holdout"].expect(
                not why or sample["split"] == self.held.split,
                where,
                f"{why} in {sample['split']}",
                f"what is held out in {self.held.split} alone",
            )


class Held:
    """What the recipe holds out of the robot samples."""

    def __init__(self, holdout: Json | None) -> None:
        raw = holdout or {}
        self.split: str = raw.get("split", "holdout") if holdout else ""
        self.instructions = {_said(text) for text in raw.get("instructions", ())}
        self.objects = [_said(text) for text in raw.get("objects", ())]
        self.episodes = {name: {str(one) for one in ids} for name, ids in raw.get("episodes", {}).items()}
        self._seen: dict[str, str] = {}

    def why(self, sample: Json) -> str:
        """What of a robot sample is held out; "" for nothing."""
        if sample["episode"] in self.episodes.get(sample["dataset"], ()):
            return f"the episode {sample['episode']}"
        text = sample["instruction"]
        if text not in self._seen:
            if len(self._seen) > 100_000:
                self._seen.clear()
            said = f" {_said(text)} "
            found = said.strip() in self.instructions or any(f" {one} " in said for one in self.objects)
            self._seen[text] = f'the instruction "{text}"' if found else ""
        return self._seen[text]


def _said(text: str) -> str:
    return " ".join(_SAID.findall(text.casefold()))


def _rules(raw: Json) -> dict[str, Json]:
    """The rules in one form: {in, not, min, max, top}."""
    found = {}
    for column, rule in raw.items():
        rule = {"in": [rule]} if isinstance(rule, bool) else {"in": rule} if isinstance(rule, list) else dict(rule)
        found[column] = rule
    return found


def _shown(column: str, rule: Json, kind: str) -> bool:
    if column in ("language", "width", "height", *PIXELS):
        return "top" not in rule
    if column == "steps" or column in DUPLICATES:
        return kind == "robot" and "top" not in rule
    text, _, what = column.rpartition("_")
    own = {"robot": ("instruction",), "vqa": ("question", "answer"), "caption": ("caption",)}[kind]
    return what in ("characters", "words") and text in own and "top" not in rule


def _values(column: str, sample: Json, pictures: Sequence[ImageFacts | None]) -> list[Any]:
    if column in ("language", "steps"):
        return [sample[column]]
    if column in ("width", "height"):  # of the first camera, whose image has the plain name
        first = next((i for i, name in enumerate(sample["images"]) if "." not in name), 0)
        return [getattr(one, column) for one in pictures[first : first + 1] if one]
    if column in PIXELS:
        pairs = zip(pictures, sample["image_valid"], strict=False)
        return [getattr(one, column) for one, valid in pairs if one and valid]
    text, _, what = column.rpartition("_")
    stored = sample[_TEXTS[text]]
    texts = stored if isinstance(stored, list) else [stored]
    return [len(one) if what == "characters" else len(_WORDS.findall(one)) for one in texts if one is not None]


def _meets(rule: Json, values: Sequence[Any]) -> bool:
    """Bounds are for every value, lists for the least one."""
    least = min(values) if values and None not in values else None
    if least in rule.get("not", ()) or ("in" in rule and least not in rule["in"]):
        return False
    low, high = rule.get("min", -math.inf), rule.get("max", math.inf)
    bounded = math.isfinite(low) or math.isfinite(high)
    return not bounded or (least is not None and low <= least and max(values) <= high)
