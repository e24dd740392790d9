"""What methods of the action tokenizer return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from rt2data.tokenizer.arrays import Array


class Decoded(NamedTuple):
    """Decoded actions, of the library of the bins and on its device.

    Attributes:
        actions: float32 or float64, (..., D), or (..., horizon, D) for action chunks.
        terminate: bool, (...) or (..., horizon); None for a scheme without the field.
    """

    actions: Array
    terminate: Array


@dataclass(frozen=True, slots=True)
class Properties:
    """What holds for the bins of a tokenizer, computed from its tables in float32 and float64.

    Attributes:
        idempotent: encode(decode(b)) == b for every bin of every dimension.
        injective: no two bins of a dimension decode to the same number.
        changed: how many bins (of all dimensions) encode(decode(b)) changes, in float32.
        faults: what is lost or bent by the scheme's definition, in words.
    """

    idempotent: bool
    injective: bool
    changed: int
    faults: tuple[str, ...]
