"""Token lengths, and packing."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from support import tiny_models
from support.built_mixture import Built

from rt2data import cli
from rt2data.collate import for_processor, packs, token_lengths
from rt2data.collate.lengths import TokenLengths
from rt2data.errors import Rt2dataError
from rt2data.loader import Loader


def test_token_lengths(spoken: Built) -> None:
    processor, _ = tiny_models.family("qwen2_5_vl")
    collate = for_processor(processor)
    samples = list(Loader(spoken.out))[:30]
    measured = token_lengths(samples, collate, limit=20)
    counts = sorted((collate([s])["input_ids"].shape[1], s.key) for s in samples[:20])
    lengths = [n for n, _ in counts]
    every = measured[""]
    assert every.lengths.tolist() == lengths
    assert every.longest == counts[-1][1]
    assert (every.p50, every.p99, every.max) == (lengths[9], lengths[19], lengths[19])
    assert every.longer_than(lengths[14]) == sum(n > lengths[14] for n in lengths)
    assert sum(len(own.lengths) for source, own in measured.items() if source) == 20
    with pytest.raises(Rt2dataError, match="no samples"):
        token_lengths([], collate)


def test_quantiles() -> None:
    import numpy as np

    own = TokenLengths(np.arange(1, 201), "k")
    assert (own.p50, own.p99, own.max, own.longer_than(150)) == (100, 198, 200, 50)


def slow_packs(sizes: list[int], maximum: int, window: int) -> list[list[int]]:
    done: list[list[int]] = []
    bins: list[list[int]] = []
    for size in sizes:
        fits = [own for own in bins if sum(own) + size <= maximum]
        if fits:
            fits[0].append(size)
            continue
        if len(bins) == window:
            done.append(bins.pop(0))
        bins.append([size])
    return done + bins


@pytest.mark.parametrize("window", [1, 3, 64])
def test_packs(window: int) -> None:
    sizes = [random.Random(window + n).randint(1, 100) for n in range(500)]
    made = list(packs(sizes, int, 128, window))
    assert made == slow_packs(sizes, 128, window)
    assert sorted(n for pack in made for n in pack) == sorted(sizes)
    assert max(map(sum, made)) <= 128
    if window == 64:
        assert sum(sizes) / (128 * len(made)) > 0.9
    with pytest.raises(Rt2dataError, match="an item of 129; expected at most 128"):
        list(packs([129], int, 128))


@pytest.mark.parametrize("family", ["llava", "idefics3"])
def test_a_pack_has_the_loss_of_its_samples(family: str, spoken: Built) -> None:
    """No sample sees another, and its first token is not learned behind another."""
    processor, model = tiny_models.family(family)
    collate = for_processor(processor)
    encoded = [collate.encode(sample) for sample in list(Loader(spoken.out))[:6]]
    batch = collate.pack(encoded)
    assert batch["input_ids"].shape == (1, sum(map(len, encoded)))
    total = learned = 0.0
    for sample in list(Loader(spoken.out))[:6]:
        one = collate([sample])
        n = int((one["labels"][:, 1:] != -100).sum())
        if n:
            total += n * float(model(**one).loss)
        learned += n
    assert float(model(**batch).loss) == pytest.approx(total / learned, rel=1e-4)


def test_what_cannot_be_packed(spoken: Built) -> None:
    processor, _ = tiny_models.family("qwen2_5_vl")
    collate = for_processor(processor)
    with pytest.raises(Rt2dataError, match="a processor with mm_token_type_ids"):
        collate.pack([collate.encode(Loader(spoken.out)[0])])


def test_the_command(spoken: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    processor, _ = tiny_models.family("llava")
    processor.save_pretrained(tmp_path / "model")
    assert cli.main(["stats", str(spoken.out), "--tokenizer", str(tmp_path / "model"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = token_lengths(Loader(spoken.out), for_processor(processor))
    assert found["all"]["samples"] == len(Loader(spoken.out))
    assert {source: own["p99"] for source, own in found["sources"].items()} == {
        source: own.p99 for source, own in expected.items() if source
    }
    assert cli.main(["stats", str(spoken.out), "--tokenizer", str(tmp_path / "model")]) == 0
    text = capsys.readouterr().out
    assert f"{found['all']['p50']:,}" in text.splitlines()[1]
    assert "longer than 128 tokens: " in text
    assert cli.main(["stats", str(spoken.out), "--tokenizer", str(tmp_path)]) != 0
    assert "without tokenizer_config.json" in capsys.readouterr().err
