"""The texts of a grounding form as a regular expression and as grammars, for servers that constrain a model.

Both have the same description: `_Language` goes through the form, and `_Regex` or `_Gbnf` writes each piece.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rt2data.errors import near
from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.grounding.form import Form, Joined
from rt2data.tokenizer.grounding.strings import Way, ways
from rt2data.tokenizer.grounding.template import CORNERS, Template
from rt2data.tokenizer.text.digits import DigitRanges, digit_ranges
from rt2data.tokenizer.text.grammar import FORMATS

MAX_NUMBERED = 256

_CONTROL = r"\x00-\x1f\x7f"


@dataclass(frozen=True, slots=True)
class Options:
    """What a regular expression or a grammar allows; see `GroundingTokenizer.regex`.

    Attributes:
        resized: width and height of the image whose pixels the form counts; None: of any.
    """

    labels: Sequence[str] | None
    kinds: tuple[str, ...]
    resized: tuple[int, int] | None
    count: bool
    most: int

    def check(self, form: Form) -> None:
        """Check the options against a form.

        Raises:
            ActionError: naming the option at fault.
        """
        where = f'grounding tokenizer "{form.name}"'
        for kind in self.kinds:
            if kind not in form.shapes:
                known = list(form.shapes)
                raise ActionError(
                    f"{where}: kinds", repr(kind)[:60], f"of {', '.join(known)}", near(str(kind)[:60], known)
                )
        if not self.kinds:
            raise ActionError(f"{where}: kinds", "none", f"of {', '.join(form.shapes)}")
        if not 1 <= self.most <= MAX_NUMBERED:
            raise ActionError(f"{where}: most", str(self.most)[:40], f"1..{MAX_NUMBERED}")
        if self.count and form.count is None:
            raise ActionError(where, "count=True", "a form that states the number of objects")
        if self.labels is not None:
            if isinstance(self.labels, str) or not self.labels or form.labelled is None:
                raise ActionError(
                    f"{where}: labels", repr(self.labels)[:60], "a list of labels, for a form that has them"
                )
            for label in self.labels:
                if fault := form.labels.fault(label):
                    raise ActionError(f"{where}: labels", repr(label)[:80], fault)
        elif any(way.template.names.count("label") > 1 for way in ways(form)):
            fault = "any label, which is written twice and must be the same both times"
            raise ActionError(f"{where}: labels", fault, "the labels that a model may write", "Pass labels=[...]")


def regex(form: Form, options: Options) -> str:
    """Return a regular expression whose strings all parse."""
    options.check(form)
    return _Language(form, options, _Regex()).whole()


def grammar(form: Form, notation: str, options: Options) -> str:
    """Return a grammar of the same strings.

    Raises:
        ActionError: another notation than those of FORMATS, or options that the form does not have.
    """
    if notation not in FORMATS:
        raise ActionError("grammar", repr(notation)[:60], f"one of {', '.join(FORMATS)}")
    options.check(form)
    if notation == "lark":
        return f"start: /{_Language(form, options, _Regex()).whole().replace('/', chr(92) + '/')}/\n"
    writer = _Gbnf()
    root = _Language(form, options, writer).whole()
    return "\n".join([f"root ::= {root}", *writer.rules.values()]) + "\n"


class _Writer(Protocol):
    """Writes the pieces of a language in one notation."""

    def text(self, text: str) -> str: ...
    def digits(self, name: str, found: Sequence[DigitRanges], point: int | None) -> str: ...
    def label(self, exclude: str, *, quoted: bool) -> str: ...
    def sequence(self, parts: Sequence[str]) -> str: ...
    def choice(self, parts: Sequence[str]) -> str: ...
    def repeat(self, part: str, sign: str) -> str: ...


class _Regex:
    """A regular expression without lookaround, backreferences or anchors, which the engines of servers do not have."""

    def text(self, text: str) -> str:
        escapes = {"\n": r"\n", "\t": r"\t"}
        return "".join(escapes.get(c) or (f"\\{c}" if c in r"\.[]{}()*+?|^$/" else c) for c in text).replace(r"\/", "/")

    def digits(self, name: str, found: Sequence[DigitRanges], point: int | None) -> str:
        ranges = [[f"{a}" if a == b else f"[{a}-{b}]" for a, b in way] for way in found]
        if point is not None:
            ranges = [[*way[:-point], r"\.", *way[-point:]] for way in ranges]
        return self.choice(["".join(way) for way in ranges])

    def label(self, exclude: str, *, quoted: bool) -> str:
        if quoted:
            inner, edge = rf'([^"\\{_CONTROL}]|\\["\\])', rf'([^ "\\{_CONTROL}]|\\["\\])'
        else:
            own = "".join(f"\\{c}" if c in r"\]^-[" else c for c in exclude)
            inner, edge = f"[^{own}{_CONTROL}]", f"[^ {own}{_CONTROL}]"
        return f"{edge}({inner}*{edge})?"

    def sequence(self, parts: Sequence[str]) -> str:
        return "".join(parts)

    def choice(self, parts: Sequence[str]) -> str:
        return parts[0] if len(parts) == 1 else f"({'|'.join(parts)})"

    def repeat(self, part: str, sign: str) -> str:
        return f"({part}){sign}"


class _Gbnf:
    """A grammar of llama.cpp and xgrammar: numbers and labels are rules of their own."""

    def __init__(self) -> None:
        self.rules: dict[str, str] = {}

    def text(self, text: str) -> str:
        return json.dumps(text, ensure_ascii=False) if text else ""

    def digits(self, name: str, found: Sequence[DigitRanges], point: int | None) -> str:
        ways = []
        for way in found:
            parts = [f'"{a}"' if a == b else f"[{a}-{b}]" for a, b in way]
            ways.append(" ".join(parts if point is None else [*parts[:-point], '"."', *parts[-point:]]))
        self.rules[name] = f"{name} ::= {' | '.join(ways)}"
        return name

    def label(self, exclude: str, *, quoted: bool) -> str:
        if quoted:
            escape = r' | "\\" ["\\]'
            inner, edge = rf'[^"\\{_CONTROL}]{escape}', rf'[^ "\\{_CONTROL}]{escape}'
        else:
            own = "".join(f"\\{c}" if c in r"\]^-[" else c for c in exclude)
            inner, edge = f"[^{own}{_CONTROL}]", f"[^ {own}{_CONTROL}]"
        self.rules["label"] = "label ::= edge (inner* edge)?"
        self.rules["inner"], self.rules["edge"] = f"inner ::= {inner}", f"edge ::= {edge}"
        return "label"

    def sequence(self, parts: Sequence[str]) -> str:
        return " ".join(part for part in parts if part)

    def choice(self, parts: Sequence[str]) -> str:
        return parts[0] if len(parts) == 1 else f"({' | '.join(parts)})"

    def repeat(self, part: str, sign: str) -> str:
        return f"({part}){sign}"


class _Language:
    """Goes through a form and has a writer write each piece."""

    def __init__(self, form: Form, options: Options, writer: _Writer) -> None:
        self._form, self._options, self._out = form, options, writer
        self._ways = [
            way for way in ways(form) if way.kind in options.kinds and (way.labelled or options.labels is None)
        ]

    def whole(self) -> str:
        """Every text that is allowed."""
        form, out = self._form, self._out
        none = [out.text(form.none)] if form.none is not None else []
        if form.count is not None and self._options.count:
            totals = range(1, self._options.most + 1)
            counts = [
                self._template(form.count, {"objects": self._exactly(k), "count": out.text(str(k))}) for k in totals
            ]
            return out.choice([*none, *counts])
        one = out.choice([element for way in self._ways for element in self._elements(way)])
        objects = (
            [one] if form.separator is None else [one, out.repeat(self._sequence(out.text(form.separator), one), "*")]
        )
        some = self._sequence(out.text(form.opening), *objects, out.text(form.closing))
        return out.choice([some, *(n or out.text("") for n in none)]) if none != [""] else out.repeat(some, "?")

    def _exactly(self, number: int) -> str:
        """A number of objects with one label, which stand together where the form has that."""
        form, out = self._form, self._out
        elements = []
        for way in self._ways:
            joined = way.joined is not None and not (form.several and form.several.apart)
            if joined and number >= way.least:
                elements += self._around(way, self._join(way, number))
            elif not joined and (number == 1 or not self._has_joined(way)):
                once = self._around(way, self._join(way, 1))
                separator = out.text(form.separator or "")
                elements += [self._sequence(*([one, separator] * number)[:-1]) for one in once]
        return self._sequence(out.text(form.opening), out.choice(elements), out.text(form.closing))

    def _has_joined(self, way: Way) -> bool:
        return any(w.joined is not None and (w.kind, w.labelled) == (way.kind, way.labelled) for w in self._ways)

    def _elements(self, way: Way) -> list[str]:
        """The objects of one kind, with or without a label, one or several: an element for each label."""
        form = self._form
        if way.kind == "trace" and form.trace is not None and form.trace_point is not None:
            numbered = "i" in form.trace_point.names
            if numbered:
                points = self._numbered(form.trace_point, form.trace, 1)
            else:
                points = self._star(self._shape(form.trace_point, 0), form.trace.separator, "*")
            return self._around(way, self._template(way.shape, {"points": points}))
        if way.joined is None:
            return self._around(way, self._shape(way.shape, 0))
        if "i" in way.shape.names:
            return self._around(way, self._numbered(way.shape, way.joined, way.least))
        return self._around(
            way, self._star(self._shape(way.shape, 0), way.joined.separator, "*" if way.least == 1 else "+")
        )

    def _star(self, one: str, separator: str, sign: str) -> str:
        return self._sequence(one, self._out.repeat(self._sequence(self._out.text(separator), one), sign))

    def _numbered(self, shape: Template, joined: Joined, least: int) -> str:
        """Shapes with their numbers, of which those beyond the least may be missing."""
        separator, rest = self._out.text(joined.separator), ""
        for index in reversed(range(max(self._options.most, least))):
            part = self._shape(shape, joined.first + index)
            part = self._sequence(separator, part, rest) if index else self._sequence(part, rest)
            rest = part if index < least else self._out.repeat(part, "?")
        return rest

    def _join(self, way: Way, number: int) -> str:
        """So many shapes."""
        joined = way.joined or Joined("", 1)
        parts = [self._shape(way.shape, i) for i in range(joined.first, joined.first + number)]
        separator = self._out.text(joined.separator)
        return self._sequence(*[piece for part in parts for piece in (separator, part)][1:])

    def _around(self, way: Way, shapes: str) -> list[str]:
        """The template of objects around their shapes: one text for each allowed label, or one for any."""
        labels = self._labels(way)
        return [self._template(way.template, {"shapes": shapes, "label": label}) for label in labels]

    def _labels(self, way: Way) -> list[str]:
        rules, out = self._form.labels, self._out
        if not way.labelled:
            return [""]
        if self._options.labels is not None:
            texts = list(dict.fromkeys(rules.write(label) for label in self._options.labels))
            twice = way.template.names.count("label") > 1
            return [out.text(t) for t in texts] if twice else [out.choice([out.text(t) for t in texts])]
        if rules.classes is not None:
            last = rules.classes.offset + (len(rules.classes.names) or rules.classes.count)
            return [out.digits("class", digit_ranges(rules.classes.offset + 1, last), None)]
        label = out.label(rules.exclude, quoted=rules.quoted)
        return [self._sequence(out.text('"'), label, out.text('"')) if rules.quoted else label]

    def _shape(self, shape: Template, index: int) -> str:
        values = {name: self._number(name) for name in shape.names if name != "i"}
        return self._template(shape, values | {"i": self._out.text(str(index))})

    def _number(self, name: str) -> str:
        form, out = self._form, self._out
        numbers, axis = form.numbers, "y" if name.startswith("y") else "x"
        size = None if self._options.resized is None else self._options.resized[axis == "y"]
        rule = "corner" if name in CORNERS else axis if numbers.scale is None else "number"
        if numbers.rounding == "exact":
            whole = out.digits("number", digit_ranges(0, (numbers.scale or 1) - 1), None)
            digit = out.digits("digit", [((0, 9),)], None)
            more = ""  # nested: a row of optional digits could be read in many ways
            for _ in range(19):
                more = out.repeat(self._sequence(digit, more), "?")
            fraction = out.repeat(self._sequence(out.text("."), digit, more), "?")
            digits = self._sequence(whole, fraction)
        else:
            last = form.number.last(numbers, name in CORNERS, size)
            point = numbers.decimals or None
            found = digit_ranges(numbers.offset, numbers.offset + last, max(form.number.digits, numbers.decimals + 1))
            digits = out.digits(rule, found, point)
        return self._sequence(out.text(form.number.before), digits, out.text(form.number.after))

    def _template(self, template: Template, values: dict[str, str]) -> str:
        return self._sequence(*(values[p] if odd & 1 else self._out.text(p) for odd, p in enumerate(template.parts)))

    def _sequence(self, *parts: str) -> str:
        return self._out.sequence(parts)
