"""Bins among the ids of a language model, with tokenizers trained on the spot."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import vocabularies

from rt2data.tokenizer import ActionError, ActionParseError, ActionTokenizer, Dim


def random_bins(tok: ActionTokenizer, count: int) -> np.ndarray:
    bins = np.random.default_rng(0).integers(0, tok.bins, (count, tok.fields), dtype=np.int32)
    if tok.terminate is not None:
        bins[:, 0] %= 2
    return bins


TRAINED = {
    "integers": (vocabularies.integers, True),
    "byte-level": (vocabularies.byte_level, True),
    "words": (vocabularies.words, True),
    "digits": (vocabularies.digits, False),
    "unigram": (vocabularies.unigram, False),
}


@pytest.mark.parametrize("name", ["rt2", "rt2-palme", "openvla", "gato", "fast"])
def test_without_a_vocabulary(name: str) -> None:
    tok = ActionTokenizer.from_pretrained(name)
    with pytest.raises(ActionError, match=r"no vocabulary.*Give one: tokenizer\.with_vocabulary"):
        tok.token_ids(random_bins(tok, 1))
    with pytest.raises(ActionError, match="Give one"):
        tok.allowed_token_ids([])


@pytest.mark.parametrize("kind", TRAINED)
def test_text_there_and_back(kind: str) -> None:
    tok = ActionTokenizer.from_pretrained("rt2").with_vocabulary(TRAINED[kind][0]())
    bins = random_bins(tok, 50)
    ids = tok.token_ids(bins)
    np.testing.assert_array_equal(tok.from_token_ids(ids), bins)
    np.testing.assert_array_equal(tok.from_token_ids(tok.token_ids(bins[0])), bins[0])
    if TRAINED[kind][1]:
        assert ids.shape == (50, 8)
        assert ids.dtype == np.int64


@pytest.mark.parametrize("kind", TRAINED)
def test_check_vocabulary(kind: str) -> None:
    train, one_id_each = TRAINED[kind]
    check = ActionTokenizer.from_pretrained("rt2").check_vocabulary(train())
    # Every pair of 256 bins lies in 6 pairs of neighbours a row; and each number of field 0 meets each bin.
    assert check.checked >= 256 * 256 / 6 + 2 * 256
    assert check.ok, check.offenders[:3]
    check.require()
    # An id for each digit, or a mark of its own for the space: longer, and as safe.
    assert check.as_expected == one_id_each
    assert (check.ids_per_action == (8, 8)) == one_id_each
    free = ActionTokenizer.from_pretrained("dexbotic-255").check_vocabulary(train())
    assert free.expected is None
    assert free.ok
    assert free.as_expected


def test_the_check_tries_every_neighbour() -> None:
    from rt2data.tokenizer.vocabulary.check import neighbours

    for name, horizon in (("rt2", 1), ("rt2", 2), ("rt2-language-table", 1), ("rt1x", 1), ("dexbotic-255", 1)):
        tok = ActionTokenizer.from_pretrained(name).with_horizon(horizon)
        rows = neighbours(tok._text_form())  # type: ignore[arg-type]
        start = int(tok.terminate is not None)
        steps = rows.reshape(-1, tok.spec.fields_per_step)[:, start:]
        pairs = set(zip(steps[:, :-1].ravel().tolist(), steps[:, 1:].ravel().tolist(), strict=True))
        assert len(pairs) == tok.bins**2
        if start:
            symbols = {(a, b) for a, b in rows[:, :2].tolist()}
            assert len(symbols) == len(tok.terminate.symbols) * tok.bins  # type: ignore[union-attr]


def test_check_finds_what_does_not_survive() -> None:
    tok = ActionTokenizer.from_pretrained("rt2")
    # Numbers above 99 are unknown to the model.
    check = tok.check_vocabulary(vocabularies.words(largest=99))
    assert check.failed > 9_000
    assert len(check.offenders) == 100
    assert "<unk>" in check.offenders[0].back
    # Merges across spaces: the number of ids differs from action to action.
    check = tok.check_vocabulary(vocabularies.byte_level(4000, split=False))
    assert check.ids_per_action[0] < check.ids_per_action[1]
    assert not check.ok
    # A normaliser that drops what it should keep.
    broken = vocabularies.words()
    broken.normalizer = vocabularies.library().normalizers.Replace("13", "12")
    check = tok.check_vocabulary(broken)
    assert any("13" in o.text and 'read "' in o.reason for o in check.offenders)
    with pytest.raises(ActionError, match=r'read "'):
        check.require()


def test_transformers_and_tokenizers_agree() -> None:
    raw = vocabularies.byte_level()
    wrapped = vocabularies.transformers_of(raw, "<|endoftext|>")
    tok = ActionTokenizer.from_pretrained("rt2")
    bins = random_bins(tok, 20)
    a, b = tok.with_vocabulary(raw), tok.with_vocabulary(wrapped)
    np.testing.assert_array_equal(a.token_ids(bins), b.token_ids(bins))
    np.testing.assert_array_equal(b.from_token_ids(b.token_ids(bins)), bins)
    assert tok.check_vocabulary(wrapped).ok
    assert b.vocabulary is not None
    assert b.vocabulary.eos == raw.token_to_id("<|endoftext|>")
    again = pickle.loads(pickle.dumps(b))
    np.testing.assert_array_equal(again.token_ids(bins), a.token_ids(bins))


def test_sentencepiece(tmp_path: Path) -> None:
    spm = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(vocabularies.corpus()),
        model_prefix=str(tmp_path / "m"),
        vocab_size=700,
        minloglevel=2,
        user_defined_symbols=["▁" + str(i) for i in range(256)],
        hard_vocab_limit=False,
    )
    model = spm.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    tok = ActionTokenizer.from_pretrained("rt2").with_vocabulary(model)
    bins = random_bins(tok, 20)
    np.testing.assert_array_equal(tok.from_token_ids(tok.token_ids(bins)), bins)
    palme = ActionTokenizer.from_pretrained("rt2-palme").with_vocabulary(model)
    np.testing.assert_array_equal(palme.from_token_ids(palme.token_ids(bins)), bins)


def test_what_is_no_action_in_ids() -> None:
    raw = vocabularies.byte_level()
    tok = ActionTokenizer.from_pretrained("rt2").with_vocabulary(raw)
    ids = raw.encode("1 128 91 241 5 101 127 217").ids
    assert tok.from_token_ids(ids).tolist() == [1, 128, 91, 241, 5, 101, 127, 217]
    assert tok.from_token_ids(raw.encode(" 1 128 91 241 5 101 127 217").ids).tolist()[0] == 1
    for text in ("1 128 91", "the can", "", "1 128 91 241 5 101 127 256"):
        with pytest.raises(ActionParseError):
            tok.from_token_ids(raw.encode(text).ids)
    with pytest.raises(ActionParseError):
        tok.from_token_ids([*ids, raw.token_to_id("<|endoftext|>")])
    placed = ActionTokenizer.from_pretrained("rt1").with_vocabulary(256)
    for wrong in ([[1, 2, 3]], [2] * 8, [1] * 9, [1] * 7 + [256]):
        with pytest.raises(ActionParseError):
            placed.from_token_ids(wrong)


def test_least_used_ids() -> None:
    tok = ActionTokenizer.from_pretrained("rt2-palme")
    counts = np.random.default_rng(0).permutation(32000)
    bound = tok.with_vocabulary(counts)
    wanted = sorted(np.argsort(counts, kind="stable")[:256].tolist())
    bins = random_bins(tok, 30)
    assert list(bound.spec.vocabulary["ids"]) == wanted
    np.testing.assert_array_equal(bound.token_ids(bins), np.array(wanted)[bins])
    np.testing.assert_array_equal(bound.from_token_ids(bound.token_ids(bins)), bins)
    # Ties go to the lower id; a mapping names the ids that may be taken.
    assert list(tok.with_vocabulary([1] * 300).spec.vocabulary["ids"]) == list(range(256))
    assert list(tok.with_vocabulary({i: -i for i in range(500, 900)}).spec.vocabulary["ids"]) == list(range(644, 900))
    with pytest.raises(ActionError, match="room for 256 bins"):
        tok.with_vocabulary([1] * 255)
    with pytest.raises(ActionError, match="counts of its ids"):
        tok.with_vocabulary(32000)
    # Kept in the specification, and no part of the fingerprint.
    again = ActionTokenizer.from_dict(json.loads(json.dumps(bound.to_dict())))
    np.testing.assert_array_equal(again.token_ids(bins), bound.token_ids(bins))
    assert again.fingerprint == tok.fingerprint


def test_least_used_ids_of_a_tokenizer() -> None:
    tok = ActionTokenizer.from_pretrained("rt2-palme")
    raw = vocabularies.byte_level()
    ids = tok.with_vocabulary(raw).spec.vocabulary["ids"]
    assert list(ids) == list(range(raw.get_vocab_size() - 256, raw.get_vocab_size()))
    scores = np.random.default_rng(0).permutation(1000).astype(float).tolist()
    t = vocabularies.library()
    model = t.Tokenizer(t.models.Unigram([(f"piece{i}", score) for i, score in enumerate(scores)], unk_id=0))
    model.add_special_tokens(["piece0", "piece1"])
    ids = tok.with_vocabulary(model).spec.vocabulary["ids"]
    assert sorted(scores[i] for i in ids) == sorted(scores[2:])[:256]


def test_sizes() -> None:
    tok = ActionTokenizer.from_pretrained("openvla")
    assert tok.with_vocabulary(32000).token_ids(np.array([0, 255, 0, 0, 0, 0, 0]))[:2].tolist() == [31999, 31744]
    with pytest.raises(ActionError, match="room for 256 bins"):
        tok.with_vocabulary(255)
    with pytest.raises(ActionError, match="room for 1024 bins"):
        ActionTokenizer.from_pretrained("gato").with_vocabulary(32000)
    with pytest.raises(ActionError, match="the tokenizer itself"):
        ActionTokenizer.from_pretrained("rt2").with_vocabulary(32000)
    with pytest.raises(ActionError, match="a tokenizer of transformers"):
        tok.with_vocabulary("meta-llama/Llama-2-7b")
    # The size without what was added later: openvla's models have 32064 rows and 32000 ids.
    raw = vocabularies.byte_level()
    before = tok.with_vocabulary(raw).token_ids(np.zeros(7, int))
    raw.add_tokens([f"<extra_{i}>" for i in range(64)])
    np.testing.assert_array_equal(tok.with_vocabulary(raw).token_ids(np.zeros(7, int)), before)
    saved = ActionTokenizer.from_dict(tok.with_vocabulary(32000).to_dict())
    assert saved.token_ids(np.zeros(7, int))[0] == 31999


def test_check_of_placed_ids_is_openvlas_issue() -> None:
    """Bins on the tail of a BPE vocabulary: some ids, as text, come back as other ids (openvla issues 226 and 246)."""
    tok = ActionTokenizer.from_pretrained("openvla")
    check = tok.check_vocabulary(vocabularies.byte_level())
    assert not check.ok
    assert "comes back as id" in check.offenders[0].reason
    # Words behind spaces do survive.
    whole = vocabularies.words(largest=700)
    assert tok.check_vocabulary(whole).ok
    # Special ids, and ids that are not there.
    special = ActionTokenizer.from_pretrained("rt1").check_vocabulary(whole)
    assert [o.reason for o in special.offenders] == ["id 0 is a special token", "id 1 is a special token"]
    small = ActionTokenizer.from_dict(
        ActionTokenizer.from_pretrained("gato").to_dict() | {"vocabulary": {"place": "from", "first": 0, "size": 2000}}
    )
    with pytest.raises(ActionError, match="room for 1024"):
        small.check_vocabulary(whole)


@pytest.mark.parametrize("kind", TRAINED)
def test_allowed_ids_are_those_that_lead_to_an_action(kind: str) -> None:
    """Walk with random choices: every walk is an action; and every action's own ids are allowed on the way."""
    raw = TRAINED[kind][0]()
    tok = ActionTokenizer.from_pretrained("rt2").with_vocabulary(raw)
    rng = np.random.default_rng(1)
    automaton = tok.automaton()
    for _ in range(300):
        ids: list[int] = []
        state = automaton.start
        while not automaton.complete(state) or (len(automaton.allowed(state)) and rng.random() < 0.5):
            ids.append(int(rng.choice(automaton.allowed(state))))
            state = automaton.step(state, ids[-1])
        bins = tok.from_token_ids(ids)
        assert bins.shape == (8,)
        assert bins[0] in (0, 1)
    for row in random_bins(tok, 20):
        own = tok.token_ids(row).tolist()
        for i, token in enumerate(own):
            assert token in tok.allowed_token_ids(own[:i])
    with pytest.raises(ActionParseError, match="cannot stand here"):
        tok.allowed_token_ids(raw.encode("can").ids)


def test_allowed_ids_of_placed_bins() -> None:
    tok = ActionTokenizer.from_pretrained("rt2-palme").with_vocabulary(np.arange(1000))
    assert tok.allowed_token_ids([]).tolist() == [0, 1]
    assert tok.allowed_token_ids([1]).tolist() == list(range(256))
    assert tok.allowed_token_ids([1] * 8).tolist() == []
    with pytest.raises(ActionParseError, match="id 3 cannot stand here"):
        tok.allowed_token_ids([3])
    eos = vocabularies.transformers_of(vocabularies.words(), "</s>")
    tok = ActionTokenizer.from_pretrained("rt2").with_vocabulary(eos)
    assert tok.allowed_token_ids(tok.token_ids(np.array([1, 128, 91, 241, 5, 101, 127, 217]))).tolist() == [1]


def test_a_vocabulary_that_cannot_spell() -> None:
    t = vocabularies.library()
    tok = t.Tokenizer(t.models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    with pytest.raises(ActionError, match="no sequence of its tokens spells an action"):
        ActionTokenizer.from_pretrained("rt2").with_vocabulary(tok).allowed_token_ids([])


def test_long_chunks_and_other_spaces() -> None:
    joints = [Dim(f"joint_{i}", -3, 3, "rad") for i in range(14)]
    tok = (
        ActionTokenizer.from_pretrained("rt2")
        .with_dims(joints)
        .with_horizon(8)
        .with_vocabulary(vocabularies.byte_level())
    )
    bins = random_bins(tok, 3)
    bins[:, :: tok.spec.fields_per_step] %= 2
    ids: Any = tok.token_ids(bins)
    assert ids.shape == (3, 120)
    np.testing.assert_array_equal(tok.from_token_ids(ids), bins)
    assert ids[0, 60] in tok.allowed_token_ids(ids[0, :60])
