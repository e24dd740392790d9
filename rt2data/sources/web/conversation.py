"""Conversations about images: ``{"from": "human", "value": ...}`` (LLaVA), ``{"role": "user", "content": ...}``."""

from __future__ import annotations

from typing import Any, NamedTuple

PLACEHOLDER = "<image>"
_USER, _MODEL = ("human", "user"), ("gpt", "assistant", "model", "chatgpt", "bot")


class Turn(NamedTuple):
    """A question and its answer, after the questions and answers `before`; `pictures` are shown until then."""

    question: str
    answer: str
    before: list[str]
    pictures: int


def read(stored: Any, pictures: int) -> list[Turn] | str:
    """Read the turns of a conversation, or the reason (of `index.REASONS`) why it cannot be used.

    A system message is put before the first question. Placeholders that lead or close a question are taken away, since
    images come before the prompt; where one of several images stands amid the text, all placeholders stay.

    Args:
        stored: what should be a list of messages.
        images: how many images the record has.
    """
    messages = [_message(message) for message in stored] if isinstance(stored, list) else []
    if not messages or any(message is None for message in messages):
        return "bad_conversation"
    dialogue = [message for message in messages if message is not None]
    system = "\n".join(text for role, text in dialogue if role == "system")
    dialogue = [message for message in dialogue if message[0] != "system"]
    questions, answers = dialogue[::2], dialogue[1::2]
    if any(role != "user" for role, _ in questions) or any(role != "model" for role, _ in answers):
        return "bad_conversation"
    if not answers:
        return "no_answer"
    marks = [text.count(PLACEHOLDER) for _, text in questions]
    if sum(marks) not in (0, pictures):
        return "other_image_count"
    asked = [_bare(text) for _, text in questions]
    if pictures > 1 and any(PLACEHOLDER in text for text in asked):
        asked = [text.strip() for _, text in questions]
    else:
        asked = [text.replace(PLACEHOLDER, " ").strip() for text in asked]
    asked[0] = f"{system}\n{asked[0]}".strip() if system else asked[0]
    turns, before, shown = [], list[str](), 0
    for question, (_, answer), mark in zip(asked, answers, marks, strict=False):
        shown += mark
        turns.append(Turn(question, answer.strip(), list(before), shown if sum(marks) else pictures))
        before += [question, answer.strip()]
    return turns


def _message(stored: Any) -> tuple[str, str] | None:
    if not isinstance(stored, dict):
        return None
    role, content = stored.get("from", stored.get("role")), stored.get("value", stored.get("content"))
    if isinstance(content, list):
        content = "".join(_content(part) for part in content)
    if not isinstance(content, str) or not isinstance(role, str):
        return None
    word = "user" if role in _USER else "model" if role in _MODEL else role
    return (word, content) if word in ("user", "model", "system") else None


def _content(part: Any) -> str:
    """Return the text of one piece of a message's content; of an image the placeholder."""
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else None
    text = part.get("text") if isinstance(part, dict) else None
    return PLACEHOLDER if kind in ("image", "image_url") else text if isinstance(text, str) else ""


def _bare(text: str) -> str:
    """Strip the placeholders at both ends."""
    text = text.strip()
    while text.startswith(PLACEHOLDER) or text.endswith(PLACEHOLDER):
        text = text.removeprefix(PLACEHOLDER).removesuffix(PLACEHOLDER).strip()
    return text
