"""The scheme ``float``: no bins, an empty text, and the normaliser of a stack, equal to its own and to verify's."""

from __future__ import annotations

import numpy as np
import pytest

from rt2data import resources
from rt2data.tokenizer import ActionError, ActionParseError, ActionTokenizer, Dim
from rt2data.tokenizer.floats import RAW_GRIPPER, float_normaliser
from rt2data.tokenizer.normalisers import RULES, normaliser_of
from rt2data.tokenizer.spec_fields import FLOAT_KINDS
from rt2data.tokenizer.statistics.values import statistics_of
from rt2data.verify.reference import floats
from rt2data.verify.reference.tokenizer import Reference, fingerprint

CASES = [(stack, kind) for stack, rules in RULES.items() for kind in rules if kind in FLOAT_KINDS]
BUNDLED = [path.stem for path in resources.files("tokenizers", ".json") if path.stem.startswith("float-")]
DIMS = [Dim("x", -0.0287, 0.0283, "m"), Dim("yaw", -2.0, 5.0), Dim("still", 0.4, 0.6, constant=True), Dim("g", -1, 1)]


def load(stack: str, kind: str, dims: list[Dim], horizon: int = 1) -> ActionTokenizer:
    raw = ActionTokenizer.from_pretrained("float-openpi").to_dict() | {"options": {"stack": stack, "kind": kind}}
    return ActionTokenizer.from_dict(raw).with_dims(dims).with_horizon(horizon)


def numbers(count: int = 400) -> np.ndarray:
    rng = np.random.default_rng(1)
    spread = rng.uniform(-1.5, 2.5, (count, len(DIMS)))
    low, high = np.array([d.low for d in DIMS]), np.array([d.high for d in DIMS])
    return (low + spread * (high - low)).astype(np.float32)


@pytest.mark.parametrize(("stack", "kind"), CASES)
def test_it_normalises_as_the_stack(stack: str, kind: str) -> None:
    """The stack's own statistics (its bounds, or mean and std) and mask give the same numbers."""
    dims = [d for d in DIMS if not d.constant]
    low, high = np.array([d.low for d in dims]), np.array([d.high for d in dims])
    keys = {"quantiles": ("q01", "q99"), "minmax": ("min", "max"), "zscore": ("mean", "std")}[kind]
    ends = ((low + high) / 2, (high - low) / 2) if kind == "zscore" else (low, high)
    measures = {"min": low - 1, "max": high + 1} | dict(zip(keys, ends, strict=True))
    theirs = normaliser_of(stack, statistics_of(measures, mask=np.array([True, True, False])), kind)
    ours = float_normaliser(load(stack, kind, dims))
    x = numbers()[:, [0, 1, 3]]
    np.testing.assert_array_equal(ours.normalise(x), theirs.normalise(x))
    np.testing.assert_array_equal(ours.denormalise(x), theirs.denormalise(x))
    assert ours.normalise(x)[:, 2].tolist() == ((x[:, 2] > 0.5) if "starvla" in stack else x[:, 2]).tolist()


@pytest.mark.parametrize(("stack", "kind"), CASES)
def test_verify_has_a_second_computation(stack: str, kind: str) -> None:
    tok = load(stack, kind, DIMS)
    reference = Reference(tok.to_dict())
    assert set(floats.RAW_GRIPPER) == RAW_GRIPPER
    x = numbers()
    found = float_normaliser(tok).normalise(x).astype(np.float32)
    clipped = tok.encode(x, return_clipped=True)[1]
    for row, values, outside in zip(x.tolist(), found.tolist(), clipped, strict=True):
        for rule, stored, value in zip(reference.floats, row, values, strict=True):
            wanted = rule.normalised(stored)
            assert abs(value - wanted) <= rule.tolerance + 2e-6 * max(1.0, abs(wanted))
        assert reference.clipped(row) == [bool(c) for c in outside]
    assert (reference.encode(x[0].tolist(), ()), reference.fields, reference.parse("")) == ([], 0, [])


@pytest.mark.parametrize("name", BUNDLED)
def test_an_action_has_no_bins_and_no_text(name: str) -> None:
    tok = ActionTokenizer.from_pretrained(name).with_horizon(4)
    chunk = np.zeros((5, 4, 7), np.float32)
    bins = tok.encode(chunk)
    assert bins.shape == (5, 0)
    assert tok.format(bins) == [""] * 5
    assert tok.parse([""] * 5).shape == (5, 0)
    assert fingerprint(tok.to_dict()) == tok.fingerprint
    assert "no bins" in tok.properties.faults[0]
    with pytest.raises(ActionParseError, match="expected the empty string"):
        tok.parse("1")
    needed = "a scheme with bins"
    for call in (lambda: tok.decode(bins), lambda: tok.token_ids(bins), tok.automaton, lambda: tok.with_vocabulary(9)):
        with pytest.raises(ActionError, match=needed):
            call()
    for form in (tok.regex, tok.grammar):
        with pytest.raises(ActionError, match="one with bins"):
            form()
    assert float_normaliser(tok).normalise(chunk).shape == chunk.shape


def test_the_normaliser_wants_one_source() -> None:
    with pytest.raises(ActionError, match='the "uniform" scheme'):
        float_normaliser(ActionTokenizer.from_pretrained("rt2"))
    mixed = ActionTokenizer.from_pretrained("float-octo").with_sources({"one": DIMS})
    with pytest.raises(ActionError, match="for_source"):
        float_normaliser(mixed)
    assert float_normaliser(mixed.for_source("one")).mask is not None


def test_options_are_checked() -> None:
    raw = ActionTokenizer.from_pretrained("float-openpi").to_dict()
    with pytest.raises(ActionError, match=r"options\.stack: 'pi'; expected one of openvla"):
        ActionTokenizer.from_dict(raw | {"options": {"stack": "pi"}})
    with pytest.raises(ActionError, match=r"options\.kind: 'minmax'; expected one of quantiles, zscore for openpi"):
        ActionTokenizer.from_dict(raw | {"options": {"kind": "minmax"}})
    with pytest.raises(ActionError, match="terminate"):
        ActionTokenizer.from_dict(raw | {"terminate": {"true": 0, "false": 1}})
