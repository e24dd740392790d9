"""Decode a malformed reply as its own project does, by name; for comparing with that project, never for a robot.

Strict decoding (`tokenizer.decode(tokenizer.parse(text))`) raises where these rules make something up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.tokenizer import ActionTokenizer

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_TEXT = 1 << 20


def decode_like_vla0(tokenizer: ActionTokenizer, text: str) -> npt.NDArray[np.float32]:
    """Decode one reply as VLA-0 does.

    The text is stripped and cut at single spaces, and each piece read as Python's `int` reads it: ``1_0``, digits of
    other scripts, and numbers outside of 0..1000 pass, the last as actions beyond the bounds. Numbers that do not fill
    a step are dropped, steps beyond the horizon too; where steps are missing, the last one is repeated. Any other piece
    (``1.5``, a word, nothing between two spaces) turns the whole reply into the middle of the bounds.
    Source: NVlabs/vla0@731bef2, rv_train/models/qwen/model.py, for a batch of one.

    Args:
        tokenizer: one of the scheme "vla0", of one source.
        text: the reply.

    Returns:
        float32 (horizon, D); (0, D) where there are fewer numbers than dimensions.

    Raises:
        ActionError: another scheme, or a tokenizer with bounds per source.
    """
    spec = tokenizer.spec
    if spec.scheme != "vla0" or spec.sources:
        found = f'a tokenizer of the "{spec.scheme}" scheme' + (" with bounds per source" if spec.sources else "")
        raise ActionError("decode_like_vla0", found, 'one of the "vla0" scheme, of one source')
    low, high = (np.array([getattr(d, side) for d in spec.dims], np.float32) for side in ("low", "high"))
    numbers = _integers(text)
    if numbers is None:
        return np.repeat(((low + high) / np.float32(2))[None], spec.horizon, axis=0)
    width = len(spec.dims)
    steps = numbers[: len(numbers) // width * width].reshape(-1, width)[: spec.horizon]
    steps = np.concatenate([steps, np.repeat(steps[-1:], spec.horizon - len(steps), axis=0)])
    shares: npt.NDArray[np.float32] = steps.astype(np.float32) / np.float32(spec.bins - 1)
    return shares * (high - low) + low


def _integers(text: str) -> npt.NDArray[Any] | None:
    """The integers of a text, int64; None where a piece of it is none."""
    if len(text) > MAX_TEXT:
        return None
    try:
        return np.array([int(word) for word in text.strip().split(" ")], np.int64)
    except (ValueError, OverflowError):
        return None
