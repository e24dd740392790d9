"""``beast``: action chunks as the weights of B-splines, quantised.

Rule: y = (x - middle) / half, not clipped, which takes the bounds to -1 and 1. The H steps of a chunk lie at
t / (H - 1), and each dimension is a curve of n clamped uniform B-splines of a degree p: p knots at 0, n + 1 - p from 0
to 1 at equal distances, p knots at 1. Its weights w solve (B'B + 1e-9 I) w = B'y, least squares. A dimension of the
option ``flat`` (a gripper) has the degree 0: each weight is the mean of the steps in one of n equal spans, the last
with its end. A weight becomes round((w - least) / (greatest - least) * (bins - 1)), half to even, kept in 0..bins-1,
between limits of its own (the option ``weights``; -1 and 1 where they are not fitted). Bins are laid out in the order
of time: the first weight of all dimensions, then the second. Decoding runs backwards.
Source: BEAST (arXiv 2506.06072), intuitive-robots/beast_calvin@cf5f628, beast/models/tokenizers/bspline_tokenizer.py.

What differs: there the limits of the weights begin at -0.02 and 0.02 and widen with every batch of training, so that
ids depend on the order of the data; here they are fitted once and stay. Its limits of one value, NaN and fewer splines
than the degree needs give numbers without meaning or an AssertionError; here they are errors. Computed in float64, not
float32. A step that lies exactly on a knot belongs to the span behind it; there the rounding of float32 decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rt2data.tokenizer import arrays
from rt2data.tokenizer.arrays import Array, Namespace
from rt2data.tokenizer.schemes.chunk_codes import ChunkCodes

if TYPE_CHECKING:
    import numpy.typing as npt

    Doubles = npt.NDArray[np.float64]

RIDGE = 1e-9


class Splines(ChunkCodes):
    """The rule above over arrays (..., horizon, D). Bins are (..., n, D): axis -2 is the weight."""

    __slots__ = ()

    faults: tuple[str, ...] = (
        "a smooth curve through the steps of a chunk: every number is off by a little, at a sudden change by much",
        "a flat dimension (a gripper) is the mean of each span: a change inside of one is smeared over it",
        "a weight outside its limits clamps, which bends the steps around it",
    )

    def decode(self, xp: Namespace, bins: Array, dtype: str) -> Array:
        """Actions (..., horizon, D) of bins (..., n, D)."""
        kind = arrays.widest_float(xp, bins)
        width, least = (self._tables.get(xp, f"{name} {kind}", bins) for name in ("width", "least"))
        weights = arrays.cast(xp, bins, kind) / (self._spec.bins - 1.0) * width + least
        return self._restore(xp, "curve", weights, dtype)

    def round_trip(self) -> tuple[bool, bool, int]:
        """See Properties; over chunks that hold each bin everywhere, and in turns with its opposite."""
        spec = self._spec
        every = np.arange(spec.bins, dtype=np.int32)[:, None, None]
        turns = np.arange(spec.rows)[:, None] % 2 == 1
        bins = np.concatenate([np.where(turns, other, every) for other in (every, spec.bins - 1 - every)])
        bins = np.broadcast_to(bins, (2 * spec.bins, spec.rows, len(spec.dims)))
        changed = []
        for dtype in ("float32", "float64"):
            again = self.encode(np, self.decode(np, bins, dtype))
            changed.append(int((again != bins).any(axis=(1, 2)).sum()))
        return changed == [0, 0], True, changed[0]

    def weigh(self, xp: Namespace, x: Array) -> Array:
        """Return the weights (..., n, D) of actions (..., horizon, D), as floats between no limits."""
        return self._transform(xp, "weights", x)

    def _codes(self, xp: Namespace, x: Array) -> Array:
        """The rounded weights of actions, before they are kept to the bins, as whole floats."""
        kind = arrays.widest_float(xp, x)
        width, least = (self._tables.get(xp, f"{name} {kind}", x) for name in ("width", "least"))
        return xp.round((self.weigh(xp, x) - least) / width * (self._spec.bins - 1.0))

    def _table(self, name: str) -> npt.NDArray[Any]:
        what, _, dtype = name.partition(" ")
        dims, options = self._spec.dims, self._spec.options
        if what in ("weights", "curve"):
            make = fit_matrix if what == "weights" else basis_matrix
            kinds = {p: make(options["basis"], self._spec.horizon, p).T for p in {0, options["degree"]}}
            own = [kinds[0 if d.name in options["flat"] else options["degree"]] for d in dims]
            return np.stack(own, axis=-1).astype(dtype)  # (columns of the matrix, its rows, D)
        if what in ("least", "width"):
            limits = np.array(options["weights"] or [[-1.0, 1.0]] * (options["basis"] * len(dims)))
            least, greatest = limits.reshape(len(dims), options["basis"], 2).T
            return np.array(least if what == "least" else greatest - least, dtype=np.dtype(dtype))
        low, high = np.array([d.low for d in dims]), np.array([d.high for d in dims])
        middle: Doubles = (low + high) / 2
        return (high - middle if what == "half" else middle).astype(dtype)


def basis_matrix(count: int, steps: int, degree: int) -> Doubles:
    """Return the value of each of `count` B-splines at each of `steps` times, (steps, count); rows add up to 1.

    By Cox and de Boor: from `count` - `degree` spans, of which each time is in one, to the degree.
    """
    spans = count - degree
    phase = np.arange(steps) / (steps - 1)
    knots = np.concatenate([np.zeros(degree), np.arange(spans + 1) / spans, np.ones(degree)])
    # Counted in integers: a time that is a knot belongs to the span behind it, the last to the last.
    span = np.minimum(np.arange(steps) * spans // (steps - 1), spans - 1)
    basis = np.zeros((steps, len(knots) - 1))
    basis[np.arange(steps), degree + span] = 1.0
    for p in range(1, degree + 1):
        raised = np.zeros((steps, len(knots) - 1 - p))
        for i in range(raised.shape[1]):
            up, down = knots[i + p] - knots[i], knots[i + p + 1] - knots[i + 1]
            rising = (phase - knots[i]) / up * basis[:, i] if up else 0.0
            raised[:, i] = rising + ((knots[i + p + 1] - phase) / down * basis[:, i + 1] if down else 0.0)
        basis = raised
    return basis


def fit_matrix(count: int, steps: int, degree: int) -> Doubles:
    """Return what takes the numbers of `steps` times to the weights, (count, steps): least squares.

    Of the degree 0 it is the mean over a span, and 0 where no time is in one. Solved by elimination, in one order of
    plain additions and multiplications, so that no library of linear algebra decides about a bin.
    """
    basis = basis_matrix(count, steps, degree)
    if degree == 0:
        means: Doubles = basis.T / np.maximum(basis.sum(axis=0), 1)[:, None]
        return means
    square = np.zeros((count, count))
    for row in basis:
        square += np.multiply.outer(row, row)
    rows = np.concatenate([square + RIDGE * np.eye(count), basis.T], axis=1)
    for k in range(count):
        rows[k] /= rows[k, k]
        factors = np.where(np.arange(count) == k, 0.0, rows[:, k])
        rows -= np.multiply.outer(factors, rows[k])
    solved: Doubles = rows[:, count:]
    return solved
