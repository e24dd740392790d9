"""Proprioception as text in the robot prompt: each number as one of 256 bins between the bounds of its source.

A prompt template with ``{proprio}`` gets the state of the step there, such as ``12 200 133``: the bins of an
`ActionTokenizer` of the ``uniform`` scheme without a terminate field. That tokenizer lies beside the action tokenizer
as ``proprio.json``, so that a server writes the same prompt from the same state.
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
    """Load the tokenizer of a mixture's proprioception, with bounds per source; None where no prompt holds it."""
    return ActionTokenizer.from_pretrained(str(folder / FILE)) if (folder / FILE).is_file() else None
