"""Plans in words: which samples have one, how many, and, where a template makes them, what they say."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

from rt2data import storage
from rt2data.storage.places import Place
from rt2data.verify import keys
from rt2data.verify.keys import Key
from rt2data.verify.report import Report

Json = dict[str, Any]


class PlanCheck:
    """Counts the samples with a plan, and holds each to its hash and to the recipe.

    With `data_root`, plans from annotations are held to the files there too, each of which is read whole.
    """

    def __init__(self, manifest: Json, report: Report, data_root: Place | None = None) -> None:
        self.check, self.seed = report["plans"], manifest["recipe"]["seed"]
        self.sources = {source["source"]: source for source in manifest["sources"]}
        by_name = {rule["source"]: rule for rule in manifest["recipe"]["sources"]}
        self.rules = {name: by_name.get(s["dataset"], {}).get("plans") for name, s in self.sources.items()}
        self.count: Counter[tuple[str, str]] = Counter()
        self.annotated: dict[str, dict[tuple[str, int], str]] = {}
        for name, rule in self.rules.items():
            if rule and rule["from"] == "annotations" and data_root is not None:
                self.annotated[name] = self._annotated(data_root / rule["file"], rule)

    def add(self, where: str, split: str, sample: Json, key: Key) -> None:
        """Count a sample that fits the schema."""
        rule, source = self.rules.get(key.source), self.sources.get(key.source)
        if source is None or sample["kind"] != "robot":
            return
        has = sample["plan"] is not None
        if not self.check.expect(rule is not None or not has, where, "a plan", "none: the recipe asks for no plans"):
            return
        if rule is None or not source["plans"]:
            return
        self.count[key.source, split] += has
        low = keys.hash64("plan", self.seed, key) <= source["plans"]["threshold"].get(split, -1)
        made = self._made(rule, sample)
        if has and rule["from"] == "template":
            self.check.expect(
                sample["plan"] == made, where, f'the plan "{sample["plan"]}"', f'"{made}", by its template'
            )
        found = "a plan" if has else "no plan"
        if rule["from"] == "template":
            self.check.expect(
                has == (low and made is not None), where, found, "one where its hash is at most the threshold"
            )
        elif key.source in self.annotated:
            text = self.annotated[key.source].get((sample["episode"], sample["step"]))
            wanted = text if low else None
            self.check.expect(
                sample["plan"] == wanted, where, f'the plan "{sample["plan"]}"', f'"{wanted}", as annotated'
            )
        else:
            self.check.expect(low or not has, where, found, "none where its hash is above the threshold")
        fits = not has or (sample["plan"] == " ".join(sample["plan"].split()) and "Action:" not in sample["plan"])
        self.check.expect(fits, where, f'the plan "{sample["plan"]}"', "one line without Action:")

    def _made(self, rule: Json, sample: Json) -> str | None:
        """The plan that a template makes of an instruction."""
        if rule["from"] != "template" or not sample["instruction"].strip():
            return None
        text = " ".join(rule["text"].replace("{instruction}", sample["instruction"].strip()).split())
        return text if "Action:" not in text else None

    def _annotated(self, file: Place, rule: Json) -> dict[tuple[str, int], str]:
        """The plan of each annotated step; nothing, and a failure, where the file cannot be read."""
        found: dict[tuple[str, int], str] = {}
        try:
            for name, episode, step, values in _entries(file):
                own = _filled(rule["episode"], {"file": name, "episode": episode})
                texts = {k: v for k, v in values.items() if isinstance(v, str)} if isinstance(values, dict) else {}
                text = _filled(rule["text"], texts)
                if own and text and re.fullmatch("[0-9]+", str(step)) and "Action:" not in text:
                    found.setdefault((own, int(step)), text)
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            self.check.fail(str(file), str(error) or type(error).__name__, "the annotations that the recipe names")
        return found

    def finish(self) -> None:
        """What can be said only when every sample was seen."""
        for name, source in self.sources.items():
            rule, stated, where = self.rules[name], source["plans"], f"manifest.json {name}"
            asked = rule is not None
            self.check.expect(
                bool(stated) == asked, where, "plans" if stated else "no plans", "what the recipe asks for"
            )
            if not stated or rule is None:
                continue
            for split, number in stated["samples"].items():
                found, samples = self.count[name, split], source["samples"].get(split, 0)
                self.check.expect(
                    found == number, f"{split} {name}", f"{found} plans", f"{number}, as the manifest says"
                )
                if "share" in rule:
                    wanted = math.floor(samples * Fraction(str(rule["share"])) + Fraction(1, 2))
                    fits = number == wanted if split == "train" else number <= wanted
                    expected = f"{wanted}, a share of {rule['share']}"
                    self.check.expect(fits, f"{split} {name}", f"{number} plans of {samples} samples", expected)


def _entries(file: Place) -> Iterator[tuple[Any, Any, Any, Any]]:
    """(file, episode, step, texts) of each annotation."""
    if file.suffix == ".jsonl":
        for line in filter(str.strip, storage.near(file).read_text("utf-8-sig").splitlines()):
            one = json.loads(line)
            yield one.get("file"), one.get("episode"), one.get("step"), one
        return
    for name, episodes in json.loads(storage.near(file).read_text("utf-8-sig")).items():
        for episode, found in episodes.items():
            for step, values in (found.get("reasoning", found) or {}).items():
                yield name, episode, step, values


def _filled(template: str, values: Json) -> str | None:
    """A template with its values, those of ``{way|function}`` after the function, in one line."""
    parts = {}
    for way in re.findall(r"\{([^{}]+)\}", template):
        name, *calls = way.split("|")
        value = values.get(name)
        for call in calls:
            value = _called(call, str(value)) if value is not None else None
        if value is None or not str(value).strip():
            return None
        parts[way] = str(value).strip()
    return " ".join(re.sub(r"\{([^{}]+)\}", lambda m: parts[m[1]], template).split())


def _called(call: str, text: str) -> str | None:
    if call in ("name", "stem"):
        return PurePosixPath(text).name if call == "name" else PurePosixPath(text).stem
    word, _, mark = call.removesuffix(")").partition("(")
    before, found, after = text.partition(mark)
    return before if word == "before" else after if word == "after" and found else None
