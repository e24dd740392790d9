"""Every scheme: the published numbers, every bin there and back, and the scalar reference."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import scalar_tokenizer as reference

from rt2data.tokenizer import ActionError, ActionTokenizer, Dim

# RT2DATA_TRIES=20000 for a thorough run, of minutes.
TRIES = int(os.environ.get("RT2DATA_TRIES", "200"))

ELEMENTWISE = [
    "rt2",
    "rt2-palme",
    "rt2-language-table",
    "rt1",
    "rt1-base",
    "rt1x",
    "openvla",
    "octo-uniform",
    "octo-normal",
    "dexbotic-255",
    "gato",
]
# The schemes that claim encode(decode(b)) == b.
IDEMPOTENT = ["rt2", "rt2-palme", "rt2-language-table", "octo-uniform", "octo-normal", "dexbotic-255", "gato"]

NARROW = [
    Dim(f"d{i}", low, high)
    for i, (low, high) in enumerate([(-0.0287, 0.0283), (0.4999, 0.5003), (-3e-5, 2e-5), (-1e4, 1.0), (0.0, 1e-9)])
]


def load(name: str) -> ActionTokenizer:
    return ActionTokenizer.from_pretrained(name)


def one(tok: ActionTokenizer, x: float, dtype: str = "float32") -> int:
    """The bin of x in the first dimension."""
    actions = np.zeros(len(tok.dims), dtype)
    actions[0] = x
    flags = None if tok.terminate is None else False
    return int(tok.encode(actions, flags)[int(tok.terminate is not None)])


def value(tok: ActionTokenizer, b: int, dtype: str = "float64") -> float:
    bins = np.full(tok.fields, b, np.int32)
    if tok.terminate is not None:
        bins[0] = 1
    return float(tok.decode(bins, dtype=dtype).actions[0])


def all_bins(tok: ActionTokenizer) -> np.ndarray:
    """Every bin of every dimension, and every number of field 0."""
    bins = np.repeat(np.arange(tok.bins, dtype=np.int32)[:, None], tok.fields, axis=1)
    if tok.terminate is not None:
        bins[:, 0] = np.resize(tok.terminate.symbols, tok.bins)
    return bins


# Published numbers


def test_rt1_vectors() -> None:
    tok = load("rt1")
    wanted = {
        -1.5: 0,
        -1: 0,
        -0.99: 1,
        -0.5: 63,
        -0.1: 114,
        0: 127,
        0.1: 140,
        0.5: 191,
        0.9: 242,
        0.99: 253,
        0.999: 254,
        1: 255,
    }
    assert {x: one(tok, x) for x in wanted} == wanted
    for x, b in {-0.1: 119, 0: 127, 0.1: 135, 0.2: 143, 0.6: 176}.items():
        assert tok.encode([0, 0, 0, x, 0, 0, 0], False)[4] == b
    bins = tok.encode([0.9, 0.8, -0.3, -0.1, 0.2, 0.6, 0.9], False)
    assert tok.format(bins) == "1 242 229 89 119 143 176 242"
    assert value(tok, 127) == pytest.approx(-0.0039216, abs=5e-8)
    assert value(tok, 128) == pytest.approx(0.0039216, abs=5e-8)


def test_rt1_drifts_as_published() -> None:
    tok = load("rt1")
    changed = {}
    for dtype in ("float32", "float64"):
        bins = all_bins(tok)
        again = tok.encode(*tok.decode(bins, dtype=dtype))
        assert np.isin(bins - again, [0, 1]).all()  # it can only drift down
        changed[dtype] = [int((again[:, d] != bins[:, d]).sum()) for d in (1, 4)]
    assert changed == {"float32": [63, 39], "float64": [20, 40]}
    assert not tok.properties.idempotent
    assert tok.properties.injective


def test_rt1x_vectors() -> None:
    tok = load("rt1x")
    wanted = {-2: 0, -1: 127, 0: 255, 0.3: 293, 1: 383, 1.75: 479, 2: 511}
    assert {x: one(tok, x) for x in wanted} == wanted
    assert tok.fields == 11
    bins = np.repeat(np.arange(512)[:, None], 11, axis=1)
    bins[:, 0] = 1
    again = tok.encode(*tok.decode(bins))
    changed = (again != bins).sum(axis=0)[1:]  # float32, as RT-1-X computes
    assert dict(zip([dim.name for dim in tok.dims], changed.tolist(), strict=True)) == {
        "x": 40,
        "y": 40,
        "z": 40,
        "roll": 83,
        "pitch": 83,
        "yaw": 83,
        "gripper_closedness": 40,
        "base_rotation": 83,
        "base_x": 40,
        "base_y": 40,
    }


def test_rt1_modes() -> None:
    tok = load("rt1-base")
    actions = np.zeros((3, 10), np.float32)
    assert tok.encode(actions, np.array([0, 1, 2]))[:, 0].tolist() == [0, 1, 2]
    assert tok.encode(actions, np.array([True, False, False]))[:, 0].tolist() == [0, 1, 1]
    bins = tok.encode(actions, np.array([0, 1, 2]))
    assert tok.decode(bins).terminate.tolist() == [True, False, False]
    with pytest.raises(ActionError, match=r"modes in 0\.\.2"):
        tok.encode(actions, np.array([0, 1, 3]))
    bins[:, 0] = 7  # no mode: RT-1 takes the first, and stops
    assert tok.decode(bins, validate=False).terminate.all()
    with pytest.raises(ActionError, match=r"field 1 \(terminate\): 7"):
        tok.decode(bins)


def test_openvla_vectors() -> None:
    tok = load("openvla").with_vocabulary(32000)
    wanted = {
        -2: (31999, -0.9960784),
        -1: (31999, -0.9960784),
        -0.5: (31936, -0.5019608),
        -0.1: (31885, -0.1019608),
        0: (31872, 0.0),
        0.1: (31859, 0.1019608),
        0.5: (31808, 0.5019608),
        0.9999: (31745, 0.9960784),
        1: (31744, 0.9960784),
        2: (31744, 0.9960784),
        -0.073: (31881, -0.0705882),
    }
    for x, (token, back) in wanted.items():
        ids = tok.token_ids(tok.encode(np.full(7, float(x)), None))
        assert ids.tolist() == [token] * 7, x
        assert tok.decode(tok.from_token_ids(ids), dtype="float64").actions[0] == pytest.approx(back, abs=5e-8)
    assert not tok.properties.idempotent
    assert not tok.properties.injective
    assert tok.properties.changed == 7  # the last bin of each dimension
    # 256 edges rounded to float32: 127 fall below
    edges = np.linspace(-1, 1, 256).astype(np.float32)
    assert (tok.encode(np.repeat(edges[:, None], 7, axis=1))[:, 0] != np.arange(256)).sum() == 127


def test_openvla_ids_that_are_no_actions() -> None:
    tok = load("openvla").with_vocabulary(32000)
    for token, back in {2: 0.9960784, 31743: 0.9960784, 32000: -0.9960784}.items():
        ids = np.full(7, token)
        with pytest.raises(ActionError, match=f"id {token} is not an action token"):
            tok.from_token_ids(ids)
        bins = tok.from_token_ids(ids, validate=False)
        assert tok.decode(bins).actions[0] == pytest.approx(back, abs=1e-6)


def test_openvla_quantile_vectors() -> None:
    tok = load("openvla").with_dims([Dim("x", -0.0287, 0.0283), Dim("gripper", -1, 1)]).with_vocabulary(32000)
    wanted = {
        -0.05: (31999, -0.028588),
        0: (31871, 2.4e-05),
        0.01: (31826, 0.010082),
        0.0283: (31745, 0.028188),
        0.05: (31744, 0.028188),
    }
    for x, (token, back) in wanted.items():
        bins = tok.encode(np.array([x, 0.0]))
        assert tok.token_ids(bins)[0] == token
        assert tok.decode(bins, dtype="float64").actions[0] == pytest.approx(back, abs=1e-6)
    # The gripper is taken raw: only the upper half of its range is in use.
    assert tok.token_ids(tok.encode(np.array([[0.0, 0.0], [0.0, 1.0]])))[:, 1].tolist() == [31872, 31744]
    # A dimension that never moved encodes as 0.
    still = load("openvla").with_dims([Dim("x", 0.4, 0.6, constant=True)])
    assert still.encode(np.array([[0.1], [0.5], [0.9]])).ravel().tolist() == [127, 127, 127]


def test_octo_vectors() -> None:
    tok = load("octo-uniform")
    assert [one(tok, x) for x in (-0.5, 0, 0.25, 0.5, 1)] == [0, 0, 64, 128, 255]
    assert [value(tok, b) for b in (0, 128, 255)] == pytest.approx([0.001953, 0.501953, 0.998047], abs=5e-7)
    tok = load("octo-normal")
    assert [one(tok, x) for x in (0, 1, 3, 5, -5)] == [128, 215, 255, 0, 0]
    assert [value(tok, b) for b in (128, 215, 255, 0)] == pytest.approx([0.0049, 1.0019, 3.7054, -3.7067], abs=5e-5)
    # float32 has no 1 - 1e-6, so the outermost edges are not symmetric.
    assert [one(tok, x) for x in (-4.7535, -4.7534, 4.7507, 4.7508)] == [0, 0, 255, 0]
    _, clipped = tok.encode(np.array([-4.7535, -4.7534, 4.7507, 4.7508, 0, 0, 0]), return_clipped=True)
    assert clipped.tolist() == [-1, 0, 0, 1, 0, 0, 0]


def test_dexbotic_vectors() -> None:
    tok = load("dexbotic-255")
    assert tok.format(tok.encode(np.array([-1, -0.5, 0, 0.5, 1, 2, -2.0]))) == " 0 63 127 190 254 254 0"
    assert tok.bins == 255


def test_gato_rule() -> None:
    tok = load("gato").with_vocabulary(33024)
    top = math.log(100 * 256 + 1)
    for x in (-300.0, -256.0, -1.0, -0.013, 0.0, 0.02, 1.0, 3.7, 100.0, 256.0):
        f = max(-1.0, min(1.0, math.copysign(math.log(abs(x) * 100 + 1) / top, x)))
        assert one(tok, x, "float64") == min(1023, math.floor((f + 1) / 2 * 1024))
    assert tok.token_ids(np.full(7, 1023)).tolist() == [33023] * 7


def test_language_table() -> None:
    tok = load("rt2-language-table")
    assert tok.format(tok.encode(np.array([0.03, -0.07]))) == "3 -7"
    assert tok.format(tok.encode(np.array([0.5, -0.5]))) == "10 -10"
    assert tok.decode(tok.parse("-10 10")).actions.tolist() == pytest.approx([-0.1, 0.1])
    assert tok.decode(tok.parse("0 0")).actions.tolist() == [0.0, 0.0]


def test_rt2_rule_and_the_printed_example() -> None:
    tok = load("rt2")
    wanted = {-1: 0, -0.5: 64, 0: 128, 0.1: 140, 0.5: 192, 1: 255, 7: 255, -7: 0}
    assert {x: one(tok, x) for x in wanted} == wanted
    assert [value(tok, b) for b in (128, 255)] == pytest.approx([0.00390625, 0.99609375], abs=0)
    actions, terminate = tok.decode(tok.parse("1 128 91 241 5 101 127 217"), dtype="float64")
    assert not terminate
    assert actions[:3].tolist() == [0.00390625, -0.28515625, 0.88671875]
    assert actions[3:6].tolist() == pytest.approx([x * math.pi / 2 for x in (-0.95703125, -0.20703125, -0.00390625)])
    assert actions[6] == (217 + 0.5) / 256


def test_fast_vectors() -> None:
    tok = load("fast").with_dims([Dim("a", -1, 1), Dim("b", -1, 1)]).with_horizon(4)
    chunk = np.array([[0, 1], [0.5, 1], [1, 1], [0.5, 1]])
    codes = tok.encode(chunk)
    assert tok.format(codes) == "364 374 349 354 349 354 356 354"
    back = tok.decode(codes, dtype="float64").actions
    assert back[:, 0] == pytest.approx([-0.022521, 0.484045, 1.015955, 0.522521], abs=5e-7)
    assert back[:, 1] == pytest.approx([1, 1, 1, 1])
    bound = tok.with_vocabulary(257152)
    assert bound.token_ids(np.array([0, 1, 0, 0, 0, 0, 0, 0]))[:2].tolist() == [257023, 257022]


# Every bin


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", IDEMPOTENT)
def test_every_bin_survives(name: str, dtype: str) -> None:
    tok = load(name)
    bins = all_bins(tok)
    decoded = tok.decode(bins, dtype=dtype)
    assert decoded.actions.dtype == dtype
    again = tok.encode(decoded.actions, decoded.terminate)
    np.testing.assert_array_equal(again, bins)
    assert tok.parse(tok.format(bins)).tolist() == bins.tolist()
    assert tok.properties.idempotent
    assert tok.properties.injective


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["rt2", "openvla", "octo-normal", "dexbotic-255"])
def test_narrow_and_shifted_bounds(name: str, dtype: str) -> None:
    tok = load(name).with_dims(NARROW)
    bins = all_bins(tok)
    again = tok.encode(*tok.decode(bins, dtype=dtype))
    if name == "rt2":
        np.testing.assert_array_equal(again, bins)
    else:  # an epsilon of 1e-8 or so is not small beside bounds of that size: said, not repaired
        assert tok.properties.idempotent == bool((again == bins).all())


@pytest.mark.parametrize("name", [n for n in IDEMPOTENT if n != "gato"])
def test_error_is_at_most_half_a_bin(name: str) -> None:
    tok = load(name)
    rng = np.random.default_rng(3)
    low, high = np.array([d.low for d in tok.dims]), np.array([d.high for d in tok.dims])
    if name == "octo-normal":
        low, high = 4.75 * low, 4.75 * high
    x = rng.uniform(low, high, (20_000, len(tok.dims)))
    terminate = None if tok.terminate is None else np.zeros(len(x), bool)
    bins = tok.encode(x, terminate)
    back = tok.decode(bins, dtype="float64").actions
    if name == "octo-normal":
        edges = np.array(reference.normal_edges(256))
        width = np.diff(edges)[bins]
    elif name in ("dexbotic-255", "rt2-language-table"):
        width = (high - low) / (tok.bins - 1)
    else:
        width = (high - low) / tok.bins
    lost = {"dexbotic-255": 1e-8, "octo-normal": 5e-7, "octo-uniform": 1.1e-6}.get(name, 0.0)  # of float32
    assert (np.abs(back - x) <= width / 2 * (1 + 1e-6) + lost).all()


def test_a_width_that_loses_bins_is_refused() -> None:
    with pytest.raises(ActionError, match="float32"):
        load("rt2").with_dims([Dim("x", 0.5 - 1e-6, 0.5 + 1e-6)])
    for low, high in [(1.0, 1.0), (1.0, 0.0), (float("nan"), 1.0), (0.0, float("inf"))]:
        with pytest.raises(ActionError):
            load("rt2").with_dims([Dim("x", low, high)])


# The reference


NUMBERS = st.one_of(
    st.floats(-1.25, 1.25, width=32),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.floats(-400, 400, width=32),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 256.0, -256.0, 1e-45, 4.7534]),
)


@settings(max_examples=TRIES, deadline=None)
@given(st.sampled_from(ELEMENTWISE), st.data())
def test_against_the_reference(name: str, data: st.DataObject) -> None:
    tok = load(name)
    dims = tok.dims if data.draw(st.booleans()) or name in ("gato", "rt2-language-table") else tuple(NARROW)
    tok = tok.with_dims(dims)
    x = data.draw(st.lists(NUMBERS, min_size=len(dims), max_size=len(dims)))
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    rounded = reference.float32 if dtype == "float32" else reference.same
    ours = tok.encode(np.array(x, dtype), None if tok.terminate is None else False)
    spec = tok.spec
    bounds = [reference.Dim(d.low, d.high, d.constant) for d in dims]
    wanted = [
        reference.encode(spec.scheme, v, d, tok.bins, dict(spec.options), rounded)
        for v, d in zip(x, bounds, strict=True)
    ]
    bins = ours[int(tok.terminate is not None) :].tolist()
    if spec.scheme == "mu-law":  # an edge is a logarithm: within its rounding both bins are right
        assert all(
            abs(a - b) <= (abs(_position(v) - round(_position(v))) < 1e-9)
            for a, b, v in zip(bins, wanted, x, strict=True)
        )
    else:
        assert bins == wanted
    back = tok.decode(ours, dtype=dtype).actions.tolist()
    values = [
        reference.decode(spec.scheme, b, d, tok.bins, dict(spec.options), rounded)
        for b, d in zip(bins, bounds, strict=True)
    ]
    # Reductions of the same formula in another order differ in the last places.
    scale = [max(abs(d.low), abs(d.high)) for d in bounds]
    assert all(
        abs(a - b) <= 4e-7 * s if dtype == "float32" else abs(a - b) <= 1e-14 * s
        for a, b, s in zip(back, values, scale, strict=True)
    )
    if spec.scheme in ("uniform", "truncated"):
        assert back == values


def _position(x: float) -> float:
    f = math.copysign(math.log(abs(x) * 100 + 1) / math.log(25601), x)
    return (f + 1) / 2 * 1024


@settings(max_examples=max(TRIES // 10, 20), deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.data())
def test_fast_against_the_reference(horizon: int, dims: int, data: st.DataObject) -> None:
    tok = load("fast").with_dims([Dim(f"d{i}", -1, 1) for i in range(dims)]).with_horizon(horizon)
    flat = data.draw(st.lists(st.floats(-4, 4, width=32), min_size=horizon * dims, max_size=horizon * dims))
    chunk = np.array(flat).reshape(horizon, dims)
    codes = tok.encode(chunk if horizon > 1 else chunk[0]).tolist()
    wanted = reference.dct(chunk.tolist(), 10.0, -354, 1024)
    exact = np.array(reference.dct(chunk.tolist(), 1e6, -(10**9), 2 * 10**9)) - 10**9
    tie = np.abs(exact / 1e5 % 1 - 0.5) < 1e-4  # within rounding of a half, either neighbour is right
    assert all(a == b or t for a, b, t in zip(codes, wanted, tie, strict=True))
    back = tok.decode(np.array(codes), dtype="float64").actions.reshape(horizon, dims)
    np.testing.assert_allclose(back, reference.inverse_dct(codes, horizon, 10.0, -354), atol=1e-12)
    np.testing.assert_array_equal(tok.encode(back if horizon > 1 else back[0]), codes)


@settings(max_examples=TRIES, deadline=None)
@given(st.data())
def test_uniform_is_idempotent_for_any_bounds(data: st.DataObject) -> None:
    """The promise of rt2, for bounds no file has: whatever Dim is accepted keeps every bin in float32."""
    low = data.draw(st.floats(-1e6, 1e6))
    width = data.draw(st.floats(1e-9, 1e6))
    bins = data.draw(st.sampled_from([2, 21, 256, 1024, 4096]))
    raw = load("rt2").to_dict() | {"bins": bins, "dims": [{"name": "x", "low": low, "high": low + width}]}
    try:
        tok = ActionTokenizer.from_dict(raw)
    except ActionError:
        return  # too narrow for its size: refused
    every = np.stack([np.ones(bins, np.int32), np.arange(bins, dtype=np.int32)], axis=1)
    for dtype in ("float32", "float64"):
        np.testing.assert_array_equal(tok.encode(*tok.decode(every, dtype=dtype)), every)


def test_horizon_is_time_major() -> None:
    tok = load("rt2").with_horizon(3)
    one_step = load("rt2")
    rng = np.random.default_rng(0)
    actions, terminate = rng.uniform(-1, 1, (5, 3, 7)), rng.random((5, 3)) < 0.5
    bins = tok.encode(actions, terminate)
    assert bins.shape == (5, 24)
    assert tok.format(bins[0]) == " ".join(one_step.format(one_step.encode(actions[0], terminate[0])))
    decoded = tok.decode(bins)
    assert decoded.actions.shape == (5, 3, 7)
    np.testing.assert_array_equal(decoded.terminate, terminate)
    np.testing.assert_array_equal(tok.encode(*decoded), bins)


def test_joint_space_and_two_arms() -> None:
    joints = [Dim(f"{side}_joint_{i}", -math.pi, math.pi, "rad") for side in ("left", "right") for i in range(7)]
    tok = load("rt2").with_dims(
        [*joints, Dim("left_gripper", 0, 1), Dim("right_gripper", 0, 1), Dim("base_speed", -0.5, 0.5, "m/s")]
    )
    assert tok.fields == 18
    bins = all_bins(tok)
    np.testing.assert_array_equal(tok.encode(*tok.decode(bins)), bins)
    np.testing.assert_array_equal(tok.parse(tok.format(bins)), bins)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_thresholds_are_the_rule(name: str) -> None:
    """Other array libraries search thresholds instead of running the rule; in numpy both can be compared."""
    from rt2data.tokenizer.schemes import quantizers

    tok = load(name).with_dims(NARROW) if name not in ("gato", "rt2-language-table") else load(name)
    rule = quantizers.make_quantizer(tok.spec.scheme, tok.dims, tok.bins, tok.spec.options)
    for dtype in (np.float32, np.float64):
        table = quantizers.thresholds(rule, dtype, len(tok.dims))
        assert (table[:, 1:] >= table[:, :-1]).all()
        for x in (table, np.nextafter(table, dtype(-np.inf)), np.nextafter(table, dtype(np.inf))):
            with np.errstate(all="ignore"):
                cells = rule.cells(x.T.copy()).T
            found = np.stack([np.searchsorted(row, v, side="right") for row, v in zip(table, x, strict=True)])
            np.testing.assert_array_equal(found[np.isfinite(x)], cells[np.isfinite(x)])
