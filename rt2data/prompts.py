"""Prompts, and targets with a plan: what a recipe makes of texts that the sample's JSON keeps as stored."""

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


def underscores_to_spaces(text: str) -> str:
    """A space in place of each underscore, for datasets whose instructions are names of tasks."""
    return text.replace("_", " ")


def collapse_whitespace(text: str) -> str:
    """One space in place of each run of white space, and none at the ends."""
    return " ".join(text.split())


OPERATIONS: dict[str, Callable[[str], str]] = {
    "strip": str.strip,
    "lower": str.lower,
    "lower_first": lower_first,
    "no_final_stop": no_final_stop,
    "underscores_to_spaces": underscores_to_spaces,
    "collapse_whitespace": collapse_whitespace,
}


MARKER = "Action:"
"""What the action stands behind in a target with a plan; `rt2data.serving` looks for it."""


def cleaned(prompts: dict[str, Any], text: str) -> str:
    """An instruction or a plan after the recipe's named operations, in their order."""
    for name in prompts["instruction"]:
        text = OPERATIONS[name](text)
    return text


def robot(prompts: dict[str, Any], instruction: str, kind: str = "robot", state: str = "") -> str:
    """The prompt of an instruction: that of `kind` ``robot``, or of ``plan`` where the target begins with one.

    `state` is the proprioception as text, for a prompt with ``{proprio}``.
    """
    return state.join(around_state(prompts, instruction, kind))


def around_state(prompts: dict[str, Any], instruction: str, kind: str = "robot") -> list[str]:
    """The prompt of an instruction, in two pieces where ``{proprio}`` stands between them, else in one."""
    text = cleaned(prompts, instruction)
    # replace, not format: a template is data, and format would let it reach into objects
    return [piece.replace("{instruction}", text) for piece in str(prompts[kind]).split("{proprio}")]


def planned(prompts: dict[str, Any], plan: str) -> str:
    """What comes before the action string in the target of a sample with a plan: all of the template but its end."""
    before, _, _ = str(prompts["planned"]).partition("{action}")
    return before.replace("{plan}", cleaned(prompts, plan))


def with_plan(before: str, action: str) -> str:
    """The target: `before`, of `planned`, and the action string. One that has a space before it needs no other."""
    return (before.removesuffix(" ") if action.startswith(" ") else before) + action


def vqa(prompts: dict[str, Any], question: str, turns: Sequence[str] = ()) -> str:
    """The VQA prompt of a question, after the questions and answers of the earlier `turns`, each in the same prompt."""
    template = str(prompts["vqa"])
    asked = [template.replace("{question}", text.strip()) for text in (*turns[::2], question)]
    return " ".join(part for pair in zip(asked, (*turns[1::2], ""), strict=True) for part in pair).removesuffix(" ")
