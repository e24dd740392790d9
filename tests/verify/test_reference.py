"""`rt2data.verify.reference.tokenizer`, which `verify` trusts, against the fast tokenizer: two programs, one answer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data import resources
from rt2data.tokenizer import ActionParseError, ActionTokenizer, Dim
from rt2data.verify.reference.tokenizer import InvalidAction, Reference, fingerprint, float32

# fast: see below; the others, whose bins are not of one number each, have tests of their own in tests/tokenizer.
OTHERS = ("fast", "molmoact2", "beast", "float-", "spatialvla")
NAMES = [p.stem for p in sorted(resources.folder("tokenizers").glob("*.json")) if not p.stem.startswith(OTHERS)]
BOUNDS = [Dim("a", -0.0287, 0.0283, "m"), Dim("b", -2.0, 5.0), Dim("c", 0.0, 1.0), Dim("d", -1.0, 1.0)]


def pair(name: str, dims: list[Dim] | None = None) -> tuple[ActionTokenizer, Reference]:
    tok = ActionTokenizer.from_pretrained(name).with_horizon(1)
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


def fast(horizon: int, merges: list[tuple[int, int]]) -> ActionTokenizer:
    """`fast` for BOUNDS, with few codes so that some clip; merges that name an id too large are left out."""
    tok, codes, taken = ActionTokenizer.from_pretrained("fast"), [(i,) for i in range(60)], []
    for a, b in merges:
        if max(a, b) < len(codes) and (a, b) not in taken:
            taken.append((a, b))
            codes += [codes[a] + codes[b]] if codes[a] + codes[b] not in codes else []
    options = {"scale": 10.0, "min_code": -30, "merges": [list(pair) for pair in taken]}
    return ActionTokenizer.from_dict(
        tok.with_dims(BOUNDS).with_horizon(horizon).to_dict() | {"bins": 60, "options": options}
    )


@given(
    st.integers(1, 9),
    st.lists(st.tuples(st.integers(25, 70), st.integers(25, 70)), max_size=12),
    st.integers(0, 2**32 - 1),
)
def test_fast_against_the_tokenizer(horizon: int, merges: list[tuple[int, int]], seed: int) -> None:
    tok = fast(horizon, merges)
    reference, rng = Reference(tok.to_dict()), np.random.default_rng(seed)
    scale = rng.choice([0.1, 0.5, 3.0])
    chunk = np.array([d.low for d in BOUNDS]) + rng.normal(0.5, scale, (horizon, 4)) * [d.high - d.low for d in BOUNDS]
    chunk = chunk.astype(np.float32)
    bins, clipped = tok.encode(chunk if horizon > 1 else chunk[0], return_clipped=True)
    row = chunk.reshape(-1).tolist()
    mine, text = reference.encode(row, []), tok.format(bins)
    assert mine == bins.tolist()
    assert reference.clipped(row) == (np.asarray(clipped).reshape(-1) != 0).tolist()
    assert reference.format(mine) == text
    assert reference.parse(text) == mine
    values = tok.decode(bins, dtype="float64").actions.reshape(-1)
    np.testing.assert_allclose(reference.decode(mine)[0], values, rtol=0, atol=1e-12)
    whole = ~np.asarray(clipped).reshape(horizon, 4).any(axis=0)
    away = np.abs(values.reshape(horizon, 4) - chunk).max(axis=0)
    assert all(away[d] <= reference.tolerance(d) for d in range(4) if whole[d])


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
    with pytest.raises(InvalidAction, match="no such"):
        Reference(ActionTokenizer.from_pretrained("rt2").to_dict() | {"scheme": "no such"})
