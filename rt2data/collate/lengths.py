"""How many tokens samples have for a model, what a maximum would leave out, and samples packed to a length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from rt2data.collate.conversation import Sample
from rt2data.collate.processor import ProcessorCollate
from rt2data.errors import Rt2dataError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TokenLengths:
    """Lengths of samples.

    Attributes:
        lengths: tokens of each sample, those of images included, ascending, int64 (n,).
        longest: the key of the longest one.
    """

    lengths: npt.NDArray[np.int64]
    longest: str

    @property
    def p50(self) -> int:
        """The length that half of the samples do not exceed."""
        return self.quantile(0.5)

    @property
    def p99(self) -> int:
        """The length that 99 % of the samples do not exceed."""
        return self.quantile(0.99)

    @property
    def max(self) -> int:
        """The greatest length."""
        return int(self.lengths[-1])

    def quantile(self, share: float) -> int:
        """The smallest length that at least this share of the samples do not exceed."""
        return int(self.lengths[max(int(np.ceil(share * len(self.lengths))), 1) - 1])

    def longer_than(self, maximum: int) -> int:
        """How many samples have more tokens than a maximum: those that a batch would refuse."""
        return int((self.lengths > maximum).sum())


def token_lengths(
    samples: Iterable[Sample], collate: ProcessorCollate, limit: int | None = 2000
) -> dict[str, TokenLengths]:
    """Measure the lengths of samples of each source, and of all together under "".

    Args:
        samples: a `rt2data.Loader`, whose order is random.
        collate: of the model.
        limit: how many to measure; None for all. Images are processed too: some tens of milliseconds each.

    Raises:
        Rt2dataError: no samples.
    """
    by_source: dict[str, list[tuple[int, str]]] = {"": []}
    for sample in islice(samples, limit):
        measured = len(collate.encode(sample)), sample.key
        by_source[""].append(measured)
        by_source.setdefault(sample.json["source"], []).append(measured)
    if not by_source[""]:
        raise Rt2dataError("token_lengths", "no samples", "at least one")
    return {
        source: TokenLengths(np.sort(np.array([n for n, _ in own], np.int64)), max(own)[1])
        for source, own in by_source.items()
    }


def format_lengths(measured: Mapping[str, TokenLengths]) -> str:
    """Lay out lengths as text: a line per source, and which samples maxima leave out."""
    every = measured[""]
    names = {source: source or "all" for source in measured}
    width = max(map(len, names.values()))
    lines = [f"{'tokens of a sample':{width}}   samples     p50     p99     max"]
    for source, own in measured.items():
        numbers = (len(own.lengths), own.p50, own.p99, own.max)
        lines.append(f"{names[source]:{width}}  " + "".join(f"{number:8,}" for number in numbers))
    maximum = 1 << max(every.p50 - 1, 1).bit_length()
    while True:
        over = every.longer_than(maximum)
        lines.append(f"longer than {maximum:,} tokens: {over:,} of {len(every.lengths):,}")
        if not over:
            return "\n".join([*lines, f"longest: {every.longest}"])
        maximum *= 2


def packs(items: Iterable[T], size: Callable[[T], int], maximum: int, window: int = 64) -> Iterator[list[T]]:
    """Pack items to a total size, first fit over a window: the same items give the same packs.

    Each item goes into the first open pack with room for it. At most `window` packs are open; when a new one is needed,
    the one opened first is complete. At the end the open ones follow in their order.

    Args:
        items: for instance what `ProcessorCollate.encode` returns.
        size: of an item, for instance ``len``.
        maximum: of a pack's sizes together.
        window: how many packs are open at once: more waste less and hold more in memory.

    Raises:
        Rt2dataError: an item larger than the maximum.

    Example::

        for pack in packs(map(collate.encode, loader), len, 4096):
            batch = collate.pack(pack)
    """
    open_packs: list[tuple[int, list[T]]] = []
    for item in items:
        own = size(item)
        if own > maximum:
            raise Rt2dataError("packs", f"an item of {own}", f"at most {maximum}", "Raise the maximum")
        for number, (used, pack) in enumerate(open_packs):
            if used + own <= maximum:
                pack.append(item)
                open_packs[number] = (used + own, pack)
                break
        else:
            if len(open_packs) == window:
                yield open_packs.pop(0)[1]
            open_packs.append((own, [item]))
    for _, pack in open_packs:
        yield pack
