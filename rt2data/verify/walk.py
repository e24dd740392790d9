"""The walk over every shard, and what is checked before and after it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from rt2data.storage.places import Place
from rt2data.verify import card, images, schema, shards, statistics
from rt2data.verify.conditions import Conditions
from rt2data.verify.images import ImageFacts
from rt2data.verify.ledger import Ledger
from rt2data.verify.reasoning import PlanCheck
from rt2data.verify.reference import Reference, fingerprint, float32
from rt2data.verify.report import Report
from rt2data.verify.samples import Facts, SampleCheck
from rt2data.verify.shards import Members
from rt2data.verify.windows import Windows

Json = dict[str, Any]

KNOWN = 100_000  # images whose bytes need no decoding when they come again: some 40 MB


class Walk:
    """Reads every shard once, front to back."""

    def __init__(self, folder: Place, manifest: Json, report: Report, data_root: Place | None = None) -> None:
        self.folder, self.manifest, self.report = folder, manifest, report
        self.facts = _facts(manifest)
        self.ledger, self.plans = Ledger(manifest, report), PlanCheck(manifest, report, data_root)
        self.samples, self.windows = SampleCheck(self.facts, report), Windows(manifest, report)
        self.conditions = Conditions(self.facts.recipe, self.facts.sources, self.facts.rules, report)
        self.known: dict[bytes, ImageFacts] = {}
        self.languages: Counter[tuple[str, str, str]] = Counter()  # of source and split, copies not counted
        self.stats = schema.read(folder / "statistics.json", report["statistics"])
        self.seen: dict[str, statistics.Seen] = {}
        self.seen_states: dict[str, statistics.Seen] = {}
        self.suffixes: set[str] = set()
        self._tokenizer()
        self._proprio()

    def run(self, progress: Callable[[str], None] | None) -> None:
        for split, entry in self.manifest["splits"].items():
            for shard in entry["shards"]:
                if progress:
                    progress(shard["name"])
                self._shard(split, shard)
        self.ledger.finish()
        self.plans.finish()
        self.windows.finish(self.ledger.place)
        self._statistics()
        card.check(self.folder, self.manifest, self.suffixes, self.report)
        for source, number in self.samples.beyond.items():
            self.report.notes.append(f"{source}: {number:,} values whose scheme does not promise how near they decode")

    def _tokenizer(self) -> None:
        """Load the reference tokenizers, hold the bounds to the statistics."""
        raw = schema.read(self.folder / "tokenizer.json", self.report["tokenizer"])
        check, recipe = self.report["tokenizer"], self.manifest["recipe"]
        if raw is None:
            return
        found = fingerprint(raw)
        check.expect(
            found == self.manifest["tokenizer"],
            "tokenizer.json",
            f"fingerprint {found}",
            f"{self.manifest['tokenizer']}, as the manifest says",
        )
        robots = [s["source"] for s in self.manifest["sources"] if s["kind"] == "robot"]
        there = sorted(raw.get("sources", {}))
        check.expect(
            there == sorted(robots),
            "tokenizer.json sources",
            ", ".join(there) or "none",
            f"the robot sources {', '.join(sorted(robots)) or '(none)'}",
        )
        for source in robots:
            where = f"tokenizer.json {source}"
            try:
                reference = Reference(raw, source)
            except (KeyError, TypeError, ValueError, ArithmeticError) as error:
                check.expect(
                    False,
                    where,
                    f"{type(error).__name__} {error}",
                    "a specification that rt2data.verify.reference can follow",
                )
                continue
            self.facts.references[source] = reference
            changed = reference.changed()
            if changed:
                total = reference.bins * len(reference.dims)
                self.report.notes.append(
                    f"{source}: in the scheme {reference.scheme}, encode(decode(b)) != b for {changed} of {total} bins"
                )
            stats = (self.stats or {}).get("sources", {}).get(source)
            if (
                self.report["statistics"].expect(
                    stats is not None, f"statistics.json {source}", "nothing", "the statistics of each robot source"
                )
                and stats
            ):
                self._bounds(source, raw, recipe["tokenizer"]["bounds"], stats)

    def _proprio(self) -> None:
        """Load the reference tokenizers of the states that prompts hold, hold their bounds to the statistics."""
        check, wanted = self.report["tokenizer"], self.manifest["proprio"]
        holders = []
        for source, rule in self.facts.rules.items():
            asked = self.manifest["recipe"]["prompts"] | rule.get("prompts", {})
            kinds = ("robot", "plan") if "plans" in rule else ("robot",)
            if self.facts.sources[source]["kind"] == "robot" and any("{proprio}" in asked[kind] for kind in kinds):
                holders.append(source)
        check.expect(
            (wanted is not None) == bool(holders),
            "manifest.json proprio",
            str(wanted),
            f"a fingerprint where prompts hold states, as those of {', '.join(holders) or 'no source'}",
        )
        if wanted is None:
            return
        raw = schema.read(self.folder / "proprio.json", check, "tokenizer")
        if raw is None:
            return
        check.expect(fingerprint(raw) == wanted, "proprio.json", f"fingerprint {fingerprint(raw)}", wanted)
        there = sorted(raw.get("sources", {}))
        check.expect(there == sorted(holders), "proprio.json sources", ", ".join(there), ", ".join(sorted(holders)))
        for source in set(there) & set(holders):
            self.facts.states[source] = reference = Reference(raw, source)
            stats = (self.stats or {}).get("sources", {}).get(source, {}).get("proprio")
            where, names = f"proprio.json {source}", [dim["name"] for dim in reference.dims]
            wrong = statistics.shapes(stats, names, len(names), reference.bins) if stats else "nothing"
            if not self.report["statistics"].expect(
                not wrong, f"statistics.json {source} proprio", wrong, f"the numbers {' '.join(names)}"
            ):
                continue
            self.seen_states[source] = statistics.Seen(stats, len(names), len(names), reference.bins)
            for i, dim in enumerate(reference.dims):
                held = dim["low"], dim["high"], dim.get("constant", False)
                measured = statistics.bounds(stats, i)
                check.expect(held == measured, f"{where} {dim['name']}", f"low, high, constant {held}", str(measured))

    def _add_state(self, source: str, sample: Json) -> None:
        seen, reference = self.seen_states.get(source), self.facts.states.get(source)
        if seen is None or reference is None:
            return
        state = [float32(value) for value in sample["proprio"] or []]
        if len(state) == len(reference.dims):  # else the check "texts" has said so
            seen.add(state, reference.steps(state, reference.encode(state, ())))

    def _bounds(self, source: str, raw: Json, rule: str, stats: Json) -> None:
        reference, where = self.facts.references[source], f"tokenizer.json {source}"
        names = [dim["name"] for dim in reference.dims]
        for name in ("train", "all"):
            wrong = statistics.shapes(stats[name], names, reference.fields // reference.horizon, reference.bins)
            if not self.report["statistics"].expect(
                not wrong, f"statistics.json {source} {name}", wrong, f"{len(names)} dimensions: {' '.join(names)}"
            ):
                return
        fields = reference.fields // reference.horizon
        self.seen[source] = statistics.Seen(stats["train"], len(names), fields, reference.bins)
        fixed = {dim["name"]: dim for dim in raw["dims"]}
        gripper = next((dim for name, dim in fixed.items() if name.startswith("gripper")), {"low": 0.0, "high": 1.0})
        for i, dim in enumerate(reference.dims):
            if dim["name"] == "gripper" or dim["name"].endswith("_gripper"):
                wanted = gripper["low"], gripper["high"], gripper.get("constant", False)
            elif dim["name"] in fixed and rule == "fixed":
                wanted = (
                    fixed[dim["name"]]["low"],
                    fixed[dim["name"]]["high"],
                    fixed[dim["name"]].get("constant", False),
                )
            else:
                wanted = statistics.bounds(stats["train"], i)
            found = (dim["low"], dim["high"], dim.get("constant", False))
            self.report["tokenizer"].expect(
                found == wanted,
                f"{where} {dim['name']}",
                f"low, high, constant {found}",
                f"{wanted}, by the rule {rule}",
            )

    def _shard(self, split: str, entry: Json) -> None:
        path, name = self.folder / entry["name"], entry["name"]
        if path.is_symlink() or not shards.check_file(path, entry, self.report):
            self.report["shards"].expect(False, name, "no shard", "a file")
            return
        number = 0
        self.ledger.shard(name)
        for members in shards.samples(path, entry, self.report):
            number += 1
            where, source = f"{name} {members.key}", members.key.partition("-")[0]
            if entry["source"] not in (None, source):
                self.report["keys"].fail(where, f"a sample of {source}", f"one of {entry['source']}, whose shard it is")
            self._sample(where, split, members)
        self.report["shards"].expect(
            number == entry["samples"], name, f"{number} samples", f"{entry['samples']}, as the manifest says"
        )

    def _sample(self, where: str, split: str, members: Members) -> None:
        sample = self.samples.read(where, members, split)
        key = self.ledger.add(where, split, members.key, sample)
        filling = set()
        if sample is not None:
            filling = {name for name, valid in zip(sample["images"], sample["image_valid"], strict=False) if not valid}
        pictures: list[ImageFacts | None] = []
        digests: list[bytes] = []
        for suffix, data in members.files:
            if suffix == "json":
                continue
            digests.append(hashlib.blake2b(data, digest_size=16).digest())
            pictures.append(self._image(f"{where}.{suffix}", suffix, data, digests[-1]))
            if key is not None and not (suffix in filling or (pictures[-1] and pictures[-1].constant)):
                asked = self.conditions.asked(key.source, "duplicate_image")
                self.ledger.image(digests[-1], split, key, asked=asked)
        if sample is None or key is None:
            return
        self.conditions.check_sample(where, sample, pictures)
        bins = self.samples.check_sample(where, sample, key)
        self.plans.add(where, split, sample, key)
        if key.copy:  # the first copy stands for all
            return
        if bins is not None:
            self.windows.add(where, sample, key, members, self.ledger.number - 1)
        self.languages[key.source, split, sample["language"] or "und"] += 1
        if self.conditions.asked(key.source, "duplicate_episode") and self._complete(split, key.source):
            self.ledger.step(_content(sample, digests), key)
        if bins is not None and split == "train" and key.source in self.seen:
            reference = self.facts.references[key.source]
            action = [float32(value) for value in sample["action"]]
            self.seen[key.source].add(action[: len(reference.dims)], reference.steps(action, bins))
            self._add_state(key.source, sample)

    def _complete(self, split: str, source: str) -> bool:
        """Whether every usable sample of a source is in the shards."""
        return split != "train" or self.facts.sources[source]["copies"] > 0

    def _image(self, where: str, suffix: str, data: bytes, digest: bytes) -> ImageFacts | None:
        """What an image shows; None where it does not decode."""
        check, wanted = self.report["images"], suffix.rpartition(".")[2]
        self.suffixes.add(suffix)
        check.number += 1
        found = self.known.get(digest)
        if found is None:
            try:
                found = images.read_facts(data, pixels=self.conditions.pixels)
            except ValueError as error:
                check.fail(where, str(error), "a JPEG, PNG or WebP that decodes")
                return None
            if len(self.known) >= KNOWN:
                self.known.clear()
            self.known[digest] = found
        if found.format != wanted:
            check.fail(where, f"an image of the format {found.format}", f"{wanted}, as its name says")
        return found

    def _statistics(self) -> None:
        check = self.report["statistics"]
        robots = {s["source"] for s in self.manifest["sources"] if s["kind"] == "robot"}
        if self.stats is not None:
            there = set(self.stats["sources"])
            check.expect(
                there == robots,
                "statistics.json",
                f"the sources {', '.join(sorted(there))}",
                f"the robot sources {', '.join(sorted(robots))}",
            )
        self._languages()
        for source, seen in self.seen.items():
            entry, where = self.facts.sources[source], f"statistics.json {source}"
            usable, written = entry["usable"].get("train", 0), entry["samples"].get("train", 0)
            check.expect(
                seen.stats["count"] == usable,
                where,
                f"count {seen.stats['count']}",
                f"{usable}, the usable train samples",
            )
            found, every = self.stats["sources"][source] if self.stats else {}, seen.stats
            check.expect(
                found["episodes"] == entry["units"],
                where,
                f"{found['episodes']} episodes",
                f"{entry['units']}, as the manifest says",
            )
            within = all(a <= b for a, b in zip(found["all"]["min"], every["min"], strict=True)) and all(
                a >= b for a, b in zip(found["all"]["max"], every["max"], strict=True)
            )
            check.expect(
                within and found["all"]["count"] >= every["count"],
                where,
                "all steps narrower than train",
                "train within all",
            )
            statistics.compare(where, seen, complete=written >= usable, report=self.report)
            if source in self.seen_states:
                states = self.seen_states[source]
                statistics.compare(f"{where} proprio", states, complete=written >= usable, report=self.report)

    def _languages(self) -> None:
        """The languages that statistics.json counts are those of the samples; at least, where not all were drawn."""
        stated = (self.stats or {}).get("languages", {})
        for source, entry in self.facts.sources.items() if self.stats else ():
            for split in self.manifest["splits"]:
                there = stated.get(source, {}).get(split, {})
                found = {name: n for (one, home, name), n in self.languages.items() if (one, home) == (source, split)}
                fits = found == there
                if not self._complete(split, source):
                    fits = sum(there.values()) == entry["usable"].get(split) and all(
                        n <= there.get(name, 0) for name, n in found.items()
                    )
                self.report["statistics"].expect(
                    fits,
                    f"statistics.json languages {source} {split}",
                    ", ".join(f"{n} {name}" for name, n in sorted(there.items())) or "none",
                    ", ".join(f"{n} {name}" for name, n in sorted(found.items())) or "none",
                )


def _content(sample: Json, digests: list[bytes]) -> bytes:
    """A digest of what a step holds, wherever it comes from: number, instruction, action, terminate, images."""
    told = [sample[name] for name in ("step", "instruction", "action", "terminate")]
    return hashlib.blake2b(json.dumps(told).encode() + b"".join(digests), digest_size=16).digest()


def _facts(manifest: Json) -> Facts:
    """The facts of a manifest that fits its schema; a recipe with other sources than the manifest has lost the rest."""
    entries = {source["source"]: source for source in manifest["sources"]}
    by_name = {rule["source"]: rule for rule in manifest["recipe"]["sources"]}
    rules = {name: by_name.get(entry["dataset"], {"splits": {"train": ["train"]}}) for name, entry in entries.items()}
    return Facts(manifest["recipe"], entries, rules)
