"""What samples are checked against: the manifest, its recipe, and reference tokenizers made of a mixture's files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rt2data.verify.reference.tokenizer import Reference
from rt2data.verify.statistics import TrainSums

Json = dict[str, Any]


@dataclass(slots=True)
class Facts:
    """All that is known before the first sample is read; the dictionaries go by the public name of a source.

    Attributes:
        recipe: the manifest's recipe.
        sources: the manifest's entry of each source.
        rules: the recipe's entry of each source.
        references: the reference tokenizer of each robot source that has a usable one.
        states: likewise that of the states, of each robot source whose prompt holds them.
        sums: what the train steps of each robot source add up to, where its statistics have the right shapes.
        state_sums: likewise of the states.
    """

    recipe: Json
    sources: dict[str, Json]
    rules: dict[str, Json]
    references: dict[str, Reference] = field(default_factory=dict)
    states: dict[str, Reference] = field(default_factory=dict)
    sums: dict[str, TrainSums] = field(default_factory=dict)
    state_sums: dict[str, TrainSums] = field(default_factory=dict)

    def templates(self, source: str) -> Json:
        """The prompts of the recipe, overlaid with those of the source."""
        return dict(self.recipe["prompts"] | self.rules[source].get("prompts", {}))

    @property
    def floats(self) -> bool:
        """Whether actions have no bins, so that samples hold normalised ones."""
        return any(reference.floats for reference in self.references.values())

    def is_complete(self, split: str, source: str) -> bool:
        """Whether every usable sample of a source is in the shards of a split."""
        return split != "train" or self.sources[source]["copies"] > 0


def collect_facts(manifest: Json) -> Facts:
    """The facts of a manifest that fits its schema; a source that its recipe does not name has the plainest rule."""
    entries = {source["source"]: source for source in manifest["sources"]}
    by_name = {rule["source"]: rule for rule in manifest["recipe"]["sources"]}
    rules = {name: by_name.get(entry["dataset"], {"splits": {"train": ["train"]}}) for name, entry in entries.items()}
    return Facts(manifest["recipe"], entries, rules)
