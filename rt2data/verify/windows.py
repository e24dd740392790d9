"""Samples of several steps: chunks of actions and histories of images, held to one another and to the recipe's rules.

Two samples that hold the same step of an episode must say the same of it: what each says is kept as a record, a digest
of the step and one of what is said, and compared when all samples were seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from hashlib import blake2b
from typing import Any

import numpy as np

from rt2data.verify.keys import Key
from rt2data.verify.reference import float32
from rt2data.verify.report import Report
from rt2data.verify.shards import Members
from rt2data.verify.spill import Records

Json = dict[str, Any]

SAID, SAMPLE, ABSENT = range(3)
ARM = {"x", "y", "z", "roll", "pitch", "yaw", "gripper"}


class Windows:
    """Collects what samples say of steps. `add` takes one sample, `finish` compares what is known only at the end."""

    def __init__(self, manifest: Json, report: Report) -> None:
        self.recipe, self.check = manifest["recipe"], report["windows"]
        self.entries = {entry["source"]: entry for entry in manifest["sources"] if entry["kind"] == "robot"}
        self.rules = {
            entry["source"]: rule for entry, rule in zip(manifest["sources"], self.recipe["sources"], strict=False)
        }
        # What is said of a step (SAID), that there is a sample of it (SAMPLE), that it is left out (ABSENT).
        self.said = Records(step=8, kind=1, said=8, place=8)
        # Where several steps make one, or steps without motion are left out; `still` but for what the gripper does.
        self.steps = Records(unit=8, step=4, stride=2, still=1, gripper=4, place=8)
        self.number = 0
        for source, entry in self.entries.items():
            self._stride(source, entry)

    def _option(self, source: str, name: str, default: Any) -> Any:
        return self.rules[source].get(name, self.recipe.get(name, default))

    def _stride(self, source: str, entry: Json) -> None:
        fields = self.rules[source] if {"stride", "hz"} & self.rules[source].keys() else self.recipe
        wanted = Fraction(fields.get("stride", 1))
        if "hz" in fields:
            wanted = Fraction(str(entry["control_hz"] or 0)) / Fraction(str(fields["hz"]))
        found = entry["stride"]
        # Other projects' readings (compat) of some datasets leave steps out between, which the manifest does not tell.
        compat = self.rules[source].get("compat", self.recipe.get("compat", "none")) != "none"
        same = found == wanted or (compat and "hz" not in fields and found % wanted == 0)
        self.check.expect(same, f"manifest.json {source}", f"stride {found}", f"{wanted}, by the recipe")

    def add(self, where: str, sample: Json, key: Key, members: Members, number: int) -> None:
        """Check a robot sample, the first copy, of which the schema and the lengths of its lists are right.

        `number` says which of all samples it is.
        """
        self.number = number
        source, images = sample["source"], sample["images"]
        history, stride = int(self._option(source, "history", 1)), int(self.entries[source]["stride"])
        cameras = len(images) // history
        if not self.check.expect(
            cameras * history == len(images), where, f"{len(images)} images", f"{history} of each camera"
        ):
            return
        self._names(where, images, cameras, history)
        no_op = self._no_op(source, sample["dims"])
        if stride > 1 or no_op is not None:
            still, gripper = no_op is not None and _still(sample, no_op), _gripper(sample)
            self.check.expect(not still or sample["step"] > 0, where, "no motion", "none of the steps without motion")
            self.steps.add(_digest(key.unit), sample["step"], stride, still, gripper, number)
        if history > 1 or sample["horizon"] > 1:
            self.said.add(_step(key, sample["step"]), SAMPLE, 0, number)
            self._images(where, sample, key, members, cameras, stride)
            self._actions(where, sample, key, stride)

    def _no_op(self, source: str, dims: list[str]) -> Json | None:
        """The limits below which an arm's step is left out. What holds for other dimensions, samples do not tell."""
        own = "no_op" in self.rules[source]
        found = self.rules[source]["no_op"] if own else self.recipe.get("no_op")
        if found is None or not set(dims) <= ARM or not (own or set(found) & set(dims)):
            return None
        return dict(found)

    def _names(self, where: str, images: list[str], cameras: int, history: int) -> None:
        """Image i is of camera i % cameras, i // cameras steps back, and named so."""
        named = [name.split(".")[:-1] for name in images]
        first = next((one[0] for one in named[cameras::cameras] if one), "")
        who = [first, *(one[0] if one else "" for one in named[1:cameras])]
        wanted = [[] if i == 0 else [who[i]] for i in range(cameras)]
        wanted += [[camera, f"h{back}"] for back in range(1, history) for camera in who]
        self.check.expect(
            named == wanted and len(set(who)) == cameras,
            where,
            f"the images {', '.join(images)}",
            f"those of {cameras} cameras, then each of theirs 1 to {history - 1} steps back",
        )

    def _images(self, where: str, sample: Json, key: Key, members: Members, cameras: int, stride: int) -> None:
        data, valid = [content for _, content in members.files[:-1]], sample["image_valid"]
        for i, content in enumerate(data):
            camera, back = i % cameras, i // cameras
            here, at = f"{where} image {i}", sample["step"] - back * stride
            if back == 0 or valid[i]:
                self.check.expect(at >= 0, here, f"a picture of step {at}", "one within the episode")
                self.said.add(_step(key, at, camera), SAID, _digest(content), self.number)
            if back == 0 or not valid[camera]:  # a camera of filling: its flags say nothing of the window
                continue
            nearer = back == 1 or valid[i - cameras]
            if valid[i]:
                self.check.expect(nearer, here, "a picture before the window", "none, since a nearer one is missing")
            else:
                self.check.expect(content == data[i - cameras], here, "another picture", "the earliest of the window")
                if at >= 0 and nearer:
                    self.said.add(_step(key, at), ABSENT, 0, self.number)

    def _actions(self, where: str, sample: Json, key: Key, stride: int) -> None:
        width, dims = len(sample["dims"]), sample["dims"]
        grippers = [i for i, name in enumerate(dims) if name == "gripper" or name.endswith("_gripper")]
        drop = self._option(sample["source"], "past_end", "pad") == "drop"
        before: list[float] = []
        for k, (end, ok) in enumerate(zip(sample["terminate"], sample["action_valid"], strict=True)):
            action = [float32(x) for x in sample["action"][k * width : (k + 1) * width]]
            here, at = f"{where} action {k}", sample["step"] + k * stride
            if at < sample["steps"]:
                self.said.add(_step(key, at), SAID, _digest(json.dumps([action, end, ok])), self.number)
            else:
                self.check.expect(not ok and not drop, here, f"step {at} of {sample['steps']}", "nothing past the end")
                last = sample["terminate"][k - 1]
                self.check.expect(end == last, here, f"terminate {end}", f"{last}, as the last step")
            if not ok and k:
                rest = all(x in (0.0, y) for x, y in zip(action, before, strict=True))
                rest = rest and all(action[i] == before[i] for i in grippers)
                self.check.expect(
                    rest, here, str(action), f"rest after {before}: each number 0 or the same, grippers the same"
                )
            before = action

    def finish(self, place: Callable[[Any], str]) -> None:
        """Compare what samples say of a step. `place` names the sample of a number."""
        for rows in self.said.ranges():
            self.check.number += len(rows)
            same, kind = rows["step"][1:] == rows["step"][:-1], rows["kind"]
            said = same & (kind[1:] == SAID) & (rows["said"][1:] != rows["said"][:-1])  # SAID is the least
            for one, other in zip(rows[1:][said], rows[:-1][said], strict=True):
                found = f"not what {place(other['place'])} says of the same step"
                self.check.fail(place(one["place"]), found, "the same")
            absent = same & (kind[1:] == ABSENT) & (kind[:-1] == SAMPLE)
            for one in rows[1:][absent]:
                found = "a window that begins behind a step of which there is a sample"
                self.check.fail(place(one["place"]), found, "one that holds it")
        for rows in self.steps.ranges():
            self.check.number += len(rows)
            near = (rows["unit"][1:] == rows["unit"][:-1]) & (
                np.diff(rows["step"].astype(np.int64)) < rows["stride"][1:]
            )
            for row in rows[1:][near]:
                self.check.fail(
                    place(row["place"]), f"step {row['step']}", f"{row['stride']} steps after the one before"
                )
            next_one = (rows["unit"][1:] == rows["unit"][:-1]) & (
                np.diff(rows["step"].astype(np.int64)) == rows["stride"][1:]
            )
            idle = next_one & (rows["still"][1:] == 1) & (rows["gripper"][1:] == rows["gripper"][:-1])
            for row in rows[1:][idle]:
                self.check.fail(place(row["place"]), "no motion", "none of the steps without motion")


def _still(sample: Json, limits: Json) -> bool:
    """Whether a sample's first action moves nothing but perhaps the gripper, and does not terminate."""
    moves = (
        abs(float32(value)) > limits.get(name, 0.0)
        for name, value in zip(sample["dims"], sample["action"], strict=False)
        if name != "gripper"
    )
    return not sample["terminate"][0] and not any(moves)


def _gripper(sample: Json) -> int:
    """The bits of what the gripper does in a sample's first action; 0 where the robot has none."""
    where = sample["dims"].index("gripper") if "gripper" in sample["dims"] else -1
    return int(np.float32(sample["action"][where]).view(np.uint32)) if where >= 0 else 0


def _step(key: Key, step: int, camera: int = -1) -> int:
    return _digest(f"{key.unit} {step} {camera}")


def _digest(content: str | bytes) -> int:
    raw = content.encode() if isinstance(content, str) else content
    return int.from_bytes(blake2b(raw, digest_size=8).digest(), "big")
