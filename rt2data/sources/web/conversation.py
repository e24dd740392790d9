"""Conversations about images: ``{"from": "human", "value": ...}`` (LLaVA), ``{"role": "user", "content": ...}``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from rt2data.sources.web.field_path import as_text

PLACEHOLDER = "<image>"
_USER, _MODEL = ("human", "user"), ("gpt", "assistant", "model", "chatgpt", "bot")
# What stands in a text for a video or a sound: <video>, <audio>, <video_1>, <|video_pad|>, <|AUDIO|>.
_OTHER_MEDIA = re.compile(r"<\|?(?:video|audio)(?:_pad|[ _]?\d+)?\|?>", re.IGNORECASE)
_TEXTS = ("text", "input_text", "output_text")


class Turn(NamedTuple):
    """A question and its answer, after the questions and answers `before`; `pictures` are shown until then."""

    question: str
    answer: str
    before: list[str]
    pictures: int


class _Refused(Exception):
    """A conversation that cannot be used, with its reason of `index.REASONS`."""


def read(stored: Any, pictures: int) -> list[Turn] | str:
    """Read the turns of a conversation, or the reason (of `index.REASONS`) why it cannot be used.

    A system message is put before the first question. Placeholders that lead or close a question are taken away, since
    images come before the prompt; where one of several images stands amid the text, all placeholders stay.

    Args:
        stored: what should be a list of messages; of Cauldron, of objects with `user` and `assistant`.
        pictures: how many images the record has.
    """
    try:
        dialogue = [_message(message) for message in _messages(stored)]
        if not dialogue:
            return "bad_conversation"
        for role, text in dialogue:
            if role != "model":
                _refuse_other_media(text)
        system = "\n".join(text for role, text in dialogue if role == "system")
        dialogue = [message for message in dialogue if message[0] != "system"]
        questions, answers = dialogue[::2], dialogue[1::2]
        if any(role != "user" for role, _ in questions) or any(role != "model" for role, _ in answers):
            return "bad_conversation"
        if not answers:
            return "no_answer"
        asked, marks = _asked([text for _, text in questions], pictures)
    except _Refused as reason:
        return str(reason)
    asked[0] = f"{system}\n{asked[0]}".strip() if system else asked[0]
    turns, before, shown = [], list[str](), 0
    for question, (_, answer), mark in zip(asked, answers, marks, strict=False):
        shown += mark
        turns.append(Turn(question, answer.strip(), list(before), shown if sum(marks) else pictures))
        before += [question, answer.strip()]
    return turns


def read_question(text: str, pictures: int) -> tuple[str, str]:
    """Read a question that stands alone: its text without placeholders, and the reason why it cannot be used, or ""."""
    try:
        _refuse_other_media(text)
        return (_asked([text], pictures)[0][0] if PLACEHOLDER in text else text), ""
    except _Refused as reason:
        return text, str(reason)


def images(stored: Any) -> list[Any]:
    """List the images in the parts of messages, in their order, as they are stored: a file name, or an object."""
    found = []
    for part in (part for message in _messages(stored) for part in _parts(_content(message))):
        if not isinstance(part, dict) or _kind(part) != "image":
            continue
        found += _images(part)
    return found


def _images(part: dict[str, Any]) -> list[Any]:
    """List the images of a part that is one of them, or a list of such."""
    stored = next((part[k] for k in ("image", "image_url", "images", "url", "path", "value") if part.get(k)), None)
    listed = stored if isinstance(stored, list) else [stored]
    named = [image["url"] if isinstance(image, dict) and "url" in image else image for image in listed]
    return [image for image in named if image]


def _messages(stored: Any) -> Iterator[Any]:
    """Yield the messages; an object with a question and its answer is two."""
    for message in stored if isinstance(stored, list) else ():
        if isinstance(message, dict) and {"user", "assistant"} <= set(message):
            yield {"role": "user", "content": message["user"]}
            yield {"role": "assistant", "content": message["assistant"]}
        else:
            yield message


def _message(stored: Any) -> tuple[str, str]:
    """Return the role of a message, ``user``, ``model`` or ``system``, and its text."""
    role = stored.get("from", stored.get("role")) if isinstance(stored, dict) else None
    word = "user" if role in _USER else "model" if role in _MODEL else role
    if word not in ("user", "model", "system"):
        raise _Refused("bad_conversation")
    content = _content(stored)
    if isinstance(content, (list, dict)):
        if word == "model" and any(isinstance(part, dict) and _kind(part) == "image" for part in _parts(content)):
            raise _Refused("bad_conversation")  # an image as the answer
        return word, "".join(map(_text, _parts(content)))
    text = content if isinstance(content, str) else as_text(content)
    if text is None:
        raise _Refused("bad_conversation")
    return word, text


def _content(message: Any) -> Any:
    return message.get("value", message.get("content")) if isinstance(message, dict) else None


def _parts(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [content] if isinstance(content, dict) else []


def _text(part: Any) -> str:
    """Return the text of a part of a message; of an image the placeholder."""
    if not isinstance(part, dict):
        return as_text(part) or ""
    match _kind(part):
        case "image":
            # A part without a type may be an image and the text after it.
            text = "" if isinstance(part.get("type"), str) else _words(part)
            return PLACEHOLDER * max(1, len(_images(part))) + (f"\n{text}" if text else "")
        case "text":
            return _words(part)
        case kind:
            raise _Refused(kind)


def _words(part: dict[str, Any]) -> str:
    text = next((part[key] for key in ("text", "value", "content") if part.get(key) is not None), "")
    return text if isinstance(text, str) else as_text(text) or ""


def _kind(part: dict[str, Any]) -> str:
    """Return ``text``, ``image``, or why a part of another kind cannot be used."""
    named = part.get("type")
    kinds = [named.lower()] if isinstance(named, str) else [key for key, value in part.items() if value is not None]
    if any(kind.startswith(("image", "input_image")) for kind in kinds):
        return "image"
    if any("video" in kind or "audio" in kind for kind in kinds):
        return "video_or_audio"
    return "text" if any(kind in _TEXTS for kind in kinds) else "bad_conversation"


def _refuse_other_media(text: str) -> None:
    if _OTHER_MEDIA.search(text):
        raise _Refused("video_or_audio")


def _asked(texts: list[str], pictures: int) -> tuple[list[str], list[int]]:
    """Return questions without the placeholders that are not needed, and how many images each names."""
    marks = [text.count(PLACEHOLDER) for text in texts]
    if sum(marks) not in (0, pictures):
        raise _Refused("other_image_count")
    bare = [_bare(text) for text in texts]
    if pictures > 1 and any(PLACEHOLDER in text for text in bare):
        return [text.strip() for text in texts], marks
    return [text.replace(PLACEHOLDER, " ").strip() for text in bare], marks


def _bare(text: str) -> str:
    """Strip the placeholders at both ends."""
    text = text.strip()
    while text.startswith(PLACEHOLDER) or text.endswith(PLACEHOLDER):
        text = text.removeprefix(PLACEHOLDER).removesuffix(PLACEHOLDER).strip()
    return text
