"""Tokenizers whose dimensions are relative to a state, or have bounds for each step of a chunk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rt2data.robot import relative
from rt2data.tokenizer import ActionError, ActionTokenizer, Dim
from rt2data.verify.reference.tokenizer import Reference

H = 3
ARM = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
STEPS = ((-0.1, 0.1), (-0.2, 0.3), (-0.25, 0.4))
DIMS = [Dim("a", -0.25, 0.4, "rad", relative="subtract", steps=STEPS), Dim("b", -1.0, 1.0), Dim("gripper", 0.0, 1.0)]


def tokenizer(name: str = "rt2") -> ActionTokenizer:
    return ActionTokenizer.from_pretrained(name).with_horizon(H).with_dims(DIMS)


@pytest.mark.parametrize("name", ["rt2", "rt1", "openvla", "octo-uniform", "octo-normal", "dexbotic-255"])
def test_bounds_per_step_against_the_reference(name: str) -> None:
    tok = tokenizer(name)
    reference = Reference(tok.to_dict())
    rng = np.random.default_rng(1)
    chunks = rng.normal(scale=0.4, size=(200, H, 3)).astype(np.float32)
    ends = rng.integers(0, 2, (200, H)).astype(bool) if tok.terminate else None
    bins, clipped = tok.encode(chunks, ends, return_clipped=True)
    values = tok.decode(bins, dtype="float64").actions
    assert (clipped.shape, values.shape) == (chunks.shape, chunks.shape)
    for i, chunk in enumerate(chunks):
        numbers = [float(x) for x in chunk.reshape(-1)]
        flags = [bool(end) for end in ends[i]] if ends is not None else []
        assert reference.encode(numbers, flags) == bins[i].tolist()
        assert reference.decode(bins[i].tolist())[0] == values[i].reshape(-1).tolist()
        assert reference.clipped(numbers) == [bool(c) for c in clipped[i].reshape(-1)]
    # Each step alone is the tokenizer of its own bounds.
    for step, (low, high) in enumerate(STEPS):
        own = tok.with_dims([Dim("a", low, high), *DIMS[1:]]).with_horizon(1)
        one = own.encode(chunks[:, step], None if ends is None else ends[:, step])
        width = own.fields
        np.testing.assert_array_equal(one, bins[:, step * width : (step + 1) * width])


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_other_libraries_give_the_same(library: str) -> None:
    pytest.importorskip("array_api_compat")
    module = pytest.importorskip(library)
    make = module.from_numpy if library == "torch" else module.numpy.asarray
    tok = tokenizer("openvla")
    chunks = np.random.default_rng(2).normal(scale=0.3, size=(20, H, 3)).astype(np.float32)
    bins = tok.encode(chunks)
    theirs = tok.encode(make(chunks))
    np.testing.assert_array_equal(np.asarray(theirs), bins)
    state = np.random.default_rng(3).normal(size=(20, 3))
    found = tok.decode(theirs, state=make(state.astype(np.float32))).actions
    assert type(found) is type(theirs)
    wanted = tok.decode(bins, state=state.astype(np.float32)).actions
    np.testing.assert_array_equal(np.asarray(found), wanted)
    ours = tok.encode(found, state=make(state.astype(np.float32)))
    assert type(ours) is type(theirs)
    np.testing.assert_array_equal(np.asarray(ours), tok.encode(wanted, state=state.astype(np.float32)))


def test_a_file_keeps_it(tmp_path: Path) -> None:
    tok = tokenizer().with_sources({"one": DIMS, "two": [replace(dim, relative="", steps=()) for dim in DIMS]})
    tok.save_pretrained(tmp_path)
    again = ActionTokenizer.from_pretrained(tmp_path)
    assert again == tok
    assert again.for_source("one").dims == tuple(DIMS)
    assert again.for_source("one").fingerprint != again.for_source("two").fingerprint
    assert '"steps": [[-0.1, 0.1], [-0.2, 0.3], [-0.25, 0.4]]' in (tmp_path / "tokenizer.json").read_text()


@pytest.mark.parametrize("rule", relative.RULES)
def test_decode_with_a_state(rule: str) -> None:
    plain = ActionTokenizer.from_pretrained("rt2").with_horizon(H)
    dims = [dim if dim.name == "gripper" else replace(dim, relative=rule) for dim in plain.dims]
    tok = plain.with_dims(dims)
    rng = np.random.default_rng(4)
    state, target = rng.uniform(-0.6, 0.6, (5, 7)), rng.uniform(-0.6, 0.6, (5, H, 7))
    rules = [dim.relative or "none" for dim in dims]
    chunk = relative.make_relative(target, state, rules, ARM)
    decoded = tok.decode(tok.encode(chunk, np.zeros((5, H), bool)), state=state, dtype="float64")
    assert decoded.terminate.shape == (5, H)
    wanted = relative.make_absolute(tok.decode(tok.encode(chunk, False), dtype="float64").actions, state, rules, ARM)
    np.testing.assert_array_equal(decoded.actions, wanted)
    ends = np.zeros((5, H), bool)
    ours, clipped = tok.encode(target, ends, state=state, return_clipped=True)
    np.testing.assert_array_equal(ours, tok.encode(chunk, ends))
    np.testing.assert_array_equal(clipped, tok.encode(chunk, ends, return_clipped=True)[1])
    narrow = target.astype(np.float32), state.astype(np.float32)
    of_narrow = relative.make_relative(narrow[0], narrow[1], rules, ARM)
    np.testing.assert_array_equal(tok.encode(narrow[0], ends, state=narrow[1]), tok.encode(of_narrow, ends))
    inside = np.abs(chunk).max(axis=(1, 2)) < 1  # within the bounds of rt2
    assert inside.any()
    np.testing.assert_allclose(decoded.actions[inside, :, :3], target[inside, :, :3], atol=0.03)
    one = tok.with_horizon(1)
    alone = one.decode(one.encode(chunk[:, 0], False), state=state)
    np.testing.assert_allclose(alone.actions, decoded.actions[:, 0], atol=1e-6)
    np.testing.assert_array_equal(one.encode(target[:, 0], False, state=state), one.encode(chunk[:, 0], False))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda: ActionTokenizer.from_pretrained("rt2").decode([1] + [128] * 7, state=np.zeros(7)),
            "whose actions are",
        ),
        (lambda: tokenizer().decode(tokenizer().encode(np.zeros((H, 3)), False), state=np.zeros(2)), r"shape \(2,\)"),
        (lambda: tokenizer().encode(np.zeros((H, 3)), False, state=np.zeros(2)), r"shape \(2,\)"),
        (lambda: ActionTokenizer.from_pretrained("rt2").encode(np.zeros(7), False, state=np.zeros(7)), "leave it out"),
        (lambda: tokenizer().with_horizon(2), "bounds of 3 steps; expected 2"),
        (lambda: ActionTokenizer.from_pretrained("fast").with_horizon(H).with_dims(DIMS), "bounds per step for dct"),
        (lambda: tokenizer().with_dims([replace(DIMS[0], low=-0.2)]), "the least and the greatest of the steps"),
        (lambda: tokenizer().with_dims([replace(DIMS[0], relative="angles")]), "one of subtract, pose_base"),
        (
            lambda: tokenizer().with_dims([replace(DIMS[0], low=-0.2, steps=((0.1, 0.1), *STEPS[1:]))]),
            "low below high",
        ),
    ],
)
def test_what_cannot_be_is_refused(change: Any, why: str) -> None:
    with pytest.raises(ActionError, match=why):
        change()
