"""Tokenizers of language models, trained on the spot with the `tokenizers` library."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

_SENTENCES = [
    "Plan: pick up the can. Action: 1 128 91 241 5 101 127 217",
    "Q: what action should the robot take to open the drawer? A: Accept the actor's action, Anna.",
    "Instruction: bring me a drink. Plan: move to the table: slowly. Action: 0 0 0 0 0 0 0 0",
]


def corpus() -> list[str]:
    numbers = " ".join(str(i) for i in range(256))
    pairs = [f"{a} {b}" for a, b in itertools.product(range(0, 256, 5), range(0, 256, 7))]
    return [*_SENTENCES * 20, numbers, numbers, *pairs]


def library() -> Any:
    pytest.importorskip("tokenizers.models", reason="the tokenizers library is not installed")
    import tokenizers

    return tokenizers


def integers() -> Any:
    """SentencePiece-like, as PaLI-X: every integer up to 1000 has an id of its own; spaces are in the pieces."""
    t = library()
    letters = sorted({c for line in corpus() for c in line} - set("0123456789 "))
    pieces = ["<unk>", "<s>", "</s>", "▁", *("▁" + str(i) for i in range(1001)), *letters, *"0123456789"]
    scores = [(p, 0.0 if p.startswith("▁") else -5.0) for p in pieces]
    tok = t.Tokenizer(t.models.Unigram(scores, unk_id=0))
    tok.pre_tokenizer = t.pre_tokenizers.Metaspace()
    tok.decoder = t.decoders.Metaspace()
    tok.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tok


def byte_level(size: int = 1200, *, split: bool = True) -> Any:
    """Byte-level BPE, as GPT-2 and Llama 3. Without `split`, merges cross spaces, so that the number of ids varies."""
    t = library()
    tok = t.Tokenizer(t.models.BPE())
    tok.pre_tokenizer = t.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split)
    tok.decoder = t.decoders.ByteLevel()
    trainer = t.trainers.BpeTrainer(
        vocab_size=size,
        show_progress=False,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=t.pre_tokenizers.ByteLevel.alphabet(),
    )
    tok.train_from_iterator(corpus(), trainer)
    return tok


def digits() -> Any:
    """As Llama 2 and Qwen: every digit is an id."""
    t = library()
    tok = t.Tokenizer(t.models.BPE())
    tok.pre_tokenizer = t.pre_tokenizers.Sequence(
        [t.pre_tokenizers.Digits(individual_digits=True), t.pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tok.decoder = t.decoders.ByteLevel()
    trainer = t.trainers.BpeTrainer(
        vocab_size=500,
        show_progress=False,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=t.pre_tokenizers.ByteLevel.alphabet(),
    )
    tok.train_from_iterator(corpus(), trainer)
    return tok


def unigram() -> Any:
    """A trained Unigram model with spaces in its pieces, as T5."""
    t = library()
    tok = t.Tokenizer(t.models.Unigram())
    tok.pre_tokenizer = t.pre_tokenizers.Metaspace()
    tok.decoder = t.decoders.Metaspace()
    trainer = t.trainers.UnigramTrainer(
        vocab_size=600, show_progress=False, special_tokens=["<unk>", "</s>"], unk_token="<unk>"
    )
    tok.train_from_iterator(corpus(), trainer)
    return tok


def words(largest: int = 255) -> Any:
    """One id per word; numbers above `largest` are unknown to it."""
    t = library()
    known = ["<unk>", "</s>", "A:", "Plan:", "Action:", "can", *map(str, range(largest + 1))]
    vocabulary = {word: i for i, word in enumerate(known)}
    tok = t.Tokenizer(t.models.WordLevel(vocabulary, unk_token="<unk>"))
    tok.pre_tokenizer = t.pre_tokenizers.WhitespaceSplit()
    tok.add_special_tokens(["<unk>", "</s>"])
    return tok


def transformers_of(tok: Any, eos: str) -> Any:
    """The same as a tokenizer of transformers."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tok, eos_token=eos, clean_up_tokenization_spaces=False)
