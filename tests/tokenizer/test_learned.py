"""Tokenizers whose ids a user's own encoder gives: what is checked of it, and what runs whose code."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from support.learned_code import Halves

from rt2data.serving.constraint import Constraint
from rt2data.tokenizer import ActionError, ActionParseError, ActionTokenizer, Dim, learned
from rt2data.tokenizer.fit import fit
from rt2data.verify.reference.tokenizer import InvalidAction, Reference

SPEC: dict[str, Any] = {
    "format": "rt2data.tokenizer/1", "name": "mine", "scheme": "learned", "bins": 5, "horizon": 4,
    "options": {"encoder": "halves", "fields": 4},
    "vocabulary": {"place": "tail"},
    "dims": [{"name": "x", "low": -0.1, "high": 0.3}, {"name": "gripper", "low": -1, "high": 1}],
}  # fmt: skip
CHUNK = np.array([[-0.1, 1.0], [0.1, 1.0], [0.3, -1.0], [0.3, 1.0]])
TEMPLATE = ["<|quad_start|>", "<|quad_{}|>", "<|quad_end|>"]


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """No encoder of one test is known in another."""
    monkeypatch.setattr(learned, "_known", {"halves": Halves()})
    monkeypatch.setattr(learned, "_places", {})


def load(**changes: Any) -> ActionTokenizer:
    options = SPEC["options"] | changes.pop("options", {})
    return ActionTokenizer.from_dict(SPEC | {"options": options} | changes)


def test_ids_there_and_back() -> None:
    tok = load()
    bins = tok.encode(CHUNK)
    # Of x, at -1, 0, 1, 1 of its bounds, the halves are -0.5 and 1; of the gripper, as it is, 1 and 0.
    assert bins.tolist() == [1, 4, 4, 2]
    assert tok.encode(np.stack([CHUNK, CHUNK])[None]).tolist() == [[[1, 4, 4, 2]] * 2]
    decoded = tok.decode(bins, dtype="float64").actions
    np.testing.assert_allclose(decoded[:, 0], [0.0, 0.0, 0.3, 0.3], atol=1e-12)
    assert tok.decode(np.stack([bins, bins])).actions.shape == (2, 4, 2)
    assert tok.encode(np.zeros((0, 4, 2))).shape == (0, 4)
    assert tok.decode(np.zeros((0, 4), int)).actions.shape == (0, 4, 2)
    assert not tok.encode(CHUNK, return_clipped=True)[1].any()
    assert (tok.properties.idempotent, tok.properties.injective) == (False, False)
    assert "learned encoder" in tok.properties.faults[0]
    assert (tok.format(bins), tok.parse("1 4 4 2").tolist()) == ("1 4 4 2", [1, 4, 4, 2])
    one = load(horizon=1, options={"fields": 2})
    learned.register("halves", Single())
    assert one.decode(one.encode(CHUNK)).actions.shape == (4, 2)


class Single:
    """Of chunks of one step each number, in five levels."""

    fingerprint = "single"

    def encode(self, chunks: Any) -> Any:
        return np.rint(np.clip(chunks[:, 0] + 1, 0, 2) * 2).astype(np.int16)

    def decode(self, ids: Any) -> Any:
        return (ids[:, None] / 2 - 1).astype(np.float32)


def test_ids_of_rdt2_in_a_vocabulary_and_as_tokens() -> None:
    """RDT2 (thu-ml/RDT2@0797b4c): id = vocabulary size - (token + 1), between two tokens of its own."""
    tok = load().with_vocabulary(151936)
    assert tok.token_ids(np.array([0, 4, 1, 2])).tolist() == [151935, 151931, 151934, 151933]
    constraint, rng = Constraint(tok, eos_token_id=0), np.random.default_rng(0)
    for _ in range(20):
        reply: list[int] = []
        while not reply or reply[-1] != constraint.eos:
            reply.append(int(rng.choice(constraint.allowed(constraint.state(reply)))))
        assert tok.decode(constraint.parse(reply).bins).actions.shape == (4, 2)
    written = load(options={"template": TEMPLATE})
    text = "<|quad_start|><|quad_1|><|quad_4|><|quad_4|><|quad_2|><|quad_end|>"
    assert written.format(written.encode(CHUNK)) == text
    assert written.parse(text).tolist() == [1, 4, 4, 2]
    reference = Reference(written.to_dict())
    assert (reference.opaque, reference.format([1, 4, 4, 2]), reference.parse(text)) == (True, text, [1, 4, 4, 2])
    assert re.fullmatch(written.regex(), text)
    assert written.grammar().startswith('root ::= "<|quad_start|>" "<|quad_" bin "|>" "<|quad_" bin "|>"')
    assert written.grammar("lark").startswith('start:  "<|quad_start|>" "<|quad_" bin "|>"')
    for wrong in (text[:-1], text.replace("_4", "_5"), text.replace("<|quad_2|>", ""), " " + text):
        assert not re.fullmatch(written.regex(), wrong)
        with pytest.raises(ActionParseError):
            written.parse(wrong)
        with pytest.raises(InvalidAction):
            reference.parse(wrong)
    assert re.fullmatch(load().regex(), "1 4 4 2")


def test_the_second_computation() -> None:
    tok = load()
    reference = Reference(tok.to_dict(), learned={"halves": Halves()})
    chunks = np.random.default_rng(1).uniform(-1, 1, (50, 4, 2)).astype(np.float32)
    for chunk, ids in zip(chunks, tok.encode(chunks).tolist(), strict=True):
        assert reference.encode(chunk.ravel().tolist(), ()) == ids
        back = tok.decode(ids, dtype="float64").actions.ravel().tolist()
        assert reference.decode(ids)[0] == pytest.approx(back, abs=1e-12)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda n: np.zeros((n, 3), int), r"ids of the shape \(1, 3\) and dtype int64; expected integers \(1, 4\)"),
        (lambda n: np.zeros((n, 4)), r"dtype float64; expected integers"),
        (lambda n: np.full((n, 4), 5), r"ids from 5 to 5; expected 0\.\.4"),
        (lambda n: np.full((n, 4), -1), r"ids from -1 to -1; expected 0\.\.4"),
    ],
)
def test_an_answer_that_is_no_ids(answer: Any, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Halves, "encode", lambda self, chunks: answer(len(chunks)))
    with pytest.raises(ActionError, match=f'learned encoder "halves": .*{why}'):
        load().encode(CHUNK)


def test_an_encoder_that_is_random_or_looks_at_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(100))
    monkeypatch.setattr(Halves, "encode", lambda self, chunks: np.full((len(chunks), 4), next(calls) % 5))
    with pytest.raises(ActionError, match="other ids of a chunk when it is encoded again, alone"):
        load().encode(CHUNK)
    monkeypatch.setattr(Halves, "encode", lambda self, chunks: np.full((len(chunks), 4), len(chunks) % 5))
    load().encode(CHUNK)
    with pytest.raises(ActionError, match=r"the same each time\. Switch off what is random"):
        load().encode(np.stack([CHUNK, CHUNK]))


def test_a_decoder_that_gives_no_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    for bad in (np.zeros((1, 4, 3)), np.full((1, 4, 2), np.nan), np.zeros((1, 4, 2), int)):
        monkeypatch.setattr(Halves, "decode", lambda self, ids, bad=bad: bad)
        with pytest.raises(ActionError, match="expected finite floats"):
            load().decode([1, 4, 4, 2])


def test_weights_are_part_of_the_fingerprint_and_are_compared(tmp_path: Any) -> None:
    tok = load(options={"weights": "halves-1"})
    assert tok.fingerprint != load().fingerprint
    assert tok.encode(CHUNK).tolist() == [1, 4, 4, 2]
    with pytest.raises(ActionError, match="weights halves-1; expected halves-2, which the tokenizer names"):
        load(options={"weights": "halves-2"}).encode(CHUNK)
    load().save_pretrained(tmp_path)  # a file that names no weights gets those of the encoder that is there
    assert ActionTokenizer.from_pretrained(tmp_path) == tok


def test_no_code_runs_but_what_the_user_names() -> None:
    learned._known.clear()
    with pytest.raises(
        ActionError, match=r'learned encoder "halves": no code for it.*--learned halves=MODULE:FUNCTION'
    ):
        load().encode(CHUNK)
    learned.allow(["halves=support.learned_code:load"])
    assert load().encode(CHUNK).tolist() == [1, 4, 4, 2]
    assert learned.allowed() == ("halves=support.learned_code:load",)
    first = learned.known()["halves"]
    learned.allow(learned.allowed())
    assert learned.known()["halves"] is first
    for place, why in {
        "halves": "expected NAME=MODULE:FUNCTION",
        "a=os:system;b": "expected NAME=MODULE:FUNCTION",
        "halves=no_such_module_:load": "No module named 'no_such_module_'; expected a module that can be imported",
        "halves=support.learned_code:nothing": "no function nothing in support.learned_code",
        "halves=support.learned_code:Single": "no function Single",
        "halves=builtins:dict": "a dict; expected an object with encode, decode and fingerprint",
    }.items():
        with pytest.raises(ActionError, match=re.escape(why)):
            learned.allow([place])
    unnamed = Halves()
    unnamed.fingerprint = "two words"
    with pytest.raises(ActionError, match="the fingerprint 'two words'"):
        learned.register("halves", unnamed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": {"encoder": "../x"}}, "encoder"),
        ({"options": {"encoder": None}}, "encoder"),
        ({"options": {"fields": 0}}, "fields"),
        ({"options": {"weights": "a b"}}, "weights"),
        ({"options": {"template": ["{}"]}}, "template"),
        ({"text": {"tokens": "state"}}, "tokens alone"),
        ({"terminate": {"true": 0, "false": 1}}, "no field for it"),
    ],
)
def test_a_wrong_specification_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ActionError, match=message):
        load(**change)


def test_it_is_not_fitted() -> None:
    with pytest.raises(ActionError, match='"learned" scheme; expected one of "dct"'):
        fit(load(), [CHUNK])
    with pytest.raises(ActionError, match="bounds per step for learned"):
        load().with_dims([Dim("x", 0, 1, steps=((0, 1),) * 4), Dim("gripper", 0, 1)])
