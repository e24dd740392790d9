"""FAST directories (scheme fast-bpe): byte-level BPE, reading and writing, lenient rules, constraints."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import scalar_fast_bpe, scalar_tokenizer

from rt2data.serving import Constraint
from rt2data.tokenizer import ActionError, ActionParseError, ActionTokenizer, Dim
from rt2data.tokenizer.fast_directory import save_fast
from rt2data.tokenizer.schemes import fast_bytes
from rt2data.verify.reference import fast_bpe as verify_fast_bpe
from rt2data.verify.reference.tokenizer import Reference

BYTES = [scalar_fast_bpe.CHARACTERS[b] for b in range(256)]
ALPHABET = sorted(BYTES)
# Merges of bytes: within codes 320..383 ("Å" and one more byte) and across them, a run of three, white space, digits.
MERGES = ["Å ¢", "Å¢ Å¢", "Å £", "Å¢ Å", "Å¢Å £", "Å¢ Å£", "¢ Å", "1 1", "Ġ 1", "Ċ Ċ", "Å¢Å¢ Å¢"]


def vocabulary(alphabet: list[str], merges: list[str]) -> dict[str, int]:
    tokens = list(alphabet)
    for joined in (m.replace(" ", "") for m in merges):
        if joined not in tokens:
            tokens.append(joined)
    return {token: i for i, token in enumerate(tokens)}


def tokenizer_json(alphabet: list[str] = ALPHABET, merges: list[str] = MERGES) -> dict[str, Any]:
    """A tokenizer.json as the published one has it."""
    return {
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "vocab": vocabulary(alphabet, merges), "merges": merges},
    }


def write(folder: Path, bpe: Any, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    processor = {"scale": 10, "min_token": -354, "time_horizon": None, "action_dim": None, "vocab_size": 300} | config
    (folder / "tokenizer.json").write_text(json.dumps(bpe))
    (folder / "processor_config.json").write_text(json.dumps(processor))
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("fast") / "small", tokenizer_json())


@pytest.fixture(scope="module")
def shared() -> Path:
    if "RT2DATA_SHARED" not in os.environ:
        pytest.skip("RT2DATA_SHARED names no folder with the published FAST+ file and its golden numbers")
    return Path(os.environ["RT2DATA_SHARED"])


def shaped(tok: ActionTokenizer, horizon: int, width: int) -> ActionTokenizer:
    return tok.with_dims([Dim(f"d{i}", -1, 1) for i in range(width)]).with_horizon(horizon)


def random_codes(rng: random.Random) -> list[int]:
    """30 codes of one class, of several, or at which pieces are cut."""
    if rng.random() < 0.3:
        return [rng.choice([9, 10, 28, 32, 32, 39, 49, 97, 108, 115, 0x85, 0xA0, 354]) for _ in range(30)]
    top = rng.choice([60, 130, 360, 360, 700, 2100])
    return [rng.randrange(340 if top == 360 else 0, top) for _ in range(30)]


def test_a_directory_leaves_horizon_and_dimensions_open(small: Path, tmp_path: Path) -> None:
    tok = ActionTokenizer.from_pretrained(small)
    assert (tok.spec.scheme, tok.bins, tok.horizon, len(tok.dims)) == ("fast-bpe", 4096, 10, 7)
    assert {(d.low, d.high) for d in tok.dims} == {(-1.0, 1.0)}
    given = ActionTokenizer.from_pretrained(write(tmp_path / "f", tokenizer_json(), time_horizon=4, action_dim=3))
    assert (given.horizon, len(given.dims)) == (4, 3)
    assert given == shaped(tok, 4, 3)
    tok.save_pretrained(tmp_path / "saved")
    saved = ActionTokenizer.from_pretrained(tmp_path / "saved")
    assert (saved, saved.fingerprint) == (tok, tok.fingerprint)
    less = write(tmp_path / "less", tokenizer_json(merges=MERGES[:-1]))
    assert ActionTokenizer.from_pretrained(less).fingerprint != tok.fingerprint


def test_ids_are_those_of_two_references(small: Path) -> None:
    tok = shaped(ActionTokenizer.from_pretrained(small), 30, 1)
    reference, rng = scalar_fast_bpe.Bpe(tokenizer_json()), random.Random(0)
    other = verify_fast_bpe.ByteDct([{"low": -1, "high": 1}], 30, 4096, tok.to_dict()["options"])
    for _ in range(300):
        codes = random_codes(rng)
        text = tok.format(np.array(codes))
        ids = [int(i) for i in text.split()]
        assert ids == reference.encode(codes) == other.join(codes)
        assert reference.decode(ids) == other.split(ids) == codes
        assert tok.parse(text).tolist() == codes


def test_classes_of_characters() -> None:
    """A few of the runs that tokenizers 0.22.2 shows, beside them what Python's own tables say otherwise."""
    runs = [
        (9, 13, "S"),
        (28, 31, ""),
        (133, 133, "S"),
        (170, 170, "L"),
        (178, 179, "N"),
        (215, 215, ""),
        (248, 705, "L"),
    ]
    runs += [(1632, 1641, "N"), (2160, 2183, "L"), (2184, 2184, ""), (2185, 2190, "L"), (2191, 2207, "")]
    for first, last, name in runs:
        assert {fast_bytes._class(chr(c)) for c in range(first, last + 1)} == {name}
        kind = {"S": "white", "L": "letter", "N": "number", "": "other"}[name]
        assert {verify_fast_bpe._kind(chr(c)) for c in range(first, last + 1)} == {kind}


def test_codes_are_those_of_fast(small: Path) -> None:
    tok = shaped(ActionTokenizer.from_pretrained(small), 5, 2)
    chunks = np.random.default_rng(0).uniform(-1, 1, (50, 5, 2))
    codes = tok.encode(chunks)
    verify = Reference(tok.to_dict())
    for chunk, row, text in zip(chunks, codes.tolist(), tok.format(codes), strict=True):
        assert row == scalar_tokenizer.dct(chunk.tolist(), 10.0, -354, 4096)
        flat = chunk.reshape(-1).tolist()
        assert (verify.encode(flat, ()), verify.format(row), verify.parse(text)) == (row, text, row)
    np.testing.assert_array_equal(tok.parse(tok.format(codes)), codes)
    assert np.abs(tok.decode(codes).actions - chunks).max() < 0.5 / 10 * 5**0.5
    np.testing.assert_array_equal(tok.encode(tok.decode(codes).actions), codes)
    assert tok.properties.idempotent
    assert any("order-dependent" in fault for fault in tok.properties.faults)


def test_bounds_normalise(small: Path) -> None:
    tok = ActionTokenizer.from_pretrained(small).with_dims([Dim("x", 0.2, 0.6, "m")]).with_horizon(3)
    x = np.array([[0.2], [0.4], [0.6]])
    y = 2 * (x - 0.2) / (0.4 + 1e-6) - 1
    assert tok.encode(x).tolist() == scalar_tokenizer.dct(y.tolist(), 10.0, -354, 4096)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("model"), "an object"),
        (lambda f: f["model"].update(type="WordPiece"), "model.type"),
        (lambda f: f["model"].update(byte_fallback=True), "byte_fallback"),
        (lambda f: f["model"].update(unk_token="?"), "unk_token"),
        (lambda f: f["model"].update(ignore_merges=True), "ignore_merges"),
        (lambda f: f.update(normalizer={"type": "NFC"}), "normalizer"),
        (lambda f: f["pre_tokenizer"].update(use_regex=False), "pre_tokenizer"),
        (lambda f: f["pre_tokenizer"].update(add_prefix_space=True), "pre_tokenizer"),
        (lambda f: f.update(added_tokens=[{"id": 0, "content": "!"}]), "added_tokens"),
        (lambda f: f["decoder"].update(type="WordPiece"), "decoder"),
        (lambda f: f["model"]["merges"].append("Å nothing"), r"merges\[11\]"),
        (lambda f: f["model"]["merges"].append("Å"), r"merges\[11\]"),
        (lambda f: f["model"]["merges"].append(5), r"merges\[11\]"),
        (lambda f: f["model"].update(merges=f["model"]["merges"][::-1]), "another order"),
        (lambda f: f["model"]["vocab"].update({"!": 700}), "vocab"),
        (lambda f: f["model"]["vocab"].update({"!": True}), "vocab"),
    ],
)
def test_another_tokenizer_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    bpe = tokenizer_json() | {"model": tokenizer_json()["model"] | {"merges": list(MERGES)}}
    change(bpe)
    with pytest.raises(ActionError, match=message):
        ActionTokenizer.from_pretrained(write(tmp_path / "f", bpe))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"scale": 0}, "scale"),
        ({"scale": "10"}, "scale"),
        ({"min_token": 4}, "min_token"),
        ({"time_horizon": 0}, "time_horizon"),
        ({"action_dim": 2.5}, "action_dim"),
    ],
)
def test_another_processor_is_refused(tmp_path: Path, config: Any, message: str) -> None:
    with pytest.raises(ActionError, match=message):
        ActionTokenizer.from_pretrained(write(tmp_path / "f", tokenizer_json(), **config))
    (tmp_path / "f" / "processor_config.json").write_text('{"image_size": 224}')
    with pytest.raises(ActionError, match=r"no scale or no min_token; expected the processor_config.json of a FAST"):
        ActionTokenizer.from_pretrained(tmp_path / "f")


def test_a_code_that_the_alphabet_lacks_becomes_the_nearest(tmp_path: Path) -> None:
    """FAST's own fit leaves out bytes that did not occur; its processor drops such a code and returns zeros."""
    # 44 and 46 are not there, nor any byte above 0x7F: codes 0..127 but two
    alphabet = [c for c in ALPHABET if scalar_fast_bpe.BYTES[c] < 128 and c not in ",."]
    folder = write(tmp_path / "f", tokenizer_json(alphabet, []), min_token=-45)
    tok = ActionTokenizer.from_pretrained(folder).with_dims([Dim("x", -1, 1)]).with_horizon(1)
    x = np.array([[-0.1], [0.1], [0.0], [30.0], [-30.0], [0.2]])
    codes, clipped = tok.encode(x, return_clipped=True)
    assert codes.ravel().tolist() == [43, 45, 45, 127, 0, 47]
    assert clipped.ravel().tolist() == [1, 1, 0, 1, -1, 0]
    assert tok.parse(tok.format(codes)).tolist() == codes.tolist()
    assert not tok.properties.idempotent
    reference = Reference(tok.to_dict())
    assert [reference.encode([v], ())[0] for v in x.ravel().tolist()] == codes.ravel().tolist()
    assert [reference.clipped([v])[0] for v in x.ravel().tolist()] == (clipped.ravel() != 0).tolist()
    with pytest.raises(ActionError, match="code: 44; expected one that its alphabet can write"):
        tok.format(np.array([44]))


def test_what_is_no_chunk_raises_and_is_never_zeros(small: Path) -> None:
    tok = shaped(ActionTokenizer.from_pretrained(small), 2, 2).with_vocabulary(257152)
    lead, rest = vocabulary(ALPHABET, MERGES)["Å"], vocabulary(ALPHABET, MERGES)["¢"]
    zero = f"{lead} {rest}"
    assert tok.parse(" ".join([zero] * 4)).tolist() == [354] * 4
    for text, message in [
        (" ".join([zero] * 3), "3 codes; expected 4"),
        (" ".join([zero] * 5), "more than 4 codes"),
        (f"{zero} {zero} {zero} {lead}", "the last code is cut off"),
        (f"{lead} {lead}", f"id {lead} writes no code"),
        (f"{rest}", f"id {rest} writes no code"),
        ("", "no number"),
        ("99999", "not in 0.."),
        ("1 " * 5_000_000, "longer than any action"),
    ]:
        with pytest.raises(ActionParseError, match=message):
            tok.parse(text)
    above = vocabulary(ALPHABET, MERGES)[scalar_fast_bpe.CHARACTERS[0xF0]]  # a code of four bytes
    with pytest.raises(ActionParseError, match="writes no code below 4096"):
        tok.parse(f"{above}")
    with pytest.raises(ActionParseError, match="id 5 is not an action token"):
        tok.from_token_ids([5])


def test_lenient_rules(small: Path) -> None:
    tok = shaped(ActionTokenizer.from_pretrained(small), 2, 2).with_vocabulary(257152)
    ids = vocabulary(ALPHABET, MERGES)
    lead, rest, one = ids["Å"], ids["¢"], ids["Å£"]
    count = len(ids)

    def read(own: list[int], rule: str) -> list[int]:
        model_ids = [257152 - 1 - 128 - i for i in own]
        return tok.from_token_ids(model_ids, lenient=rule).tolist()

    zeros = [354] * 4
    assert read([one] * 4, "published") == read([one] * 4, "relaxed") == read([one] * 4, "starvla") == [355] * 4
    assert read([one] * 3, "published") == read([one] * 5, "starvla") == zeros
    assert read([one] * 3, "relaxed") == [355, 355, 355, 354]
    assert read([one] * 5, "relaxed") == [355] * 4
    assert read([], "published") == read([], "relaxed") == zeros
    assert read([one, one, count, one, one], "published") == [355] * 4  # above the last id: left out
    assert read([one, -1, one, one, one], "published") == read([one, -1, one], "relaxed") == zeros
    assert read([one, -1, one, 99999, one, one], "starvla") == [355] * 4
    # A byte that is no UTF-8 is U+FFFD: 6517.9, where the number of codes happens to fit.
    orphan = read([one, one, one, lead], "published")
    assert orphan == [355, 355, 355, 0xFFFD]
    assert read([rest, one, one, one], "relaxed") == [0xFFFD, 355, 355, 355]
    decoded = tok.decode(np.array(orphan), dtype="float64", validate=False).actions
    assert decoded[0, 1] == pytest.approx((6517.9 + 0.1) / 2**0.5)
    with pytest.raises(ActionError, match="65533; expected a bin in"):
        tok.decode(np.array(orphan))
    with pytest.raises(ActionError, match="one of published, relaxed, starvla"):
        read([one], "zeros")
    with pytest.raises(ActionError, match='of the "fast-bpe" scheme'):
        ActionTokenizer.from_pretrained("openvla").with_vocabulary(32000).from_token_ids([5] * 7, lenient="relaxed")


def test_maps_by_arithmetic(small: Path) -> None:
    tok = shaped(ActionTokenizer.from_pretrained(small), 2, 1)
    codes = np.array([354, 355])
    own = [int(i) for i in tok.format(codes).split()]
    for place, size, expected in [
        ({"place": "tail", "skip": 128}, 257152, [257023 - i for i in own]),  # openpi and LeRobot's pi0_fast
        ({"place": "tail", "skip": 1152}, 257152, [255999 - i for i in own]),  # LeRobot's pi052
        ({"place": "from", "first": 151665}, 153713, [151665 + i for i in own]),  # starVLA on Qwen2.5
    ]:
        bound = ActionTokenizer.from_dict(tok.to_dict() | {"vocabulary": place}).with_vocabulary(size)
        assert bound.token_ids(codes).tolist() == expected
        assert bound.from_token_ids(expected).tolist() == codes.tolist()


MOLMOACT2 = ["<action_start>", "<action_{}>", "<action_end>"]
STARVLA = ["", "<robot_action_{}>", ""]


def templated(tok: ActionTokenizer, template: list[str]) -> ActionTokenizer:
    raw = tok.to_dict()
    options = raw["options"] | {"template": template}
    return ActionTokenizer.from_dict(raw | {"options": options, "vocabulary": {"place": "text"}})


@pytest.mark.parametrize("template", [MOLMOACT2, STARVLA])
def test_ids_as_tokens_of_their_own(small: Path, template: list[str]) -> None:
    plain = shaped(ActionTokenizer.from_pretrained(small), 2, 2)
    tok = templated(plain, template)
    codes = plain.encode(np.random.default_rng(0).uniform(-1, 1, (20, 2, 2)))
    before, one, behind = template
    for numbers, text in zip(plain.format(codes), tok.format(codes), strict=True):
        assert text == before + "".join(one.replace("{}", i) for i in numbers.split()) + behind
    np.testing.assert_array_equal(tok.parse(tok.format(codes)), codes)
    verify = Reference(tok.to_dict())
    assert [verify.parse(text) for text in tok.format(codes)] == codes.tolist()
    assert [verify.format(row) for row in codes.tolist()] == tok.format(codes)
    assert tok.fingerprint != plain.fingerprint
    good = tok.format(codes[0])
    for text in [
        good + " ",
        " " + good,
        good.replace("><", "> <"),
        good.replace("_", "_0", 3),
        good[:-1],
        "x",
        good * 2,
    ]:
        with pytest.raises(ActionParseError):
            tok.parse(text)
        with pytest.raises(ValueError, match=r"."):
            verify.parse(text)


@pytest.mark.parametrize(
    "template", [["<a>"], ["", "{}", ""], ["", "<{}>{}", ""], ["", "<a{}", ""], ["", "<a{}0", ""], ["", 5, ""], "abc"]
)
def test_a_template_is_checked(small: Path, template: Any) -> None:
    with pytest.raises(ActionError, match="template"):
        templated(ActionTokenizer.from_pretrained(small), template)


def model_with(tokens: list[str]) -> Any:
    """A small language model's tokenizer with tokens added."""
    tokenizers = pytest.importorskip("tokenizers", exc_type=ImportError)
    words = {word: i for i, word in enumerate(["<unk>", *"0123456789<>_actionrb"])}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    model.add_tokens([tokenizers.AddedToken(token, normalized=False) for token in tokens])
    model.decoder = tokenizers.decoders.Fuse()
    return model


@pytest.mark.parametrize("template", [MOLMOACT2, STARVLA])
def test_added_tokens_of_a_model(small: Path, template: list[str]) -> None:
    tok = templated(shaped(ActionTokenizer.from_pretrained(small), 2, 2), template)
    count = len(vocabulary(ALPHABET, MERGES))
    frame = [t for t in (template[0], template[2]) if t]
    model = model_with([template[1].replace("{}", str(i)) for i in range(count)] + frame)
    bound = tok.with_vocabulary(model)
    codes = tok.encode(np.random.default_rng(1).uniform(-1, 1, (2, 2)))
    ids = bound.token_ids(codes).tolist()
    assert ids == model.encode(tok.format(codes)).ids
    assert bound.from_token_ids(ids).tolist() == codes.tolist()
    if frame:
        for wrong in (ids[1:], ids[:-1], [], ids[1:-1]):
            with pytest.raises(ActionParseError, match="missing"):
                bound.from_token_ids(wrong)
    assert bound.from_token_ids([0, *ids, 0], lenient="starvla").tolist() == codes.tolist()
    assert bound.check_vocabulary().ok
    follow_at_random(bound, 20)
    lacking = model_with([template[1].replace("{}", str(i)) for i in range(count - 1)] + frame)
    with pytest.raises(ActionError, match="Add these tokens"):
        tok.with_vocabulary(lacking).token_ids(codes)


def follow_at_random(tok: ActionTokenizer, times: int) -> None:
    """Whatever ids a constrained model chooses, the reply parses."""
    rng, constraint = np.random.default_rng(0), Constraint(tok, eos_token_id=10**6)
    for _ in range(times):
        state, ids = constraint.start, []
        while not ids or ids[-1] != constraint.eos:
            allowed = constraint.allowed(state)
            assert len(allowed)
            ids.append(int(rng.choice(allowed)))
            state = constraint.step(state, ids[-1])
        tok.decode(constraint.parse(ids).bins)


def test_constrained_ids_always_parse(small: Path) -> None:
    tok = shaped(ActionTokenizer.from_pretrained(small), 5, 3).with_vocabulary(257152)
    follow_at_random(tok, 100)
    automaton = tok.automaton()
    for codes in tok.encode(np.random.default_rng(2).uniform(-1, 1, (20, 5, 3))):
        state = automaton.start
        for i in tok.token_ids(codes).tolist():  # the ids of a chunk are allowed
            assert i in automaton.allowed(state)
            state = automaton.step(state, i)
        assert automaton.complete(state)
        assert not len(automaton.allowed(state))
    with pytest.raises(ActionError, match="allowed_token_ids"):
        tok.regex()


def test_a_constraint_avoids_what_cannot_be_finished(tmp_path: Path) -> None:
    """Of an alphabet without bytes that end a character, ids that begin one may not come."""
    alphabet = [c for c in ALPHABET if scalar_fast_bpe.BYTES[c] not in range(0x80, 0xC0)]
    tok = shaped(ActionTokenizer.from_pretrained(write(tmp_path / "f", tokenizer_json(alphabet, []))), 2, 1)
    tok = tok.with_vocabulary(257152)
    allowed = tok.allowed_token_ids()
    assert len(allowed) == 128
    follow_at_random(tok, 20)


def original_fit(texts: list[str], alphabet: list[str], size: int) -> Any:
    """A byte-level BPE as FAST's processor trains it."""
    tokenizers = pytest.importorskip("tokenizers", exc_type=ImportError)
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, show_progress=False, initial_alphabet=alphabet, max_token_length=10000
    )
    bpe.train_from_iterator(texts, trainer=trainer)
    return bpe


def test_a_directory_of_the_originals_fit(tmp_path: Path) -> None:
    """Its alphabet is characters of codes, not bytes. Ids of the first chunk: fit() of huggingface/lerobot@7427f31."""
    data = np.random.default_rng(5).normal(0, 0.3, (400, 8, 7)).cumsum(1)
    unfitted = shaped(ActionTokenizer.from_pretrained("fast-bpe"), 8, 7)
    codes = unfitted.encode(data) - 354 + 49
    texts = ["".join(map(chr, row)) for row in codes.tolist()]
    bpe = original_fit(texts, [chr(i) for i in range(codes.max() + 1)], 512)
    folder = write(tmp_path / "f", json.loads(bpe.to_str()), min_token=-49)
    tok = shaped(ActionTokenizer.from_pretrained(folder), 8, 7)
    lines = tok.format(tok.encode(data))
    golden = (
        "139 137 42 51 454 309 55 63 199 60 53 44 52 42 249 150 148 49 174 150 50 47 149 177 50 46 144 185 51 47 144"
    )
    assert lines[0] == golden + " 47 162 47 147 186 47"
    assert [[int(i) for i in line.split()] for line in lines] == [e.ids for e in bpe.encode_batch(texts)]
    # Code 2 lies within the data, and its byte in none of them: the original drops it.
    assert bpe.encode(chr(2)).ids == []
    with pytest.raises(ActionError, match="code: 2; expected"):
        tok.format(np.full(56, 2))


def test_fit_writes_every_byte(tmp_path: Path) -> None:
    """What `fit` and `save_fast` write, FAST's processor reads: the same ids, and no code that cannot be written."""
    tokenizers = pytest.importorskip("tokenizers", exc_type=ImportError)
    fft = pytest.importorskip("scipy.fft")
    from rt2data.tokenizer.fit import fit

    unfitted = ActionTokenizer.from_pretrained("fast-bpe").with_horizon(8)
    chunks = np.random.default_rng(0).normal(0, 0.1, (300, 8, 7)).cumsum(1)
    fitted = fit(unfitted, [chunks], vocabulary=400)
    folder = save_fast(fitted, tmp_path / "fast")
    loaded = ActionTokenizer.from_pretrained(folder)
    assert loaded.spec.options == fitted.spec.options
    assert (loaded.horizon, len(loaded.dims)) == (8, 7)

    class Processor:
        """The published rule, by the libraries that it uses."""

        def __init__(self, folder: Path) -> None:
            self.config = json.loads((folder / "processor_config.json").read_text())
            self.bpe = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))

        def encode(self, chunk: np.ndarray) -> list[int]:
            q = np.around(fft.dct(chunk, axis=0, norm="ortho") * self.config["scale"]).ravel()
            least = self.config["min_token"]
            return self.bpe.encode("".join(chr(max(int(v) - least, 0)) for v in q)).ids

        def decode(self, ids: list[int]) -> np.ndarray:
            q = np.array([ord(c) for c in self.bpe.decode(ids)]) + self.config["min_token"]
            shape = self.config["time_horizon"], self.config["action_dim"]
            return fft.idct(q.reshape(shape) / self.config["scale"], axis=0, norm="ortho")

    processor = Processor(folder)
    assert processor.bpe.get_vocab_size() == processor.config["vocab_size"] == 400
    new = np.random.default_rng(1).normal(0, 0.1, (50, 8, 7)).cumsum(1)
    codes = fitted.encode(new)
    decoded = fitted.decode(codes, dtype="float64").actions
    for chunk, line, back in zip(new, fitted.format(codes), decoded, strict=True):
        ids = [int(i) for i in line.split()]
        assert processor.encode(chunk) == ids
        np.testing.assert_allclose(processor.decode(ids), back, rtol=0, atol=1e-9)
    assert np.mean([len(line.split()) for line in fitted.format(codes)]) < 0.7 * 56  # merges are made
    assert all(processor.bpe.decode(processor.bpe.encode(chr(c)).ids) == chr(c) for c in range(4096))

    with pytest.raises(ActionError, match="255"):
        fit(unfitted, [chunks], vocabulary=255)
    with pytest.raises(ActionError, match="outliers"):
        fit(unfitted, [1e3 * chunks], vocabulary=400)


def test_save_fast_overwrites_no_other_file(tmp_path: Path) -> None:
    tok = ActionTokenizer.from_pretrained("fast-bpe")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ActionError, match="exists"):
        save_fast(tok, tmp_path)
    assert (tmp_path / "tokenizer.json").read_text() == "{}"
    save_fast(tok, tmp_path / "f")
    save_fast(tok, tmp_path / "f")
    with pytest.raises(ActionError, match="fast-bpe"):
        save_fast(ActionTokenizer.from_pretrained("fast"), tmp_path / "g")


def test_transformers_loads_what_is_saved(tmp_path: Path, small: Path) -> None:
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    tok = shaped(ActionTokenizer.from_pretrained(small), 2, 2)
    save_fast(tok, tmp_path / "f")
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(str(tmp_path / "f"))
    for codes in ([354, 354, 355, 400], [32, 46, 32, 44]):  # the latter lose spaces where they are cleaned up
        ids = [int(i) for i in tok.format(np.array(codes)).split()]
        assert theirs("".join(map(chr, codes)))["input_ids"] == ids
        assert theirs.decode(ids) == "".join(map(chr, codes))


def test_ties_go_to_the_even_code(small: Path) -> None:
    """An exact half rounds to even here; the original follows its FFT (scipy 1.17: 2.5000000000000004 becomes 3)."""
    tok = shaped(ActionTokenizer.from_pretrained(small), 16, 1)
    step = np.zeros((16, 1))
    step[0] = 1.0  # 10 / sqrt(16) = 2.5 at frequency 0
    codes = tok.encode(step) - 354
    fft = pytest.importorskip("scipy.fft")
    theirs = np.around(fft.dct(step, axis=0, norm="ortho") * 10).ravel()
    exact = fft.dct(step, axis=0, norm="ortho").ravel() * 10
    differ = np.flatnonzero(codes != theirs)
    assert np.all(np.abs(np.abs(exact[differ] % 1) - 0.5) < 1e-12)
    assert np.all(np.abs(codes - theirs) <= 1)


# With the published file


def test_published_goldens(shared: Path) -> None:
    tok, made = ActionTokenizer.from_pretrained(shared / "data" / "fast_plus"), dict[tuple[int, int], ActionTokenizer]()
    goldens = json.loads((shared / "facts" / "goldens" / "fast_plus_chunks.json").read_text())
    for row in goldens["rows"]:
        horizon, width = row["shape"]
        own = made.setdefault((horizon, width), made.get((horizon, width)) or shaped(tok, horizon, width))
        x = np.array(row["q"]).reshape(horizon, width) / 512
        codes, expected = own.encode(x if horizon > 1 else x[0]), np.array(row["codes"]) + 354
        assert codes.tolist() == expected.tolist()  # no tie among these differs
        text = " ".join(map(str, row["ids"]))
        assert own.format(expected) == text
        assert own.parse(text).tolist() == expected.tolist()
        back = own.decode(expected, dtype="float64").actions.reshape(horizon, width)
        assert np.abs(back - x).max() == pytest.approx(row["max_abs_error"], abs=1e-12)


def test_published_edges(shared: Path) -> None:
    folder = shared / "facts" / "goldens"
    tok = ActionTokenizer.from_pretrained(shared / "data" / "fast_plus")
    edges = json.loads((folder / "fast_plus_edges.json").read_text())
    for case in edges["decode"]:
        if case["ids"] is None:
            continue
        own = shaped(tok, case["H"], case["D"]).with_vocabulary(257152)
        ids = [257152 - 1 - 128 - i for i in case["ids"]]
        for rule, name in [("published", "original"), ("relaxed", "univla"), ("relaxed", "lerobot_pi0_fast_relaxed")]:
            bins = own.from_token_ids(ids, lenient=rule)
            actions = own.decode(bins, dtype="float64", validate=False).actions.reshape(1, case["H"], case["D"])
            np.testing.assert_allclose(actions, case[name]["ok"], rtol=0, atol=1e-9)
    for case in edges["pretokenizer"]["splits"]:
        text = "".join(map(chr, case["text_codes"]))
        assert [[ord(c) for c in piece] for piece in fast_bytes._pattern().findall(text)] == case["pieces"]
    for first, last, name in edges["pretokenizer"]["class_runs_0_4095"]:
        kind = {"O": "", " ": "S"}.get(name, name)
        assert {fast_bytes._class(chr(c)) for c in range(first, last + 1)} == {kind}
    for tie in json.loads((folder / "fast_pitfalls.json").read_text())["rounding_ties"]:
        assert abs(float.fromhex(tie["scipy_value"]) - tie["code"]) <= 0.5 + 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(5, 7), (10, 7), (10, 14), (16, 2), (32, 7)])
def test_twenty_thousand_chunks(shared: Path, shape: tuple[int, int]) -> None:
    """The ids of the `tokenizers` library behind `scipy.fft.dct`; at an exact half either neighbour."""
    tokenizers, fft = pytest.importorskip("tokenizers", exc_type=ImportError), pytest.importorskip("scipy.fft")
    folder = shared / "data" / "fast_plus"
    tok, bpe = ActionTokenizer.from_pretrained(folder), tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    rng, ties, own = np.random.default_rng(0), 0, shaped(tok, *shape)
    for _ in range(4):
        steps = rng.normal(0, rng.choice([0.02, 0.1, 0.5], (5000, 1, 1)), (5000, *shape))
        x = np.clip(steps.cumsum(1) + rng.uniform(-1, 1, (5000, 1, shape[1])), -1, 1)
        x[..., -1] = np.where(x[..., -1] > 0, 1, rng.choice([0, -1]))  # a gripper
        exact = fft.dct(x, axis=1, norm="ortho").reshape(len(x), -1) * 10
        codes, theirs = own.encode(x), np.around(exact).astype(int) + 354
        differ = codes != theirs
        assert np.all(np.abs(np.abs(exact[differ]) % 1 - 0.5) < 1e-9)
        assert np.all(np.abs(codes - theirs) <= 1)
        ties += int(differ.sum())
        encoded = bpe.encode_batch(["".join(map(chr, row)) for row in codes.tolist()])
        assert own.format(codes) == [" ".join(map(str, e.ids)) for e in encoded]
    assert ties < 0.005 * 20_000 * shape[0] * shape[1]
