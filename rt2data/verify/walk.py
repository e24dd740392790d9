"""The walk over every shard, and what is checked before and after it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rt2data.reference import Reference, fingerprint, float32
from rt2data.verify import card, schema, shards, statistics
from rt2data.verify.mixture import Ledger
from rt2data.verify.plans import PlanCheck
from rt2data.verify.report import Report
from rt2data.verify.samples import Facts, SampleCheck
from rt2data.verify.shards import Members

Json = dict[str, Any]


class Walk:
    """Reads every shard once, front to back."""

    def __init__(self, folder: Path, manifest: Json, report: Report) -> None:
        self.folder, self.manifest, self.report = folder, manifest, report
        self.facts = _facts(manifest)
        self.ledger, self.plans = Ledger(manifest, report), PlanCheck(manifest, report)
        self.samples = SampleCheck(self.facts, report)
        self.stats = schema.read(folder / "statistics.json", report["statistics"])
        self.seen: dict[str, statistics.Seen] = {}
        self.suffixes: set[str] = set()
        self._tokenizer()

    def run(self, progress: Callable[[str], None] | None) -> None:
        for split, entry in self.manifest["splits"].items():
            for shard in entry["shards"]:
                if progress:
                    progress(shard["name"])
                self._shard(split, shard)
        self.ledger.finish()
        self.plans.finish()
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
        check.hold(
            found == self.manifest["tokenizer"],
            "tokenizer.json",
            f"fingerprint {found}",
            f"{self.manifest['tokenizer']}, as the manifest says",
        )
        robots = [s["source"] for s in self.manifest["sources"] if s["kind"] == "robot"]
        there = sorted(raw.get("sources", {}))
        check.hold(
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
                check.hold(
                    False, where, f"{type(error).__name__} {error}", "a specification that rt2data.reference can follow"
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
                self.report["statistics"].hold(
                    stats is not None, f"statistics.json {source}", "nothing", "the statistics of each robot source"
                )
                and stats
            ):
                self._bounds(source, raw, recipe["tokenizer"]["bounds"], stats)

    def _bounds(self, source: str, raw: Json, rule: str, stats: Json) -> None:
        reference, where = self.facts.references[source], f"tokenizer.json {source}"
        names = [dim["name"] for dim in reference.dims]
        for name in ("train", "all"):
            wrong = statistics.shapes(stats[name], names, reference.fields, reference.bins)
            if not self.report["statistics"].hold(
                not wrong, f"statistics.json {source} {name}", wrong, f"{len(names)} dimensions: {' '.join(names)}"
            ):
                return
        self.seen[source] = statistics.Seen(stats["train"], len(names), reference.fields, reference.bins)
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
            self.report["tokenizer"].hold(
                found == wanted,
                f"{where} {dim['name']}",
                f"low, high, constant {found}",
                f"{wanted}, by the rule {rule}",
            )

    def _shard(self, split: str, entry: Json) -> None:
        path, name = self.folder / entry["name"], entry["name"]
        if path.is_symlink() or not shards.check_file(path, entry, self.report):
            self.report["shards"].hold(False, name, "no shard", "a file")
            return
        number = 0
        for members in shards.samples(path, entry, self.report):
            number += 1
            where, source = f"{name} {members.key}", members.key.partition("-")[0]
            if entry["source"] not in (None, source):
                self.report["keys"].fail(where, f"a sample of {source}", f"one of {entry['source']}, whose shard it is")
            self._sample(where, split, members)
        self.report["shards"].hold(
            number == entry["samples"], name, f"{number} samples", f"{entry['samples']}, as the manifest says"
        )

    def _sample(self, where: str, split: str, members: Members) -> None:
        key = self.ledger.add(where, split, members.key)
        sample = self.samples.read(where, members, split)
        filling = set()
        if sample is not None:
            filling = {name for name, valid in zip(sample["images"], sample["image_valid"], strict=False) if not valid}
        for suffix, data in members.files:
            if suffix != "json":
                self._image(where, split, suffix, data, filling=suffix in filling)
        if sample is None or key is None:
            return
        bins = self.samples.hold(where, sample, key)
        self.plans.add(where, split, sample, key)
        if bins is not None and split == "train" and key.source in self.seen and self.ledger.first(key, split):
            reference = self.facts.references[key.source]
            action = [float32(value) for value in sample["action"]]
            self.seen[key.source].add(action, bins, reference.clipped(action))

    def _image(self, where: str, split: str, suffix: str, data: bytes, *, filling: bool) -> None:
        check, home = self.report["images"], hashlib.blake2b(data, digest_size=16).digest()
        self.suffixes.add(suffix)
        check.number += 1
        known = self.ledger.images.get(home)
        wanted = suffix.rpartition(".")[2]
        if known is not None and known == (split, wanted):
            return  # decoded before
        try:
            found, picture = shards.open_image(data)
        except ValueError as error:
            check.fail(f"{where}.{suffix}", str(error), "a JPEG, PNG or WebP that decodes")
            return
        if found != wanted:
            check.fail(f"{where}.{suffix}", f"an image of the format {found}", f"{wanted}, as its name says")
        if known is None:
            self.ledger.images[home] = (split, found)
        elif known[0] != split and not filling:
            apart = shards.constant(picture)
            self.report["splits"].hold(
                apart, f"{where}.{suffix}", f"a picture of {known[0]} in {split}", "each picture in one split"
            )

    def _statistics(self) -> None:
        check = self.report["statistics"]
        robots = {s["source"] for s in self.manifest["sources"] if s["kind"] == "robot"}
        if self.stats is not None:
            there = set(self.stats["sources"])
            check.hold(
                there == robots,
                "statistics.json",
                f"the sources {', '.join(sorted(there))}",
                f"the robot sources {', '.join(sorted(robots))}",
            )
        for source, seen in self.seen.items():
            entry, where = self.facts.sources[source], f"statistics.json {source}"
            usable, written = entry["usable"].get("train", 0), entry["samples"].get("train", 0)
            check.hold(
                seen.stats["count"] == usable,
                where,
                f"count {seen.stats['count']}",
                f"{usable}, the usable train samples",
            )
            found, every = self.stats["sources"][source] if self.stats else {}, seen.stats
            check.hold(
                found["episodes"] == entry["units"],
                where,
                f"{found['episodes']} episodes",
                f"{entry['units']}, as the manifest says",
            )
            within = all(a <= b for a, b in zip(found["all"]["min"], every["min"], strict=True)) and all(
                a >= b for a, b in zip(found["all"]["max"], every["max"], strict=True)
            )
            check.hold(
                within and found["all"]["count"] >= every["count"],
                where,
                "all steps narrower than train",
                "train within all",
            )
            statistics.compare(where, seen, complete=written >= usable, report=self.report)


def _facts(manifest: Json) -> Facts:
    """The facts of a manifest that fits its schema; a recipe with other sources than the manifest has lost the rest."""
    entries = {source["source"]: source for source in manifest["sources"]}
    by_name = {rule["source"]: rule for rule in manifest["recipe"]["sources"]}
    rules = {name: by_name.get(entry["dataset"], {"splits": {"train": ["train"]}}) for name, entry in entries.items()}
    return Facts(manifest["recipe"], entries, rules)
