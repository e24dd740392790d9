"""``fast``: action chunks as quantised cosine coefficients, and byte-pair encoding over them.

Rule: y = 2 (x - low) / (high - low + 1e-6) - 1, not clipped (bounds of exactly -1 and 1 take the number as it is); the
orthonormal DCT-II of y along time; q = round(scale * coefficient), half to even; code = q - min_code, kept in
0..bins-1. Codes are laid out frequency by frequency, all dimensions of the lowest first. Decoding runs backwards,
without the clip. Source: FAST (arXiv 2501.09747) and its published processor; Physical-Intelligence/openpi,
src/openpi/models/tokenizer.py and transforms.py (scale 10; -354 is FAST+'s smallest q; ids are vocabulary size - 1
- 128 - code).

What differs, because the original fails there: it clamps codes only below, and a code outside the alphabet is
dropped by its byte-pair encoder, so that the chunk decodes to zeros; here codes clamp on both sides, and clipping
is reported. It writes codes as characters, of which 0xD800..0xDFFF crash; here merges are pairs of integers. A
sequence that does not expand to horizon * dimensions codes raises; it never becomes zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from rt2data.tokenizer import arrays
from rt2data.tokenizer.arrays import Array, Namespace
from rt2data.tokenizer.errors import ActionError, ActionParseError
from rt2data.tokenizer.schemes.chunk_codes import ChunkCodes

if TYPE_CHECKING:
    import numpy.typing as npt

# Limits on what a specification's merges can expand to, since each may double the one before.
MAX_EXPANSION = 1 << 16
MAX_EXPANSIONS = 1 << 24


class Dct(ChunkCodes):
    """The rule above over arrays (..., horizon, D). Codes have the same shape: axis -2 is the frequency."""

    __slots__ = ()

    faults: tuple[str, ...] = (
        "quantised coefficients: every number of a chunk is off by a little",
        "values far outside the bounds clamp in the coefficients",
    )

    def decode(self, xp: Namespace, bins: Array, dtype: str) -> Array:
        """Actions (..., horizon, D) of codes of the same shape."""
        kind, options = arrays.widest_float(xp, bins), self._spec.options
        coefficients = (arrays.cast(xp, bins, kind) + float(options["min_code"])) / options["scale"]
        return self._restore(xp, "inverse", coefficients, dtype)

    def round_trip(self) -> tuple[bool, bool, int]:
        """See Properties: idempotent, injective, changed; over chunks that hold each code everywhere."""
        spec = self._spec
        shape = (spec.horizon, len(spec.dims)) if spec.horizon > 1 else (len(spec.dims),)
        codes = np.multiply.outer(np.arange(spec.bins, dtype=np.int32), np.ones(shape, np.int32))
        changed = []
        for dtype in ("float32", "float64"):
            again = self.encode(np, self.decode(np, codes, dtype))
            changed.append(int((again != codes).reshape(spec.bins, -1).any(axis=1).sum()))
        return changed == [0, 0], True, changed[0]

    def round_coefficients(self, xp: Namespace, x: Array) -> Array:
        """Return the rounded coefficients (..., horizon, D), before min_code and clipping, as whole floats."""
        return xp.round(self._transform(xp, "forward", x) * self._spec.options["scale"])

    def _codes(self, xp: Namespace, x: Array) -> Array:
        return self.round_coefficients(xp, x) - float(self._spec.options["min_code"])

    def _table(self, name: str) -> npt.NDArray[Any]:
        what, _, dtype = name.partition(" ")
        if what in ("forward", "inverse"):
            matrix = _matrix(self._spec.horizon)
            # Column after column of the matrix (of its transpose), each (horizon, 1).
            return np.ascontiguousarray(matrix.T if what == "forward" else matrix)[..., None].astype(dtype)
        low, high = np.array([d.low for d in self._spec.dims]), np.array([d.high for d in self._spec.dims])
        # y = (x - middle) / half is the rule with fewer roundings.
        half = np.where((low == -1) & (high == 1), 2.0, high - low + 1e-6) / 2
        return (half if what == "half" else low + half).astype(dtype)


def _matrix(n: int) -> npt.NDArray[np.float64]:
    """The orthonormal DCT-II, (frequency, time): norm[k] * cos(pi * (2 t + 1) * k / (2 n)).

    Entries are rounded once, from 40 digits: no machine's cosine decides about a code.
    """
    from decimal import Context, Decimal

    c = Context(prec=50)
    norm = c.sqrt(c.divide(Decimal(2), Decimal(n)))
    entries = np.array([float(c.multiply(norm, _cosine(c, Decimal(j), Decimal(2 * n)))) for j in range(4 * n)])
    k, t = np.arange(n)[:, None], np.arange(n)
    matrix: npt.NDArray[np.float64] = entries[(2 * t + 1) * k % (4 * n)]
    matrix[0] = float(c.sqrt(c.divide(Decimal(1), Decimal(n))))
    return matrix


def _cosine(c: Any, j: Any, n: Any) -> Any:
    """cos(pi * j / n) by its series."""
    from decimal import Decimal

    pi = Decimal("3.14159265358979323846264338327950288419716939937510582")
    x = c.divide(c.multiply(pi, j), n)
    square, term, total, k = c.multiply(x, x), Decimal(1), Decimal(1), 0
    while abs(term) > Decimal("1e-45") or k < 10:
        k += 2
        term = c.divide(c.multiply(-term, square), Decimal(k * (k - 1)))
        total = c.add(total, term)
    return total


class Merges:
    """Byte-pair encoding over codes: ids 0..bins-1 are the codes; every merge of two ids makes the next id.

    A merge whose expansion exists already makes no new id (as in the `tokenizers` library). Every sequence of ids
    expands to codes, so only its length can be wrong.
    """

    __slots__ = ("expansions", "ranks", "where")

    width = 1  # the most ids that one code takes

    def __init__(self, bins: int, merges: Sequence[tuple[int, int]], where: str) -> None:
        self.where = where
        self.expansions: list[tuple[int, ...]] = [(code,) for code in range(bins)]
        self.ranks: dict[tuple[int, int], tuple[int, int]] = {}
        known = {e: i for i, e in enumerate(self.expansions)} if merges else {}
        total = bins
        for rank, (a, b) in enumerate(merges):
            if max(a, b) >= len(self.expansions):
                raise ActionError(f"{where}: merges[{rank}]", f"[{a}, {b}]", f"ids below {len(self.expansions)}")
            if len(self.expansions[a]) + len(self.expansions[b]) > MAX_EXPANSION or total > MAX_EXPANSIONS:
                raise ActionError(
                    f"{where}: merges[{rank}]", "a merge that expands too far", f"at most {MAX_EXPANSION} codes"
                )
            expansion = self.expansions[a] + self.expansions[b]
            total += len(expansion)
            if expansion not in known:
                known[expansion] = len(self.expansions)
                self.expansions.append(expansion)
            self.ranks[a, b] = (rank, known[expansion])

    @property
    def count(self) -> int:
        """The number of ids."""
        return len(self.expansions)

    def join(self, codes: Sequence[int]) -> list[int]:
        """Codes to ids: the earliest merge first, from left to right."""
        ids = list(codes)
        while len(ids) > 1:
            best = min(((self.ranks[p], p) for p in pairwise(ids) if p in self.ranks), default=None)
            if best is None:
                break
            (_, merged), pair = best
            out: list[int] = []
            for i in ids:
                # A pair is replaced as soon as its second half arrives; the merged id is no half of it.
                if out and (out[-1], i) == pair:
                    out[-1] = merged
                else:
                    out.append(i)
            ids = out
        return ids

    def split(self, ids: Sequence[int], count: int, text: str, columns: Sequence[int]) -> list[int]:
        """Ids to exactly `count` codes; ActionParseError for any other number. `text` and `columns` are for the
        error.
        """
        codes: list[int] = []
        for field, i in enumerate(ids):
            codes.extend(self.expansions[i])
            if len(codes) > count:
                raise ActionParseError(text, field + 1, columns[field], f"more than {count} codes")
        if len(codes) < count:
            raise ActionParseError(text, len(ids) + 1, len(text), f"{len(codes)} codes; expected {count}")
        return codes
