"""The cameras that samples name: one for each image, of the recipe, with the field that the manifest says."""

from __future__ import annotations

from typing import Any

from rt2data.verify.facts import Facts
from rt2data.verify.report import Report

Json = dict[str, Any]


class CameraCheck:
    """Checks the field ``cameras`` of samples, and the cameras of each source in the manifest."""

    def __init__(self, facts: Facts, report: Report) -> None:
        self.check, self.sources = report["cameras"], facts.sources
        for source, entry in facts.sources.items():
            asked: list[str] = facts.rules[source].get("cameras") or facts.recipe.get("cameras") or ["primary"]
            stated, where = entry["cameras"], f"manifest.json {source} cameras"
            if entry["kind"] != "robot":
                self.check.expect(stated is None, where, str(stated), "none of a web source")
                continue
            roles = list(stated or ())
            found = ", ".join(roles) or "none"
            expected = f"some of {', '.join(asked)}, in this order, as the recipe asks for"
            self.check.expect(
                bool(roles) and roles == [role for role in asked if role in roles], where, found, expected
            )

    def check_sample(self, where: str, sample: Json) -> None:
        """Check that a sample that fits the schema names a camera for each image: role, field and member."""
        entry, named = self.sources.get(sample["source"]), sample["cameras"]
        if entry is None:
            return  # the check "keys" says so
        if entry["kind"] != "robot":
            self.check.expect(named is None, where, "cameras of a web sample", "null")
            return
        members = [camera["member"] for camera in named or ()]
        expected = f"one for each image, {', '.join(sample['images'])}"
        if not self.check.expect(members == sample["images"], where, f"cameras of {', '.join(members)}", expected):
            return
        fields = entry["cameras"] or {}
        first = next(iter(fields), "")
        if named and sample.get("recipe_kind"):  # a kind of sample shows the cameras that its turns name
            present = [camera for camera in named if len(camera["member"].split(".")) < 3]
            first = (present or named)[0]["role"]
        for camera in named:
            role, member = camera["role"], camera["member"]
            found = f"{member}: the camera {role}, field {camera['field']}"
            known = ", ".join(f"{name} ({field})" for name, field in fields.items())
            known = f"one of the source's cameras, {known}"
            if not self.check.expect(fields.get(role) == camera["field"], where, found, known):
                continue
            stem = member.split(".")[:-1]
            expected = f"the plain name for {first}, the role before a dot for any other image"
            self.check.expect(stem[0] == role if stem else role == first, where, found, expected)
