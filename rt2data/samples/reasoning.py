"""The reasoning of rows of an index: from a template, a column or annotations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rt2data import index
from rt2data.errors import Rt2dataError
from rt2data.index import keys
from rt2data.recipes.reasoning import Reasoning, fill_template
from rt2data.samples.paraphrases import Told

if TYPE_CHECKING:
    from rt2data.samples.annotations import Annotations


ALL = (1 << 64) - 1  # a threshold that leaves nothing out


@dataclass(slots=True)
class Reasonings:
    """The reasoning of n samples: `which` int64 (n,), -1 where there is none.

    `found`: int64 (rows of the index,), which annotation each row has, -1 where none; empty without annotations.
    """

    which: npt.NDArray[np.int64]
    found: npt.NDArray[np.int64]
    _texts: list[str] | Annotations

    def take(self, samples: npt.NDArray[np.int64]) -> pa.Array:
        """The texts of `samples` (positions), all of which have one."""
        which = self.which[samples]
        if isinstance(self._texts, list):
            return pa.array(self._texts, pa.string()).take(pa.array(which))
        return self._texts.texts(which)


def reasonings(
    table: pa.Table, rows: npt.NDArray[np.int64], told: Told, rule: Reasoning, annotated: Annotations | None
) -> Reasonings:
    """The reasoning of the samples at `rows` of an index, each with the instruction that it is `told`."""
    if annotated is not None:
        found = annotated.find(table)
        return Reasonings(found[rows], found, annotated)
    said, instructions = told
    codes: npt.NDArray[np.int32] = np.zeros(len(said), np.int32)
    plans: list[str | None] = [None]
    if rule.origin == "column":
        every, plans = index.codes(table, "plan")
        codes = every[rows]
    pairs, which = np.unique(said.astype(np.int64) << 32 | codes.astype(np.int64) + 1, return_inverse=True)
    texts: list[str] = []
    place = np.full(len(pairs), -1, np.int64)
    for number, pair in enumerate(pairs.tolist()):
        said_code, plan_code = pair >> 32, (pair & 0xFFFFFFFF) - 1
        values = {
            "instruction": instructions[said_code] if said_code >= 0 else None,
            "plan": plans[plan_code] if plan_code >= 0 else None,
        }
        text = fill_template(rule.text, values)
        if text is not None:
            place[number] = len(texts)
            texts.append(text)
    return Reasonings(place[which.reshape(-1)], np.empty(0, np.int64), texts)


def wanted(share: float | None, samples: int) -> int | None:
    """How many of `samples` samples have a reasoning, rounded half up; None: all for which there is one."""
    return None if share is None else math.floor(samples * Fraction(str(share)) + Fraction(1, 2))


def threshold(rule: Reasoning, split: str, hashes: keys.U64, samples: int, where: str) -> tuple[int, int]:
    """How many samples of a split have a reasoning, and the greatest hash of them (-1: none, `ALL`: no limit).

    Args:
        rule: the source's.
        split: train must have its share to the sample; another split has at most as many.
        hashes: of the drawn samples for which there is one.
        samples: of the source in the split, copies included.
        where: begins the error.

    Raises:
        Rt2dataError: train has fewer reasonings than its share.
    """
    number = wanted(rule.share, samples)
    if number is None or (number >= len(hashes) and split != "train") or number == len(hashes):
        return len(hashes), ALL if len(hashes) else -1
    if number > len(hashes):
        found = f"plans for {len(hashes):,} of {samples:,} train samples, for a share of {rule.share:g}"
        most = math.floor(1e4 * len(hashes) / samples) / 1e4
        repair = f"Ask for a share of at most {most:g}, or leave share out: every sample with a plan has it then"
        raise Rt2dataError(where, found, f"{number:,} plans", repair)
    return number, keys.threshold(hashes, number, where)
