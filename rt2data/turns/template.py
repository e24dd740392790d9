"""Texts with placeholders: ``{subtask|previous(2)|lower}`` between literal text, ``{{`` and ``}}`` for braces.

A template is data: a placeholder names a value and functions of fixed meaning, and reaches nothing else.

>>> template = parse_template("{images}pick {object|lower}", "recipe.yaml:3")
>>> [piece if isinstance(piece, str) else piece.key for piece in template]
['images', 'pick ', 'object']
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from rt2data import prompts
from rt2data.errors import Rt2dataError, near

MAX_TEMPLATE = 20_000  # characters
MAX_OFFSET = 1000  # of `previous`, `next`, `step` and `frames`
MAX_FRAMES = 64  # of one slot

# Which rows of a track a placeholder takes, in which form objects are written, and of which step of the episode its
# value is; the others edit the text.
COUNTED = ("previous", "next")
LISTS = ("all", "remaining", "every", "ahead")
ROWS = (*COUNTED, *LISTS, "at")
STEP, FRAMES = "step", "frames"
DRAW = "draw"
SELECTS = (*ROWS, "camera", "role", "form", STEP, FRAMES, DRAW)
NAMED = ("camera", "role", "form", DRAW)  # their argument is a name
EDITS = (*prompts.OPERATIONS, "join", "or")
IMAGES = ("images", "image")
SAME = ("instruction", "robot", "control", "hz", "steps")  # values that are the same at each step of an episode
JOIN = ", "  # between the texts of a list
CALL_FORM = "say"  # the form of tool calls; those of boxes, points and traces are grounding tokenizers

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_NAME = re.compile(r"([a-z][a-z0-9_.]*)(?::([A-Za-z0-9_.-]+))?")
_CALL = re.compile(r"([a-z_]+)(?:\(([^()]*)\))?")
_OFFSET = re.compile("[+-]?[0-9]{1,4}")


class Picture(NamedTuple):
    """An image of a sample.

    Attributes:
        camera: that took it.
        step: how many steps away from the sample's own, as `history` counts them; negative before it.
        padded: whether the nearest image there is stands in where the episode has no such step; else there is none.
        drawing: what is drawn into it, by name; "" where it is as it was taken.
    """

    camera: str
    step: int = 0
    padded: bool = False
    drawing: str = ""

    @property
    def place(self) -> tuple[str, int, str]:
        """What tells it from other images of the sample."""
        return self.camera, self.step, self.drawing

    @property
    def taken(self) -> Picture:
        """The image as the camera took it, by whose name its columns go."""
        return self._replace(drawing="")

    @property
    def name(self) -> str:
        """What its columns and its member are named by: ``primary``, ``primary.h2`` before, ``primary.f2`` after; its
        member with a drawing ``primary.path``.
        """
        if self.drawing:
            return f"{self.camera}.{self.drawing}"
        return self.camera if not self.step else f"{self.camera}.{'h' if self.step < 0 else 'f'}{abs(self.step)}"


@dataclass(frozen=True, slots=True)
class Slot:
    """A placeholder.

    Attributes:
        name: of the value.
        argument: what stands behind a colon: the camera of an image slot; "" where there is none.
        selects: which rows of a track it takes, and of which step, (function, argument) each, in a fixed order.
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

    @property
    def step(self) -> int:
        """How many steps away from the sample's own its value is; 0 for its own."""
        return int(dict(self.selects).get(STEP, 0))

    @property
    def frames(self) -> tuple[int, ...]:
        """The steps of the images in its place, where it names them."""
        return _frames(dict(self.selects).get(FRAMES, ""))

    @property
    def drawing(self) -> str:
        """What is drawn into the image in its place, by name; "" for nothing."""
        return dict(self.selects).get(DRAW, "")

    def shifted(self, steps: int) -> Slot:
        """The placeholder of the value that many steps on: ``{state}`` of 10 steps before is ``{state|step(-10)}``."""
        if not steps or self.name in SAME:
            return self
        chosen = dict(self.selects)
        if frames := self.frames:
            chosen[FRAMES] = ",".join(str(frame + steps) for frame in frames)
        else:
            chosen[STEP] = str(self.step + steps)
        if chosen.get(STEP) == "0":
            del chosen[STEP]
        return replace(self, selects=tuple((name, chosen[name]) for name in SELECTS if name in chosen))

    def pictures(self, cameras: Sequence[str], history: int = 1) -> list[Picture]:
        """The images in the place of an image slot, those of one time together.

        Args:
            cameras: of the source.
            history: images of each camera, that of the step included.
        """
        if self.drawing:
            return [Picture(self.argument, drawing=self.drawing)]
        names = cameras if self.name == "images" else (self.argument,)
        if self.step:
            return [Picture(camera, self.step) for camera in names]
        steps = self.frames or range(0, -history, -1)
        return [Picture(camera, step, bool(step)) for step in steps for camera in names]

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
        if function in selects:
            raise Rt2dataError(where, f"{function} twice in {{{text}}}", "once")
        if function in EDITS:
            edits.append((function, argument))
        else:
            selects[function] = _argument(function, argument, f"{{{text}}}", where)
    if len(rules := [function for function in selects if function in ROWS]) > 1:
        raise Rt2dataError(where, f"{' and '.join(rules)} in {{{text}}}", f"one of {', '.join(ROWS)}")
    if named[1] in IMAGES and (edits or len(selects) != len(calls) or not selects.keys() <= {STEP, FRAMES, DRAW}):
        expected = "{images} or {image:CAMERA}, with step(N) or frames(N, N, ...)"
        raise Rt2dataError(where, f"functions of an image slot in {{{text}}}", expected)
    if FRAMES in selects and (named[1] not in IMAGES or STEP in selects):
        raise Rt2dataError(where, f"frames in {{{text}}}", "frames of {images} or {image:CAMERA}, without step")
    if DRAW in selects and (named[1] != "image" or len(selects) > 1):
        raise Rt2dataError(where, f"draw in {{{text}}}", "{image:CAMERA|draw(NAME)}")
    if STEP in selects and named[1] in SAME:
        raise Rt2dataError(where, f"step in {{{text}}}", f"{{{named[1]}}} alone: it is the same at each step")
    if selects.get(STEP) == "0":
        del selects[STEP]
    ordered = tuple((function, selects[function]) for function in SELECTS if function in selects)
    return Slot(named[1], named[2] or "", ordered, tuple(edits))


def _argument(function: str, argument: str, text: str, where: str) -> str:
    """Check the argument of a function that selects rows; a missing number is 1."""
    if function in (*COUNTED, "ahead"):
        argument = argument or "1"
        if not (re.fullmatch("[0-9]{1,4}", argument) and 1 <= int(argument) <= MAX_OFFSET):
            raise Rt2dataError(where, f"{function}({argument}) in {text}", f"a whole number from 1 to {MAX_OFFSET}")
        return str(int(argument))
    if function in (STEP, FRAMES):
        steps = argument.split(",") if function == FRAMES else [argument]
        if not all(_OFFSET.fullmatch(one.strip()) for one in steps) or len(steps) > MAX_FRAMES:
            expected = f"at most {MAX_FRAMES} whole numbers" if function == FRAMES else "a whole number"
            raise Rt2dataError(
                where, f"{function}({argument}) in {text}", f"{expected} from -{MAX_OFFSET} to {MAX_OFFSET}"
            )
        return check_steps([int(one) for one in steps], text, where)
    if function in NAMED and not argument:
        raise Rt2dataError(where, f"{function} without a name in {text}", f"{function}(NAME)")
    if function not in NAMED and argument:
        raise Rt2dataError(where, f"{function}({argument}) in {text}", f"{function} without an argument")
    return argument


def check_steps(steps: Sequence[int], text: str, where: str) -> str:
    """Return steps as they are written in a placeholder.

    Raises:
        Rt2dataError: a step that is too far away, or two that are the same.
    """
    if len(set(steps)) < len(steps) or not all(-MAX_OFFSET <= step <= MAX_OFFSET for step in steps):
        found = f"the steps {', '.join(map(str, steps))} in {text}"
        raise Rt2dataError(where, found, f"different whole numbers from -{MAX_OFFSET} to {MAX_OFFSET}")
    return ",".join(map(str, steps))


def _frames(argument: str) -> tuple[int, ...]:
    return tuple(map(int, argument.split(","))) if argument else ()


def shifted(template: Template, steps: int) -> Template:
    """A template with the values of the step that many steps on."""
    return tuple(piece.shifted(steps) if isinstance(piece, Slot) else piece for piece in template)


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
