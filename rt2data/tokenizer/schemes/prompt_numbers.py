"""Rules of numbers that a prompt or a reply holds as text: VLA-0's actions, the states of pi0.5 and MolmoAct2.

They are rules of `quantizers`, and meet its protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.floating[Any]]
    Doubles = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int32]


class VLA0:
    """``vla0``: bin = round((x - low) / (high - low) * (bins - 1)), half to even, in float32; value = bin / (bins - 1)
    * (high - low) + low, in float32.

    1001 bins, the integers 0..1000; low and high are the smallest and the largest action of the data. The original
    stops at a number outside of them; here it is clipped, and clipping is reported.
    Source: VLA-0 (arXiv 2510.13054), NVlabs/vla0@731bef2, rv_train/models/qwen/model.py.
    """

    order: Ints | None = None
    faults: tuple[str, ...] = ("the first and the last bin are half as wide as the others",)

    def __init__(self, low: Doubles, high: Doubles, bins: int) -> None:
        self.bins, self.limits = bins, (low, high)
        self.low, self.high = low.astype(np.float32), high.astype(np.float32)
        self.width, self.last = self.high - self.low, np.float32(bins - 1)

    def cells(self, x: Floats) -> Ints:
        u = (np.clip(x.astype(np.float32), self.low, self.high) - self.low) / self.width * self.last
        return np.clip(np.rint(u), 0, self.bins - 1).astype(np.int32)

    def values(self, dtype: npt.DTypeLike) -> Floats:
        shares = np.arange(self.bins).astype(np.float32) / self.last
        return (shares * self.width[:, None] + self.low[:, None]).astype(dtype)


class Pi05State:
    """``pi05-state``: y = (x - low) / (high - low + 1e-6) * 2 - 1, bin = digitize(y, linspace(-1, 1, n + 1)[:-1]).

    Here n is `bins`, less one for the bin of what lies below -1. Float64. ``below`` (an option) says whether there is
    that bin; as text it is the number -1, and without it such numbers are in the first bin. Bounds of exactly -1 and 1
    take the number as it is. A bin's value is its centre; that of the bin below lies half a bin below the bound. The
    last bin, from 1 - 2 / n on, has no end.
    Source: with the bin below Physical-Intelligence/openpi@15a9616, models/tokenizer.py and transforms.py (pi0.5,
    pi0-FAST; low and high are openpi's q01 and q99), and huggingface/lerobot; without it OpenTau@0b153a9,
    modeling_pi05.py, which writes the same as floor((clip(y, -1, 1) + 1) * 128).
    """

    order: Ints | None = None
    faults: tuple[str, ...] = ("normalising adds 1e-6 to the width",)

    def __init__(self, low: Doubles, high: Doubles, bins: int, below: bool) -> None:
        self.bins, self.limits = bins, (low, high)
        self.below, self.count = int(below), bins - below
        raw = (low == -1) & (high == 1)
        self.low, self.width = low, np.where(raw, 2.0, high - low + 1e-6)
        self.edges = np.linspace(-1, 1, self.count + 1)[:-1]
        self.raw = raw
        if below:
            self.faults = (*self.faults, "what is below the bound is one bin, whatever its distance")

    def cells(self, x: Floats) -> Ints:
        y = x.astype(np.float64)
        y = np.where(self.raw, y, (y - self.low) / self.width * 2 - 1)
        edges = self.edges if self.below else self.edges[1:]
        return np.searchsorted(edges, y, side="right").astype(np.int32)

    def values(self, dtype: npt.DTypeLike) -> Floats:
        middles = (np.arange(self.bins) - self.below + 0.5) * (2 / self.count)
        return (middles / 2 * self.width[:, None] + self.low[:, None]).astype(dtype)


class MolmoAct2State:
    """``molmoact2-state``: y = clip(2 (x - low) / (high - low) - 1, -1, 1), bin = round((y + 1) / 2 * (bins - 1)).

    Half to even, all in float32; value = bin / (bins - 1) * (high - low) + low. Bounds of exactly -1 and 1 take the
    number as it is. So 0.5 is bin 191 of 256 here and 192 in pi0.5. The original writes NaN as 0 and infinity as a
    bound; here they are errors.
    Source: huggingface/lerobot@7427f31, policies/molmoact2/processor_molmoact2.py (low and high are q01 and q99).
    """

    order: Ints | None = None
    faults: tuple[str, ...] = ("the first and the last bin are half as wide as the others",)

    def __init__(self, low: Doubles, high: Doubles, bins: int) -> None:
        self.bins, self.limits = bins, (low, high)
        self.raw = (low == -1) & (high == 1)
        self.low, self.width = low.astype(np.float32), high.astype(np.float32) - low.astype(np.float32)
        self.last = np.float32(bins - 1)

    def cells(self, x: Floats) -> Ints:
        one, two = np.float32(1), np.float32(2)
        y = x.astype(np.float32)
        y = np.clip(np.where(self.raw, y, two * (y - self.low) / self.width - one), -one, one)
        scaled: Floats = (y + one) / two * self.last
        return np.rint(scaled).astype(np.int32)

    def values(self, dtype: npt.DTypeLike) -> Floats:
        shares = np.arange(self.bins).astype(np.float32) / self.last
        return (shares * self.width[:, None] + self.low[:, None]).astype(dtype)
