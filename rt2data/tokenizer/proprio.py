"""Proprioception as text in the robot prompt: 256 bins of each number, between bounds of its source.

A prompt that holds ``{proprio}`` gets the state of the step there, ``12 200 133``: the bins of an `ActionTokenizer` of
the ``uniform`` scheme without a terminate field. It lies beside the action tokenizer as ``proprio.json``, so that a
server writes the same prompt from a state, and can be read back from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rt2data.tokenizer import ActionTokenizer

if TYPE_CHECKING:
    from rt2data.storage.places import Place

FILE = "proprio.json"
SPEC: Mapping[str, Any] = {
    "format": "rt2data.tokenizer/1", "name": "proprio", "scheme": "uniform", "bins": 256, "terminate": None,
    "dims": [{"name": "state", "low": -1.0, "high": 1.0}],
}  # fmt: skip


def load(folder: Place) -> ActionTokenizer | None:
    """The tokenizer of the states of a mixture, by source; None where no prompt holds them."""
    return ActionTokenizer.from_pretrained(str(folder / FILE)) if (folder / FILE).is_file() else None
