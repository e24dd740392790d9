"""Whether messages are the turns that a kind has, of which some may be left out, and pieces may be any text."""

from __future__ import annotations

import re
from typing import Any

Json = dict[str, Any]


def matches(turns: list[Json], messages: list[Json], turn: int, message: int) -> bool:
    """Whether messages from `message` on are turns from `turn` on."""
    if turn == len(turns):
        return message == len(messages)
    own = turns[turn]
    if "each" in own:
        if matches(turns, messages, turn + 1, message):
            return True
        size = len(own["each"])
        group = messages[message : message + size]
        if len(group) == size and all(_is_turn(one, said) for one, said in zip(own["each"], group, strict=True)):
            return matches(turns, messages, turn, message + size)
        return False
    if own["optional"] and matches(turns, messages, turn + 1, message):
        return True
    if message == len(messages) or not _is_turn(own, messages[message]):
        return False
    return matches(turns, messages, turn + 1, message + 1)


def _is_turn(turn: Json, message: Json) -> bool:
    """Whether a message is a turn: its role, its text, what is learned of it."""
    pieces = [piece for piece in turn["pattern"] if piece[0] != "image"]
    if message["role"] != turn["role"] or any(what == "gone" for what, _ in pieces):
        return False
    if all(what in ("text", "action") for what, _ in pieces):
        fits = text_of(message) == "".join(text for _, text in pieces)
    else:
        fits = re.fullmatch(_regex(pieces), text_of(message), re.DOTALL) is not None
    if not fits:
        return False
    loss = turn["loss"]
    if (message["loss"], message["end"]) != (loss, turn["end"]):
        return False
    actions = [(s["start"], s["end"]) for s in message["spans"] if s["loss"] == "action"]
    strings = [text for what, text in pieces if what == "action"]
    if loss in ("action", "both") and [text_of(message)[a:b] for a, b in actions] != strings:
        return False
    if loss in ("text", "both"):
        covered = sum(s["end"] - s["start"] for s in message["spans"] if s["loss"] == "text")
        return bool(covered == len(text_of(message)) - sum(map(len, strings)))
    return True


def _regex(pieces: list[tuple[str, str]]) -> str:
    """The pattern of a text in which pieces may be any text, the same one wherever they are the same placeholder."""
    groups: dict[str, str] = {}
    pattern = ""
    for what, text in pieces:
        if what != "track":
            pattern += re.escape(text)
        elif text in groups:
            pattern += f"(?P={groups[text]})"
        else:
            groups[text] = f"t{len(groups)}"
            pattern += f"(?P<{groups[text]}>.*?)"
    return pattern


def text_of(message: Json) -> str:
    """The text of a message, its text parts joined."""
    return "".join(part.get("text", "") for part in message["content"])
