"""BEAST's weights of B-splines: published numbers, a second computation, fitting, constrained decoding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from support import vocabularies
from support.goldens import read_goldens

from rt2data.serving.constraint import Constraint
from rt2data.tokenizer import ActionError, ActionTokenizer, Dim
from rt2data.tokenizer.fit import fit
from rt2data.tokenizer.schemes.splines import Splines, basis_matrix, fit_matrix
from rt2data.verify.reference.tokenizer import Reference

# intuitive-robots/beast_calvin@cf5f628, beast/models/tokenizers/bspline_tokenizer.py: a chunk of 10 steps of x, yaw and
# gripper with 5 weights each, their limits, the tokens in the order of time, and what they decode to.
CHUNK = [
    [0.015625, -0.0625, -1.0], [-0.19140625, -0.2109375, -1.0], [-0.328125, -0.328125, -1.0],
    [-0.17578125, -0.140625, -1.0], [0.04296875, -0.0234375, -1.0], [0.140625, 0.0703125, 1.0],
    [0.15234375, -0.203125, 1.0], [0.1171875, -0.328125, 1.0], [0.07421875, -0.5859375, 1.0],
    [0.2421875, -0.796875, 1.0],
]  # fmt: skip
WEIGHTS = [
    [0.04329643398523331, -1.178493618965149, 1.1805968284606934, -0.3372398912906647, 0.22951266169548035],
    [-0.0418487973511219, -1.0345485210418701, 1.170188307762146, -0.5329504609107971, -0.7932692170143127],
    [-1.0, -1.0, 0.0, 1.0, 1.0],
]
LEAST = [
    -0.36655932664871216, -1.178493618965149, -1.274836778640747, -0.6470967531204224, -0.91684889793396,
    -0.230605348944664, -1.0345485210418701, -0.5804898142814636, -1.0640686750411987, -0.7932692170143127, *[-1.0] * 5,
]  # fmt: skip
GREATEST = [
    0.2596972584724426, 0.8010185956954956, 1.1805968284606934, 1.1154072284698486, 0.7243772745132446,
    0.1286192387342453, 0.8112040758132935, 1.6661608219146729, 1.2222187519073486, 0.7429386973381042, *[1.0] * 5,
]  # fmt: skip
TOKENS = [167, 134, 0, 0, 0, 0, 255, 199, 128, 45, 59, 255, 178, 0, 255]
DECODED = [
    [0.043577343225479126, -0.04183633625507355, -1.0], [-0.27316540479660034, -0.2831406593322754, -1.0],
    [-0.27623748779296875, -0.2579810321331024, -1.0], [-0.13753052055835724, -0.13212572038173676, -1.0],
    [0.020132023841142654, -0.025691309943795204, 0.003921627998352051],
    [0.12299618870019913, -0.013142086565494537, 0.003921627998352051],
    [0.1463763266801834, -0.12329068779945374, 1.0], [0.11465596407651901, -0.33929765224456787, 1.0],
    [0.10128728300333023, -0.598671555519104, 1.0], [0.22879135608673096, -0.7932692170143127, 1.0],
]  # fmt: skip
# Rows of its matrices: (splines, steps, degree, row).
BASES = [
    (5, 10, 4, 3, [0.1975308209657669, 0.3950616717338562, 0.29629629850387573, 0.09876543283462524, 0.0123456809669]),
    (10, 50, 3, 4, [0.07871722429990768, 0.5714285969734192, 0.3187560439109802, 0.031098145991563797, *[0.0] * 6]),
    (5, 10, 0, 4, [0.0, 0.0, 1.0, 0.0, 0.0]),
]
DIMS = [Dim("x", -0.05, 0.06, "m"), Dim("yaw", -0.2, 0.3, "rad"), Dim("gripper", 0, 1)]


def load(
    names: Sequence[str] = ("x", "yaw", "gripper"),
    limits: Sequence[Sequence[float]] = (),
    count: int = 5,
    horizon: int = 10,
    degree: int = 4,
) -> ActionTokenizer:
    raw = ActionTokenizer.from_pretrained("beast").to_dict()
    dims = [{"name": name, "low": -1, "high": 1} for name in names]
    options = {"basis": count, "degree": degree, "flat": ["gripper"], "weights": [list(pair) for pair in limits]}
    return ActionTokenizer.from_dict(raw | {"dims": dims, "horizon": horizon, "options": options})


def motions(count: int, horizon: int = 10, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    way = np.cumsum(rng.normal(size=(count, horizon, 3)), axis=1) * [0.02, 0.07, 0.4]
    way[..., 2] = way[..., 2] > 0
    return way


def test_published_numbers() -> None:
    tok = load(limits=list(zip(LEAST, GREATEST, strict=True)))
    weights = Splines(tok.spec).weigh(np, np.array(CHUNK))
    np.testing.assert_allclose(weights.T, WEIGHTS, atol=1e-5)  # theirs is float32
    for dtype in ("float32", "float64"):
        assert tok.encode(np.array(CHUNK, dtype)).tolist() == TOKENS
    np.testing.assert_allclose(tok.decode(TOKENS).actions, DECODED, atol=1e-6)
    assert tok.format(TOKENS).startswith("167 134 0 0 ")
    assert tok.with_vocabulary(51289).token_ids(TOKENS)[:4].tolist() == [51121, 51154, 51288, 51288]
    for count, steps, degree, row, wanted in BASES:
        np.testing.assert_allclose(basis_matrix(count, steps, degree)[row], wanted, atol=1e-6)


def test_empty_spans_and_ends() -> None:
    """Of more spans than steps some are empty, and their weight is 0: a curve may not have so many."""
    assert (fit_matrix(10, 8, 0) @ np.arange(8)).tolist() == [0, 1, 2, 0, 3, 4, 0, 5, 6, 7]
    assert basis_matrix(5, 10, 4)[[0, -1]].tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]
    # Steps on knots belong to the span behind: 11 steps of 5 spans.
    assert basis_matrix(5, 11, 0).sum(axis=0).tolist() == [2, 2, 2, 2, 3]
    np.testing.assert_allclose(basis_matrix(9, 33, 3).sum(axis=1), 1, atol=1e-15)


@pytest.mark.parametrize(("count", "horizon", "degree"), [(5, 10, 4), (10, 20, 4), (3, 7, 1), (4, 4, 3), (6, 13, 0)])
def test_against_the_second_computation(count: int, horizon: int, degree: int) -> None:
    rng = np.random.default_rng(1)
    limits = np.stack([rng.uniform(-3, -1, count * 3), rng.uniform(1, 3, count * 3)], axis=1).tolist()
    tok = load(limits=limits, count=count, horizon=horizon, degree=degree).with_dims(DIMS)
    reference, x = Reference(tok.to_dict()), motions(40, horizon).astype(np.float32)
    bins, clipped = tok.encode(x, return_clipped=True)
    assert (bins.shape, clipped.shape) == ((40, count * 3), (40, count, 3))
    values = tok.decode(bins, dtype="float64").actions
    assert np.abs(clipped).any() or count < 5
    for row, ids, back, outside in zip(x, bins.tolist(), values, clipped, strict=True):
        assert reference.encode(row.ravel().tolist(), ()) == ids
        assert reference.decode(ids)[0] == pytest.approx(back.ravel().tolist(), abs=1e-12)
        assert reference.clipped(row.ravel().tolist()) == [bool(c) for c in outside.ravel()]
        text = tok.format(np.array(ids))
        assert reference.format(ids) == text
        assert reference.parse(text) == ids == tok.parse(text).tolist()


def test_properties() -> None:
    tok = load()
    assert (tok.properties.idempotent, tok.properties.injective, tok.properties.changed) == (True, True, 0)
    bins = np.random.default_rng(0).integers(0, 256, (500, 15))
    assert (tok.encode(tok.decode(bins).actions) == bins).all()
    assert "smooth curve" in tok.properties.faults[0]
    fine = load(names=("gripper",), count=10)  # a flat dimension with a weight for each step loses rounding alone
    x = np.random.default_rng(1).uniform(-1, 1, (50, 10, 1))
    assert np.abs(fine.decode(fine.encode(x)).actions - x).max() < 1.001 / 255


def test_fitted_limits_are_those_of_the_data_in_any_order() -> None:
    chunks = motions(200)
    unfitted = load().with_dims(DIMS)
    weights = Splines(unfitted.spec).weigh(np, chunks)
    assert np.abs(unfitted.encode(chunks, return_clipped=True)[1]).any()
    fitted = fit(unfitted, [chunks[:50], chunks[50:]])
    assert fit(unfitted, [chunks[50:], chunks[:50]]) == fitted
    limits = np.array(fitted.spec.options["weights"]).reshape(3, 5, 2)
    np.testing.assert_array_equal(limits[..., 0], weights.min(axis=0).T)
    bins, clipped = fitted.encode(chunks, return_clipped=True)
    assert not clipped.any()
    assert (bins.min(), bins.max()) == (0, 255)
    assert ActionTokenizer.from_dict(fitted.to_dict()) == fitted
    by_source = unfitted.with_sources({"a": DIMS, "b": [Dim("x", -1, 1), *DIMS[1:]]})
    both = fit(by_source, [("a", chunks), ("b", chunks * [30, 1, 1])])
    assert not both.for_source("b").encode(chunks * [30, 1, 1], return_clipped=True)[1].any()
    still = fit(unfitted, [np.full((3, 10, 3), 0.01)])  # a weight that does not vary is the middle of its limits
    np.testing.assert_allclose(still.decode(still.encode(np.full((10, 3), 0.01))).actions, 0.01, atol=1e-5)
    with pytest.raises(ActionError, match="no chunks"):
        fit(unfitted, [np.zeros((0, 10, 3))])


def test_any_logits_give_an_action() -> None:
    tok, rng = load().with_vocabulary(50000), np.random.default_rng(3)
    constraint = Constraint(tok, eos_token_id=2)
    for _ in range(20):
        reply: list[int] = []
        while not reply or reply[-1] != constraint.eos:
            reply.append(int(rng.choice(constraint.allowed(constraint.state(reply)))))
        bins = constraint.parse(reply).bins
        assert tok.token_ids(bins).tolist() == reply[:-1]
        assert tok.decode(bins).actions.shape == (10, 3)
    assert re.fullmatch(tok.regex(), tok.format(bins))
    text = ActionTokenizer.from_dict(load().to_dict() | {"vocabulary": {"place": "text"}})
    assert text.check_vocabulary(vocabularies.integers()).ok


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizon": 1}, "at most the horizon"),
        ({"horizon": 4}, "5 for a horizon of 4"),
        ({"options": {"basis": 4}}, "5 or more"),
        ({"options": {"degree": -1}}, "degree"),
        ({"options": {"weights": [[-1, 1]] * 4}}, "15: 5 for each of 3"),
        ({"options": {"weights": [[1, 1]] * 15}}, r"weights\[0\].*above the least"),
        ({"options": {"flat": "gripper"}}, "flat"),
        ({"options": {"scale": 1.0}}, "scale"),
        ({"terminate": {"true": 0, "false": 1}}, "terminate"),
        ({"dims": [{"name": "x", "low": 0, "high": 1, "steps": [[0, 1]] * 10}]}, "bounds per step"),
    ],
)
def test_a_wrong_specification_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ActionError, match=message):
        ActionTokenizer.from_dict(load().to_dict() | change)


def test_the_whole_file_of_published_numbers() -> None:
    stored = read_goldens("beast.json")
    for base in stored["bases"]:
        own = basis_matrix(base["num_basis"], base["seq_len"], base["degree"])
        np.testing.assert_allclose(own, base["matrix"], atol=1e-6)
        knots = np.array(base["knots"])  # each spline's support begins and ends at its knots
        for spline, values in enumerate(own.T):
            inside = np.flatnonzero(values) / (base["seq_len"] - 1)
            low, high = knots[spline], knots[spline + base["degree"] + 1]
            assert len(inside) == 0 or low - 1e-6 <= inside.min() <= inside.max() <= high + 1e-6
    names = [*(f"d{i}" for i in range(6)), "gripper"]
    for case in stored["cases"]:
        x, shape = np.array(case["x"]), {"count": case["num_basis"], "horizon": case["seq_len"]}
        tok = load(names, list(zip(case["w_min"], case["w_max"], strict=True)), **shape)
        weights = Splines(tok.spec).weigh(np, x).swapaxes(1, 2).reshape(len(x), -1)
        np.testing.assert_allclose(weights, case["weights"], atol=1e-5)
        bins = tok.encode(x)
        assert bins.tolist() == case["tokens"]
        decoded = tok.decode(bins).actions
        np.testing.assert_allclose(decoded[: len(case["decoded"])], case["decoded"], atol=1e-6)
        assert ((decoded - x) ** 2).mean() == pytest.approx(case["mse"], rel=1e-5)
        assert np.abs(decoded - x).max() == pytest.approx(case["max_abs_error"], rel=1e-5)
        ids = tok.with_vocabulary(case["vlm_vocab"]).token_ids(bins)
        assert ids[: len(case["llm_ids"])].tolist() == case["llm_ids"]
        fresh = load(names, [(-0.02, 0.02)] * len(case["w_min"]), **shape)
        assert fresh.encode(x[:3]).tolist() == case["tokens_default_bounds"]
    quantiles = stored["quantile_bounds_of_libero_case"]
    tok = load(names, list(zip(quantiles["q01"], quantiles["q99"], strict=True)))
    assert tok.encode(np.array(stored["cases"][1]["x"])).tolist() == stored["tokens_with_quantile_bounds"]
    edges = stored["edges"]
    spans = edges["degree 0 with fewer steps than basis (T=8, n=10)"]["ok"][0]
    assert (fit_matrix(10, 8, 0) @ np.arange(8)).tolist() == spans
    curves = edges["init_p"]["ok"]
    curve = basis_matrix(5, 10, 4) @ ([0.5] + [curves["without"][0][0][0]] * 4)
    np.testing.assert_allclose(curve, np.array(curves["init_p_0_5"])[0, :, 0], atol=1e-6)
