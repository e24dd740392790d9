"""Action chunks as ACT, Octo, SimplerEnv and openpi execute them: their numbers, a plain computation, many at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scalar_serving import averaged

from rt2data.robot import rotation
from rt2data.serving import RecedingHorizon, TemporalEnsemble, parse_replies
from rt2data.tokenizer import ActionError, ActionTokenizer, Decoded

# What imitate_episodes.py of tonyzhaozh/act@742c753 makes of these chunks with temporal_agg, in float32.
ACT_CHUNKS = np.arange(1, 25, dtype=np.float32).reshape(4, 3, 2) ** 1.5
ACT = [[1.0, 2.828427], [11.824896, 15.27714], [28.231887, 32.775375], [58.977799, 64.84442]]

CHUNKS = np.random.default_rng(0).normal(size=(12, 4, 5, 3))  # steps, environments, steps of a chunk, dimensions


def test_acts_numbers() -> None:
    ensemble = TemporalEnsemble(3)
    np.testing.assert_allclose([ensemble(chunk) for chunk in ACT_CHUNKS], ACT, rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.floats(-1, 1), st.integers(0, 2**32 - 1))
def test_against_a_plain_computation(horizon: int, decay: float, seed: int) -> None:
    chunks = np.random.default_rng(seed).normal(size=(8, horizon, 1))
    ensemble = TemporalEnsemble(horizon, decay)
    found = [float(ensemble(chunk)[0]) for chunk in chunks]
    assert found == pytest.approx(averaged(chunks[..., 0].tolist(), decay), abs=1e-12)


def test_environments_do_not_touch_each_other() -> None:
    """A batch is what each environment gives alone, also where some begin anew, and where a reply was no action."""
    chunks = CHUNKS.copy()
    chunks[3, 2] = np.nan
    ensemble, alone = TemporalEnsemble(5, 0.1), [TemporalEnsemble(5, 0.1) for _ in range(4)]
    for step, chunk in enumerate(chunks):
        if step == 6:
            ensemble.reset([False, True, False, True])
            alone[1].reset()
            alone[3].reset()
        found = ensemble(chunk)
        assert found.shape == (4, 3)
        assert np.isfinite(found).all()
        for row, one in enumerate(alone):
            np.testing.assert_allclose(found[row], one(chunk[row]), rtol=1e-12)
    ensemble.reset()
    np.testing.assert_array_equal(ensemble(chunks[0]), chunks[0][:, 0])
    # Without the chunk that is no action the others count as if it had not been asked for.
    ensemble = TemporalEnsemble(3)
    first, second = CHUNKS[0, 0], CHUNKS[1, 0]
    ensemble(first)
    ensemble(np.full_like(first, np.nan))
    weights = np.array([1, math.exp(-0.02)])
    np.testing.assert_allclose(ensemble(second), weights @ [first[2], second[0]] / weights.sum(), rtol=1e-12)
    ensemble.reset()
    assert np.isnan(ensemble(np.full((3, 2), np.nan))).all()


def test_replies_into_an_ensemble() -> None:
    tok = ActionTokenizer.from_pretrained("openvla").with_horizon(2)
    text = tok.format(tok.encode(np.full((2, 7), 0.5)))
    ensemble = TemporalEnsemble(2)
    ensemble(parse_replies(tok, [text, text]).decode().actions)
    action = ensemble(parse_replies(tok, [text, "I cannot."]).decode().actions)
    np.testing.assert_allclose(action, 0.5, atol=0.01)


def test_angles_that_wrap() -> None:
    """Column by column, as the originals do it, half a turn averages to none; as rotations it stays half a turn."""
    low, high = math.pi - 0.1, -math.pi + 0.2
    chunks = np.zeros((2, 2, 7))
    chunks[0, :, 3], chunks[1, :, 3] = low, high
    plain, turned = TemporalEnsemble(2, 0.0), TemporalEnsemble(2, 0.0, rotations=[3])
    found = [[one(chunk) for chunk in chunks][-1] for one in (plain, turned)]
    assert found[0][3] == pytest.approx(0.05)
    assert found[1][3] == pytest.approx(-math.pi + 0.05)
    assert abs(np.delete(found[1], 3)).max() < 1e-15


def test_rotations_are_averaged_as_rotations() -> None:
    """The mean of turns about one axis is the mean turn about it, in whatever direction the axis points."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        axis = rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        turns = rng.uniform(-0.5, 0.5, 4)
        chunks = np.stack([np.tile(rotation.axis_angle_to_rpy(axis * turn), (4, 1)) for turn in turns])
        ensemble = TemporalEnsemble(4, 0.3, rotations=(0,))
        action = [ensemble(chunk) for chunk in chunks][-1]
        weights = np.exp(-0.3 * np.arange(4))
        mean = math.atan2(weights @ np.sin(turns), weights @ np.cos(turns))  # of directions in the plane of the turn
        np.testing.assert_allclose(rotation.rpy_to_axis_angle(action), axis * mean, atol=1e-9)
    matrices = rng.normal(size=(50, 3, 3))
    near = rotation.nearest(matrices)
    np.testing.assert_allclose(near @ near.transpose(0, 2, 1), np.tile(np.eye(3), (50, 1, 1)), atol=1e-12)
    assert np.linalg.det(near) == pytest.approx(1)
    others = rotation.from_rpy(rng.uniform(-3, 3, (200, 3)))
    for matrix, best in zip(matrices, near, strict=True):
        assert ((matrix - best) ** 2).sum() <= ((matrix - others) ** 2).sum(axis=(1, 2)).min() + 1e-12


def asks(chunks: Any, seen: list[int]) -> Any:
    left = iter(chunks)

    def ask(observation: int) -> Any:
        seen.append(observation)
        return next(left)

    return ask


def test_the_first_steps_of_each_chunk() -> None:
    """As ActionChunkBroker of Physical-Intelligence/openpi@15a9616, reset before step 5: asked at 0, 3, 5 and 8."""
    seen: list[int] = []
    policy = RecedingHorizon(asks(CHUNKS[:, 0], seen), 3)
    found = []
    for step in range(10):
        if step == 5:
            policy.reset()
        found.append(policy(step))
    assert seen == [0, 3, 5, 8]
    wanted = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1)]
    np.testing.assert_array_equal(found, [CHUNKS[chunk, 0, step] for chunk, step in wanted])


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_environments_that_begin_anew_ask_anew(library: str) -> None:
    """Only they take the new chunk; the others finish theirs."""
    chunks: Any = CHUNKS
    if library == "torch":
        chunks = pytest.importorskip("torch", reason="PyTorch is not installed").from_numpy(CHUNKS)
    seen: list[int] = []
    policy = RecedingHorizon(asks(chunks, seen), 4)
    found = []
    for step in range(7):
        if step == 2:
            policy.reset([False, True, False, False])
        found.append(np.asarray(policy(step)))
    assert seen == [0, 2, 4, 6]
    places = {0: [(0, 0), (0, 1), (0, 2), (0, 3), (2, 0), (2, 1), (2, 2)],
              1: [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3), (3, 0)]}  # fmt: skip
    for row in range(4):
        wanted = [CHUNKS[chunk, row, step] for chunk, step in places[int(row == 1)]]
        np.testing.assert_array_equal([one[row] for one in found], wanted)


def test_chunks_as_the_tokenizer_decodes_them() -> None:
    tok = ActionTokenizer.from_pretrained("rt2").with_horizon(3)
    bins = tok.encode(np.zeros((2, 3, 7)), np.array([[False, False, True], [False, True, False]]))
    policy = RecedingHorizon(lambda _: tok.decode(bins), 3)
    steps = [policy(None) for _ in range(3)]
    assert all(isinstance(step, Decoded) for step in steps)
    assert [step.actions.shape for step in steps] == [(2, 7)] * 3
    assert [step.terminate.tolist() for step in steps] == [[False, False], [False, True], [True, False]]
    policy.reset([True, False])
    policy = RecedingHorizon(lambda _: Decoded(np.zeros((3, 7)), None), 2)
    assert policy(None).terminate is None


def test_torch_and_its_device() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("array_api_compat", reason="array-api-compat is not installed")
    here, there = TemporalEnsemble(5), TemporalEnsemble(5)
    for chunk in CHUNKS[:6]:
        np.testing.assert_allclose(there(torch.from_numpy(chunk)).numpy(), here(chunk), rtol=1e-12)
    policy, ensemble = RecedingHorizon(lambda _: torch.zeros((4, 5, 3), device="meta"), 2), TemporalEnsemble(5)
    for _ in range(3):
        assert policy(None).device.type == "meta"
        assert ensemble(torch.zeros((4, 5, 3), device="meta")).device.type == "meta"


def test_what_is_no_chunk() -> None:
    for make in (lambda: TemporalEnsemble(0), lambda: TemporalEnsemble(3, math.nan), lambda: RecedingHorizon(print, 0)):
        with pytest.raises(ActionError):
            make()
    ensemble = TemporalEnsemble(3)
    for shape in ((3,), (2, 7)):
        with pytest.raises(ActionError, match="with 3 steps or more"):
            ensemble(np.zeros(shape))
    ensemble(np.zeros((3, 7)))
    with pytest.raises(ActionError, match=r"Call reset\(\)"):
        ensemble(np.zeros((2, 3, 7)))
    with pytest.raises(ActionError, match="with 4 steps or more"):
        RecedingHorizon(lambda _: np.zeros((3, 7)), 4)(None)
