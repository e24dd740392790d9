"""Token ids and labels of one sample, character by character: each family's text written out, each character marked.

A second implementation of what `rt2data.collate` does: no chat template is rendered and no processor called.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

Marked = list[tuple[str, bool]]  # characters, or whole special tokens, each with whether it is learned


def turns(sample: Any) -> list[dict[str, Any]]:
    """`messages`, or what a sample without them says."""
    said = sample.json
    if "messages" in said:
        return [message for message in said["messages"] if message["content"]]
    images = [{"type": "image", "image": name} for name in said["images"]]
    asked = {"role": "user", "content": [*images, {"type": "text", "text": said["prompt"]}], "end": False, "spans": []}
    span = {"start": 0, "end": len(said["target"]), "loss": "text"}
    answer = [{"type": "text", "text": said["target"]}]
    return [asked, {"role": "assistant", "content": answer, "end": True, "spans": [span]}]


def texts(turn: dict[str, Any]) -> list[Marked]:
    """The characters of each text part of a turn."""
    out, at = [], 0
    for part in turn["content"]:
        if part["type"] == "text":
            marks = [any(s["start"] <= at + i < s["end"] for s in turn["spans"]) for i in range(len(part["text"]))]
            out.append(list(zip(part["text"], marks, strict=True)))
            at += len(part["text"])
    return out


def stripped(marked: Marked) -> Marked:
    while marked and marked[0][0].isspace():
        marked = marked[1:]
    while marked and marked[-1][0].isspace():
        marked = marked[:-1]
    return marked


def plain(text: str) -> Marked:
    return [(character, False) for character in text]


def _parts(turn: dict[str, Any], image: Callable[[], str], change: Callable[[Marked], Marked] = list) -> Marked:
    own = iter(texts(turn))
    parts = (plain(image()) if part["type"] == "image" else change(next(own)) for part in turn["content"])
    return list(itertools.chain.from_iterable(parts))


def chatml(conversation: list[dict[str, Any]], images: list[str]) -> Marked:
    left = iter(images)
    out = plain(
        "" if conversation[0]["role"] == "system" else "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    )
    for turn in conversation:
        out += plain(f"<|im_start|>{turn['role']}\n")
        out += _parts(turn, lambda: f"<|vision_start|>{next(left)}<|vision_end|>")
        out += [("<|im_end|>", turn["end"]), ("\n", False)]
    return out


def vicuna(conversation: list[dict[str, Any]], images: list[str]) -> Marked:
    left, out = iter(images), plain("")
    for number, turn in enumerate(conversation):
        out += plain("" if turn["role"] == "system" else f"{turn['role'].upper()}: ")
        for part in turn["content"]:
            out += plain(next(left) + "\n") if part["type"] == "image" else []
        for marked in texts(turn):
            out += [*marked, (" ", False)]
        if turn["end"] and number == len(conversation) - 1 and texts(turn):
            out = [*out[:-1], ("</s>", True)]
    return out


def idefics(conversation: list[dict[str, Any]], images: list[str]) -> Marked:
    left, out = iter(images), plain("<|im_start|>")
    for turn in conversation:
        out += plain(f"{turn['role'].capitalize()}:") + _parts(turn, lambda: next(left), stripped)
        out += [("<end_of_utterance>", turn["end"]), ("\n", False)]
    return out


def gemma(conversation: list[dict[str, Any]], images: list[str]) -> Marked:
    left, out = iter(images), plain("<bos>")
    for turn in conversation:
        role = {"assistant": "model"}.get(turn["role"], turn["role"])
        out += plain(f"<start_of_turn>{role}\n") + _parts(turn, lambda: next(left), stripped)
        out += [("<end_of_turn>", turn["end"]), ("\n", False)]
    return out


def tokens(tokenizer: Any, marked: Marked, **options: Any) -> tuple[list[int], list[int]]:
    """Ids of characters together, and the labels: -100 where no character of a token is learned."""
    text = "".join(piece for piece, _ in marked)
    learned = [mark for piece, mark in marked for _ in piece]
    encoded = tokenizer(text, return_offsets_mapping=True, **options)
    labels = []
    for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        labels.append(token if any(learned[start:end]) else -100)
    return encoded["input_ids"], labels


def paligemma(tokenizer: Any, conversation: list[dict[str, Any]], images: list[str]) -> tuple[list[int], list[int]]:
    first = next((n for n, turn in enumerate(conversation) if turn["spans"]), len(conversation))
    asked = "\n".join("".join(c for part in texts(turn) for c, _ in part) for turn in conversation[:first])
    ids, labels = tokens(tokenizer, plain("".join(images) + "<bos>" + asked + "\n"), add_special_tokens=False)
    if conversation[first:]:
        answer: Marked = []
        for turn in conversation[first:]:
            answer += plain("\n" if answer else "") + list(itertools.chain(*texts(turn)))
        more = tokens(tokenizer, [*answer, ("<eos>", conversation[-1]["end"])], add_special_tokens=False)
        ids, labels = ids + more[0], labels + more[1]
    return ids, labels


def split_images(rows: int, columns: int, tokens: int) -> str:
    """An image of Idefics3 in parts, and once whole."""
    body = "<image>" * tokens
    parts = "".join(
        "".join(f"<fake_token_around_image><row_{r}_col_{c}>{body}" for c in range(1, columns + 1)) + "\n"
        for r in range(1, rows + 1)
    )
    return f"{parts}\n<fake_token_around_image><global-img>{body}<fake_token_around_image>"


def reference(family: str, processor: Any, sample: Any, size: tuple[int, int]) -> tuple[list[int], list[int]]:
    """Ids and labels of a sample whose images are all of one size (width, height) that the family enlarges alike."""
    own, conversation = processor.tokenizer, turns(sample)
    count = sum(part["type"] == "image" for turn in conversation for part in turn["content"])
    if family == "paligemma":
        return paligemma(own, conversation, ["<image>" * 4] * count)
    if family == "llava":
        return tokens(own, vicuna(conversation, ["<image>" * 4] * count))
    if family == "gemma3":
        image = f"\n\n<start_of_image>{'<image_soft_token>' * 4}<end_of_image>\n\n"
        return tokens(own, gemma(conversation, [image] * count), add_special_tokens=False)
    if family in ("idefics3", "smolvlm"):
        images = [split_images(2, 2, 4)] * count
        return tokens(own, idefics(conversation, images), add_special_tokens=False)
    unit = 2 * processor.image_processor.patch_size  # Qwen's images are of at least one such square's pixels here
    high, wide = (math.ceil(side * unit / math.sqrt(size[0] * size[1]) / unit) for side in size[::-1])
    return tokens(own, chatml(conversation, ["<|image_pad|>" * (high * wide)] * count))
