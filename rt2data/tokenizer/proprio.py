"""Proprioception as text in the robot prompt: each number as a bin between the bounds of its source.

A prompt template with ``{proprio}`` gets the state of the step there, such as ``12 200 133``: the bins of an
`ActionTokenizer` without a terminate field. A recipe chooses its scheme with ``state: {spec: NAME}``; by default there
are 256 bins of equal width. That tokenizer lies beside the action tokenizer as ``proprio.json``: from the same state a
server writes the same prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rt2data.tokenizer import ActionTokenizer
from rt2data.tokenizer.errors import ActionError

if TYPE_CHECKING:
    import numpy.typing as npt

    from rt2data.storage.places import Place

FILE = "proprio.json"
DEFAULT = "proprio"


def load_scheme(name: str) -> ActionTokenizer:
    """Load a tokenizer of states, before the bounds of any source are known.

    Args:
        name: a bundled specification ("proprio-pi05"), or a file.

    Raises:
        ActionError: none of that name, or one that is not for states.
    """
    tokenizer = ActionTokenizer.from_pretrained(name)
    spec = tokenizer.spec
    if spec.terminate is not None or spec.horizon > 1 or spec.of_chunks or spec.sources:
        expected = "a scheme without a terminate field, of one step, such as proprio-pi05"
        raise ActionError(f'tokenizer "{name}"', f"{spec.scheme}, horizon {spec.horizon}", expected)
    return tokenizer


def load(folder: Place) -> ActionTokenizer | None:
    """Load the tokenizer of a mixture's proprioception, with bounds per source; None where no prompt holds it."""
    return ActionTokenizer.from_pretrained(str(folder / FILE)) if (folder / FILE).is_file() else None


def write_state(tokenizer: ActionTokenizer, state: npt.ArrayLike, where: str) -> str:
    """Write a state as the prompts of a mixture have it.

    Args:
        tokenizer: of one source.
        state: (D,), in the units of the dataset.
        where: for the error.

    Raises:
        ActionError: another number of values, or one that is not finite.
    """
    values = np.asarray(state, np.float32)
    if values.shape != (len(tokenizer.dims),):
        names = " ".join(dim.name for dim in tokenizer.dims)
        raise ActionError(where, f"a state of shape {values.shape}", f"({len(tokenizer.dims)},): {names}")
    return str(tokenizer.format(tokenizer.encode(values)))
