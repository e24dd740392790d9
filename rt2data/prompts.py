"""Prompts: what a recipe makes of an instruction or a question. The sample's JSON keeps both texts as stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def lower_first(text: str) -> str:
    """The first letter in lower case, unless the first word is all capitals ("USB stick", "A" alone is lowered)."""
    word = text.split(" ", 1)[0]
    return text if len(word) > 1 and word.isupper() else text[:1].lower() + text[1:]


def no_final_stop(text: str) -> str:
    """Without one final stop; an ellipsis stays."""
    return text[:-1].rstrip() if text.endswith(".") and not text.endswith("..") else text


OPERATIONS: dict[str, Callable[[str], str]] = {
    "strip": str.strip,
    "lower_first": lower_first,
    "no_final_stop": no_final_stop,
}


def robot(prompts: dict[str, Any], instruction: str) -> str:
    """The robot prompt of an instruction, after the recipe's named operations in their order."""
    for name in prompts["instruction"]:
        instruction = OPERATIONS[name](instruction)
    # replace, not format: a template is data, and format would let it reach into objects
    return str(prompts["robot"]).replace("{instruction}", instruction)


def vqa(prompts: dict[str, Any], question: str, turns: Sequence[str] = ()) -> str:
    """The VQA prompt of a question, after the questions and answers of the earlier `turns`, each in the same prompt."""
    template = str(prompts["vqa"])
    asked = [template.replace("{question}", text.strip()) for text in (*turns[::2], question)]
    return " ".join(part for pair in zip(asked, (*turns[1::2], ""), strict=True) for part in pair).removesuffix(" ")
