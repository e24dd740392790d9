"""What a recipe says under ``kinds:``, parsed and checked. Nothing here looks at data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rt2data.errors import Rt2dataError, near
from rt2data.turns.drawings import Drawing
from rt2data.turns.kinds import PART, ROLES, VALUES, AnyTurn, Each, Kind, Part, Turn, find_part, learned_as
from rt2data.turns.template import FRAMES, LISTS, Slot, check_steps, parse_slot, parse_template, shifted, slots

MAX_VARIANTS = 1000  # samples of one step by the texts of pools
_RESERVED = re.compile("[vc][0-9]+")  # how variants and copies stand in a key


def parse_kinds(
    raw: Mapping[str, Any], where: str, at: Callable[[str], str], drawings: Mapping[str, Drawing] | None = None
) -> tuple[Kind, ...]:
    """Parse the field ``kinds`` of a source, which fits the schema.

    Args:
        raw: by name, the fields of each kind.
        where: the field's place.
        at: gives the place of a kind.
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
            found = f"the kind {kind.name} has weight: 0"
            raise Rt2dataError(at(kind.name), found, "more, or another kind whose otherwise it is")
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
            part = find_part(slot, parts)
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
    learned = {learned_as(piece, parts) for piece in told}
    acts, words = "action" in learned, "text" in learned
    # `both` of a turn that has only one of them is that one; `action` without a string is that of an action head.
    loss = asked if asked != "both" else "both" if acts and words else "action" if acts else "text"
    if "loss" not in fields and learned == {"none"}:
        loss = "none"
    if loss == "text" and not words:
        raise Rt2dataError(where, f"loss: {asked} on a turn without text", "a turn with text, or loss: action")
    return Turn(role, pool, loss, fields.get("end", loss != "none"), fields.get("missing", ""))
