"""VLA-0's actions, and the states of pi0.5, OpenTau and MolmoAct2: published numbers, references, lenient rules."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import scalar_tokenizer as reference
from support import vocabularies
from support.goldens import read_goldens

from rt2data.serving.constraint import Constraint
from rt2data.tokenizer import ActionError, ActionParseError, ActionTokenizer, Dim
from rt2data.tokenizer.text.lenient_reply import decode_like_vla0

VLA0_DIMS = [Dim("a", -0.9375, 0.9375), Dim("b", -0.2575, 0.375), Dim("c", -1.0, 1.0)]

# Computed by NVlabs/vla0@731bef2, rv_train/models/qwen/model.py, horizon 2: actions, text, and the text read back.
VLA0 = [
    ([[-0.9375, -0.2574999928474426, -1.0]] * 2, "0 0 0 0 0 0", [[-0.9375, -0.2574999928474426, -1.0]] * 2),
    ([[0.0, 0.0, 0.0]] * 2, "500 407 500 500 407 500", [[0.0, -7.2479248046875e-05, 0.0]] * 2),
    (
        [[-0.026558702811598778, 0.30510106682777405, 0.8680870532989502],
         [-0.2666340172290802, 0.10399261862039566, -0.3562612235546112]],
        "486 889 934 358 572 322",
        [[-0.026250004768371582, 0.30479252338409424, 0.8680000305175781],
         [-0.26624995470046997, 0.10429000854492188, -0.35600000619888306]],
    ),
]  # fmt: skip

MIDDLE = [[0.0, 0.058750003576278687, 0.0]] * 2
TWO = [
    [-0.9356250166893005, -0.2562350034713745, -0.9940000176429749],
    [-0.9300000071525574, -0.25433748960494995, -0.9879999756813049],
]
# What the same code makes of replies that are no action.
VLA0_REPLIES: dict[str, list[list[float]]] = {
    "1 2 3 4 5 6": TWO,
    " 1 2 3 4 5 6 ": TWO,
    "1 2 3": [TWO[0], TWO[0]],
    "1 2 3 4": [TWO[0], TWO[0]],
    "1 2 3 4 5 6 7 8 9": TWO,
    "1  2 3 4 5 6": MIDDLE,
    "1 2 3 4 5 x": MIDDLE,
    "": MIDDLE,
    "1.5 2 3 4 5 6": MIDDLE,
    "1\t2 3 4 5 6": MIDDLE,
    "1 2": [],
    "1001 -5 3 4 5 6": [[0.9393750429153442, -0.2606624960899353, -0.9940000176429749], TWO[1]],
    "٣ 2 3 4 5 6": [[-0.9318749904632568, *TWO[0][1:]], TWO[1]],
    "1_0 2 3 4 5 6": [[-0.918749988079071, *TWO[0][1:]], TWO[1]],
}

# x and its number: Physical-Intelligence/openpi@15a9616 models/tokenizer.py, and of MolmoAct2
# huggingface/lerobot@7427f31 policies/molmoact2/processor_molmoact2.py.
PI05 = {
    -2.0: -1, -1.0000001: -1, -1.0: 0, -0.999: 0, -0.5: 64, -1e-09: 127, 0.0: 128, 0.1: 140, 0.5: 192,
    0.9921874: 254, 0.9921875: 255, 1.0: 255, 1.5: 255,
}  # fmt: skip
MOLMOACT2 = {
    -2.0: 0, -1.0000001: 0, -1.0: 0, -0.999: 0, -0.5: 64, -1e-09: 128, 0.0: 128, 0.1: 140, 0.5: 191,
    0.9921874: 254, 0.9921875: 254, 0.999: 255, 1.0: 255, 1.5: 255, -0.8627450980392157: 17, 0.8705882352941177: 239,
}  # fmt: skip

STATES = ["proprio-pi05", "proprio-opentau", "proprio-molmoact2"]


def vla0(horizon: int = 2) -> ActionTokenizer:
    return ActionTokenizer.from_pretrained("vla0").with_dims(VLA0_DIMS).with_horizon(horizon)


def state(name: str, dims: int = 1) -> ActionTokenizer:
    """A bundled tokenizer of states that are normalised already."""
    return ActionTokenizer.from_pretrained(name).with_dims([Dim(f"s{i}", -1.0, 1.0) for i in range(dims)])


def test_vla0_vectors() -> None:
    for actions, text, back in VLA0:
        bins = vla0().encode(np.array(actions, np.float32))
        assert vla0().format(bins) == text
        assert vla0().decode(vla0().parse(text)).actions.tolist() == back
    one = vla0(1).with_dims([Dim("x", 0.0, 1.0)])
    assert [int(one.encode(np.array([x]))[0]) for x in (0.0005, 0.0015, 0.0025)] == [0, 2, 2]  # half to even
    assert one.encode(np.array([0.1], np.float32)).tolist() == [100]


def test_vla0_reports_what_the_original_stops_at() -> None:
    bins, clipped = vla0(1).encode(np.array([1.0, 0.0, -1.5]), return_clipped=True)
    assert bins.tolist() == [1000, 407, 0]
    assert clipped.tolist() == [1, 0, -1]
    with pytest.raises(ActionError, match="NaN"):
        vla0(1).encode(np.array([np.nan, 0.0, 0.0]))
    with pytest.raises(ActionError, match="low below high"):
        vla0().with_dims([Dim("x", 0.5, 0.5)])  # the original writes -9223372036854775808


@pytest.mark.parametrize("text", [t for t in VLA0_REPLIES if t != "1 2 3 4 5 6"])
def test_vla0_is_strict_by_default_and_lenient_by_name(text: str) -> None:
    with pytest.raises(ActionParseError):
        vla0().parse(text)
    found = decode_like_vla0(vla0(), text)
    assert found.dtype == np.float32
    assert found.shape[1] == 3
    assert found.tolist() == VLA0_REPLIES[text]


def test_the_lenient_rule_wants_its_scheme() -> None:
    with pytest.raises(ActionError, match='the "uniform" scheme'):
        decode_like_vla0(ActionTokenizer.from_pretrained("rt2"), "1")
    with pytest.raises(ActionError, match="bounds per source"):
        decode_like_vla0(vla0().with_sources({"one": VLA0_DIMS}), "1 2 3")


@given(st.text(alphabet="0123456789 -_.x٣\t", max_size=60), st.integers(1, 3))
def test_the_lenient_rule_against_the_reference(text: str, horizon: int) -> None:
    dims = [reference.Dim(d.low, d.high) for d in VLA0_DIMS]
    found = decode_like_vla0(vla0(horizon), text)
    wanted = np.array(reference.vla0_actions(text, dims, horizon)).reshape(-1, 3)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


def test_state_vectors() -> None:
    for name, wanted, first in (("proprio-pi05", PI05, -1), ("proprio-molmoact2", MOLMOACT2, 0)):
        found = state(name).encode(np.array(list(wanted))[:, None])[:, 0] + first
        assert dict(zip(wanted, found.tolist(), strict=True)) == wanted
    # OpenTau@0b153a9 modeling_pi05.py: floor((clip(x, -1, 1) + 1) * 128), at most 255
    found = state("proprio-opentau").encode(np.array(list(PI05))[:, None])[:, 0]
    assert found.tolist() == [max(b, 0) for b in PI05.values()]


def test_state_texts() -> None:
    assert state("proprio-pi05", 3).format(np.array([0, 161, 256])) == "-1 160 255"
    assert state("proprio-opentau", 3).format(np.array([0, 160, 255])) == "0 160 255"
    tok = state("proprio-molmoact2", 3)
    text = "<state_start><state_0><state_128><state_255><state_end>"  # as LeRobot writes it
    assert tok.format(tok.encode(np.array([-1.0, 0.0, 1.0]))) == text
    assert tok.format(np.zeros((2, 1, 3), int))[1] == ["<state_start><state_0><state_0><state_0><state_end>"]
    assert tok.parse(text).tolist() == [0, 128, 255]


def test_openpi_normalises_with_an_epsilon() -> None:
    """openpi's transforms: (x - q01) / (q99 - q01 + 1e-6) * 2 - 1, in float64."""
    tok = state("proprio-pi05").with_dims([Dim("x", 0.2, 0.2008)])
    x = np.linspace(0.199, 0.202, 1001)
    wanted = np.digitize((x - 0.2) / (0.2008 - 0.2 + 1e-6) * 2 - 1, np.linspace(-1, 1, 257)[:-1])
    assert tok.encode(x[:, None])[:, 0].tolist() == wanted.tolist()


@settings(deadline=None)
@given(
    st.sampled_from(["vla0", *STATES]), st.floats(-3, 3, width=32), st.sampled_from(["float32", "float64"]), st.data()
)
def test_against_the_reference(name: str, x: float, dtype: str, data: st.DataObject) -> None:
    low, high = data.draw(st.sampled_from([(-1.0, 1.0), (-0.0287, 0.0283), (-2.0, 5.0), (0.499, 0.501)]))
    tok = ActionTokenizer.from_pretrained(name).with_horizon(1).with_dims([Dim("x", low, high)])
    rounded = reference.float32 if dtype == "float32" else reference.same
    scheme, options, dim = tok.spec.scheme, dict(tok.spec.options), reference.Dim(low, high)
    for value in (x, low + (x + 3) / 6 * (high - low)):
        bins = tok.encode(np.array([value], dtype))
        wanted = reference.encode(scheme, rounded(value), dim, tok.bins, options, rounded)
        assert bins.tolist() == [wanted]
        back = reference.decode(scheme, wanted, dim, tok.bins, options, rounded)
        assert tok.decode(bins, dtype=dtype).actions[0] == pytest.approx(back, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("name", ["vla0", *STATES])
def test_every_bin_survives(name: str) -> None:
    tok = ActionTokenizer.from_pretrained(name).with_horizon(1)
    bins = np.repeat(np.arange(tok.bins)[:, None], tok.fields, axis=1)
    for dtype in ("float32", "float64"):
        assert (tok.encode(tok.decode(bins, dtype=dtype).actions) == bins).all()
    assert [tok.parse(text).tolist() for text in tok.format(bins)] == bins.tolist()
    assert (tok.properties.idempotent, tok.properties.injective) == (True, True)


@pytest.mark.parametrize("kind", ["digits", "byte_level", "integers"])
def test_any_logits_give_a_vla0_action(kind: str) -> None:
    raw = getattr(vocabularies, kind)()
    eos = next(i for i in (raw.token_to_id("</s>"), raw.token_to_id("<|endoftext|>")) if i is not None)
    assert_any_logits_parse(vla0().with_vocabulary(raw), eos)


def test_any_logits_give_state_tokens() -> None:
    raw = vocabularies.byte_level()
    raw.add_tokens(["<state_start>", "<state_end>", *(f"<state_{i}>" for i in range(256))])
    tok = state("proprio-molmoact2", 4).with_vocabulary(raw)
    assert tok.token_ids(np.array([0, 1, 2, 255])).tolist() == [raw.token_to_id(t) for t in (
        "<state_start>", "<state_0>", "<state_1>", "<state_2>", "<state_255>", "<state_end>")]  # fmt: skip
    tok.check_vocabulary().require()
    assert_any_logits_parse(tok, raw.token_to_id("<|endoftext|>"))
    with pytest.raises(ActionError, match="Add these tokens to the model's tokenizer"):
        state("proprio-molmoact2").with_vocabulary(vocabularies.byte_level()).automaton()


def assert_any_logits_parse(tok: ActionTokenizer, eos: int) -> None:
    constraint, rng = Constraint(tok, eos_token_id=eos), np.random.default_rng(5)
    for _ in range(100):
        reply: list[int] = []
        while not reply or reply[-1] != eos:
            reply.append(int(rng.choice(constraint.allowed(constraint.state(reply)))))
        bins = constraint.parse(reply).bins
        text = tok.format(bins)
        assert re.fullmatch(tok.regex(), text)
        assert tok.parse(text).tolist() == bins.tolist()
        tok.decode(bins)


@pytest.mark.parametrize("form", ["gbnf", "lark"])
def test_a_grammar_of_tokens(form: str) -> None:
    rules = state("proprio-molmoact2", 2).grammar(form).splitlines()
    start = rules[0].split(":", 1)[1].removeprefix(":=").split()
    assert start == ['"<state_start>"', '"<state_"', "bin", '">"', '"<state_"', "bin", '">"', '"<state_end>"']
    assert rules[1].startswith("bin")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no <state_start>"),
        ("<state_start><state_1><state_2>", "no <state_end>"),
        ("<state_start><state_1><state_end>", "no token <state_N>"),
        ("<state_start><state_1><state_256><state_end>", r"not in 0\.\.255"),
        ("<state_start><state_01><state_2><state_end>", "canonical"),
        ("<state_start><state_1> <state_2><state_end>", "no token"),
        ("<state_start><state_1><state_2><state_end> ", "no <state_end> at the end"),
        ("<state_start><state_1><state_٣><state_end>", "no token"),
        ("<state_start>" + "<state_1>" * 9000, "longer than any"),
    ],
)
def test_strict_parsing_of_tokens(text: str, message: str) -> None:
    with pytest.raises(ActionParseError, match=message):
        state("proprio-molmoact2", 2).parse(text)


@pytest.mark.parametrize("text", [{"tokens": "a b"}, {"tokens": "state", "lead": " "}, {"tokens": 3}])
def test_a_wrong_form_of_tokens_is_refused(text: dict[str, Any]) -> None:
    raw = state("proprio-molmoact2").to_dict()
    with pytest.raises(ActionError, match=r"text\.tokens"):
        ActionTokenizer.from_dict(raw | {"text": text})
    with pytest.raises(ActionError, match="true or false"):
        ActionTokenizer.from_dict(state("proprio-pi05").to_dict() | {"options": {"below": 1}})


def test_the_whole_files_of_golden_numbers() -> None:
    stored = read_goldens("vla0_text.json")
    tok = ActionTokenizer.from_pretrained("vla0").with_horizon(stored["horizon"])
    dims = zip(stored["min"], stored["max"], strict=True)
    tok = tok.with_dims([Dim(f"d{i}", low, high) for i, (low, high) in enumerate(dims)])
    for x, text, back in zip(stored["x"], stored["text"], stored["parsed"], strict=True):
        assert tok.format(tok.encode(np.array(x, np.float32))) == text
        assert tok.decode(tok.parse(text)).actions.tolist() == back
    for text, wanted in stored["parse_cases"].items():
        if not text.startswith("batch"):
            assert decode_like_vla0(tok, text).tolist() == wanted["ok"][0], text
    states = read_goldens("state_tokens.json")
    for name, key, first in (("proprio-pi05", "pi05", -1), ("proprio-molmoact2", "molmoact2", 0)):
        own = states[key]
        found = state(name).encode(np.array(own["x"])[:, None])[:, 0] + first
        assert found.tolist() == own["bins"]
        for edge in [*own["edge"], *own.get("edge_float32", []), *own.get("halves", [])]:
            if not isinstance(edge["x"], str) and math.isfinite(edge["x"]):
                assert state(name).encode(np.array([edge["x"]]))[0] + first == edge["bin"]
    assert state("proprio-molmoact2", 3).parse(states["molmoact2"]["text"]).tolist() == [0, 128, 255]
