"""The strings of a tokenizer as a regular expression and as grammars, for servers that constrain what a model
writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.text.action_string import Field, MergedText, Text

FORMATS = ("gbnf", "ebnf", "lark")

# One way to write numbers: a sign and a range for each digit, such as ("", ((2, 2), (0, 4), (0, 9))) for 200..249.
Digits = tuple[str, tuple[tuple[int, int], ...]]


# A plan (RT-2's chain of thought): no line break, and nowhere "Action:". Written without lookaround, which the engines
# of servers do not have: behind an A, either the marker breaks off before its colon, or another A begins.
_BEGUN = "(c(t(i(o(n)?)?)?)?)?"
_BROKEN = r"([^Ac\n]|c([^At\n]|t([^Ai\n]|i([^Ao\n]|o([^An\n]|n[^A:\n])))))"
_PLAN = rf"([^A\n]|A({_BEGUN}A)*{_BROKEN})*(A({_BEGUN}A)*{_BEGUN})?"

# The same as rules: `plan` has seen nothing of the marker, `plan1` its first letter, and so on.
_PLAN_RULES = [
    r'plan ::= " Action: " | "A" plan1 | [^A\n] plan',
    *(rf'plan{i} ::= " Action: " | "A" plan1 | "{c}" plan{i + 1} | [^A{c}\n] plan' for i, c in enumerate("ction", 1)),
    r'plan6 ::= " Action: " | "A" plan1 | [^A:\n] plan',
]


def regex(text: Text | MergedText, *, plan: bool) -> str:
    """A regular expression that matches the canonical strings and no others: no lookaround, backreference or anchor."""
    runs = [(pattern, len(list(run))) for pattern, run in groupby(_number_regex(f) for f in _fields(text))]
    first, count = runs[0]
    out = text.lead + first
    for pattern, more in [(first, count - 1), *runs[1:]]:
        if more:
            out += f"( {pattern})" + (f"{{{more}}}" if more > 1 else "")
    return f"Plan: {_PLAN} Action:{'' if text.lead else ' '}{out}" if plan else out


def grammar(text: Text | MergedText, form: str, *, plan: bool) -> str:
    """A grammar of the canonical strings: "gbnf" (llama.cpp), "ebnf" (xgrammar; the same notation) or "lark" (outlines,
    llguidance).
    """
    if form not in FORMATS:
        raise ActionError("grammar", repr(form), f"one of {', '.join(FORMATS)}")
    fields = _fields(text)
    names = {(f.numbers, f.first): "flag" if f.name == "terminate" else "bin" for f in fields}
    kinds = {names[f.numbers, f.first]: f for f in fields}
    sequence = ' " " '.join(names[f.numbers, f.first] for f in fields)
    if text.lead and not plan:  # the plan ends with a space
        sequence = f'"{text.lead}" {sequence}'
    if form == "lark":
        start = rf'"Plan: " /{_PLAN} Action: /' if plan else ""
        rules = [f"start: {start} {sequence}", *(f"{name}: /{_number_regex(f)}/" for name, f in kinds.items())]
        return "\n".join(rules) + "\n"
    rules = [f"{name} ::= " + " | ".join(map(_gbnf, _ways(f.numbers))) for name, f in kinds.items()]
    root = [f'root ::= "Plan: " plan {sequence}', *_PLAN_RULES] if plan else [f"root ::= {sequence}"]
    return "\n".join([*root, *rules]) + "\n"


def _fields(text: Text | MergedText) -> Sequence[Field]:
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
    ways = [("", w) for w in _upto(numbers[-1], 0)]
    if numbers[0] < 0:
        ways += [("-", w) for w in _upto(-numbers[0], 1)]
    return ways


def _upto(high: int, low: int) -> list[tuple[tuple[int, int], ...]]:
    """The integers low..high without leading zeros, low being 0 or 1."""
    digits = [int(c) for c in str(high)]
    ways = []
    for i, digit in enumerate(digits):
        least = (low if len(digits) == 1 else 1) if i == 0 else 0
        most = digit if i == len(digits) - 1 else digit - 1
        if most >= least:
            ways.append((*((d, d) for d in digits[:i]), (least, most), *([(0, 9)] * (len(digits) - 1 - i))))
    shorter = range(len(digits) - 1, 0, -1)
    return ways + [((low if length == 1 else 1, 9), *([(0, 9)] * (length - 1))) for length in shorter]


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
