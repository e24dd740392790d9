"""Prompts and targets, rendered a second time from docs/recipes.md: one text at a time, without the writer's code."""

from __future__ import annotations

import re
from collections.abc import Sequence


def robot_prompt(template: str, operations: Sequence[str], instruction: str, state: str) -> str:
    """Render the prompt of a robot sample; `state` is its proprioception as text."""
    return fill(template, instruction=cleaned(operations, instruction), proprio=state)


def vqa_prompt(template: str, question: str, turns: Sequence[str]) -> str:
    """Render the prompt of a question, behind the earlier questions and answers of its conversation."""
    texts = [*turns, question]
    return " ".join(text if i % 2 else fill(template, question=text.strip()) for i, text in enumerate(texts))


def target_with_reasoning(template: str, operations: Sequence[str], reasoning: str, action: str) -> str:
    """Render the target of a robot sample that reasons before its action string."""
    return fill(template, plan=cleaned(operations, reasoning), action=action.lstrip(" "))


def fill(template: str, **values: str) -> str:
    """Replace each ``{name}`` by its value, once: braces within a value stay text."""
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), template)


def cleaned(operations: Sequence[str], text: str) -> str:
    """Apply the recipe's named operations in their order."""
    for name in operations:
        text = _apply(name, text)
    return text


def _apply(operation: str, text: str) -> str:
    match operation:
        case "strip":
            return text.strip()
        case "lower":
            return text.lower()
        case "lower_first":
            word, _, _ = text.partition(" ")
            return text if word.isupper() and len(word) > 1 else text[:1].lower() + text[1:]
        case "no_final_stop":
            body = text.removesuffix(".")
            return text if body == text or body.endswith(".") else body.rstrip()
        case "underscores_to_spaces":
            return re.sub("_", " ", text)
        case "collapse_whitespace":
            return re.sub(r"\s+", " ", text).strip()
        case _:
            raise ValueError(f'the operation "{operation}" on instructions')
