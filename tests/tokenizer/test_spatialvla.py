"""SpatialVLA's three ids a step: published numbers, a second computation, tokens, constrained decoding."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from support import vocabularies
from support.goldens import read_goldens

from rt2data.serving.constraint import Constraint
from rt2data.tokenizer import ActionError, ActionParseError, ActionTokenizer, Dim
from rt2data.verify.reference.tokenizer import InvalidAction, Reference

# SpatialVLA/SpatialVLA@e480753, model/action_tokenizer.py: an action, its ids with gs_bridge.json and with bins of
# equal width.
PUBLISHED: list[tuple[list[float], list[int], list[int]]] = [
    ([0.013671875, 0.54296875, 0.490234375, -0.205078125, -0.119140625, -0.2109375, 0.0],
     [213, 5187, 8192], [1211, 5750, 8192]),
    ([0.0] * 7, [120, 6247, 8192], [128, 6280, 8192]),
    ([1.0] * 7, [431, 8191, 8193], [1191, 8191, 8193]),
    ([-1.0] * 7, [2319, 4096, 8192], [2855, 4096, 8192]),
    ([0.0, 0.0, 1.0, 0.5, -0.5, 1.0, 0.5], [127, 7951, 8193], [132, 7247, 8193]),
    ([0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.4999], [3967, 6247, 8192], [3972, 6280, 8192]),
    ([-1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], [1023, 6247, 8193], [2300, 6280, 8193]),
    ([-1.0, -0.0, 0.0, 0.0, 0.0, 0.0, 1.0], [775, 6247, 8193], [2052, 6280, 8193]),  # -0.0 turns phi round
    ([3.0, -3.0, 9.0, -9.0, 2.0, 0.0, 2.0], [335, 4343, 8193], [1127, 4344, 8193]),
]  # fmt: skip
# The first of them decoded.
BACK = {
    True: [-0.01533687385298578, 0.3245170497934392, 0.6331082650232751, -0.19005679467192005, -0.10981423268173955,
           -0.22327965340565187, 0.0],
    False: [0.05741509388754084, 0.5829452310607611, 0.48072561256646257, -0.1875, -0.0625, -0.1875, 0.0],
}  # fmt: skip

NARROW = [Dim(n, -0.03, 0.04, "m") for n in "xyz"] + [Dim(n, -0.2, 0.1) for n in ("roll", "pitch", "yaw")]


def load(gaussian: bool = True, horizon: int = 1) -> ActionTokenizer:
    raw = ActionTokenizer.from_pretrained("spatialvla").to_dict()
    return ActionTokenizer.from_dict(raw if gaussian else raw | {"options": {}}).with_horizon(horizon)


@pytest.mark.parametrize("gaussian", [True, False])
def test_published_numbers(gaussian: bool) -> None:
    tok = load(gaussian)
    for action, normal, uniform in PUBLISHED:
        for dtype in ("float32", "float64"):
            assert tok.encode(np.array(action, dtype)).tolist() == (normal if gaussian else uniform)
    first = tok.encode(np.array(PUBLISHED[0][0]))
    assert tok.decode(first, dtype="float64").actions.tolist() == pytest.approx(BACK[gaussian], abs=1e-13)


@pytest.mark.parametrize("gaussian", [True, False])
@pytest.mark.parametrize("narrow", [True, False])
def test_against_the_second_computation(gaussian: bool, narrow: bool) -> None:
    tok = load(gaussian)
    tok = tok.with_dims([*NARROW, Dim("gripper", -1.0, 1.0)]) if narrow else tok
    reference = Reference(tok.to_dict())
    scale = np.array([d.high for d in tok.dims]) * 1.2
    x = (np.random.default_rng(2).uniform(-1, 1, (2000, 7)) * scale).astype(np.float32)
    bins, clipped = tok.encode(x, return_clipped=True)
    values = tok.decode(bins, dtype="float64").actions
    for row, ids, back, outside in zip(x.tolist(), bins.tolist(), values.tolist(), clipped.tolist(), strict=True):
        assert reference.encode(row, ()) == ids
        assert reference.decode(ids)[0] == pytest.approx(back, abs=1e-12)
        assert reference.clipped(row) == [bool(c) for c in outside]
    texts = tok.format(bins)
    assert [reference.format(ids) for ids in bins.tolist()] == texts
    assert [reference.parse(text) for text in texts] == bins.tolist()


def test_properties_count_what_comes_back_as_another_id() -> None:
    assert (load().properties.idempotent, load().properties.changed) == (False, 57)
    assert not load(gaussian=False).properties.injective  # kept in [-1, 1], cells of the sphere's rim are one


def test_tokens() -> None:
    tok = load(horizon=2)
    bins = np.array([213, 5187, 8192, 0, 4096, 8193])
    text = "<ACTION00213><ACTION05187><ACTION08192><ACTION00000><ACTION04096><ACTION08193>"
    assert tok.format(bins) == text
    assert tok.parse(text).tolist() == bins.tolist()
    assert re.fullmatch(tok.regex(), text)
    wrong = {
        text[:-13]: "no token <ACTIONN>",
        text + "<ACTION00000>": "longer than any",
        text.replace("<ACTION05187>", "<ACTION00187>"): r"not in 4096\.\.8191",
        text.replace("00213", "0213"): "no token",
        text[:-1] + " ": "no token",
    }
    for one, message in wrong.items():
        with pytest.raises(ActionParseError, match=message):
            tok.parse(one)
        assert not re.fullmatch(tok.regex(), one)
        with pytest.raises(InvalidAction):
            Reference(tok.to_dict()).parse(one)


def test_the_regex_takes_every_id_and_no_other() -> None:
    fields = re.findall(r"\(<ACTION(\(.*?\))>\)", load().regex())
    for pattern, (low, high) in zip(fields, ((0, 4095), (4096, 8191), (8192, 8193)), strict=True):
        assert [n for n in range(9000) if re.fullmatch(pattern, f"{n:05d}")] == list(range(low, high + 1))


def test_any_logits_give_an_action() -> None:
    raw = vocabularies.byte_level()
    raw.add_tokens([f"<ACTION{i:05d}>" for i in range(8194)])
    tok, rng = load(horizon=2).with_vocabulary(raw), np.random.default_rng(3)
    constraint = Constraint(tok, eos_token_id=raw.token_to_id("<|endoftext|>"))
    for _ in range(50):
        reply: list[int] = []
        while not reply or reply[-1] != constraint.eos:
            reply.append(int(rng.choice(constraint.allowed(constraint.state(reply)))))
        bins = constraint.parse(reply).bins
        assert tok.token_ids(bins).tolist() == reply[:-1]
        assert tok.decode(bins).actions.shape == (2, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bins": 256}, "8194 bins"),
        ({"text": {}}, r"text\.tokens"),
        ({"dims": [{"name": "x", "low": 0, "high": 1}]}, "7 for spatialvla"),
        ({"options": {"gaussian": [[0, 1]]}}, "each of 6 axes"),
        ({"options": {"gaussian": [[0, 0]] * 6}}, "above 0"),
        ({"terminate": {"true": 0, "false": 1}}, "terminate"),
    ],
)
def test_a_wrong_specification_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ActionError, match=message):
        ActionTokenizer.from_dict(load().to_dict() | change)


def test_the_whole_file_of_published_numbers() -> None:
    stored = read_goldens("spatialvla.json")
    x = np.array(stored["x"])
    for name, gaussian in (("bridge gaussian", True), ("uniform", False)):
        own, tok = stored["results"][name], load(gaussian)
        assert tok.encode(x).tolist() == own["ids"]
        back = tok.decode(np.array(own["ids"]), dtype="float64").actions
        # `decoded` is of every action, `x` and `ids` of every other one.
        np.testing.assert_allclose(back[: len(own["decoded"]) // 2], own["decoded"][::2], atol=1e-12)
