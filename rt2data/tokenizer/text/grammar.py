"""The action strings of a tokenizer as a regular expression and as grammars, for servers that constrain a model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from itertools import groupby

from rt2data.prompts import MARKER, REASONING_MARKER
from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.schemes.fast import Merges
from rt2data.tokenizer.text.action_string import Field, MergedText, NoText, TemplateText, Text, TokenText
from rt2data.tokenizer.text.digits import DigitRanges, digit_ranges
from rt2data.tokenizer.text.list_text import ListText

FORMATS = ("gbnf", "ebnf", "lark")

# One way to write numbers: a sign and a range for each digit, such as ("", ((2, 2), (0, 4), (0, 9))) for 200..249.
Digits = tuple[str, DigitRanges]


def regex(text: Text | MergedText, *, plan: bool) -> str:
    """Return a regular expression that matches the action strings and no others.

    Args:
        text: the text form.
        plan: whether reasoning and the marker come before the action.

    Returns:
        A pattern without lookaround, backreferences or anchors, which the engines of servers do not have.
    """
    if (template := _template(text)) is not None:
        before, head, tail, behind = (re.escape(part).replace(r"\ ", " ") for part in template)
        out = f"{before}({head}{_number_regex(text.fields[0])}{tail}){{{len(text.fields)}}}{behind}"
        return f"{REASONING_MARKER} {_reasoning_regex()} {MARKER} {out}" if plan else out
    runs = [(pattern, len(list(run))) for pattern, run in groupby(_number_regex(f) for f in _fields(text))]
    if isinstance(text, ListText):
        out = _list_regex(text)
    elif isinstance(text, TokenText):
        form = _padded_regex(text.digits) if text.digits else _number_regex
        runs = [(pattern, len(list(run))) for pattern, run in groupby(form(f) for f in text.fields)]
        repeated = (f"({text.before}{pattern}>)" + (f"{{{n}}}" if n > 1 else "") for pattern, n in runs)
        out = text.begin + "".join(repeated) + text.end
    else:
        first, count = runs[0]
        out = text.lead + first
        for pattern, more in [(first, count - 1), *runs[1:]]:
            if more:
                out += f"( {pattern})" + (f"{{{more}}}" if more > 1 else "")
    return f"{REASONING_MARKER} {_reasoning_regex()} {MARKER}{'' if text.lead else ' '}{out}" if plan else out


def grammar(text: Text | MergedText, form: str, *, plan: bool) -> str:
    """Return a grammar of the action strings.

    Args:
        text: the text form.
        form: "gbnf" (llama.cpp), "ebnf" (xgrammar; the same notation) or "lark" (outlines, llguidance).
        plan: whether reasoning and the marker come before the action.

    Raises:
        ActionError: another form, or a tokenizer with merges.
    """
    if form not in FORMATS:
        raise ActionError("grammar", repr(form), f"one of {', '.join(FORMATS)}")
    template = _template(text)
    fields = text.fields if template else _fields(text)
    other = {(f.numbers, f.first) for f in fields if f.name != "terminate"}
    names = {
        (f.numbers, f.first): "flag" if f.name == "terminate" else "bin" if len(other) == 1 else f.name for f in fields
    }
    kinds = {names[f.numbers, f.first]: f for f in fields}
    if isinstance(text, ListText):
        kinds = {}
        sequence = f'"[" {_commas("step", text.count // text.width)} "]"'
    elif isinstance(text, TokenText):
        each = [f'"{text.before}" {names[f.numbers, f.first]} ">"' for f in fields]
        begin, end = ([f'"{token}"'] if token else [] for token in (text.begin, text.end))
        sequence = " ".join([*begin, *each, *end])
    elif template:
        front, head, tail, behind = (json.dumps(part, ensure_ascii=False) if part else "" for part in template)
        each = [f"{head} {names[f.numbers, f.first]} {tail}" for f in fields]
        sequence = " ".join(part for part in (front, *each, behind) if part)
    else:
        sequence = ' " " '.join(names[f.numbers, f.first] for f in fields)
    if text.lead and not plan:  # the reasoning ends with a space
        sequence = f'"{text.lead}" {sequence}'
    padded = text.digits if isinstance(text, TokenText) else 0
    if form == "lark":
        pattern = _padded_regex(padded) if padded else _number_regex
        start = f'"{REASONING_MARKER} " /{_reasoning_regex()} {MARKER} /' if plan else ""
        rules = [f"start: {start} {sequence}", *(f"{name}: /{pattern(f)}/" for name, f in kinds.items())]
        rules += _list_rules(text, ":")
        return "\n".join(rules) + "\n"
    ways = {name: _padded(f.numbers, padded) if padded else _ways(f.numbers) for name, f in kinds.items()}
    rules = [f"{name} ::= " + " | ".join(map(_gbnf, own)) for name, own in ways.items()] + _list_rules(text, " ::=")
    before = [f'root ::= "{REASONING_MARKER} " plan {sequence}', *_reasoning_rules()]
    return "\n".join([*(before if plan else [f"root ::= {sequence}"]), *rules]) + "\n"


def _list_regex(text: ListText) -> str:
    one = "(" + "|".join(map(re.escape, text.strings)) + ")"
    step = rf"\[{one}" + (f"(, {one}){{{text.width - 1}}}" if text.width > 1 else "") + r"\]"
    steps = text.count // text.width
    return rf"\[{step}" + (f"(, {step}){{{steps - 1}}}" if steps > 1 else "") + r"\]"


def _list_rules(text: Text | MergedText, way: str) -> list[str]:
    """The rules of a step of a text of lists, and of its strings."""
    if not isinstance(text, ListText):
        return []
    strings = " | ".join(f'"{string}"' for string in text.strings)
    return [f'step{way} "[" {_commas("bin", text.width)} "]"', f"bin{way} {strings}"]


def _commas(name: str, count: int) -> str:
    return ' ", " '.join([name] * count)


def _reasoning_regex() -> str:
    """The pattern of a text without a line break and without the marker, whose first letter occurs in it once.

    Behind that letter either the marker breaks off before its end, or the letter comes again and begins a new one.
    """
    first, last = MARKER[0], MARKER[-1]
    begun, broken = "", rf"[^{first}{last}\n]"
    for letter in reversed(MARKER[1:-1]):
        begun, broken = f"({letter}{begun})?", rf"([^{first}{letter}\n]|{letter}{broken})"
    return rf"([^{first}\n]|{first}({begun}{first})*{broken})*({first}({begun}{first})*{begun})?"


def _reasoning_rules() -> list[str]:
    """The same text, with the marker behind it, as rules: ``plan3`` has read three letters of the marker."""
    end, first = f'" {MARKER} "', MARKER[0]
    rules = [rf'plan ::= {end} | "{first}" plan1 | [^{first}\n] plan']
    for read, letter in enumerate(MARKER[1:-1], 1):
        rules.append(rf'plan{read} ::= {end} | "{first}" plan1 | "{letter}" plan{read + 1} | [^{first}{letter}\n] plan')
    return [*rules, rf'plan{len(MARKER) - 1} ::= {end} | "{first}" plan1 | [^{first}{MARKER[-1]}\n] plan']


def _template(text: Text | MergedText) -> tuple[str, str, str, str] | None:
    """The texts before all ids, before and behind each, and behind all, of ids in a template that are not merged."""
    if not isinstance(text, TemplateText) or not isinstance(text.merges, Merges) or text.merges.ranks:
        return None
    before, one, behind = text.template
    head, _, tail = one.partition("{}")
    return before, head, tail, behind


def _fields(text: Text | MergedText) -> Sequence[Field]:
    if isinstance(text, NoText):
        raise ActionError("grammar", "a scheme without bins, whose actions are floats", "one with bins")
    if isinstance(text, MergedText):
        raise ActionError(
            "grammar",
            "a tokenizer with merges, whose strings have as many fields as they need",
            "one without",
            "Constrain by token ids: allowed_token_ids",
        )
    return text.fields


def _ways(numbers: range | tuple[int, ...]) -> list[Digits]:
    """All ways to write the numbers, those of most digits first."""
    if not isinstance(numbers, range):
        return [("", tuple((int(c), int(c)) for c in str(n))) for n in numbers]
    ways = [("", w) for w in digit_ranges(0, numbers[-1])]
    if numbers[0] < 0:
        ways += [("-", w) for w in digit_ranges(1, -numbers[0])]
    return ways


def _padded(numbers: range | tuple[int, ...], digits: int) -> list[Digits]:
    """All ways to write the numbers with so many digits."""
    return [("", way) for way in digit_ranges(numbers[0], numbers[-1], digits)]


def _padded_regex(digits: int) -> Callable[[Field], str]:
    def pattern(field: Field) -> str:
        ways = (way for _, way in _padded(field.numbers, digits))
        return "(" + "|".join("".join(f"{a}" if a == b else f"[{a}-{b}]" for a, b in way) for way in ways) + ")"

    return pattern


def _number_regex(field: Field) -> str:
    ways = _ways(field.numbers)
    if all(len(digits) == 1 and not sign and a == b for sign, digits in ways for a, b in digits):
        return "[" + "".join(str(digits[0][0]) for _, digits in ways) + "]"
    return (
        "("
        + "|".join(sign + "".join(f"{a}" if a == b else f"[{a}-{b}]" for a, b in digits) for sign, digits in ways)
        + ")"
    )


def _gbnf(way: Digits) -> str:
    sign, digits = way
    literal = sign + "".join(str(a) for a, b in digits if a == b)
    fixed = len([1 for a, b in digits if a == b])
    parts = ([f'"{literal}"'] if literal else []) + [f"[{a}-{b}]" for a, b in digits[fixed:]]
    return " ".join(parts)
