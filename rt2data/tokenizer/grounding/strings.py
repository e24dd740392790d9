"""The text of objects in a grounding form: write it, and read nothing else than what the form allows.

Reading is strict: the form's own characters, canonical numbers in their range, labels that can be written. A form in
which several objects may stand behind one label is read in every such grouping.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from rt2data.tokenizer.errors import ActionError, GroundingParseError
from rt2data.tokenizer.grounding.form import Form, Joined
from rt2data.tokenizer.grounding.template import AXES, CORNERS, Template
from rt2data.tokenizer.grounding.values import Parsed

MAX_TEXT = 1 << 20

_ALONE = Joined("", 1)


class Way(NamedTuple):
    """One way to write objects of a kind.

    Attributes:
        kind: "box", "point" or "trace".
        labelled: whether they have a label.
        template: around the shapes and the label.
        shape: of one object.
        joined: how several shapes stand together; None where there is only one.
        least: the fewest shapes.
    """

    kind: str
    labelled: bool
    template: Template
    shape: Template
    joined: Joined | None
    least: int


def ways(form: Form) -> list[Way]:
    """Return every way in which a form writes objects; of a kind, those of several objects first."""
    out = []
    templates = ((labelled, t) for labelled, t in ((True, form.labelled), (False, form.bare)) if t is not None)
    for labelled, template in templates:
        for kind, shape in form.shapes.items():
            several = form.several if kind != "trace" else None
            if several is None:
                out.append(Way(kind, labelled, template, shape, None, 1))
            elif several.labelled is None and kind not in several.shapes:
                out.append(Way(kind, labelled, template, shape, several.joined, 1))
            else:
                if labelled:
                    own, more = several.labelled or template, several.shapes.get(kind, shape)
                    out.append(Way(kind, labelled, own, more, several.joined, 2))
                out.append(Way(kind, labelled, template, shape, None, 1))
    return out


class Strings:
    """Formats and parses the objects of one form."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._ways = ways(form)
        self._one = {(w.kind, w.labelled): w for w in self._ways}  # the last of a kind is that of one object
        self._several = {(w.kind, w.labelled): w for w in self._ways if w.joined is not None}
        if form.several is not None and form.several.apart:
            self._several = {}
        self._patterns = [(way, re.compile(self._whole(way))) for way in self._ways]
        shapes = [w.shape for w in self._ways] + ([] if form.trace_point is None else [form.trace_point])
        self._shapes = {shape: re.compile(self._loose(shape, "(")) for shape in shapes}
        self._count: re.Pattern[str] | None = None
        if form.count is not None:
            groups = {"objects": "(?P<objects>.*)", "count": "(?P<count>[0-9]{1,6})"}
            self._count = re.compile(_pattern(form.count, groups), re.DOTALL)

    # Writing

    def write(self, parsed: Sequence[Parsed], *, count: bool = False) -> str:
        """Return the text of objects whose kinds and labels the form has.

        Raises:
            ActionError: none or several objects, or a mixture of labels, where the form cannot say that.
        """
        form = self._form
        where = f'grounding tokenizer "{form.name}"'
        if count and form.count is None:
            raise ActionError(where, "count=True", "a form that states the number of objects")
        if not parsed:
            if form.none is None:
                raise ActionError(where, "no objects", "at least one: the form has no text for none")
            return form.none
        if form.separator is None and len(parsed) > 1:
            raise ActionError(where, f"{len(parsed)} objects", "one: the form has no text for several")
        if count and len({p.label for p in parsed}) > 1:
            raise ActionError(where, "a count of several labels", "objects of one label")
        if not form.ordered:
            places = {p.label: place for place, p in reversed(list(enumerate(parsed)))}
            parsed = sorted(parsed, key=lambda p: (places[p.label], p.numbers))
        text = f"{form.opening}{(form.separator or '').join(self._elements(parsed, where))}{form.closing}"
        return form.count.fill({"objects": text, "count": str(len(parsed))}) if count and form.count else text

    def _elements(self, parsed: Sequence[Parsed], where: str) -> Iterator[str]:
        """The text of each object, or of each run of objects that stand behind one label."""
        apart, before = self._form.several is not None and not self._several, ""
        for (kind, label), run in groupby(parsed, key=lambda p: (p.kind, p.label)):
            if apart and before and not label:
                fault = f"an object without a label behind one with {before[:60]!r}"
                raise ActionError(where, fault, "a label for it: it would be read as another of those")
            before = label
            one, several = self._one[kind, bool(label)], self._several.get((kind, bool(label)))
            numbers = [p.numbers for p in run]
            if several is not None and len(numbers) > 1:
                yield self._element(several, label, numbers)
            else:
                yield from (self._element(one, label, [n]) for n in numbers)

    def _element(self, way: Way, label: str, numbers: list[tuple[float, ...]]) -> str:
        joined = way.joined or _ALONE
        shapes = joined.separator.join([self._shape(way.shape, n, i) for i, n in enumerate(numbers, joined.first)])
        return way.template.fill({"shapes": shapes, "label": self._form.labels.write(label) if label else ""})

    def _shape(self, shape: Template, numbers: tuple[float, ...], index: int) -> str:
        form = self._form
        if shape.names == ("points",) and form.trace is not None and form.trace_point is not None:
            pairs = enumerate(zip(numbers[::2], numbers[1::2], strict=True), form.trace.first)
            points = [self._shape(form.trace_point, pair, i) for i, pair in pairs]
            return shape.fill({"points": form.trace.separator.join(points)})
        values = {"i": str(index)}
        for name in shape.names:
            if name in AXES:
                values[name] = form.number.write(form.numbers, numbers[AXES[name]])
            elif name in CORNERS:
                column, row = numbers[CORNERS[name] : CORNERS[name] + 2]
                values[name] = form.number.write(form.numbers, row * (form.numbers.scale or 1) + column)
        return shape.fill(values)

    # Reading

    def read(self, text: str) -> list[Parsed]:
        """Parse a text.

        Raises:
            GroundingParseError: with the object and the column at fault.
        """
        form, begin, count = self._form, 0, None
        if not isinstance(text, str):
            raise ActionError("text", f"a {type(text).__name__}", "a string")
        if len(text) > MAX_TEXT:
            raise GroundingParseError(text[:200], None, 0, f"{len(text)} characters; expected at most {MAX_TEXT}")
        if form.none is not None and text == form.none:
            return []
        end = len(text)
        if self._count is not None and (match := self._count.fullmatch(text)):
            begin, end = match.span("objects")
            count = match["count"]
        if not text.startswith(form.opening, begin, end):
            raise GroundingParseError(text, None, begin, f"expected {form.opening!r}")
        start, stop = begin + len(form.opening), end - len(form.closing)
        if stop < start or not text.startswith(form.closing, stop, end):
            raise GroundingParseError(text, None, end, f"expected {form.closing!r} at the end")
        parsed = list(self._objects(text, start, stop))
        if count is not None and count != str(len(parsed)):
            raise GroundingParseError(text, None, end, f"a total of {count}, of {len(parsed)} objects")
        return parsed

    def _objects(self, text: str, at: int, stop: int) -> Iterator[Parsed]:
        number = 1
        while True:
            tried = ((way, pattern.match(text, at, stop)) for way, pattern in self._patterns)
            way, match = next(((way, match) for way, match in tried if match), (None, None))
            if way is None or match is None:
                kinds = " or ".join(f"a {kind}" for kind in self._form.shapes)
                raise GroundingParseError(text, number, at, f"{text[at : at + 40]!r} does not begin with {kinds}")
            label = self._label(text, match, number) if way.labelled else ""
            for numbers in self._numbers(text, match, way, number):
                yield Parsed(way.kind, numbers, label)
                number += 1
            at, more = match.end(), match.groupdict().get("more")
            if more is None:
                return
            if at == stop and more:
                raise GroundingParseError(text, number, at, f"nothing behind {more!r}")

    def _label(self, text: str, match: re.Match[str], number: int) -> str:
        try:
            return self._form.labels.read(match["label"])
        except ValueError as e:
            raise GroundingParseError(text, number, match.start("label"), str(e)) from None

    def _numbers(self, text: str, match: re.Match[str], way: Way, number: int) -> Iterator[tuple[float, ...]]:
        """The numbers of each object of a match."""
        trace, point = self._form.trace, self._form.trace_point
        if way.kind == "trace" and trace is not None and point is not None:
            pairs = self._joined(text, match.span("points"), point, trace, number)
            yield tuple(n for pair in pairs for n in pair)
        else:
            yield from self._joined(text, match.span("shapes"), way.shape, way.joined or _ALONE, number)

    def _joined(
        self, text: str, span: tuple[int, int], shape: Template, joined: Joined, number: int
    ) -> Iterator[tuple[float, ...]]:
        """The numbers of each shape in a span, which is known to be shapes with separators between them."""
        at, index = span[0], joined.first
        while match := self._shapes[shape].match(text, at, span[1]):
            values = [0.0] * (2 if "x" in shape.names else 4)
            for place, name in enumerate(shape.names, 1):
                try:
                    self._value(match[place], name, values, index)
                except ValueError as e:
                    raise GroundingParseError(text, number, match.start(place), str(e)) from None
            yield tuple(values)
            at, index = match.end() + len(joined.separator), index + 1

    def _value(self, written: str, name: str, values: list[float], index: int) -> None:
        """Put what is written for a placeholder into the values of a shape."""
        form = self._form
        if name == "i":
            if written != str(index):
                raise ValueError(f"the number {written} in place of {index}")
        elif name in CORNERS:
            cell = int(form.number.read(form.numbers, written, index=True))
            values[CORNERS[name] + 1], values[CORNERS[name]] = divmod(cell, form.numbers.scale or 1)
        else:
            values[AXES[name]] = form.number.read(form.numbers, written, index=False)

    # Patterns, which take any number and most labels: what is read is then checked, for an error that says more

    def _whole(self, way: Way) -> str:
        """Return the pattern of objects, and of the separator behind them, or the end."""
        form = self._form
        if way.kind == "trace" and form.trace is not None and form.trace_point is not None:
            point, separator = self._loose(form.trace_point, "(?:"), re.escape(form.trace.separator)
            shapes = _pattern(way.shape, {"points": f"(?P<points>{point}(?:{separator}{point})*)"})
        else:
            shapes = self._loose(way.shape, "(?:")
            if way.joined is not None:
                shapes += f"(?:{re.escape(way.joined.separator)}{shapes}){'*' if way.least == 1 else '+'}"
        groups = {"shapes": f"(?P<shapes>{shapes})", "label": f"(?P<label>{form.labels.loose()})"}
        more = "" if form.separator is None else f"|(?P<more>{re.escape(form.separator)})"
        return _pattern(way.template, groups) + rf"(?:\Z{more})"

    def _loose(self, shape: Template, group: str) -> str:
        """Return a pattern of one shape, each of whose placeholders is a group that begins with `group`."""
        number = self._form.number.loose(self._form.numbers, group)
        return _pattern(shape, dict.fromkeys((*AXES, *CORNERS), number) | {"i": f"{group}[0-9]{{1,6}})", "points": ""})


def _pattern(template: Template, groups: dict[str, str]) -> str:
    """Return the pattern of a template; a label that comes again must have the same text."""
    out, labels = "", 0
    for odd, part in enumerate(template.parts):
        if not odd & 1:
            out += re.escape(part)
        else:
            out += "(?P=label)" if part == "label" and labels else groups[part]
            labels += part == "label"
    return out
