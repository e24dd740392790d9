"""Templates of a grounding form: literal text with placeholders such as ``{x1}``; any other brace stands for itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rt2data.tokenizer.errors import ActionError

# The placeholders of a template, and where each coordinate lies among the numbers of an object. A corner is the index
# of a grid's cell, row * columns + column.
AXES = {"x": 0, "y": 1, "x1": 0, "y1": 1, "x2": 2, "y2": 3}
CORNERS = {"corner1": 0, "corner2": 2}

MAX_TEMPLATE = 1000


class Template:
    """A text with placeholders.

    Attributes:
        text: as it was read.
        parts: literal texts and, at odd places, the names of placeholders.
        names: the names alone, in order.
    """

    __slots__ = ("names", "parts", "text")

    def __init__(self, text: str, known: tuple[str, ...]) -> None:
        self.text = text
        self.parts = tuple(re.split(r"\{(" + "|".join(known) + r")\}", text))
        self.names = self.parts[1::2]

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the text with values in place of its placeholders."""
        return "".join([values[part] if odd & 1 else part for odd, part in enumerate(self.parts)])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.text, self.parts)


def _restore(text: str, parts: tuple[str, ...]) -> Template:
    template = Template.__new__(Template)
    template.text, template.parts, template.names = text, parts, parts[1::2]
    return template


def read_text(raw: Any, where: str) -> str:
    """Return `raw`, a text of at most MAX_TEMPLATE characters.

    Raises:
        ActionError: anything else.
    """
    if not isinstance(raw, str) or len(raw) > MAX_TEMPLATE or not _encodes(raw):
        raise ActionError(where, repr(raw)[:60], f"a text of at most {MAX_TEMPLATE} characters")
    return raw


def read_template(raw: Any, where: str, *required: str, optional: tuple[str, ...] = ()) -> Template:
    """Read a template that has each required placeholder, all but ``label`` once, and perhaps the optional ones.

    Raises:
        ActionError: no text, or a placeholder that is missing or comes twice.
    """
    template = Template(read_text(raw, where), (*required, *optional))
    for name in required:
        count = template.names.count(name)
        if count == 0 or (count > 1 and name != "label"):
            wanted = " ".join(f"{{{n}}}" for n in required)
            raise ActionError(
                where, f"{{{name}}} {count} times in {raw!r}"[:200], f"a template with {wanted}, each once"
            )
    return template


def read_shape(raw: Any, where: str, names: tuple[str, ...], *, numbered: bool = False) -> Template:
    """Read the template of one shape, with coordinates `names`, and their own numbers {i} where it is `numbered`.

    Raises:
        ActionError: a placeholder is missing or comes twice.
    """
    return read_template(raw, where, *names, optional=("i",) if numbered else ())


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
