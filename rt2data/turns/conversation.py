"""The conversation of one sample as messages, as its JSON holds them: the turns of its kind filled with its values.

The columns of `rt2data.shards.messages` say the same for many samples at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from rt2data import prompts
from rt2data.turns.kinds import Each, Kind, Turn
from rt2data.turns.template import Slot, Template

Value: TypeAlias = str | list[str] | None


def fill_kind(
    kind: Kind,
    values: Mapping[str, Value],
    images: Callable[[Slot], Sequence[str] | None],
    drawn: Mapping[int, int] | None = None,
    dropped: frozenset[str] = frozenset(),
) -> list[dict[str, Any]]:
    """Return the messages of a sample.

    Args:
        kind: of the sample.
        values: by key, each value that the kind uses, and of each image slot with a drawing anything that is not None
            where there is something to draw; None where it is missing.
        images: gives the member suffixes of the images that an image slot shows; None where there are none, because
            the episode has no such step.
        drawn: by the position of a turn among all turns of the kind, which text of its pool is taken; else the first.
        dropped: names of the parts that this sample lacks.

    Raises:
        KeyError: a value is missing, and no turn or part provides for it.
    """
    messages, number = [], 0
    drawn = drawn or {}
    for turn in kind.turns:
        if isinstance(turn, Each):
            lists = {name: values.get(slot.key) or [] for name, slot in turn.lists}
            for element in range(max(len(one) for one in lists.values())):
                own = dict(values) | {name: one[element] for name, one in lists.items()}
                for offset, inner in enumerate(turn.turns):
                    messages.append(_fill_turn(kind, inner, own, images, drawn.get(number + offset, 0), dropped))
            number += len(turn.turns)
        else:
            messages.append(_fill_turn(kind, turn, values, images, drawn.get(number, 0), dropped))
            number += 1
    return [message for message in messages if message is not None]


def plain_messages(kind: str, prompt: str, target: str, images: Sequence[str]) -> list[dict[str, Any]]:
    """Return the messages of a sample whose source has no kinds: the prompt behind the images, and the target.

    Args:
        kind: of the source: ``robot``, ``vqa`` or ``caption``. A robot's target is an action string, behind
            ``Action:`` where it has reasoning; all other targets are words.
        prompt, target: the sample's.
        images: the member suffixes of its images.
    """
    words = len(target)
    if kind == "robot":
        marked = target.find(prompts.MARKER)
        words = marked + len(prompts.MARKER) + 1 if marked >= 0 else 0
    loss = "text" if kind != "robot" else "both" if words else "action"
    content = [{"type": "image", "image": name} for name in images] + [{"type": "text", "text": prompt}]
    parts = ((0, words, "text"), (words, len(target), "action"))
    spans = [{"start": start, "end": end, "loss": learned} for start, end, learned in parts if start < end]
    said = [{"type": "text", "text": target}] if target else []
    return [
        {"role": "user", "content": content, "loss": "none", "end": False, "spans": []},
        {"role": "assistant", "content": said, "loss": loss, "end": True, "spans": spans},
    ]


def _fill_turn(
    kind: Kind,
    turn: Turn,
    values: Mapping[str, Value],
    images: Callable[[Slot], Sequence[str] | None],
    which: int,
    dropped: frozenset[str],
) -> dict[str, Any] | None:
    if turn.missing == "skip" and any(_lacks(slot, values, images) for slot in turn.needs):
        return None
    content: list[dict[str, str]] = []
    spans: list[dict[str, Any]] = []
    place, open_text = 0, False
    for piece in turn.pool[which]:
        if isinstance(piece, Slot) and piece.is_image:
            lacks = piece.drawing and values.get(piece.key) is None
            shown = None if lacks and turn.missing != "empty" else images(piece)
            if shown is None and not turn.missing:
                raise KeyError(piece.key)
            if shown is None and turn.missing == "skip":
                return None
            content += [{"type": "image", "image": name} for name in shown or ()]
            open_text = False
            continue
        text = piece if isinstance(piece, str) else _fill_slot(kind, turn, piece, values, dropped)
        if text is None:
            return None
        if not text:
            continue
        if open_text:
            content[-1]["text"] += text
        else:
            content.append({"type": "text", "text": text})
        open_text = True
        learned = kind.learned(piece)
        if learned != "none" and turn.loss in (learned, "both"):
            tokenizer = tokenizer_of(piece)
            of = {"loss": learned} | ({"tokenizer": tokenizer} if tokenizer else {})
            if spans and spans[-1] == {"start": spans[-1]["start"], "end": place} | of:
                spans[-1]["end"] += len(text)
            else:
                spans.append({"start": place, "end": place + len(text)} | of)
        place += len(text)
    return {"role": turn.role, "content": content, "loss": turn.loss, "end": turn.end, "spans": spans}


def tokenizer_of(piece: str | Slot) -> str:
    """The name of the further tokenizer that writes a piece of a template; "" for none."""
    return piece.argument if isinstance(piece, Slot) and piece.name == "action" else ""


def _lacks(slot: Slot, values: Mapping[str, Value], images: Callable[[Slot], Sequence[str] | None]) -> bool:
    return (images(slot) if slot.is_image else values.get(slot.key)) is None


def _fill_slot(kind: Kind, turn: Turn, slot: Slot, values: Mapping[str, Value], dropped: frozenset[str]) -> str | None:
    """Return the text of a placeholder; None where it is missing and the turn is left out for it."""
    part = kind.part(slot)
    if part is None:
        value = values.get(slot.key)
        if value is not None or slot.has_fallback:
            return slot.edit(value)
        if not turn.missing:
            raise KeyError(slot.key)
        return None if turn.missing == "skip" else ""
    if part.name in dropped:
        return part.otherwise
    text = fill_part(part.template, values, part.missing or turn.missing)
    return text if text is not None or not part.missing else part.otherwise


def fill_part(template: Template, values: Mapping[str, Value], missing: str) -> str | None:
    """Return the text of a part; None where a value is missing and `missing` is ``skip``."""
    out = ""
    for piece in template:
        if isinstance(piece, str):
            out += piece
            continue
        value = values.get(piece.key)
        if value is not None or piece.has_fallback:
            out += piece.edit(value)
        elif missing == "skip":
            return None
        elif not missing:
            raise KeyError(piece.key)
    return out
