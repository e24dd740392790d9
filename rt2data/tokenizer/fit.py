"""Fit a scheme of whole chunks to data.

Of ``fast`` and ``fast-bpe`` the range of codes and the merges of byte-pair encoding, of ``beast`` the limits of the
weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from rt2data.tokenizer.arrays import to_numpy
from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.schemes.fast import Dct
from rt2data.tokenizer.schemes.splines import Splines
from rt2data.tokenizer.spec import Spec
from rt2data.tokenizer.spec_fields import BYTE_CHARACTERS
from rt2data.tokenizer.text.fields import check_actions
from rt2data.tokenizer.tokenizer import ActionTokenizer

FITTED = ("dct", "fast-bpe", "beast")  # the schemes that are fitted

# Codes as characters for the trainer: a private plane, whose characters no rule of text touches.
_PLANE = 0xF0000

# A weight that does not vary gets limits so far apart, in half widths of the bounds.
_LEAST_WIDTH = 1e-3


def fit(tokenizer: ActionTokenizer, chunks: Iterable[Any], *, vocabulary: int = 1024) -> ActionTokenizer:
    """Fit the codes and merges, or the weights' limits, of a tokenizer to data; its dimensions and bounds stay.

    Of the "dct" scheme the codes become those that occur. Of "fast-bpe" there stay as many, from its own smallest, or
    the data's where that is smaller, and the alphabet becomes all 256 bytes: every code can be written, whether it
    occurs in the data or not (FAST's own fit leaves out the bytes that do not occur). Of "beast" the limits of each
    weight become its minimum and maximum over all chunks, of all sources.

    Args:
        tokenizer: an ActionTokenizer of the "dct", "fast-bpe" or "beast" scheme, fitted or not.
        chunks: action chunks, arrays (..., horizon, D); for a tokenizer with sources, pairs (source, array). They are
            read once; their codes are kept in memory, two bytes each (of "beast" nothing is).
        vocabulary: the number of ids, codes (or bytes) and merges together, as FAST counts them.

    The same chunks in the same order give the same tokenizer, of "beast" in any order. FAST needs the `tokenizers`
    library.

    Raises:
        ActionError: no chunks, values that are not finite, or more different codes than `vocabulary` has ids.
    """
    spec = tokenizer.spec
    if spec.scheme not in FITTED:
        expected = 'one of "dct" (fast), "fast-bpe" or "beast"'
        raise ActionError("fit", f'a tokenizer of the "{spec.scheme}" scheme', expected)
    if spec.scheme == "beast":
        return ActionTokenizer(replace(spec, options={**spec.options, "weights": _limits(tokenizer, chunks)}).checked())
    import_tokenizers()
    codes = list(_codes(tokenizer, chunks))
    if not codes:
        raise ActionError("fit", "no chunks", "at least one")
    low, high = min(int(c.min()) for c in codes), max(int(c.max()) for c in codes)
    in_bytes = spec.scheme == "fast-bpe"
    low = min(low, spec.options["min_code"] if in_bytes else 0)
    bins = spec.bins if in_bytes else max(high - low + 1, 2)
    room = bins if in_bytes else vocabulary
    if high - low >= room:
        raise ActionError(
            "fit",
            f"codes from {low} to {high}",
            f"at most {room} of them",
            "Look for outliers in the actions"
            if in_bytes
            else "Raise `vocabulary`, or look for outliers in the actions",
        )
    alphabet = BYTE_CHARACTERS if in_bytes else "".join(chr(_PLANE + i) for i in range(bins))
    if vocabulary < len(alphabet):
        raise ActionError("fit", f"a vocabulary of {vocabulary}", f"{len(alphabet)} or more, one for each byte")
    plane = 0 if in_bytes else _PLANE
    texts = ("".join(chr(plane + int(c) - low) for c in row) for rows in codes for row in rows)
    options = dict(spec.options) | {"min_code": low, "merges": _train(texts, alphabet, vocabulary, in_bytes)}
    if in_bytes:
        options["alphabet"] = tuple(alphabet)
    return ActionTokenizer(replace(spec, bins=bins, options=options).checked())


def _train(texts: Iterable[str], alphabet: str, vocabulary: int, in_bytes: bool) -> tuple[tuple[int, int], ...]:
    """The merges, as pairs of ids, of byte-pair encoding trained on texts; `in_bytes` on their pieces in UTF-8."""
    Tokenizer, models, trainers = import_tokenizers()  # noqa: N806  # names of classes
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=list(alphabet),
        max_token_length=10000,
    )
    bpe = Tokenizer(models.BPE())
    if in_bytes:
        from tokenizers.pre_tokenizers import ByteLevel  # type: ignore[import-not-found, unused-ignore]

        bpe.pre_tokenizer = ByteLevel(add_prefix_space=False)
    bpe.train_from_iterator(texts, trainer=trainer)
    ids = {character: i for i, character in enumerate(alphabet)}
    merges = []
    for left, right in json.loads(bpe.to_str())["model"]["merges"]:
        merges.append((ids[left], ids[right]))
        ids.setdefault(left + right, len(ids))
    return tuple(merges)


def import_tokenizers() -> tuple[Any, Any, Any]:
    """Import, from the package `tokenizers`, the class Tokenizer, the models and the trainers.

    Raises:
        ActionError: it is not installed.
    """
    try:  # the folder tokenizers/ of a checkout is found where the library is missing, hence the names
        from tokenizers import Tokenizer, models, trainers  # type: ignore[attr-defined, import-not-found, unused-ignore]
    except ImportError as e:
        raise ActionError(
            "fit", "the package tokenizers is not installed", "the fit extra", 'Run pip install "rt2data[fit]"'
        ) from e
    return Tokenizer, models, trainers


def _checked(tokenizer: ActionTokenizer, chunks: Iterable[Any]) -> Iterator[tuple[Spec, Any]]:
    """The specification of each array of chunks, and the array."""
    for item in chunks:
        source, array = item if isinstance(item, tuple) else (None, item)
        spec = (tokenizer if source is None else tokenizer.for_source(source)).spec
        x = to_numpy(array)
        check_actions(spec, np, x, validate=True)
        yield spec, x


def _limits(tokenizer: ActionTokenizer, chunks: Iterable[Any]) -> tuple[tuple[float, float], ...]:
    """The minimum and maximum of each weight, all of the first dimension first."""
    low, high = np.inf, -np.inf
    for spec, x in _checked(tokenizer, chunks):
        weights = Splines(spec).weigh(np, x).reshape(-1, spec.rows, len(spec.dims))
        if len(weights):
            low, high = np.minimum(low, weights.min(axis=0)), np.maximum(high, weights.max(axis=0))
    if not np.ndim(low):
        raise ActionError("fit", "no chunks", "at least one")
    short = np.maximum(_LEAST_WIDTH - (high - low), 0) / 2
    low, high = (low - short).T.ravel(), (high + short).T.ravel()
    return tuple(zip(low.tolist(), high.tolist(), strict=True))


def _codes(tokenizer: ActionTokenizer, chunks: Iterable[Any]) -> Iterator[np.ndarray[Any, np.dtype[np.int16]]]:
    """The rounded coefficients of each array of chunks, (n, horizon * D), before any clipping."""
    for spec, x in _checked(tokenizer, chunks):
        q = Dct(spec).round_coefficients(np, x).reshape(-1, spec.horizon * len(spec.dims))
        if not q.size:
            continue
        if np.abs(q).max() > np.iinfo(np.int16).max:
            fault = f"a coefficient of {np.abs(q).max() / spec.options['scale']:.3g} half widths"
            raise ActionError("chunks", fault, "actions of about the size of their bounds", "Check the bounds")
        yield q.astype(np.int16)
