"""`rt2data.reference`, which `verify` trusts, against the fast tokenizer: two programs, one answer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data import resources
from rt2data.reference import InvalidAction, Reference, fingerprint, float32
from rt2data.tokenizer import ActionParseError, ActionTokenizer, Dim

NAMES = [p.stem for p in resources.files("tokenizers", ".json") if p.stem != "fast"]  # fast: chunks of DCT codes
BOUNDS = [Dim("a", -0.0287, 0.0283, "m"), Dim("b", -2.0, 5.0), Dim("c", 0.0, 1.0), Dim("d", -1.0, 1.0)]


def pair(name: str, dims: list[Dim] | None = None) -> tuple[ActionTokenizer, Reference]:
    tok = ActionTokenizer.from_pretrained(name)
    if dims and tok.spec.scheme not in ("integer", "mu-law"):
        tok = tok.with_dims(dims)
    return tok, Reference(tok.to_dict())


def hard(reference: Reference) -> Any:
    """Numbers where rules differ if they differ at all: every value and edge, float32, and their neighbours; (n, D)."""
    columns = []
    for rule in reference.rules:
        values = [rule.value(b) for b in range(reference.bins)]
        edges = [rule.low + b * (rule.high - rule.low) / reference.bins for b in range(reference.bins + 1)]
        x = np.array([*values, *edges, 0.0, -0.0, rule.low * 3 - 1, rule.high * 3 + 1], np.float32)
        columns.append(np.concatenate([x, np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf))]))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("dims", [None, BOUNDS], ids=["own", "other"])
@pytest.mark.parametrize("name", NAMES)
def test_against_the_tokenizer(name: str, dims: list[Dim] | None) -> None:
    tok, reference = pair(name, dims)
    x = hard(reference)
    ends = np.arange(len(x)) % 3 == 0
    if tok.terminate is None:
        bins, clipped = tok.encode(x, return_clipped=True)
    else:
        bins, clipped = tok.encode(x, ends, return_clipped=True)
    values = tok.decode(bins, dtype="float64").actions.tolist()
    texts = tok.format(bins)
    for i, row in enumerate(x.tolist()):
        mine = reference.encode(row, [bool(ends[i])])
        assert mine == bins[i].tolist()
        assert reference.format(mine) == texts[i]
        assert reference.parse(texts[i]) == mine
        assert reference.decode(mine)[0] == values[i]
        assert reference.clipped(row) == [bool(c) for c in clipped[i]]
        for d, (stored, value) in enumerate(zip(row, values[i], strict=True)):
            near = reference.tolerance(d)
            assert near is None or reference.clipped(row)[d] or abs(stored - value) <= near
    assert reference.changed() == tok.properties.changed


@pytest.mark.parametrize("name", NAMES)
def test_fingerprints(name: str) -> None:
    tok = ActionTokenizer.from_pretrained(name)
    assert fingerprint(tok.to_dict()) == tok.fingerprint
    if tok.spec.scheme not in ("integer", "mu-law"):
        mixed = tok.with_sources({"one": BOUNDS, "two": BOUNDS[:2]})
        assert fingerprint(mixed.to_dict()) == mixed.fingerprint
        assert Reference(mixed.to_dict(), "two").fingerprint == mixed.for_source("two").fingerprint


@given(st.text(alphabet="0123456789 -+٣\0", max_size=40))
def test_parse_takes_what_the_tokenizer_takes(text: str) -> None:
    tok, reference = pair("rt2")
    try:
        wanted = tok.parse(text).tolist()
    except ActionParseError:
        wanted = None
    try:
        found: list[int] | None = reference.parse(text)
    except InvalidAction:
        found = None
    assert found == wanted


@given(st.floats(allow_nan=False))
def test_float32(x: float) -> None:
    with np.errstate(over="ignore"):
        assert float32(x) == float(np.float32(x))


def test_what_is_refused() -> None:
    _, reference = pair("rt2")
    assert float32(10**400) == math.inf
    for action in ([0.0] * 6, [math.nan] * 7, [float32(10**400)] * 7):
        with pytest.raises(InvalidAction):
            reference.encode(action, [False])
    for bins in ([2, *[0] * 7], [1] * 7, [1, 256, *[0] * 6], [True, *[0] * 7]):
        with pytest.raises(InvalidAction):
            reference.decode(bins)
    with pytest.raises(InvalidAction, match="dct"):
        Reference(ActionTokenizer.from_pretrained("fast").to_dict())
