"""Plans in words: which samples have one, how many, and, where a template makes them, what they say."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from typing import Any

from rt2data.verify import keys
from rt2data.verify.keys import Key
from rt2data.verify.report import Report

Json = dict[str, Any]


class PlanCheck:
    """Counts the samples with a plan, and holds each to its hash and to the recipe."""

    def __init__(self, manifest: Json, report: Report) -> None:
        self.check, self.seed = report["plans"], manifest["recipe"]["seed"]
        self.sources = {source["source"]: source for source in manifest["sources"]}
        by_name = {rule["source"]: rule for rule in manifest["recipe"]["sources"]}
        self.rules = {name: by_name.get(s["dataset"], {}).get("plans") for name, s in self.sources.items()}
        self.count: Counter[tuple[str, str]] = Counter()

    def add(self, where: str, split: str, sample: Json, key: Key) -> None:
        """Count a sample that fits the schema."""
        rule, source = self.rules.get(key.source), self.sources.get(key.source)
        if source is None or sample["kind"] != "robot":
            return
        has = sample["plan"] is not None
        if not self.check.hold(rule is not None or not has, where, "a plan", "none: the recipe asks for no plans"):
            return
        if rule is None or not source["plans"]:
            return
        self.count[key.source, split] += has
        low = keys.hash64("plan", self.seed, key) <= source["plans"]["threshold"].get(split, -1)
        made = self._made(rule, sample)
        if has and rule["from"] == "template":
            self.check.hold(sample["plan"] == made, where, f'the plan "{sample["plan"]}"', f'"{made}", by its template')
        found = "a plan" if has else "no plan"
        if rule["from"] == "template":
            self.check.hold(
                has == (low and made is not None), where, found, "one where its hash is at most the threshold"
            )
        else:
            self.check.hold(low or not has, where, found, "none where its hash is above the threshold")
        fits = not has or (sample["plan"] == " ".join(sample["plan"].split()) and "Action:" not in sample["plan"])
        self.check.hold(fits, where, f'the plan "{sample["plan"]}"', "one line without Action:")

    def _made(self, rule: Json, sample: Json) -> str | None:
        """The plan that a template makes of an instruction."""
        if rule["from"] != "template" or not sample["instruction"].strip():
            return None
        text = " ".join(rule["text"].replace("{instruction}", sample["instruction"].strip()).split())
        return text if "Action:" not in text else None

    def finish(self) -> None:
        """What can be said only when every sample was seen."""
        for name, source in self.sources.items():
            rule, stated, where = self.rules[name], source["plans"], f"manifest.json {name}"
            asked = rule is not None
            self.check.hold(bool(stated) == asked, where, "plans" if stated else "no plans", "what the recipe asks for")
            if not stated or rule is None:
                continue
            for split, number in stated["samples"].items():
                found, samples = self.count[name, split], source["samples"].get(split, 0)
                self.check.hold(found == number, f"{split} {name}", f"{found} plans", f"{number}, as the manifest says")
                if "share" in rule:
                    wanted = math.floor(samples * Fraction(str(rule["share"])) + Fraction(1, 2))
                    fits = number == wanted if split == "train" else number <= wanted
                    expected = f"{wanted}, a share of {rule['share']}"
                    self.check.hold(fits, f"{split} {name}", f"{number} plans of {samples} samples", expected)
