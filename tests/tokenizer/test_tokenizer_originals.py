"""Ids of `openvla`, `octo-uniform` and `octo-normal` against what their originals compute, on and beside every edge.

JAX is what Octo computes with. OpenVLA's normalisation runs in TensorFlow, in float32; the numbers here are from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import scalar_tokenizer as reference

from rt2data.tokenizer import ActionTokenizer, Dim
from rt2data.tokenizer.schemes import octo_edges
from rt2data.verify.reference import octo
from rt2data.verify.reference.tokenizer import Reference

Array = np.ndarray[Any, Any]

# Dimension by dimension the 1st and 99th percentile of some dataset's actions.
LOW = [-0.0287, -0.04, -0.026, -0.08, -0.092, -0.207]
HIGH = [0.0283, 0.0409, 0.0402, 0.0812, 0.0774, 0.2038]

# Bits of a float32 in the first of these dimensions, and its bin.
OPENVLA = {
    -1125682506: 1, -1129042687: 29, -1132162855: 55, -1136663888: 75, -1143037656: 97, -1151236790: 113,
    -1165966811: 124, 989601567: 136, 1000226840: 149, 1007030094: 164, 1011110312: 182, 1015586076: 203,
    1019906308: 239,
}  # fmt: skip


def beside(edges: Array) -> Array:
    """Float32 numbers, their neighbours, and some between them."""
    near = [edges, np.nextafter(edges, np.float32(np.inf)), np.nextafter(edges, np.float32(-np.inf))]
    between = np.random.default_rng(0).uniform(edges.min() * 1.2 - 0.01, edges.max() * 1.2 + 0.01, 2000)
    every = np.concatenate([*near, between.astype(np.float32)])
    return every[(every == 0) | (np.abs(every) > np.finfo(np.float32).tiny)]  # XLA takes smaller ones for 0


def ids(tok: ActionTokenizer, x: Array) -> Array:
    """The bins of numbers in the first dimension, as float32, as float64, and by the second computation."""
    several = np.zeros((len(x), len(tok.dims)), np.float32)
    several[:, 0] = x
    found = tok.encode(several)[:, 0]
    assert (tok.encode(several.astype(np.float64))[:, 0] == found).all()
    second = Reference(tok.to_dict())
    assert [second.rules[0].bin(float(v)) for v in x.tolist()] == found.tolist()
    return found


@pytest.mark.parametrize(("low", "high"), [*zip(LOW, HIGH, strict=True), (-1.0, 1.0), (0.3999, 0.4007)])
def test_openvla_is_digitized_after_float32(low: float, high: float) -> None:
    tok = ActionTokenizer.from_pretrained("openvla").with_dims([Dim("x", low, high)])
    x = beside(((np.linspace(-1, 1, 256) + 1) / 2 * (high - low + 1e-8) + low).astype(np.float32))
    # What TensorFlow makes of `2 * (x - low) / (high - low + 1e-8) - 1`: x is float32, numpy computes the width.
    scaled = np.float32(2) * (x - np.float32(low)) / np.float32(high - low + 1e-8) - np.float32(1)
    scaled = x if (low, high) == (-1.0, 1.0) else scaled
    wanted = np.digitize(np.clip(scaled, -1.0, 1.0), np.linspace(-1, 1, 256)) - 1
    assert scaled.dtype == np.float32
    assert (ids(tok, x) == wanted).all()


def test_openvla_ids_that_float64_would_miss() -> None:
    """Ids that OpenVLA's code gave in TensorFlow 2.21, where float64 arithmetic gives another one."""
    tok = ActionTokenizer.from_pretrained("openvla").with_dims([Dim("x", LOW[0], HIGH[0])])
    for bits, wanted in OPENVLA.items():
        x = np.array([bits], np.int32).view(np.float32)
        exact = 2 * (float(x[0]) - LOW[0]) / (HIGH[0] - LOW[0] + 1e-8) - 1
        assert np.digitize(exact, np.linspace(-1, 1, 256)) - 1 != wanted
        assert ids(tok, x).tolist() == [wanted]


def test_the_stored_edges_are_those_of_both_computations() -> None:
    stored = reference.normal_edges(256)
    assert octo_edges.normal_edges(256).tolist() == stored
    assert octo.quantiles(256) == stored
    for bins in (16, 100, 256):
        assert octo.linspace(-1.7, 2.3, bins) == octo_edges.uniform_edges(-1.7, 2.3, bins).tolist()


@pytest.mark.parametrize("bins", [64, 256, 1024])
def test_octo_normal_is_the_original_on_every_edge(bins: int) -> None:
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    edges = jax.scipy.stats.norm.ppf(jnp.linspace(1e-6, 1 - 1e-6, bins + 1))
    raw = ActionTokenizer.from_pretrained("octo-normal").to_dict() | {"bins": bins}
    tok = ActionTokenizer.from_dict(raw)
    x = beside(np.asarray(edges))
    inside = (x[:, None] < edges[1:]) & (x[:, None] >= edges[:-1])
    assert (ids(tok, x) == np.asarray(jnp.argmax(inside, axis=-1))).all()
    middles = np.asarray((edges[1:] + edges[:-1]) / 2)
    decoded = tok.decode(np.repeat(np.arange(bins)[:, None], len(tok.dims), axis=1)).actions
    assert (decoded == middles[:, None]).all()


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.7, 2.3), (-0.0287, 0.0283), (-1e4, 100.0)])
def test_octo_uniform_is_the_original_on_every_edge(low: float, high: float) -> None:
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    tok = ActionTokenizer.from_pretrained("octo-uniform").with_dims([Dim("x", low, high)])
    edges = jnp.linspace(low, high, 257)
    x = beside(np.asarray(edges))
    kept = jnp.clip(x, low + 1e-6, high - 1e-6)[:, None]
    inside = (kept < edges[1:]) & (kept >= edges[:-1])
    assert (ids(tok, x) == np.asarray(jnp.argmax(inside, axis=-1))).all()
