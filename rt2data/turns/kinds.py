"""Kinds of sample: their turns, parts and amounts, as a recipe says them. Nothing here looks at data."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from rt2data.turns.drawings import Drawing
from rt2data.turns.template import Picture, Slot, Template, parse_slot, shifted, slots

ROLES = ("system", "user", "assistant")
PART = "_part"  # ends the placeholder of a part
MAX_EACH = 64  # elements of a list that turns are repeated for

# Values that every step has, beside the tracks of its source.
ALWAYS = ("instruction", "task", "action", "hz", "control", "robot", "step", "steps")
VALUES = (*ALWAYS, "state", "images", "image")
_ARGUMENT = re.compile(":[^|]*")  # in a key, such as the tokenizer of an action


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn.

    Attributes:
        role: of ROLES.
        pool: its template, or several of which one is drawn.
        loss: what of it is learned: ``text``, ``action``, ``both`` or ``none``.
        end: whether the end of the turn is learned.
        missing: ``skip`` or ``empty``, what a missing value does to it; "" where the kind decides.
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
        part = find_part(slot, self.parts)
        return replace(part, template=shifted(part.template, slot.step)) if part and slot.step else part

    def learned(self, piece: str | Slot) -> str:
        """What a piece of a template is learned as, ``text``, ``action`` or ``none``, where its turn learns that."""
        return learned_as(piece, self.parts)

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


def find_part(slot: Slot, parts: Sequence[Part]) -> Part | None:
    """Return the part that a placeholder stands for, ``{NAME_part}``; None where it is none."""
    return next((part for part in parts if slot.name == part.name + PART), None)


def learned_as(piece: str | Slot, parts: Sequence[Part]) -> str:
    """Return what a piece of a template is learned as where its turn learns that, as of `Part.loss`."""
    if isinstance(piece, str):
        return "text"
    part = find_part(piece, parts)
    return part.loss if part else "action" if piece.name == "action" else "text"
