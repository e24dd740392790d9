"""Parse the reasoning of a recipe's source: words before an action, RT-2's chain of thought (the field ``plans``).

Reasoning comes from a template over the instruction, from a text field of the dataset, or from annotations of steps
(`rt2data.samples.annotations`). A source may give it to a share of its samples. Of the samples for which there is
reasoning, those with the smallest hash("plan", seed, key) get it; repeats of a row are drawn separately.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rt2data import prompts
from rt2data.declarations.declaration import Declaration
from rt2data.errors import Rt2dataError

EPISODE = "{file}:{episode}"
_DEFAULT_TEXT = {"template": "{instruction}", "column": "{plan}", "annotations": "{plan}"}
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Where a source's reasoning comes from.

    Attributes:
        origin: ``template``, ``column`` (the declaration's field `plan`) or ``annotations``.
        text: template with placeholders: ``{instruction}``; ``{plan}`` of a column; any field of an annotation.
        file: annotations, below the data root; "" for other origins.
        episode: template of the episode's id from ``{file}`` and ``{episode}`` of an annotation.
        share: of the source's samples that have reasoning; None: all for which there is some.
    """

    origin: str
    text: str
    file: str
    episode: str
    share: float | None

    @property
    def resolved(self) -> dict[str, Any]:
        """The field ``plans`` with every default filled in."""
        own: dict[str, Any] = {"from": self.origin, "text": self.text}
        own |= {"file": self.file, "episode": self.episode} if self.origin == "annotations" else {}
        return own | ({"share": self.share} if self.share is not None else {})


def parse_reasoning(raw: Mapping[str, Any], declaration: Declaration, where: Callable[[str], str]) -> Reasoning:
    """Parse the field ``plans`` of a source, which fits the schema. `where` gives the line of a field in it."""
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
    names = set(_PLACEHOLDER.findall(text))
    wrong = {name for name in names if not re.fullmatch("[a-z][a-z0-9_]*", name)} if known is None else names - known
    if wrong or not names:
        what = f"{{{min(wrong)}}}" if wrong else "no placeholder"
        expected = f"{{{'} or {'.join(sorted(known))}}}" if known else "fields of an annotation, such as {plan}"
        raise Rt2dataError(where("text"), f'the text "{text}" has {what}', expected)
    return Reasoning(origin, text, raw.get("file", ""), raw.get("episode", EPISODE), raw.get("share"))


def fill_template(text: str, values: Mapping[str, Any]) -> str | None:
    """Fill the template with its values, in one line.

    None where a value is missing or no text, or where the result has the marker that a reply's action begins with.
    """
    named = {name: values.get(name) for name in _PLACEHOLDER.findall(text)}
    if not all(isinstance(value, str) and value.strip() for value in named.values()):
        return None
    line = " ".join(_PLACEHOLDER.sub(lambda match: str(named[match[1]]).strip(), text).split())
    return None if prompts.MARKER in line else line
