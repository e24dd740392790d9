"""FAST with merges: fitting, byte-pair encoding there and back, and what is no chunk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import scalar_tokenizer as reference

from rt2data.tokenizer import ActionError, ActionParseError, ActionTokenizer, Dim
from rt2data.tokenizer.schemes.fast import Merges

DIMS = [Dim("x", -0.05, 0.06, "m"), Dim("y", -0.04, 0.04, "m"), Dim("gripper", 0, 1)]


def motions(count: int, horizon: int, seed: int = 0) -> np.ndarray:
    """Smooth chunks, as robots move: what FAST is for."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, horizon)
    phase, speed = rng.uniform(0, 6, (count, 1)), rng.uniform(0.5, 4, (count, 1))
    x, y = 0.05 * np.sin(phase + speed * t), 0.03 * np.cos(phase + speed * t)
    return np.stack([x, y, np.repeat(rng.integers(0, 2, (count, 1)), horizon, axis=1)], axis=-1)


def unfitted(horizon: int = 8) -> ActionTokenizer:
    return ActionTokenizer.from_pretrained("fast").with_dims(DIMS).with_horizon(horizon)


@pytest.fixture(scope="module")
def fitted() -> ActionTokenizer:
    pytest.importorskip("tokenizers.models", reason="the tokenizers library is not installed")
    from rt2data.tokenizer.fit import fit

    return fit(unfitted(), [motions(400, 8), motions(300, 8, 1)], vocabulary=300)


def test_codes_follow_the_reference() -> None:
    tok, chunks = unfitted(), motions(50, 8)
    codes = tok.encode(chunks)
    low, width = np.array([d.low for d in DIMS]), np.array([d.high - d.low for d in DIMS])
    for chunk, row in zip(chunks, codes.tolist(), strict=True):
        y = 2 * (chunk - low) / (width + 1e-6) - 1
        assert row == reference.dct(y.tolist(), 10.0, -354, 1024)
    error = np.abs(tok.decode(codes, dtype="float64").actions - chunks) / width
    assert error.max() < 0.1  # half of 1 / scale per coefficient


def test_codes_clamp_and_say_so() -> None:
    tok = unfitted(4)
    chunk = np.zeros((4, 3))
    chunk[:, 0] = 5.0  # a hundred widths away
    codes, clipped = tok.encode(chunk, return_clipped=True)
    assert codes[0] == 1023
    assert clipped[0, 0] == 1
    assert clipped.shape == (4, 3)
    codes, clipped = tok.encode(-chunk, return_clipped=True)
    assert codes[0] == 0
    assert clipped[0, 0] == -1


def test_fit(fitted: ActionTokenizer) -> None:
    assert fitted.dims == unfitted().dims
    assert 2 <= fitted.bins <= 300
    assert fitted.spec.options["min_code"] < 0
    merges = fitted.spec.options["merges"]
    assert merges
    chunks = motions(100, 8, 2)
    codes = fitted.encode(chunks)
    # The same numbers as before the fit: only their names changed.
    np.testing.assert_array_equal(codes + fitted.spec.options["min_code"], unfitted().encode(chunks) - 354)
    lines = fitted.format(codes)
    np.testing.assert_array_equal(fitted.parse(lines), codes)
    lengths = [len(line.split()) for line in lines]
    assert np.mean(lengths) < 0.7 * fitted.fields  # that is what merges are for
    for line, row in zip(lines, codes.tolist(), strict=True):
        assert [int(i) for i in line.split()] == reference.join(row, list(merges), fitted.bins)
    assert fitted.properties.idempotent


def test_fit_is_repeatable_and_kept(fitted: ActionTokenizer, tmp_path: Any) -> None:
    from rt2data.tokenizer.fit import fit

    again = fit(unfitted(), (c for c in [motions(400, 8), motions(300, 8, 1)]), vocabulary=300)
    assert again.spec.render() == fitted.spec.render()
    fitted.save_pretrained(tmp_path)
    loaded = ActionTokenizer.from_pretrained(tmp_path)
    assert loaded == fitted
    assert loaded.fingerprint == fitted.fingerprint != unfitted().fingerprint
    json.loads((tmp_path / "tokenizer.json").read_text())


def test_merges_are_those_of_the_library(fitted: ActionTokenizer) -> None:
    """The same ids as the `tokenizers` library gives with the same merges."""
    import tokenizers

    bins, merges = fitted.bins, fitted.spec.options["merges"]
    ours = Merges(bins, merges, "test")
    names = ["".join(chr(0x4E00 + c) for c in e) for e in ours.expansions]
    pairs = [(names[a], names[b]) for a, b in merges]
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE({n: i for i, n in enumerate(names)}, pairs))
    for row in fitted.encode(motions(200, 8, 3)).tolist():
        assert ours.join(row) == theirs.encode("".join(chr(0x4E00 + c) for c in row)).ids


def test_fit_with_sources() -> None:
    pytest.importorskip("tokenizers.models", reason="the tokenizers library is not installed")
    from rt2data.tokenizer.fit import fit

    wide = [Dim(d.name, 2 * d.low, 2 * d.high) for d in DIMS]
    tok = unfitted().with_sources({"a": DIMS, "b": wide})
    fitted = fit(tok, [("a", motions(200, 8)), ("b", 2 * motions(200, 8, 1))], vocabulary=300)
    assert fitted.sources == ("a", "b")
    chunks = motions(5, 8)
    a, b = fitted.for_source("a"), fitted.for_source("b")
    np.testing.assert_array_equal(a.parse(a.format(a.encode(chunks))), a.encode(chunks))
    assert a.fingerprint != b.fingerprint


def test_fit_refuses() -> None:
    pytest.importorskip("tokenizers.models", reason="the tokenizers library is not installed")
    from rt2data.tokenizer.fit import fit

    with pytest.raises(ActionError, match="no chunks"):
        fit(unfitted(), [])
    with pytest.raises(ActionError, match="shape"):
        fit(unfitted(), [np.zeros((3, 7, 3))])
    with pytest.raises(ActionError, match="NaN"):
        fit(unfitted(), [np.full((3, 8, 3), np.nan)])
    with pytest.raises(ActionError, match=r"codes from .*outliers"):
        fit(unfitted(), [motions(10, 8), 100 * motions(1, 8)], vocabulary=256)
    with pytest.raises(ActionError, match="scheme"):
        fit(ActionTokenizer.from_pretrained("rt2"), [])


@pytest.mark.parametrize(
    "text", ["", "1", "1 2 3", "1  2", " 1", "01", "99999", "-1", "1 x", "1\0", "٣", "1 " * 5_000_000]
)
def test_what_is_no_chunk_raises_and_is_never_zeros(fitted: ActionTokenizer, text: str) -> None:
    with pytest.raises(ActionParseError):
        fitted.parse(text)


def test_ids_and_constraint(fitted: ActionTokenizer) -> None:
    tok = fitted.with_vocabulary(257152)
    codes = tok.encode(motions(20, 8, 4))
    ids = tok.token_ids(codes)
    assert isinstance(ids, list)  # an action has as many ids as it needs
    assert min(int(row.min()) for row in ids) >= 257152 - 1 - 128 - 300
    np.testing.assert_array_equal(tok.from_token_ids(ids), codes)
    np.testing.assert_array_equal(tok.from_token_ids(tok.token_ids(codes[0])), codes[0])
    with pytest.raises(ActionParseError, match="codes; expected 24"):
        tok.from_token_ids(ids[0][:-1])
    with pytest.raises(ActionParseError, match="more than 24 codes"):
        tok.from_token_ids(np.concatenate([ids[0], ids[0]]))
    with pytest.raises(ActionParseError, match="id 5 is not an action token"):
        tok.from_token_ids([5])
    rng, automaton = np.random.default_rng(0), tok.automaton()
    for _ in range(200):
        state, row = automaton.start, []
        while not automaton.complete(state):
            row.append(int(rng.choice(automaton.allowed(state))))
            state = automaton.step(state, row[-1])
        tok.decode(tok.from_token_ids(row))
    with pytest.raises(ActionError, match="allowed_token_ids"):
        tok.regex()


def test_merges_of_a_file_are_checked() -> None:
    raw = unfitted().to_dict()
    for merges, message in [
        ([[0, 5000]], "ids below 1024"),
        ([[0]], "pairs of ids"),
        ([[i + 1023, i + 1023] for i in range(1, 40)], "ids below|expands too far"),
        ([[0, 0], *([1024 + i, 1024 + i] for i in range(30))], "expands too far"),
    ]:
        tok_raw = raw | {"options": {"scale": 10.0, "min_code": -354, "merges": merges}}
        with pytest.raises(ActionError, match=message):
            ActionTokenizer.from_dict(tok_raw).parse("1")


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_join_and_split_are_inverse(data: st.DataObject) -> None:
    bins = 4
    merges: list[tuple[int, int]] = []
    for count in range(data.draw(st.integers(0, 8))):
        known = Merges(bins, merges, "test").count
        merges.append((data.draw(st.integers(0, known - 1)), data.draw(st.integers(0, known - 1))))
        assert len(merges) == count + 1
    merges = list(dict.fromkeys(merges))
    ours = Merges(bins, merges, "test")
    codes = data.draw(st.lists(st.integers(0, bins - 1), min_size=1, max_size=40))
    ids = ours.join(codes)
    assert ids == reference.join(codes, merges, bins)
    assert ours.split(ids, len(codes), "", [0] * len(ids)) == codes


def test_fit_from_the_command_line(corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`rt2data tokenizer fit` reads a recipe's index, and what it writes round-trips the chunks it was fitted on."""
    pytest.importorskip("tokenizers", exc_type=ImportError)
    from rt2data import cli
    from rt2data.pipeline import fit_tokenizer, stages
    from rt2data.recipes import recipe
    from rt2data.runners import progress

    file = tmp_path / "r.yaml"
    file.write_text("name: r\nsources: [{source: bridge_dataset, splits: {train: 1.0}}]\n")
    arguments = ["tokenizer", "fit", str(file), "--data-root", str(corpora), "--work", str(tmp_path / "work")]
    assert cli.main([*arguments, "--out", str(tmp_path / "out"), "--horizon", "3"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")
    fitted = ActionTokenizer.from_pretrained(str(tmp_path / "out")).for_source("bridge")
    assert fitted.horizon == 3

    found = recipe.read_recipe(file).with_horizon(3)
    opened = [stages.open_source(s, corpora) for s in found.sources]
    the_job = stages.index_all(
        found, opened, tmp_path / "work", stages.Direct(progress.Reporter(enabled=False)), check="quick"
    )
    seen = 0
    for _, array in fit_tokenizer.action_chunks(the_job):
        assert array.shape[1:] == (3, 7)
        bins = fitted.encode(array)
        text = fitted.format(bins)
        assert fitted.format(fitted.parse(text)) == text
        seen += len(array)
    lengths = [n for part in the_job.parts for n in _lengths(the_job.table(part))]
    assert seen == sum(lengths) > 0  # a chunk for each sample: past the end of an episode they are padded


def _lengths(table: Any) -> list[int]:
    steps = table.column("steps").to_numpy()
    return [int(n) for n, s in zip(steps, table.column("step").to_numpy(), strict=True) if s == 0]
