"""The instruction of each step, from the fields that a declaration names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rt2data.robot.fields import Instruction

Read = Callable[[str], Any]


def read_instructions(declared: Instruction, read: Read, steps: int) -> list[str | None]:
    """The instruction of each of the `steps` as stored, None where there is none.

    `read` gives a field's value as `rt2data.rlds.episodes.Episode` does: per step or one for the episode.
    """
    if declared.text is not None:
        return [declared.text] * steps
    out: list[str | None] = [None] * steps
    for field in declared.fields:
        if None not in out:
            break
        found = _of_field(declared, read(field), steps)
        out = [new if old is None else old for old, new in zip(out, found, strict=True)]
    return out


def _of_field(declared: Instruction, value: Any, steps: int) -> list[str | None]:
    """One field's instructions; a step is looked at only where it differs from those seen."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        one_each = value.ndim == (2 if declared.codes else 1)
        stored = (
            [row.tobytes() if declared.codes else row.item() for row in _codes(value, declared.codes)]
            if one_each
            else None
        )
        values: list[Any] = (
            stored
            if stored is not None
            else [_codes(value[None], declared.codes)[0].tobytes() if declared.codes else value.item()]
        )
    else:
        values = list(value) if isinstance(value, list) else [value.item() if isinstance(value, np.ndarray) else value]
    meaning = {one: _meaning(declared, one) for one in set(values)}
    found = [meaning[one] for one in values]
    return found if len(found) == steps else found * steps


def _codes(values: Any, codes: bool) -> Any:
    """Rows of integers as rows of bytes; a code that is no byte becomes "?"."""
    return np.where((values < 0) | (values > 255), ord("?"), values).astype(np.uint8) if codes else values


def _meaning(declared: Instruction, stored: bytes | int | str) -> str | None:
    text = stored.decode("utf-8", "backslashreplace") if isinstance(stored, bytes) else str(stored)
    if declared.codes:
        text = text.rstrip("\0")
    if declared.table is not None:
        return declared.table.get(text.strip())
    return None if not text.strip() or text.strip() in declared.dummy else text
