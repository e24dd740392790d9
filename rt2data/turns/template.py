"""Texts with placeholders: ``{subtask|previous(2)|lower}`` between literal text, ``{{`` and ``}}`` for braces.

A template is data: a placeholder names a value and functions of fixed meaning, and reaches nothing else.

>>> template = parse_template("{images}pick {object|lower}", "recipe.yaml:3")
>>> [piece if isinstance(piece, str) else piece.key for piece in template]
['images', 'pick ', 'object']
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from rt2data import prompts
from rt2data.errors import Rt2dataError, near

MAX_TEMPLATE = 20_000  # characters
MAX_OFFSET = 1000  # of `previous` and `next`

# Which rows of a track a placeholder takes, and in which form objects are written; the others edit the text.
COUNTED = ("previous", "next")
LISTS = ("all", "remaining", "ahead")
SELECTS = (*COUNTED, *LISTS, "at", "camera", "role", "form")
NAMED = ("camera", "role", "form")  # their argument is a name
EDITS = (*prompts.OPERATIONS, "join", "or")
IMAGES = ("images", "image")
JOIN = ", "  # between the texts of a list
CALL_FORM = "say"  # the form of tool calls; those of boxes, points and traces are grounding tokenizers

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_NAME = re.compile(r"([a-z][a-z0-9_.]*)(?::([A-Za-z0-9_.-]+))?")
_CALL = re.compile(r"([a-z_]+)(?:\(([^()]*)\))?")


@dataclass(frozen=True, slots=True)
class Slot:
    """A placeholder.

    Attributes:
        name: of the value.
        argument: what stands behind a colon: the camera of an image slot; "" where there is none.
        selects: which rows of a track it takes, (function, argument) each, in a fixed order.
        edits: what is done to its text, in order.
    """

    name: str
    argument: str = ""
    selects: tuple[tuple[str, str], ...] = ()
    edits: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """The value's name, the same for placeholders that only edit it in other ways: ``memory|previous(1)``."""
        name = f"{self.name}:{self.argument}" if self.argument else self.name
        return "|".join([name, *(f"{function}({value})" if value else function for function, value in self.selects)])

    @property
    def is_image(self) -> bool:
        """Whether an image stands in its place."""
        return self.name in IMAGES

    @property
    def is_list(self) -> bool:
        """Whether its value is a list."""
        return any(function in LISTS for function, _ in self.selects)

    @property
    def form(self) -> str:
        """The form in which boxes, points and traces are written; "" where it has none."""
        return dict(self.selects).get("form", "")

    @property
    def has_fallback(self) -> bool:
        """Whether a text stands in where it is empty or missing: it is never missing then."""
        return any(function == "or" for function, _ in self.edits)

    def edit(self, text: str | list[str] | None) -> str:
        """Return the value as it stands in the text; None, where it is missing, is as an empty one."""
        joiner = next((value for function, value in self.edits if function == "join"), JOIN)
        line = joiner.join(text) if isinstance(text, list) else text or ""
        for function, argument in self.edits:
            if function == "or":
                line = line or argument
            elif function != "join":
                line = prompts.OPERATIONS[function](line)
        return line


Template: TypeAlias = tuple[str | Slot, ...]


def parse_template(text: str, where: str) -> Template:
    """Parse a template, which errors call `where`.

    Raises:
        Rt2dataError: braces that do not match, or a placeholder or function of another form.
    """
    if len(text) > MAX_TEMPLATE:
        raise Rt2dataError(where, f"a template of {len(text):,} characters", f"at most {MAX_TEMPLATE:,}")
    pieces: list[str | Slot] = []
    at, literal = 0, ""
    for found in _TOKEN.finditer(text):
        literal += text[at : found.start()]
        at = found.end()
        if found[0] in ("{{", "}}"):
            literal += found[0][0]
        elif found[1] is None:
            raise Rt2dataError(
                where, f'a single "{found[0]}" in the template "{text}"', f'"{found[0] * 2}" for a brace'
            )
        else:
            pieces += [literal] if literal else []
            pieces.append(parse_slot(found[1], where))
            literal = ""
    literal += text[at:]
    return (*pieces, literal) if literal else tuple(pieces)


def parse_slot(text: str, where: str) -> Slot:
    """Parse what stands between the braces of a placeholder, ``NAME``, ``NAME:ARGUMENT`` or either with functions."""
    name, *calls = text.split("|")
    named = _NAME.fullmatch(name)
    if named is None:
        raise Rt2dataError(where, f"the placeholder {{{text}}}", "{NAME}, {image:CAMERA} or {NAME|FUNCTION}")
    selects: dict[str, str] = {}
    edits: list[tuple[str, str]] = []
    for call in calls:
        parsed = _CALL.fullmatch(call)
        function, argument = (parsed[1], parsed[2] or "") if parsed else (call, "")
        if function not in (*SELECTS, *EDITS):
            known = (*SELECTS, *EDITS)
            expected = f"one of {', '.join(known)}"
            raise Rt2dataError(where, f'the function "{call}" in {{{text}}}', expected, near(function, known))
        if function in prompts.OPERATIONS and argument:
            raise Rt2dataError(where, f"{call} in {{{text}}}", f"{function} without an argument")
        if function in EDITS:
            edits.append((function, argument))
        else:
            selects[function] = _argument(function, argument, f"{{{text}}}", where)
    if len([function for function in selects if function in (*COUNTED, *LISTS, "at")]) > 1:
        raise Rt2dataError(where, f"several times in {{{text}}}", "one of previous, next, at, all, remaining, ahead")
    if named[1] in IMAGES and calls:
        raise Rt2dataError(where, f"functions of an image slot in {{{text}}}", "{images} or {image:CAMERA}")
    ordered = tuple((function, selects[function]) for function in SELECTS if function in selects)
    return Slot(named[1], named[2] or "", ordered, tuple(edits))


def _argument(function: str, argument: str, text: str, where: str) -> str:
    """Check the argument of a function that selects rows; a missing number is 1."""
    if function in (*COUNTED, "ahead"):
        argument = argument or "1"
        if not (re.fullmatch("[0-9]{1,4}", argument) and 1 <= int(argument) <= MAX_OFFSET):
            raise Rt2dataError(where, f"{function}({argument}) in {text}", f"a whole number from 1 to {MAX_OFFSET}")
        return str(int(argument))
    if function in NAMED and not argument:
        raise Rt2dataError(where, f"{function} without a name in {text}", f"{function}(NAME)")
    if function not in NAMED and argument:
        raise Rt2dataError(where, f"{function}({argument}) in {text}", f"{function} without an argument")
    return argument


def slots(template: Iterable[str | Slot]) -> list[Slot]:
    """The placeholders of a template, in order."""
    return [piece for piece in template if isinstance(piece, Slot)]


def write_template(template: Template) -> str:
    """Write a template as it is parsed."""
    out = []
    for piece in template:
        if isinstance(piece, str):
            out.append(piece.replace("{", "{{").replace("}", "}}"))
        else:
            edits = [f"{function}({value})" if value else function for function, value in piece.edits]
            out.append("{" + "|".join([piece.key, *edits]) + "}")
    return "".join(out)
