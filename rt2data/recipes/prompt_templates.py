"""The prompts and targets of a recipe: RT-2's by default, checked for their placeholders."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from rt2data import prompts
from rt2data.errors import Rt2dataError

# RT-2 prints the robot and the VQA prompt (arXiv 2307.15818, section 3.2), and the prompt with reasoning and its target
# (section 4.4). Its captioning prompt was never published.
PROMPTS: dict[str, Any] = {
    "robot": "Q: what action should the robot take to {instruction}? A:",
    "plan": "Instruction: {instruction}.",
    "planned": "Plan: {plan}. Action: {action}",
    "vqa": "Q: {question} A:",
    "caption": "Q: What does the image show? A:",
    "instruction": ["strip", "lower_first", "no_final_stop"],
}
_PLACEHOLDERS = {
    "robot": {"instruction"},
    "plan": {"instruction"},
    "planned": {"plan", "action"},
    "vqa": {"question"},
    "caption": set[str](),
}
_OPTIONAL = {"robot": {"proprio"}, "plan": {"proprio"}}
# The prompts that a kind of source can have.
PROMPTS_OF = {"robot": ("robot", "plan", "planned", "instruction"), "vqa": ("vqa",), "caption": ("caption",)}


def merge_prompts(under: dict[str, Any], own: dict[str, Any], at: Callable[[str], str]) -> dict[str, Any]:
    """Merge the prompts `own` over those of `under`. `at` gives the line of a prompt, for errors."""
    for kind, text in own.items():
        if kind in _PLACEHOLDERS:
            _check_prompt(text, _PLACEHOLDERS[kind], _OPTIONAL.get(kind, set()), at(kind))
    return under | own


def _check_prompt(text: str, needed: set[str], allowed: set[str], where: str) -> None:
    placeholders = re.findall(r"\{([^{}]*)\}", text)
    names = set(placeholders)
    if names - allowed != needed:
        required = " and ".join(f"{{{name}}}" for name in sorted(needed))
        word = "placeholders" if len(needed) > 1 else "placeholder"
        perhaps = "".join(f", perhaps {{{name}}}," for name in sorted(allowed))
        expected = f"the {word} {required}{perhaps} and no other" if needed else "no placeholder"
        raise Rt2dataError(where, f'prompt "{text}" has {", ".join(sorted(names)) or "no placeholder"}', expected)
    if placeholders.count("proprio") > 1:
        raise Rt2dataError(where, f'prompt "{text}" has {{proprio}} twice', "it once")
    begin, end = "Plan: {plan}", f" {prompts.MARKER} {{action}}"
    whole = text.startswith(begin) and text.endswith(end) and "\n" not in text
    if "action" in needed and not (whole and text.count(prompts.MARKER) == text.count("{plan}") == 1):
        expected = f'"{begin}" at the beginning and "{end}" at the end, in one line'
        raise Rt2dataError(where, f'the target "{text}"', expected, "A server finds the action by it")
