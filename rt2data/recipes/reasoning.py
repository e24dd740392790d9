"""Plans in words, RT-2's chain of thought: what some robot samples say before their action.

A plan comes from a template over the instruction, from a text field of the dataset, or from annotations of its steps
(`rt2data.samples.annotations`). A recipe's source says which, and what share of its samples has one. Of the samples for
which there is a plan, those with the smallest hash("plan", seed, key) get it, copies apart from one another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rt2data import prompts
from rt2data.declarations.declaration import Declaration
from rt2data.errors import Rt2dataError

if TYPE_CHECKING:
    pass

EPISODE = "{file}:{episode}"
_DEFAULT_TEXT = {"template": "{instruction}", "column": "{plan}", "annotations": "{plan}"}
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Where a source's plans come from.

    Attributes:
        origin: ``template``, ``column`` (the declaration's field `plan`) or ``annotations``.
        text: of a plan, with placeholders: ``{instruction}``; ``{plan}`` of a column; any field of an annotation.
        file: the annotations, below the data root; "" for other origins.
        episode: the episode's id as ``{file}`` and ``{episode}`` of an annotation make it.
        share: of the source's samples that have a plan; None: every one for which there is a plan.
    """

    origin: str
    text: str
    file: str
    episode: str
    share: float | None

    @property
    def resolved(self) -> dict[str, Any]:
        """Its form in a recipe, with every default filled in."""
        own: dict[str, Any] = {"from": self.origin, "text": self.text}
        own |= {"file": self.file, "episode": self.episode} if self.origin == "annotations" else {}
        return own | ({"share": self.share} if self.share is not None else {})


def parse_reasoning(raw: Mapping[str, Any], declaration: Declaration, where: Callable[[str], str]) -> Reasoning:
    """The `plans` of a recipe's source that fits the schema. `where` gives the line of one of its fields."""
    origin = raw["from"]
    if declaration.robot is None:
        raise Rt2dataError(where("from"), f"plans for a {declaration.kind} source", "a robot source")
    if origin == "column" and declaration.robot.plan is None:
        expected = "a text field under plan: in its declaration"
        raise Rt2dataError(where("from"), f"{declaration.name} declares no field of plans", expected)
    for name in ("file", "episode"):
        if name in raw and origin != "annotations":
            raise Rt2dataError(where(name), f'"{name}" for plans from a {origin}', "plans from annotations")
    if origin == "annotations" and "file" not in raw:
        raise Rt2dataError(where("from"), "plans from annotations without a file", "file: below the data root")
    text = raw.get("text", _DEFAULT_TEXT[origin])
    known = {"template": {"instruction"}, "column": {"instruction", "plan"}}.get(origin)
    found = set(_PLACEHOLDER.findall(text))
    wrong = {name for name in found if not re.fullmatch("[a-z][a-z0-9_]*", name)} if known is None else found - known
    if wrong or not found:
        what = f"{{{min(wrong)}}}" if wrong else "no placeholder"
        expected = f"{{{'} or {'.join(sorted(known))}}}" if known else "fields of an annotation, such as {plan}"
        raise Rt2dataError(where("text"), f'the text "{text}" has {what}', expected)
    return Reasoning(origin, text, raw.get("file", ""), raw.get("episode", EPISODE), raw.get("share"))


def fill_template(text: str, values: Mapping[str, Any]) -> str | None:
    """A plan: the template with its values, in one line.

    None where a value is missing or no text, or where it has the marker that a reply's action begins with.
    """
    named = {name: values.get(name) for name in _PLACEHOLDER.findall(text)}
    if not all(isinstance(value, str) and value.strip() for value in named.values()):
        return None
    made = " ".join(_PLACEHOLDER.sub(lambda m: str(named[m[1]]).strip(), text).split())
    return None if prompts.MARKER in made else made
