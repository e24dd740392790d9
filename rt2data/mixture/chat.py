"""The conversation of a sample (``messages``) as chat formats hold one, and what of it they cannot say.

LLaMA-Factory and LLaVA take questions and answers in turn and learn every answer; ms-swift has a mark on answers that
are not to be learned, and joins turns of one role itself. None has one for a part of a turn, its end, or a question.
"""

from __future__ import annotations

from typing import Any, NamedTuple

IMAGE = "<image>"
PLACEHOLDERS = (IMAGE, "<video>", "<audio>")  # texts that a framework takes for an image, wherever they stand

# Why a sample is left out.
MARKED = "with <image>, <video> or <audio> in a text"
UNLEARNED = "without an answer in words that is learned"
EARLIER = "with an earlier answer that is not to be learned"
DIFFER = "with answers in a row of which some are not to be learned"
SHOWN = "with an image in an answer or a system turn"
ORDER = "whose first answer follows no question"

# What a record does not say of its sample.
PARTLY = "an answer is learned in part"
END = "the end of an answer is not learned"
ASKED = "words of a question are learned"
HEAD = "an action head is trained"
SYSTEM = "a system turn stands before its question"
JOINED = "turns of one role are joined"


class ChatTurn(NamedTuple):
    """A turn: its role, its text with IMAGE where an image stands, whether it is learned."""

    role: str
    text: str
    trained: bool


class Chat(NamedTuple):
    """A record: its turns, the image members in the order of their placeholders, and what it does not say."""

    turns: list[ChatTurn]
    images: list[str]
    unsaid: tuple[str, ...]


def chat(messages: list[dict[str, Any]], form: str) -> Chat | str:
    """Return the record of a conversation, up to its last answer that is learned, or why there is none.

    Args:
        messages: as a sample's JSON has them.
        form: of `rt2data.mixture.export.FORMATS`.
    """
    last = max((n for n, message in enumerate(messages) if _learned(message)), default=-1)
    if last < 0:
        return UNLEARNED
    unsaid = dict.fromkeys(reason for message in messages for reason in _unsaid(message))
    turns: list[ChatTurn] = []
    images: list[str] = []
    before = ""  # a system turn that has no place of its own
    for message in messages[: last + 1]:
        role, text = message["role"], ""
        for part in message["content"]:
            if part["type"] == "text":
                if any(mark in part["text"] for mark in PLACEHOLDERS):
                    return MARKED
                text += part["text"]
                continue
            if role != "user":
                return SHOWN
            images.append(part["image"])
            head = form == "llava" and not text.replace(f"{IMAGE}\n", "")
            text += f"{IMAGE}\n" if head else IMAGE
        trained = _learned(message)
        if role == "system" and (turns or before or form == "llava"):
            before += f"{text}\n"
            unsaid[SYSTEM] = None
            continue
        if role == "assistant":
            if not text and not trained:
                continue  # what an action head learns, or nothing
            if before or not turns or turns[-1].role == "system":
                return ORDER
            if not trained and form != "swift":
                return EARLIER
        elif role == "user":
            text, before = before + text, ""
        if turns and turns[-1].role == role:
            if turns[-1].trained != trained:
                return DIFFER
            unsaid[JOINED] = None
            text = turns.pop().text + text
        turns.append(ChatTurn(role, text, trained))
    return Chat(turns, images, tuple(unsaid))


def _learned(message: dict[str, Any]) -> bool:
    """Whether a turn is an answer of which words are learned, or that it is empty."""
    empty = message["loss"] in ("text", "both") and message["end"] and not message["content"]
    return message["role"] == "assistant" and (bool(message["spans"]) or empty)


def _unsaid(message: dict[str, Any]) -> list[str]:
    """What no format says of a turn."""
    size = sum(len(part.get("text", "")) for part in message["content"])
    learned = sum(span["end"] - span["start"] for span in message["spans"])
    found = [HEAD] if message["loss"] == "action" and not message["spans"] else []
    if message["role"] != "assistant":
        return found + ([ASKED] if learned else [])
    found += [PARTLY] if 0 < learned < size else []
    return found + ([END] if _learned(message) and not message["end"] else [])
