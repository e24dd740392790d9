"""LeRobot's recipes as kinds of sample, and its draw among them, restated for tests.

A recipe is a blend of branches or the turns of one, as huggingface/lerobot@7427f31 (src/lerobot/configs/recipe.py,
src/lerobot/datasets/language_render.py) reads it.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

Json = dict[str, Any]

# What LeRobot binds where a recipe does not say.
DEFAULTS = {
    "subtask": "active_at(t, style=subtask)",
    "memory": "active_at(t, style=memory)",
    "plan": "active_at(t, style=plan)",
    "speech": "emitted_at(t, role=assistant, tool_name=say)",
    "interjection": "emitted_at(t, style=interjection)",
    "vqa": "emitted_at(t, style=vqa, role=assistant)",
    "vqa_query": "emitted_at(t, style=vqa, role=user)",
}


def placeholder(resolver: str, cameras: dict[str, str]) -> str:
    """The placeholder that takes the row of a resolver; `cameras` are the names of features."""
    rule, _, arguments = resolver.strip().partition("(")
    given: dict[str, str] = dict(re.findall(r"(\w+)=([\w.]+)", arguments))
    if given.get("tool_name") == "say":
        return "speech|form(say)"
    chosen = given["style"]
    if rule == "emitted_at":
        chosen += "|at"
    elif rule in ("nth_prev", "nth_next"):
        chosen += f"|{'previous' if rule == 'nth_prev' else 'next'}({given.get('offset', 1)})"
    given |= {"camera": cameras.get(given["camera"], given["camera"])} if "camera" in given else {}
    return chosen + "".join(f"|{name}({given[name]})" for name in ("camera", "role") if name in given)


def branches(recipe: Json) -> Json:
    """The branches of a recipe by name; of one conversation, one."""
    return dict(recipe["blend"]) if "blend" in recipe else {"only": recipe}


def as_kind(branch: Json, cameras: dict[str, str]) -> Json:
    """A branch as a kind, where features are called as `cameras` says.

    A turn with ``if_present`` is left out where a value is missing, others say nothing in its place. ``target`` is loss
    of text. A turn of the low level, which trains an action head, has that loss, or the turn before it if it is itself
    a target.
    """
    resolvers = DEFAULTS | branch.get("bindings", {})
    bound = {name: placeholder(resolver, cameras) for name, resolver in resolvers.items()}

    def shown(part: Json) -> str:
        camera = cameras.get(part.get("feature", ""), part.get("feature"))
        return f"{{image:{camera}}}" if part["type"] == "image" else written(part["text"])

    def written(text: str) -> str:
        text = text.replace("{", "{{").replace("}", "}}")
        names = {"task": "instruction"} | bound
        return re.sub(r"\$\{\{(\w+)\}\}", lambda found: "{" + names[found[1]] + "}", text)

    turns: list[Json] = []
    for turn in branch["messages"]:
        content = turn.get("content")
        parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
        text = "".join(map(shown, parts))
        if "tool_calls_from" in turn:
            text += "\n" * bool(text) + "{" + bound[turn["tool_calls_from"]] + "}"
        one = {turn["role"]: text, "missing": "skip" if "if_present" in turn else "empty"}
        low = turn["stream"] == "low_level"
        if low and turn.get("target") and all(before["loss"] != "action" for before in turns):
            turns[-1]["loss"] = "action"
        turns.append(one | {"loss": "text" if turn.get("target") else "action" if low else "none"})
    requires = [bound[name] for name in branch.get("requires", ())]
    return {"turns": turns} | ({"requires": requires} if requires else {})


def fraction(seed: str) -> float:
    """A number of 0 to 1 by the hash of a text."""
    return int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest(), "big") / 2**64


def choose(weights: dict[str, float], seed: str) -> str:
    """The branch that a hash falls on."""
    drawn, reached = fraction(seed) * sum(weights.values()), 0.0
    for name, weight in weights.items():
        reached += weight
        if drawn < reached:
            return name
    return list(weights)[-1]
