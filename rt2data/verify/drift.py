"""The drift that the manifest states, compared with a replay of the samples: scalar code of its own.

The actions of samples are kept in a temporary file, 16 bytes a number, and read episode by episode when every sample
was seen. Memory: some 40 bytes an episode.
"""

from __future__ import annotations

import math
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

from rt2data.verify.facts import Facts
from rt2data.verify.ledger import hash_of
from rt2data.verify.reference.keys import Key
from rt2data.verify.reference.tokenizer import Reference, float32
from rt2data.verify.report import Check, Report
from rt2data.verify.spill import Records, groups

Json = dict[str, Any]
Numbers = Sequence[float]
Matrix = tuple[Numbers, Numbers, Numbers]

_WAY, _TURN = ("x", "y", "z"), ("roll", "pitch", "yaw")
_BASE = {"base_forward": "x", "base_left": "y", "base_turn": "yaw"}
_SHARES = {"p50": 0.5, "p90": 0.9, "max": 1.0}
_ROUNDING = 5.1e-4, 1e-6  # relative and absolute: half of the fourth digit is at most 5e-4 of a number


class DriftCheck:
    """Collects the actions of train samples: `add` takes one sample, `finish` replays the episodes."""

    def __init__(self, manifest: Json, facts: Facts, stats: Json | None, report: Report) -> None:
        self.facts, self.report, self.replays = facts, report, dict[str, _Replay]()
        check = report["statistics"]
        for entry in manifest["sources"]:
            source, stated = entry["source"], entry["drift"]
            if entry["kind"] != "robot":
                check.expect(stated is None, f"manifest.json {source}", "a drift", "none of a web source")
                continue
            own = (stats or {}).get("sources", {}).get(source, {"drift": stated})["drift"]
            check.expect(own == stated, f"statistics.json {source}", "another drift", "that of manifest.json")
            if source not in facts.references or stated is None:
                continue
            if facts.is_complete("train", source):
                self.replays[source] = _Replay(entry, facts.references[source])
            else:
                report.notes.append(f"{source}: not every train sample is drawn, so its drift cannot be computed anew")

    def add(self, sample: Json, key: Key, bins: list[int]) -> None:
        """Keep the actions of a train sample, the first copy and the first paraphrase of its step."""
        if (replay := self.replays.get(key.source)) is not None:
            replay.add(sample, key, bins)

    def finish(self) -> None:
        """Replay the episodes of each source, and compare."""
        for source, replay in self.replays.items():
            replay.compare(f"manifest.json {source} drift", self.report["statistics"])


class _Body(NamedTuple):
    """An arm or a base: the column of each of x y z roll pitch yaw that it has."""

    columns: dict[str, int]
    tool: bool
    absolute: bool
    position: bool
    rotation: bool


@dataclass(slots=True)
class _Replay:
    """The samples of one source."""

    entry: Json
    reference: Reference
    units: list[str] = field(default_factory=list)
    rows: Records = field(default_factory=lambda: Records(unit=8, step=4, at=8))
    file: BinaryIO = field(default_factory=tempfile.TemporaryFile)
    errors: dict[str, list[float]] = field(default_factory=dict)
    clipped: list[bool] = field(default_factory=list)

    def add(self, sample: Json, key: Key, bins: list[int]) -> None:
        self.units = sample["units"]
        stored = [float32(value) for value in sample["action"]]
        decoded, outside = self.reference.decode(bins)[0], self.reference.clipped(stored)
        if self.reference.dct:  # a code that is clipped bends all steps of its chunk
            width = len(self.units)
            outside = [any(outside[i % width :: width]) for i in range(len(outside))]
        self.rows.add(hash_of(key.unit), key.step, self.rows.count)
        self.file.write(self._record.pack(*stored, *decoded, *outside, *sample["action_valid"]))

    @property
    def _record(self) -> struct.Struct:
        steps, size = self.reference.horizon, self.reference.horizon * len(self.reference.dims)
        return struct.Struct(f"<{2 * size}d{size + steps}?")

    def compare(self, where: str, check: Check) -> None:
        """Compare the manifest's drift with that of the samples."""
        stated = self.entry["drift"]
        self.file.flush()
        for part in self.rows.ranges():
            for rows in groups(part, "unit") if len(part) else ():
                self._episode([(int(row["step"]), int(row["at"])) for row in rows])
        episodes, clipped = len(self.clipped), sum(self.clipped)
        check.expect(stated["episodes"] == episodes, where, f"{stated['episodes']} episodes", f"{episodes}, replayed")
        check.expect(stated["clipped"] == clipped, where, f"{stated['clipped']} clipped", f"{clipped}, by the samples")
        said = {name: stated[name] for name in ("position_mm", "rotation_deg") if stated[name]} | stated["others"]
        found, expected = f"errors of {', '.join(sorted(said))}", f"errors of {', '.join(sorted(self.errors))}"
        if not check.expect(said.keys() == self.errors.keys(), where, found, expected):
            return
        for name, values in self.errors.items():
            values.sort()
            for share, q in _SHARES.items():
                number, exact = said[name][share], _quantile(values, q)
                near = abs(number - exact) <= _ROUNDING[0] * exact + _ROUNDING[1]
                check.expect(near, where, f"{name} {share} {number!r}", f"{exact:.4g}, replayed from the samples")

    def _episode(self, rows: list[tuple[int, int]]) -> None:
        """Replay an episode: step and place of each of its samples, by step."""
        size, record = self.reference.horizon * len(self.units), self._record
        stored: list[Numbers] = []
        decoded: list[Numbers] = []
        clipped, begin = False, 0
        for step, at in rows:
            if step < begin:  # within the chunk before
                continue
            begin = step + self.reference.horizon * self.entry["stride"]
            self.file.seek(at * record.size)
            numbers = record.unpack(self.file.read(record.size))
            width, valid = len(self.units), numbers[3 * size :]
            for k in (k for k, defined in enumerate(valid) if defined):
                cut = slice(k * width, (k + 1) * width)
                stored.append(numbers[:size][cut])
                decoded.append(numbers[size : 2 * size][cut])
                clipped = clipped or any(numbers[2 * size : 3 * size][cut][i] for i in self._followed())
        if stored:
            self.clipped.append(clipped)
            for name, value in self._errors(stored, decoded).items():
                self.errors.setdefault(name, []).append(value)

    def _followed(self) -> list[int]:
        """The columns that are no gripper's."""
        return [i for i, dim in enumerate(self.reference.dims) if dim["name"].rpartition("_")[2] != "gripper"]

    def _bodies(self) -> list[_Body]:
        names, drift = [str(dim["name"]) for dim in self.reference.dims], self.entry["drift"]
        arms: dict[str, dict[str, int]] = {}
        for i, name in enumerate(names):
            arm, _, last = name.rpartition("_")
            if last in _WAY + _TURN:
                arms.setdefault(arm, {})[last] = i
        bodies = []
        for columns in arms.values():
            absolute = any(names[i] in drift["last_step"] for i in columns.values())
            ways, turns = ({self.units[i] for w, i in columns.items() if w in which} for which in (_WAY, _TURN))
            free = absolute or drift["frame"] != "tool" or turns <= {"rad"}
            position, rotation = ways == {"m"} and free, turns == {"rad"}
            bodies.append(_Body(columns, drift["frame"] == "tool", absolute, position, rotation))
        base = {
            _BASE[name]: i
            for i, name in enumerate(names)
            if name in _BASE and name not in drift["last_step"] and not self.units[i].endswith("/s")
        }
        if len(base) > 1:
            ways, turns = ({self.units[i] for w, i in base.items() if w in which} for which in (_WAY, _TURN))
            bodies.append(_Body(base, True, False, ways == {"m"} and turns == {"rad"}, turns == {"rad"}))
        return bodies

    def _errors(self, stored: list[Numbers], decoded: list[Numbers]) -> dict[str, float]:
        errors: dict[str, float] = {}

        def keep(name: str, value: float) -> None:
            errors[name] = max(value, errors.get(name, 0.0))

        rest = set(self._followed())
        for body in self._bodies():
            rest -= set(body.columns.values())
            first = -1 if body.absolute else 0
            (here, turned), (there, other) = _follow(body, stored[first:]), _follow(body, decoded[first:])
            if body.position:
                keep("position_mm", 1000 * math.dist(here, there))
            if body.rotation:
                # The distance between two rotations as matrices is 2 sqrt(2) sin(angle / 2).
                size = math.sqrt(sum(math.dist(a, b) ** 2 for a, b in zip(turned, other, strict=True)))
                keep("rotation_deg", math.degrees(2 * math.asin(min(1.0, size / math.sqrt(8)))))
        hz, stride = self.entry["control_hz"], self.entry["stride"]
        for i in rest:
            unit = self.units[i]
            apart = [b[i] - a[i] for a, b in zip(stored, decoded, strict=True)]
            if unit == "controller":
                continue
            if self.reference.dims[i]["name"] in self.entry["drift"]["last_step"]:
                keep(unit, abs(apart[-1]))
            elif not unit.endswith("/s"):
                keep(unit, abs(math.fsum(apart)))
            elif hz:
                keep(unit.removesuffix("/s"), abs(math.fsum(apart)) * stride / hz)
        return errors


def _follow(body: _Body, actions: list[Numbers]) -> tuple[Numbers, Matrix]:
    """Where a body is after some actions, and how it is turned."""
    place: Numbers = (0.0, 0.0, 0.0)
    turn: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    for action in actions:
        moved = [action[body.columns[name]] if name in body.columns else 0.0 for name in _WAY]
        angles = [action[body.columns[name]] if name in body.columns else 0.0 for name in _TURN]
        if body.tool:
            moved = [sum(a * b for a, b in zip(row, moved, strict=True)) for row in turn]
        place = [a + b for a, b in zip(place, moved, strict=True)]
        if any(angles):
            turned = _matrix(*angles)
            turn = _product(turn, turned) if body.tool else _product(turned, turn)
    return place, turn


def _matrix(roll: float, pitch: float, yaw: float) -> Matrix:
    (cr, cp, cy), (sr, sp, sy) = ([f(angle) for angle in (roll, pitch, yaw)] for f in (math.cos, math.sin))
    return (
        (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
        (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
        (-sp, cp * sr, cp * cr),
    )


def _product(a: Matrix, b: Matrix) -> Matrix:
    x, y, z = ([sum(p * q for p, q in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a)
    return x, y, z


def _quantile(ordered: list[float], share: float) -> float:
    """The value at a share of sorted values, linear between the two nearest."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
