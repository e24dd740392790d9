"""A second implementation of the chat templates: one character at a time, a function for each family.

Written from the originals and shared with nothing of rt2data. A text is a list of (character, label); labels are "" for
what is not learned, ``text``, ``action`` and ``action NAME`` of a further tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Chars = list[tuple[str, str]]
Json = dict[str, Any]


def plain(text: str) -> Chars:
    return [(character, "") for character in text]


def learned(text: str, label: str) -> Chars:
    return [(character, label) for character in text]


def content(message: Json, image: Callable[[], str]) -> Chars:
    """The parts of a message; spans count the characters of its texts."""
    out: Chars = []
    at = 0
    for part in message["content"]:
        if part["type"] == "image":
            out += plain(image())
            continue
        for character in part["text"]:
            label = [label_of(s) for s in message.get("spans", []) if s["start"] <= at < s["end"]]
            out.append((character, label[0] if label else ""))
            at += 1
    return out


def label_of(span: Json) -> str:
    return f"{span['loss']} {span.get('tokenizer', '')}".rstrip()


def end_label(message: Json) -> str:
    """How the end of a message is learned."""
    if not message.get("end"):
        return ""
    if message["spans"]:
        return label_of(message["spans"][-1])
    return "text" if message["loss"] in ("text", "both") and not message["content"] else ""


def chatml(messages: list[Json], system: str, image: Callable[[], str], ends: Callable[[Json], str]) -> Chars:
    if system and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": [{"type": "text", "text": system}]}, *messages]
    out: Chars = []
    for message in messages:
        out += plain(f"<|im_start|>{message['role']}\n") + content(message, image)
        out += learned(ends(message), end_label(message))
    return out


def line_break(_: Json) -> str:
    return "<|im_end|>\n"


def qwen_image() -> str:
    return "<|vision_start|><|image_pad|><|vision_end|>"


def acts(message: Json) -> bool:
    return bool(message.get("spans")) and message["spans"][-1]["loss"] == "action"


def wall_oss(messages: list[Json]) -> Chars:
    def ends(message: Json) -> str:
        return "<|im_end|>" if message["role"] == "assistant" and not acts(message) else "<|im_end|>\n"

    return chatml(messages, "You are a helpful assistant.", qwen_image, ends)


def molmoact2(messages: list[Json]) -> Chars:
    images = sum(part["type"] == "image" for message in messages for part in message["content"])
    front = "".join(f"Image {n + 1}<|image|>" for n in range(images)) if images > 1 else "<|image|>" * images
    return plain(front) + chatml(
        messages,
        "",
        str,
        lambda message: "<|im_end|>" if message["role"] == "assistant" and acts(message) else "<|im_end|>\n",
    )


def paligemma_chat(messages: list[Json]) -> Chars:
    out: Chars = []
    for message in messages:
        out += plain(f"{message['role'].capitalize()}: ") + content(message, str)
        if message["role"] == "assistant" and end_label(message):
            out += learned("<eos>", end_label(message))
        out += plain("\n")
    return out


def molmo(messages: list[Json]) -> Chars:
    images = sum(part["type"] == "image" for message in messages for part in message["content"])
    out = plain("<|image|>" * images)
    for message in messages:
        said = content(message, str)
        if message["role"] == "user":
            out += plain(" User: ") + said
        else:
            first = message["spans"][0] if message["spans"] else None
            out += plain(" Assistant:") + learned(" ", label_of(first) if first and not first["start"] else "")
            out += said + learned("<|endoftext|>", end_label(message))
    return out


def bare(messages: list[Json], end: str, action_end: str) -> Chars:
    out: Chars = []
    for message in messages:
        out += content(message, str)
        if message["role"] == "assistant":
            out += learned(action_end if acts(message) else end, end_label(message))
    return out


TEMPLATES: dict[str, Callable[[list[Json]], Chars]] = {
    "qwen2-vl": lambda said: chatml(said, "You are a helpful assistant.", qwen_image, line_break),
    "qwen3-vl": lambda said: chatml(said, "", qwen_image, line_break),
    "eo-1": lambda said: chatml(said, "You are a helpful physical assistant.", qwen_image, line_break),
    "wall-oss": wall_oss,
    "paligemma-chat": paligemma_chat,
    "molmo": molmo,
    "molmoact2": molmoact2,
    "openpi": lambda said: bare(said, "<eos>", "|<eos>"),
    "opentau": lambda said: bare(said, "<eos>;\n", ""),
}


def spans(chars: Chars) -> list[tuple[int, int, str]]:
    """Runs of characters with one label."""
    found: list[tuple[int, int, str]] = []
    for place, (_, label) in enumerate(chars):
        if label and found and found[-1][1] == place and found[-1][2] == label:
            found[-1] = (found[-1][0], place + 1, label)
        elif label:
            found.append((place, place + 1, label))
    return found
