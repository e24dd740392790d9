"""Text: the canonical string and no other; errors that say where; regular expressions and grammars of it."""

from __future__ import annotations

import os
import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import scalar_tokenizer as reference

from rt2data.tokenizer import ActionError, ActionParseError, ActionTokenizer
from rt2data.tokenizer.text.action_string import Text

NAMES = ["rt2", "rt2-language-table", "rt1", "rt1-base", "rt1x", "openvla", "octo-normal", "dexbotic-255", "gato"]
TRIES = int(os.environ.get("RT2DATA_TRIES", "200"))
GOOD = "1 128 91 241 5 101 127 217"


def fields(tok: ActionTokenizer) -> list[tuple[int, int, int]]:
    """The fields of the reference: lowest and highest number, number of bin 0."""
    spec = tok.spec
    dims = [(spec.first, spec.first + spec.bins - 1, spec.first)] * len(spec.dims)
    if spec.terminate is not None:
        dims.insert(0, (spec.terminate.symbols[0], spec.terminate.symbols[-1], 0))
    return dims * spec.horizon


def draw(tok: ActionTokenizer, rng: np.random.Generator, count: int) -> np.ndarray:
    columns = [rng.integers(low - first, high - first + 1, count) for low, high, first in fields(tok)]
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("horizon", [1, 3])
def test_there_and_back_as_the_reference(name: str, horizon: int) -> None:
    tok = ActionTokenizer.from_pretrained(name).with_horizon(horizon)
    spec, bins = fields(tok), draw(tok, np.random.default_rng(1), 300)
    lines = tok.format(bins)
    assert lines == [reference.write(row, spec, tok.spec.lead) for row in bins.tolist()]
    assert lines == [tok.format(row) for row in bins]
    assert [reference.parse(line, spec, tok.spec.lead) for line in lines] == bins.tolist()
    np.testing.assert_array_equal(tok.parse(lines), bins)


@pytest.mark.parametrize(
    ("text", "field", "column", "reason"),
    [
        ("", None, 0, "the string is empty; expected 8 integers"),
        ("1 128 91 300 5 101 127 217", 4, 9, "300 is not in 0..255"),
        ("2 128 91 241 5 101 127 217", 1, 0, "2 is not 0 or 1"),
        ("1 128 91 241 5 101 127", 8, 22, "7 fields; expected 8"),
        ("1 128 91 241 5 101 127 217 3", 9, 27, "more than 8 fields"),
        (" 1 128 91 241 5 101 127 217", 1, 0, "'' is no number: one space too many"),
        ("1 128 91 241 5 101 127 217 ", 9, 27, "more than 8 fields"),
        ("1  128 91 241 5 101 127 21", 2, 2, "'' is no number: one space too many"),
        ("1 128 91 241 5 101 127 217\n", 8, 23, "'217\\n' is not a decimal integer"),
        ("1 128 91 241 5 101 127\t217", 7, 19, "'127\\t217' is not a decimal integer"),
        ("1 128 91 241 5 101 127 ٢١٧", 8, 23, "'\\u0662\\u0661\\u0667' is not a decimal integer"),
        ("1 128 91 241 5 101 127 ²¹", 8, 23, "'\\xb2\\xb9' is not a decimal integer"),
        ("1 +28 91 241 5 101 127 217", 2, 2, "'+28' is not a decimal integer"),
        ("1 -28 91 241 5 101 127 217", 2, 2, "-28 is not in 0..255"),
        ("1 -0 91 241 5 101 127 217", 2, 2, "-0 is not the canonical form of a number"),
        ("1 028 91 241 5 101 127 217", 2, 2, "028 is not the canonical form of a number"),
        ("1 1.0 91 241 5 101 127 217", 2, 2, "'1.0' is not a decimal integer"),
        ("1 1e2 91 241 5 101 127 217", 2, 2, "'1e2' is not a decimal integer"),
        ("1 1_0 91 241 5 101 127 217", 2, 2, "'1_0' is not a decimal integer"),
        ("1 128 91 241 5 101 127 21\0", 8, 23, "'21\\x00' is not a decimal integer"),
        ("1,128,91,241,5,101,127,217", 1, 0, "'1,128,91,241'... is not a decimal integer"),
        ("</s>", 1, 0, "'</s>' is not a decimal integer"),
    ],
)
def test_what_is_no_action(text: str, field: int | None, column: int, reason: str) -> None:
    tok = ActionTokenizer.from_pretrained("rt2")
    with pytest.raises(ActionParseError) as caught:
        tok.parse(text)
    assert (caught.value.field, caught.value.column, caught.value.reason) == (field, column, reason)
    assert reference.parse(text, fields(tok)) is None


def test_a_leading_space_belongs_to_dexbotics_strings() -> None:
    tok = ActionTokenizer.from_pretrained("dexbotic-255")
    text = " 0 64 127 190 254 254 0"
    assert tok.format(tok.parse(text)) == text
    with pytest.raises(ActionParseError, match="no space before the first field"):
        tok.parse(text[1:])


PIECES = [
    " ",
    "  ",
    "0",
    "7",
    "255",
    "256",
    "-",
    "+",
    "\0",
    "\n",
    "\u00a0",
    "٣",
    "\uff19",
    "²",
    ".",
    "e",
    "x",
    "1 ",
    " 1",
    "",
    "999999999999999999999999",
]


def mutate(rng: np.random.Generator, text: str) -> str:
    """One to three changes: a digit, a dropped or doubled field, a piece put in or in the place of something."""
    for _ in range(int(rng.integers(1, 4))):
        at, kind = int(rng.integers(len(text) + 1)), int(rng.integers(6))
        piece = PIECES[int(rng.integers(len(PIECES)))]
        if kind == 0:
            text = text[:at] + str(rng.integers(10)) + text[at + 1 :]
        elif kind == 1:
            text = text[:at] + piece + text[at:]
        elif kind == 2:
            text = text[:at] + piece + text[at + len(piece) :]
        elif kind == 3:
            text = text[:at] + text[at + 1 :]
        else:
            parts = text.split(" ")
            index = int(rng.integers(len(parts)))
            parts[index : index + 1] = [] if kind == 4 else [parts[index], parts[index]]
            text = " ".join(parts)
    return text


@pytest.mark.parametrize("name", ["rt2", "rt2-language-table", "dexbotic-255", "gato"])
def test_ten_thousand_mutations(name: str) -> None:
    """The same bins as the reference, or ActionParseError; and the regular expression agrees with both."""
    tok = ActionTokenizer.from_pretrained(name)
    spec, rng = fields(tok), np.random.default_rng(7)
    pattern = re.compile(tok.regex())
    taken = 0
    for line in tok.format(draw(tok, rng, 10_000 if name == "rt2" else 2_000)):
        text = mutate(rng, line)
        wanted = reference.parse(text, spec, tok.spec.lead)
        try:
            bins = tok.parse(text).tolist()
        except ActionParseError as e:
            assert wanted is None, text
            assert text[e.column :] or e.column == len(text)
            assert not pattern.fullmatch(text)
        else:
            assert bins == wanted
            assert tok.format(np.array(bins)) == text
            assert pattern.fullmatch(text)
            taken += 1
    assert taken > 100  # some mutations only change a number


@settings(max_examples=TRIES, deadline=None)
@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    tok = ActionTokenizer.from_pretrained("rt2")
    wanted = reference.parse(text, fields(tok))
    try:
        assert tok.parse(text).tolist() == wanted
    except ActionParseError:
        assert wanted is None


@pytest.mark.parametrize(
    "text",
    [
        "1 " * 5_000_000,
        "1" * 10_000_000,
        " " * 10_000_000,
        "\0" * 10_000_000,
        GOOD + "9" * 10_000_000,
        "٣ " * 5_000_000,
        "-" * 10_000_000,
    ],
)
def test_ten_megabytes_cost_no_more_than_a_line(text: str) -> None:
    for name in ("rt2", "rt2-language-table", "dexbotic-255"):
        tok = ActionTokenizer.from_pretrained(name)
        tok.format(np.zeros(tok.fields, int))
        start = time.perf_counter()
        with pytest.raises(ActionParseError) as caught:
            tok.parse(text)
        assert time.perf_counter() - start < 0.1
        assert len(str(caught.value)) < 600


def test_every_number_of_every_field_is_in_the_regex() -> None:
    for name in NAMES:
        tok = ActionTokenizer.from_pretrained(name)
        pattern = re.compile(tok.regex())
        bins = np.zeros((tok.bins, tok.fields), int)
        bins[:, -1] = np.arange(tok.bins)
        for line in tok.format(bins):
            assert pattern.fullmatch(line)
        spec = tok.spec
        head = tok.format(bins[0]).rsplit(" ", 1)[0]
        for number in (
            *range(spec.first - 300, spec.first),
            *range(spec.first + spec.bins, spec.first + spec.bins + 3000),
        ):
            assert not pattern.fullmatch(f"{head} {number}")


def test_regex_uses_what_all_engines_share() -> None:
    assert (
        ActionTokenizer.from_pretrained("rt2").regex() == "[01]( (1[0-9][0-9]|2[0-4][0-9]|25[0-5]|[1-9][0-9]|[0-9])){7}"
    )
    for name in NAMES:
        pattern = ActionTokenizer.from_pretrained(name).with_horizon(2).regex()
        assert not re.search(r"\\|\?|\^|\$", pattern)


# A reader of the part of GBNF that the grammars use: rules of alternatives of literals, classes and names.


def gbnf_regex(grammar: str, start: str = "root") -> str:
    rules = dict(line.split(" ::= ", 1) for line in grammar.strip().splitlines())

    def expand(rule: str) -> str:
        alternatives = []
        for alternative in re.split(r" \| (?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", rules[rule]):
            out = ""
            for part in re.findall(r'"[^"]*"|\[[^\]]*\]|\S+', alternative):
                out += re.escape(part[1:-1]) if part[0] == '"' else part if part[0] == "[" else expand(part)
            alternatives.append(out)
        return "(?:" + "|".join(alternatives) + ")"

    return expand(start)


@pytest.mark.parametrize("name", NAMES)
def test_grammars_accept_the_same_strings(name: str) -> None:
    tok = ActionTokenizer.from_pretrained(name)
    grammar = tok.grammar("gbnf")
    assert tok.grammar("ebnf") == grammar
    pattern, ours = re.compile(gbnf_regex(grammar)), re.compile(tok.regex())
    rng = np.random.default_rng(2)
    for line in tok.format(draw(tok, rng, 200)):
        assert pattern.fullmatch(line)
        text = mutate(rng, line)
        assert bool(pattern.fullmatch(text)) == bool(ours.fullmatch(text)), text
    with pytest.raises(ActionError, match="one of gbnf, ebnf, lark"):
        tok.grammar("bnf")


def test_gbnf_is_readable() -> None:
    assert ActionTokenizer.from_pretrained("rt2").grammar() == (
        'root ::= flag " " bin " " bin " " bin " " bin " " bin " " bin " " bin\n'
        'flag ::= "0" | "1"\n'
        'bin ::= "1" [0-9] [0-9] | "2" [0-4] [0-9] | "25" [0-5] | [1-9] [0-9] | [0-9]\n'
    )


@pytest.mark.parametrize("name", NAMES)
def test_lark_grammar(name: str) -> None:
    lark = pytest.importorskip("lark", reason="lark is not installed")
    tok = ActionTokenizer.from_pretrained(name)
    parser = lark.Lark(tok.grammar("lark"), parser="earley", lexer="dynamic")
    rng = np.random.default_rng(2)
    for line in tok.format(draw(tok, rng, 20)):
        parser.parse(line)
    with pytest.raises(lark.exceptions.LarkError):
        parser.parse(tok.format(draw(tok, rng, 1))[0] + " ")


def test_tables_are_shared() -> None:
    """A chunk of many steps has one table per kind of field, not per field."""
    tok = ActionTokenizer.from_pretrained("rt2").with_horizon(50)
    text = tok._text_form()
    assert isinstance(text, Text)
    assert len({id(t) for t in text.tables}) == 2


def test_lists_of_strings() -> None:
    """MolmoAct's form: a list for each step, in it a string for each bin; no other string is an action."""
    tok = ActionTokenizer.from_pretrained("molmoact").with_horizon(3)
    strings = tok.to_dict()["text"]["lists"]
    bins = np.random.default_rng(0).integers(0, 256, (20, 21)).astype(np.int32)
    texts = tok.format(bins)
    rows = [[[strings[b] for b in row[i : i + 7]] for i in (0, 7, 14)] for row in bins.tolist()]
    assert texts == [f"[{', '.join('[' + ', '.join(step) + ']' for step in row)}]" for row in rows]
    np.testing.assert_array_equal(tok.parse(texts), bins)
    assert (tok.token_ids(bins) == 151642 - bins).all()
    assert all(re.fullmatch(tok.regex(), text) for text in texts)
    one = texts[0]
    wrong = ["", "x", one[1:], one[:-1], f"{one}]", f" {one}", one + " " * 500, one.replace(rows[0][0][0], "?", 1)]
    for other in (*wrong, one.replace(", ", ",", 1), one.replace("], [", ", ", 1)):
        with pytest.raises(ActionParseError):
            tok.parse(other)
        assert not re.fullmatch(tok.regex(), other)
    for form in ("gbnf", "ebnf", "lark"):
        assert tok.grammar(form).count('"[" bin') == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"text": {"lists": ["a"] * 256}},
        {"text": {"lists": [f"{n}," for n in range(256)]}},
        {"text": {"lists": [f"s{n}" for n in range(255)]}},
        {"text": {"lists": [f"s{n}" for n in range(256)], "lead": " "}},
        {"text": {"lists": [f"s{n}" for n in range(256)]}, "vocabulary": {"place": "text"}},
    ],
)
def test_lists_that_cannot_be_told_apart_are_refused(changes: dict[str, object]) -> None:
    raw = ActionTokenizer.from_pretrained("molmoact").to_dict()
    with pytest.raises(ActionError, match=r"text\.lists"):
        ActionTokenizer.from_dict(raw | changes)
