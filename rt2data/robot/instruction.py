"""Read the instruction of each step from the fields that a declaration names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rt2data.robot.fields import Instruction

Read = Callable[[str], Any]


def read_instructions(declared: Instruction, read: Read, steps: int) -> list[str | None]:
    """Return the instruction of each of the `steps` as stored; None where there is none.

    `read` returns a field's value as `rt2data.rlds.episodes.Episode` does, per step or one for the episode.
    """
    if declared.text is not None:
        return [declared.text] * steps
    out: list[str | None] = [None] * steps
    for field in declared.fields:
        if None not in out:
            break
        texts = _read_field(declared, read(field), steps)
        out = [new if old is None else old for old, new in zip(out, texts, strict=True)]
    return out


def _read_field(declared: Instruction, value: Any, steps: int) -> list[str | None]:
    """Return the texts of one field. Each distinct value is decoded once."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        per_step = value.ndim == (2 if declared.codes else 1)
        rows = value if per_step else value[None]
        values: list[Any] = [row.tobytes() for row in _to_bytes(rows)] if declared.codes else rows.reshape(-1).tolist()
    else:
        values = list(value) if isinstance(value, list) else [value.item() if isinstance(value, np.ndarray) else value]
    meaning = {stored: _meaning(declared, stored) for stored in set(values)}
    texts = [meaning[stored] for stored in values]
    return texts if len(texts) == steps else texts * steps


def _to_bytes(codes: Any) -> Any:
    """Convert integers to uint8; a code that is no byte becomes "?"."""
    return np.where((codes < 0) | (codes > 255), ord("?"), codes).astype(np.uint8)


def _meaning(declared: Instruction, stored: bytes | int | str) -> str | None:
    text = stored.decode("utf-8", "backslashreplace") if isinstance(stored, bytes) else str(stored)
    if declared.codes:
        text = text.rstrip("\0")
    if declared.table is not None:
        return declared.table.get(text.strip())
    return None if not text.strip() or text.strip() in declared.dummy else text
