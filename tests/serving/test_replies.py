"""Replies as servers get them: with the end that a model writes and nothing else, one by one and in batches."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from support import vocabularies

from rt2data.serving import Constraint, Replies, Reply, parse_replies, parse_reply
from rt2data.tokenizer import ActionError, ActionParseError, ActionTokenizer, Dim

ACTION = "1 128 91 241 5 101 127 217"
BINS = [1, 128, 91, 241, 5, 101, 127, 217]
ENDS = ["</s>", "<eos>", "<|im_end|>"]


def bound(end: str, kind: str = "byte_level") -> Any:
    """`rt2` with a vocabulary of transformers whose end of a sequence is `end`."""
    raw = getattr(vocabularies, kind)()
    raw.add_special_tokens([end])
    return ActionTokenizer.from_pretrained("rt2").with_vocabulary(vocabularies.transformers_of(raw, end))


@pytest.mark.parametrize("end", ENDS)
def test_a_reply_in_text_may_end_as_replies_do(end: str) -> None:
    tok = bound(end)
    for tail in ("", "\n", end, f"{end}\n", f"\n{end}"):
        for before, plan in (("", None), (" ", None), ("Plan: pick it. Action: ", "pick it.")):
            reply = parse_reply(tok, before + ACTION + tail)
            assert (reply.plan, reply.bins.tolist()) == (plan, BINS)
    other = next(one for one in ENDS if one != end)
    for tail in (
        "\n\n", " \n", "\n ", " ", "\t", "\r\n", "\r", "\u2028", "\x0b", "\0", ".", f" {end}", f"{end} ", f"{end}{end}",
        f"\n{end}\n", f"{end}\n\n", other, end[:-1], end.upper() if end != end.upper() else "x",
    ):  # fmt: skip
        with pytest.raises(ActionParseError):
            parse_reply(tok, ACTION + tail)
    for head in ("\n", end, "  "):
        with pytest.raises(ActionParseError):
            parse_reply(tok, head + ACTION)
    # What is stored is parsed as strictly as ever.
    for tail in ("\n", end):
        with pytest.raises(ActionParseError):
            tok.parse(ACTION + tail)


def test_the_end_may_be_given_and_without_one_there_is_none() -> None:
    tok = ActionTokenizer.from_pretrained("rt2")
    assert parse_reply(tok, f"{ACTION}<eos>", end="<eos>").bins.tolist() == BINS
    assert parse_reply(tok, f"{ACTION}\n").bins.tolist() == BINS
    with pytest.raises(ActionParseError, match=re.escape("field 8 (column 23)")):
        parse_reply(tok, f"{ACTION}<eos>")
    assert parse_reply(bound("</s>"), f"{ACTION}<eos>", end="<eos>").bins.tolist() == BINS

    # sentencepiece decodes the id of an end to nothing; its piece is the text.
    class Pieces:
        def get_piece_size(self) -> int:
            return 3

        def is_control(self, i: int) -> bool:
            return i < 3

        def is_unknown(self, i: int) -> bool:
            return False

        def eos_id(self) -> int:
            return 2

        def id_to_piece(self, i: int) -> str:
            return ["<pad>", "<s>", "</s>"][i]

    assert parse_reply(tok.with_vocabulary(Pieces()), f"{ACTION}</s>").bins.tolist() == BINS


@pytest.mark.parametrize("end", ENDS)
def test_a_reply_in_ids_ends_with_the_end_of_the_sequence(end: str) -> None:
    tok = bound(end)
    model = tok.vocabulary
    ids, eos = tok.token_ids(BINS).tolist(), model.eos
    newline = model.encode(["\n"])[0]
    for tail in ([], [eos], [eos, eos], [eos, 7, 7], newline, [*newline, eos]):
        assert parse_reply(tok, [*ids, *tail]).bins.tolist() == BINS
        assert parse_reply(tok, np.array([*ids, *tail])).bins.tolist() == BINS
    planned = [*model.encode(["Plan: pick it. Action:"])[0], *model.encode([" " + ACTION])[0], eos]
    assert parse_reply(tok, planned).plan == "pick it."
    for wrong in ([*ids, *newline, *newline, eos], [eos], [], ids[:-1], [*ids, ids[-1]]):
        with pytest.raises(ActionParseError):
            parse_reply(tok, wrong)
    with pytest.raises(ActionError, match="token ids of one reply"):
        parse_reply(tok, [ids, ids])
    with pytest.raises(ActionError, match="float64"):
        parse_reply(tok, np.array(ids, float))


def test_ids_at_fixed_places() -> None:
    tok = ActionTokenizer.from_pretrained("openvla").with_vocabulary(32000)
    ids = tok.token_ids([[0, 1, 2, 3, 4, 5, 255]])[0].tolist()
    assert parse_reply(tok, [*ids, 2], end=2).bins.tolist() == [0, 1, 2, 3, 4, 5, 255]
    with pytest.raises(ActionParseError):  # no vocabulary says that 2 ends a sequence
        parse_reply(tok, [*ids, 2])
    found = parse_replies(tok, np.array([[*ids, 2], [*ids, 29871], [9, *ids[1:], 2]]), end=2)
    assert found.good.tolist() == [True, False, False]


TEXTS = [ACTION, "I cannot do that.", f"Plan: lift. Action: 0 {ACTION[2:]}\n", "1 128 91", f"{ACTION} 4", ""]


def test_a_batch_of_texts() -> None:
    tok = ActionTokenizer.from_pretrained("rt2")
    found = parse_replies(tok, TEXTS)
    assert isinstance(found, Replies)
    assert found.good.tolist() == [True, False, True, False, False, False]
    for text, row in zip(TEXTS, found.rows, strict=True):
        if isinstance(row, Reply):
            assert (row.plan, row.bins.tolist()) == (("lift.", [0, *BINS[1:]]) if "Plan" in text else (None, BINS))
            continue
        with pytest.raises(ActionParseError) as alone:
            parse_reply(tok, text)
        assert str(row) == str(alone.value)
        assert (row.field, row.column) == (alone.value.field, alone.value.column)
    assert found.bins.dtype == np.int32
    assert found.bins[[1, 3, 4, 5]].max() == -1
    # Nobody can take a row that failed for an action: its bins do not decode, and its numbers are none.
    with pytest.raises(ActionError, match="-1"):
        tok.decode(found.bins)
    actions, terminate = found.decode()
    assert (actions.shape, actions.dtype) == ((6, 7), np.float32)
    assert np.isnan(actions[~found.good]).all()
    np.testing.assert_array_equal(actions[found.good], tok.decode(found.bins[found.good]).actions)
    assert terminate.tolist() == [False, False, True, False, False, False]  # RT-2 terminates at 0
    assert found.decode(dtype="float64").actions.dtype == np.float64


@pytest.mark.parametrize("texts", [[], ["no", "neither"]])
def test_a_batch_without_an_action(texts: list[str]) -> None:
    for tok in (ActionTokenizer.from_pretrained("rt2"), ActionTokenizer.from_pretrained("openvla").with_horizon(5)):
        found = parse_replies(tok, texts)
        assert (found.good.shape, found.bins.shape) == ((len(texts),), (len(texts), tok.fields))
        actions = found.decode().actions
        assert actions.shape == ((len(texts), 7) if tok.horizon == 1 else (len(texts), 5, 7))
        assert np.isnan(actions).all()


def test_a_batch_of_chunks_relative_to_states() -> None:
    dims = [Dim("x", -1, 1, "m", relative="subtract"), Dim("gripper", 0, 1)]
    tok = ActionTokenizer.from_pretrained("openvla").with_dims(dims).with_horizon(3)
    texts = [tok.format(tok.encode(np.full((3, 2), v))) for v in (0.0, 0.5)]
    states = np.array([[10.0, 0.0], [20.0, 0.0], [30.0, 0.0]])
    found = parse_replies(tok, [texts[0], "nothing", texts[1]])
    absolute, relative = found.decode(state=states).actions, found.decode().actions
    assert absolute.shape == (3, 3, 2)
    assert np.isnan(absolute[1]).all()
    for row in (0, 2):
        np.testing.assert_allclose(absolute[row, :, 0], relative[row, :, 0] + states[row, 0], rtol=1e-6)


def test_a_batch_of_ids_under_a_constraint() -> None:
    tok = bound("</s>")
    constraint = Constraint(tok)
    ids, eos = tok.token_ids(BINS).tolist(), constraint.eos
    rows = [[*ids, eos, 3], ids[:-1], [*ids[:2], eos], ids]
    found = constraint.parse_replies(rows)
    assert found.good.tolist() == [True, False, False, True]
    errors = [row for row in found.rows if isinstance(row, ActionParseError)]
    assert "ends before its action does" in str(errors[0])
    assert "cannot stand here" in str(errors[1])
    padded = np.array([row + [eos] * (len(ids) + 2 - len(row)) for row in rows])
    assert constraint.parse_replies(padded).good.tolist() == [True, False, False, True]
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    assert constraint.parse_replies(torch.from_numpy(padded)).bins.tolist() == found.bins.tolist()
    assert parse_replies(tok, torch.from_numpy(padded)).good.tolist() == [True, False, False, True]


def test_one_text_is_no_batch() -> None:
    with pytest.raises(ActionError, match="parse_reply takes one"):
        parse_replies(ActionTokenizer.from_pretrained("rt2"), ACTION)
