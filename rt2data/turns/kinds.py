"""Kinds of sample: what a recipe says under ``kinds:``, parsed and checked. Nothing here looks at data."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from rt2data.errors import Rt2dataError, near
from rt2data.turns.drawings import Drawing
from rt2data.turns.template import (
    FRAMES,
    LISTS,
    Picture,
    Slot,
    Template,
    check_steps,
    parse_slot,
    parse_template,
    shifted,
    slots,
)

ROLES = ("system", "user", "assistant")
LOSSES = ("text", "action", "both", "none")
MISSING = ("skip", "empty")
PART = "_part"  # ends the placeholder of a part
MAX_EACH = 64  # elements of a list that turns are repeated for
MAX_VARIANTS = 1000  # samples of one step by the texts of pools

# Values that every step has, beside the tracks of its source.
ALWAYS = ("instruction", "task", "action", "hz", "control", "robot", "step", "steps")
VALUES = (*ALWAYS, "state", "images", "image")
_ARGUMENT = re.compile(":[^|]*")  # in a key, such as the tokenizer of an action
_RESERVED = re.compile("[vc][0-9]+")  # how variants and copies stand in a key


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn.

    Attributes:
        role: of ROLES.
        pool: its template, or several of which one is drawn.
        loss: of LOSSES, what of it is learned.
        end: whether the end of the turn is learned.
        missing: of MISSING, or "" where the kind decides.
        needs: further values without which it is skipped, where `missing` says so.
    """

    role: str
    pool: tuple[Template, ...]
    loss: str
    end: bool
    missing: str = ""
    needs: tuple[Slot, ...] = ()

    def shifted(self, steps: int) -> Turn:
        """The turn with the values of the step that many steps on."""
        return replace(self, pool=tuple(shifted(template, steps) for template in self.pool))


@dataclass(frozen=True, slots=True)
class Each:
    """Turns that are repeated for each element of lists of the same length, by the names that stand for them."""

    lists: tuple[tuple[str, Slot], ...]
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A named piece of text.

    `drop` is the share of samples that lack it, `missing` as of a turn; `otherwise` stands in where it is left out.
    `loss` is what it is learned as where its turn learns that: ``text``; ``action``, the place of an action that a head
    is trained on; or ``none``.
    """

    name: str
    template: Template
    drop: float = 0.0
    missing: str = ""
    otherwise: str = ""
    loss: str = "text"


AnyTurn: TypeAlias = Turn | Each


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of sample.

    Attributes:
        weight, repeat, samples: its share of the source's quota, or passes, or a number; two are None.
        requires: keys of the values without which a step gives no sample of it.
        otherwise: the kind whose turns stand in where a value is missing; "" for none.
        first: whether it takes its steps before others do.
        share: of the steps that it fits, the share that give a sample of it: at the start of a row of `over`, and at
            its end.
        over: the track whose rows `share` is of; "" where it is the same at every step.
        every_text: whether each text of its pools makes a sample.
        resolved: as JSON, defaults filled in.
        drawings: those of the recipe, by name.
    """

    name: str
    weight: float | None
    repeat: float | None
    samples: int | None
    turns: tuple[AnyTurn, ...]
    parts: tuple[Part, ...]
    requires: tuple[str, ...]
    otherwise: str
    first: bool
    share: tuple[float, float]
    over: str
    every_text: bool
    resolved: Mapping[str, Any]
    drawings: Mapping[str, Drawing]

    def variants(self) -> int:
        """How many samples a step gives by the texts of its pools, each combination one; 1 where one is drawn."""
        return math.prod(len(turn.pool) for turn, _ in self.flat()) if self.every_text else 1

    def stride(self, number: int) -> int:
        """By how much the variant grows from one text of turn `number` to the next: the last pool changes fastest."""
        return math.prod(len(turn.pool) for turn, _ in list(self.flat())[number + 1 :])

    def part(self, slot: Slot) -> Part | None:
        """The part that a placeholder stands for, with the values of its step; None where it is none."""
        part = next((part for part in self.parts if slot.name == part.name + PART), None)
        return replace(part, template=shifted(part.template, slot.step)) if part and slot.step else part

    def learned(self, piece: str | Slot) -> str:
        """What a piece of a template is learned as, ``text``, ``action`` or ``none``, where its turn learns that."""
        return _learned(piece, self.parts)

    def flat(self) -> Iterator[tuple[Turn, Each | None]]:
        """Every turn, with the repetition that it stands in."""
        for turn in self.turns:
            if isinstance(turn, Each):
                yield from ((inner, turn) for inner in turn.turns)
            else:
                yield turn, None

    def images(self) -> list[Slot]:
        """The image slots of all turns, in order."""
        return [slot for turn, _ in self.flat() for text in turn.pool for slot in slots(text) if slot.is_image]

    def pictures(self, cameras: Sequence[str], history: int = 1) -> list[Picture]:
        """The images that its turns show, each once, in the order of the turns.

        Args:
            cameras: of its source.
            history: images of each camera in a slot that names no steps.
        """
        found: dict[tuple[str, int, str], Picture] = {}
        for slot in self.images():
            for one in slot.pictures(cameras, history):
                before = found.get(one.place)
                found[one.place] = one if before is None else before._replace(padded=before.padded or one.padded)
        return list(found.values())

    def drawn(self) -> dict[str, tuple[Slot, Drawing]]:
        """The image slots with something drawn into them, by key, and what is drawn."""
        return {slot.key: (slot, self.drawings[slot.drawing]) for slot in self.images() if slot.drawing}

    def needs(self, slot: Slot) -> list[Slot]:
        """What of the data a placeholder needs that is no part: an image slot what is drawn into it, or its step."""
        if slot.drawing:
            return [self.drawings[slot.drawing].slot]
        return [] if slot.is_image and not slot.step else [slot]

    def uses(self, name: str) -> bool:
        """Whether its texts have a value of this name, whatever its step."""
        return any(slot.name == name for slot in self.values().values())

    def steps(self) -> set[int]:
        """The steps other than the sample's own that its turns look at, or requires."""
        required = [parse_slot(key, "") for key in self.requires]
        shown = {step for slot in self.images() for step in slot.frames}
        return (shown | {slot.step for slot in (*self.images(), *self.values().values(), *required)}) - {0}

    def values(self) -> dict[str, Slot]:
        """Every value that its texts use, by key: those of turns, of lists and of parts."""
        found: dict[str, Slot] = {}
        for turn, each in self.flat():
            names = dict(each.lists) if each else {}
            found |= {slot.key: slot for slot in (*names.values(), *turn.needs) if not slot.is_image}
            for text in turn.pool:
                for slot in slots(text):
                    part = self.part(slot)
                    inner = slots(part.template) if part else [slot]
                    found |= {s.key: s for s in inner if not s.is_image and s.key not in names}
        return found

    def needed(self) -> list[str]:
        """Keys of the values whose absence no turn or part provides for."""
        found: dict[str, None] = {}
        for turn, each in self.flat():
            names = dict(each.lists) if each else {}
            found |= {slot.key: None for slot in names.values() if not turn.missing}
            wanted = [s for text in turn.pool for s in self.wanted(text, names)]
            found |= {slot.key: None for slot in wanted if not turn.missing}
        # A track can be called `task`.
        return [key for key in found if key == "task" or _ARGUMENT.sub("", key) not in ALWAYS]

    def wanted(self, template: Template, names: Mapping[str, Slot]) -> Iterator[Slot]:
        """The placeholders of a template without which it cannot be filled, but for elements of lists (`names`)."""
        for slot in slots(template):
            part = self.part(slot)
            inner = (slots(part.template) if not part.missing else []) if part else self.needs(slot)
            yield from (s for s in inner if not (s.has_fallback or s.key in names))


def parse_kinds(
    raw: Mapping[str, Any], where: str, at: Any, drawings: Mapping[str, Drawing] | None = None
) -> tuple[Kind, ...]:
    """Parse the field ``kinds`` of a source, which fits the schema.

    Args:
        raw: by name, the fields of each kind.
        where: the field's place.
        at: function that gives the place of a field below it.
        drawings: of the recipe, by name.

    Raises:
        Rt2dataError: names that are reserved, amounts that do not go together, kinds without loss, or templates that
            name what there is not.
    """
    kinds = tuple(_kind(name, fields, at(name), drawings or {}) for name, fields in raw.items())
    amounts = {key for fields in raw.values() for key in ("weight", "repeat", "samples") if key in fields}
    if len(amounts) > 1:
        raise Rt2dataError(where, f"{' and '.join(sorted(amounts))} mixed among kinds", "the same one for all of them")
    names = [kind.name for kind in kinds]
    for kind in kinds:
        if kind.weight == 0 and kind.name not in [one.otherwise for one in kinds]:
            raise Rt2dataError(
                at(kind.name), f"the kind {kind.name} has weight: 0", "more, or another kind whose otherwise it is"
            )
        if kind.otherwise and kind.otherwise not in names:
            others = [name for name in names if name != kind.name]
            expected = f"one of {', '.join(others)}" if others else "another kind of this source"
            raise Rt2dataError(at(kind.name), f'otherwise: "{kind.otherwise}"', expected, near(kind.otherwise, names))
        other = next((one for one in kinds if one.name == kind.otherwise), None)
        if other is kind or (other and other.otherwise):
            raise Rt2dataError(at(kind.name), f"otherwise: {kind.otherwise}", "a kind without an otherwise of its own")
    return kinds


def _kind(name: str, fields: Mapping[str, Any], where: str, drawings: Mapping[str, Drawing]) -> Kind:
    if _RESERVED.fullmatch(name):
        raise Rt2dataError(where, f'a kind called "{name}"', "another: in keys, v1 is a variant and c2 a copy")
    given = [key for key in ("weight", "repeat", "samples") if key in fields]
    if len(given) > 1:
        raise Rt2dataError(where, f"{' and '.join(given)} together", "one of weight, repeat, samples")
    parts = tuple(_part(part, value, where) for part, value in fields.get("parts", {}).items())
    turns = tuple(one for turn in fields["turns"] for one in _any_turn(turn, parts, where))
    amount = {key: fields.get(key) for key in ("weight", "repeat", "samples")}
    if not given:
        amount["weight"] = 1
    resolved = dict(fields) | ({"weight": 1} if not given else {})
    kind = Kind(name, amount["weight"], amount["repeat"], amount["samples"], turns, parts, (),
                fields.get("otherwise", ""), fields.get("first", False), _share(fields, where), fields.get("over", ""),
                fields.get("pools") == "all", resolved, drawings)  # fmt: skip
    _check_variants(kind, where)
    for slot in kind.images():
        if slot.drawing and slot.drawing not in drawings:
            expected = f"one of the drawings under draw: of the recipe, {', '.join(drawings) or '(none)'}"
            raise Rt2dataError(where, f"{{{slot.key}}}", expected, near(slot.drawing, drawings))
    if not any(turn.loss != "none" for turn, _ in kind.flat()):
        found = f"the kind {name} has no turn that is learned"
        raise Rt2dataError(where, found, "an assistant's turn, or loss: on a turn")
    for step in sorted(kind.steps()):
        check_steps([step], f"the kind {name}", where)
    required = fields.get("requires", ())
    keys = kind.needed() if required == "all" else [parse_slot(key, where).key for key in required]
    for turn, _ in kind.flat():
        for text in turn.pool:
            for slot in slots(text):
                if slot.name.endswith(PART) and kind.part(slot) is None:
                    known = ", ".join(part.name + PART for part in parts) or "none"
                    raise Rt2dataError(where, f"no part {{{slot.name}}}", f"a part of the kind: {known}")
    return replace(kind, requires=tuple(keys))


def _share(fields: Mapping[str, Any], where: str) -> tuple[float, float]:
    """The share of steps that give a sample, at the start and at the end of a row of the track `over`."""
    share = fields.get("share", 1)
    if isinstance(share, list) != ("over" in fields):
        found = f"share: {share}, and {'over' if 'over' in fields else 'no over'}"
        raise Rt2dataError(where, found, "share: [AT_START, AT_END] with over: TRACK, or share: NUMBER alone")
    first, last = share if isinstance(share, list) else (share, share)
    return float(first), float(last)


def _check_variants(kind: Kind, where: str) -> None:
    if not kind.every_text:
        return
    if kind.otherwise:
        found = f"pools: all on the kind {kind.name}, and otherwise: {kind.otherwise}"
        raise Rt2dataError(where, found, "one of them: another kind has other texts")
    if not 1 < kind.variants() <= MAX_VARIANTS:
        found = f"pools: all on the kind {kind.name}, whose pools combine to {kind.variants():,} texts"
        raise Rt2dataError(where, found, f"2 to {MAX_VARIANTS:,}")


def _part(name: str, value: Any, where: str) -> Part:
    fields = {"text": value} if isinstance(value, str) else value
    template = parse_template(fields["text"], where)
    if any(slot.is_image for slot in slots(template)):
        raise Rt2dataError(where, f"an image slot in the part {name}", "image slots in turns")
    otherwise = parse_template(fields.get("otherwise", ""), where)
    if slots(otherwise):
        raise Rt2dataError(where, f"a placeholder in otherwise: of the part {name}", "a text without one")
    literal = "".join(piece for piece in otherwise if isinstance(piece, str))
    if "loss" in fields and slots(template):
        found = f"loss beside {{{slots(template)[0].key}}} in the part {name}"
        raise Rt2dataError(where, found, "a part of literal text, or no loss of its own")
    drop, missing = float(fields.get("drop", 0)), fields.get("missing", "")
    if literal and "drop" not in fields and missing != "skip":
        found = f"otherwise: of the part {name}, which is always there"
        raise Rt2dataError(where, found, "drop, or missing: skip, beside it")
    return Part(name, template, drop, missing, literal, fields.get("loss", "text"))


def _learned(piece: str | Slot, parts: Sequence[Part]) -> str:
    if isinstance(piece, str):
        return "text"
    part = next((part for part in parts if piece.name == part.name + PART), None)
    return part.loss if part else "action" if piece.name == "action" else "text"


def _any_turn(fields: Mapping[str, Any], parts: Sequence[Part], where: str) -> list[AnyTurn]:
    """A turn, turns that repeat for lists, or turns that are repeated for steps."""
    if "each" not in fields:
        return [_turn(fields, parts, where)]
    frames = fields["each"].get(FRAMES)
    if isinstance(frames, list):
        if len(fields["each"]) > 1:
            raise Rt2dataError(where, "each: frames beside lists", "one of them")
        check_steps(frames, "each: frames", where)
        turns = [_turn(turn, parts, where) for turn in fields["turns"]]
        if any(slot.drawing for turn in turns for text in turn.pool for slot in slots(text)):
            raise Rt2dataError(where, "draw in turns for each: frames", "draw in the image of the sample's own step")
        return [turn for step in frames for turn in _moved(turns, parts, step)]
    lists = tuple((name, parse_slot(text, where)) for name, text in fields["each"].items())
    for name, slot in lists:
        if name in VALUES:
            raise Rt2dataError(where, f'each: "{name}"', "a name of its own for an element of the list")
        if not slot.is_list or slot.form:
            raise Rt2dataError(where, f'each: "{slot.key}"', f"a list: {slot.name}|{' or '.join(LISTS)}")
    return [Each(lists, tuple(_turn(turn, parts, where) for turn in fields["turns"]))]


def _moved(turns: Sequence[Turn], parts: Sequence[Part], step: int) -> list[Turn]:
    """Turns with the values of another step; those that are skipped where a value is missing are skipped together."""
    moved = [turn.shifted(step) for turn in turns]
    needs: dict[str, Slot] = {}
    for turn in moved:
        for slot in (slot for text in turn.pool for slot in slots(text) if turn.missing == "skip"):
            part = next((part for part in parts if slot.name == part.name + PART), None)
            inner = slots(shifted(part.template, slot.step)) if part and not part.missing else [] if part else [slot]
            needs |= {one.key: one for one in inner if one.step and not one.has_fallback}
    together = tuple(needs.values()) or ((Slot("step").shifted(step),) if step else ())
    return [replace(turn, needs=together) if turn.missing == "skip" else turn for turn in moved]


def _turn(fields: Mapping[str, Any], parts: Sequence[Part], where: str) -> Turn:
    role = next(role for role in ROLES if role in fields)
    texts: Sequence[str] = [fields[role]] if isinstance(fields[role], str) else fields[role]
    pool = tuple(parse_template(text, where) for text in texts)
    if len({tuple(slot.key for slot in slots(text) if slot.is_image) for text in pool}) > 1:
        raise Rt2dataError(where, "a pool whose texts show other images", "the same image slots in each of its texts")
    asked = fields.get("loss", "both" if role == "assistant" else "none")
    told = [piece for text in pool for piece in text if isinstance(piece, str) or not piece.is_image]
    learned = {_learned(piece, parts) for piece in told}
    acts, words = "action" in learned, "text" in learned
    # `both` of a turn that has only one of them is that one; `action` without a string is that of an action head.
    loss = asked if asked != "both" else "both" if acts and words else "action" if acts else "text"
    if "loss" not in fields and learned == {"none"}:
        loss = "none"
    if loss == "text" and not words:
        raise Rt2dataError(where, f"loss: {asked} on a turn without text", "a turn with text, or loss: action")
    return Turn(role, pool, loss, fields.get("end", loss != "none"), fields.get("missing", ""))
