"""The rules that turn one number into a bin and back. Each class states its rule and the rule's source.

A rule is written once, in numpy, as `cells` (numbers to cells, never decreasing) and `values` (the number each bin
stands for). What other array libraries and the properties need is derived from these two, so all of them agree to
the last bit. Cells and bins are the same, except where `order` maps a cell to another bin (Octo's Gaussian bins
wrap around).

Schemes of other projects are reproduced with their faults; `faults` lists them in words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rt2data.tokenizer.schemes import octo_edges
from rt2data.tokenizer.schemes.prompt_numbers import VLA0, MolmoAct2State, Pi05State
from rt2data.tokenizer.spec_fields import Dim

if TYPE_CHECKING:  # numpy.typing costs a millisecond
    import numpy.typing as npt

    Floats = npt.NDArray[np.floating[Any]]
    Doubles = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int32]


class Quantizer(Protocol):
    """A rule for the D dimensions of an action, each with `bins` bins.

    Attributes:
        limits: the lowest and highest value of each dimension that is not clipped, each (D,).
        order: the bin of each cell where they differ, else None.
        faults: where the rule loses or bends actions, in words.
    """

    bins: int
    limits: tuple[Doubles, Doubles]
    order: Ints | None
    faults: tuple[str, ...]

    def cells(self, x: Floats) -> Ints:
        """Numbers (..., D), float32 or float64, to cells of the same shape. Never decreases as a number grows."""
        ...

    def values(self, dtype: npt.DTypeLike) -> Floats:
        """The number that each bin stands for, (D, bins), as float32 or float64."""
        ...


def make_quantizer(scheme: str, dims: Sequence[Dim], bins: int, options: Mapping[str, Any]) -> Quantizer:
    """Make the rule of a scheme of spec_fields.OPTIONS (all but "dct")."""
    low = np.array([d.low for d in dims])
    high = np.array([d.high for d in dims])
    if scheme == "mu-law":
        return MuLaw(high, bins, options["mu"])
    if scheme == "openvla":
        return OpenVLA(low, high, bins, np.array([d.constant for d in dims]))
    if scheme == "pi05-state":
        return Pi05State(low, high, bins, options["below"])
    plain: dict[str, Callable[[Doubles, Doubles, int], Quantizer]] = {
        "uniform": Uniform,
        "truncated": Truncated,
        "integer": Integer,
        "rounded": Rounded,
        "octo-uniform": OctoUniform,
        "octo-normal": OctoNormal,
        "vla0": VLA0,
        "molmoact2-state": MolmoAct2State,
    }
    return plain[scheme](low, high, bins)


class Uniform:
    """``rt2``: `bins` bins of equal width between low and high; a bin's value is its centre.

    bin = floor((x - low) * (bins / (high - low))), kept in 0..bins-1; value = low + (bin + 0.5) * ((high - low) /
    bins). Float64 whatever comes in. The error is at most half a bin, encode(decode(b)) == b for every bin, and 0
    is not representable between symmetric bounds.
    Source: ours (RT-2, arXiv 2307.15818, publishes 256 uniform bins and nothing else). The product with bins /
    (high - low) instead of a quotient is deliberate: compilers rewrite a quotient by a constant, and then bins
    differ between machines.
    """

    order: Ints | None = None
    faults: tuple[str, ...] = ()

    def __init__(self, low: Doubles, high: Doubles, bins: int) -> None:
        self.low, self.high, self.bins, self.limits = low, high, bins, (low, high)
        self.scale = bins / (high - low)

    def cells(self, x: Floats) -> Ints:
        y = x.astype(np.float64)
        y -= self.low
        y *= self.scale
        np.maximum(y, 0.0, out=y)
        np.minimum(y, self.bins - 1, out=y)
        return y.astype(np.int32)

    def values(self, dtype: npt.DTypeLike) -> Floats:
        width = (self.high - self.low) / self.bins
        centres = self.low[:, None] + (np.arange(self.bins) + 0.5) * width[:, None]
        return centres.astype(dtype)

    def reach(self, dtype: npt.DTypeLike) -> tuple[Floats, Floats]:
        """The smallest and the largest number of a type, per dimension, whose bin needs no clipping."""
        least, most = round_inside(self.low, dtype, up=True), round_inside(self.high, dtype, up=False)
        while (over := (most.astype(np.float64) - self.low) * self.scale >= self.bins).any():
            most = np.where(over, np.nextafter(most, most.dtype.type(-np.inf)), most)
        return least, most


class Truncated:
    """``rt1``, ``rt1x``: clip to [low, high], bin = trunc((x - low) / (high - low) * (bins - 1)); value = low + bin
    / (bins - 1) * (high - low).

    Computed in the type of the numbers given (RT-1 runs in float32, and float64 gives other bins).
    Source: google-research/robotics_transformer, tokenizers/action_tokenizer.py; 512 bins and 11 fields in
    google-deepmind/open_x_embodiment, models/rt1.py.
    """

    order: Ints | None = None
    faults: tuple[str, ...] = (
        "decodes to the lower edge, so every round trip can only lower a value",
        "encode(decode(b)) is b - 1 for some bins",
        "the last bin holds nothing but the upper bound",
    )

    def __init__(self, low: Doubles, high: Doubles, bins: int) -> None:
        self.low, self.high, self.bins, self.limits = low, high, bins, (low, high)

    def cells(self, x: Floats) -> Ints:
        low, high = self.low.astype(x.dtype), self.high.astype(x.dtype)
        u = (np.clip(x, low, high) - low) / (high - low) * x.dtype.type(self.bins - 1)
        return u.astype(np.int32)

    def values(self, dtype: npt.DTypeLike) -> Floats:
        low, high = self.low.astype(dtype)[:, None], self.high.astype(dtype)[:, None]
        values: Floats = np.arange(self.bins).astype(dtype) / low.dtype.type(self.bins - 1) * (high - low) + low
        return values


class Integer:
    """``rt2-language-table``: integers from -n to n, n = (bins - 1) / 2: round(n * x / high), half to even; value =
    integer * high / n.

    Bin 0 is the integer -n. Float64.
    Source: RT-2 (arXiv 2307.15818) prints two integers from -10 to 10 for Language-Table and no bound. The bound, 0.1 m
    unless the specification says otherwise, is ours.
    """

    order: Ints | None = None
    faults: tuple[str, ...] = ()

    def __init__(self, low: Doubles, high: Doubles, bins: int) -> None:
        self.high, self.bins, self.limits, self.half = high, bins, (low, high), (bins - 1) / 2

    def cells(self, x: Floats) -> Ints:
        y: Doubles = np.clip(np.rint(x.astype(np.float64) * self.half / self.high), -self.half, self.half)
        return (y + self.half).astype(np.int32)

    def values(self, dtype: npt.DTypeLike) -> Floats:
        return ((np.arange(self.bins) - self.half) * self.high[:, None] / self.half).astype(dtype)


class OpenVLA:
    """``openvla``: y = clip(2 (x - low) / (high - low + 1e-8) - 1, -1, 1), bin = digitize(y, linspace(-1, 1, bins))
    - 1; the value is the middle of the interval, (y + 1) / 2 * (high - low) + low.

    Bounds of exactly -1 and 1 take the number as it is (OpenVLA's mask, for its gripper); a constant dimension
    encodes as 0. Numbers are rounded to float32 and normalised in float32, whatever comes in, as OpenVLA's loader does;
    the width is computed in float64 and rounded once. Edges and values are float64.
    Source: openvla/openvla, prismatic/vla/action_tokenizer.py, prismatic/extern/hf/modeling_prismatic.py,
    prismatic/vla/datasets/rlds/utils/data_utils.py (BOUNDS_Q99: low and high are the 1st and 99th percentile).
    """

    order: Ints | None = None
    faults: tuple[str, ...] = (
        "256 edges make 255 intervals: the last two bins decode to the same value, and only the last is not idempotent",
        "the bounds are never recovered: decoded values lie within 255/256 of them",
        "normalising adds 1e-8 to the width and undoing it does not",
    )

    def __init__(self, low: Doubles, high: Doubles, bins: int, constant: npt.NDArray[np.bool_]) -> None:
        self.low, self.high, self.bins, self.limits, self.constant = low, high, bins, (low, high), constant
        self.raw = (low == -1) & (high == 1)
        self.start, self.width = low.astype(np.float32), (high - low + 1e-8).astype(np.float32)
        self.edges = np.linspace(-1, 1, bins)

    def cells(self, x: Floats) -> Ints:
        y = x.astype(np.float32)
        y = np.where(self.raw, y, np.float32(2) * (y - self.start) / self.width - np.float32(1))
        y = np.where(self.constant, np.float32(0), np.clip(y, np.float32(-1), np.float32(1)))
        return (np.searchsorted(self.edges, y, side="right") - 1).astype(np.int32)

    def values(self, dtype: npt.DTypeLike) -> Floats:
        centres = (self.edges[:-1] + self.edges[1:]) / 2
        centres = np.append(centres, centres[-1])
        low, high = self.low[:, None], self.high[:, None]
        return np.where(self.raw[:, None], centres, 0.5 * (centres + 1) * (high - low) + low).astype(dtype)


class OctoUniform:
    """``octo-uniform``: clip to [low + 1e-6, high - 1e-6]; bins between linspace(low, high, bins + 1); a bin's
    value is its middle. Float32 whatever comes in, as JAX computes.

    Source: octo-models/octo, octo/model/components/tokenizers.py BinTokenizer. Its DiscreteActionHead passes no
    bounds, so they are [0, 1], and every negative action falls into bin 0.
    """

    faults: tuple[str, ...] = (
        "with Octo's default bounds [0, 1] every negative action is bin 0",
        "where a high bound is so large that float32 cannot hold it less 1e-6, it falls into bin 0",
    )

    def __init__(self, low: Doubles, high: Doubles, bins: int) -> None:
        self.bins, self.limits = bins, (low, high)
        self.least, self.most = (low + 1e-6).astype(np.float32), (high - 1e-6).astype(np.float32)
        self.edges = np.stack([octo_edges.uniform_edges(a, b, bins) for a, b in zip(low, high, strict=True)])
        self.order: Ints | None = _first_unless_between(bins)

    def cells(self, x: Floats) -> Ints:
        return _search(self.edges, np.clip(x.astype(np.float32), self.least, self.most))

    def values(self, dtype: npt.DTypeLike) -> Floats:
        return ((self.edges[:, 1:] + self.edges[:, :-1]) / np.float32(2)).astype(dtype)


class OctoNormal:
    """``octo-normal``: z = (x - mean) / (std + 1e-8); bins between the quantiles of a normal distribution,
    ppf(linspace(1e-6, 1 - 1e-6, bins + 1)).

    low and high of a dimension are mean - std and mean + std; a bin's value is the middle of its bin, times std, plus
    mean. Nothing is clipped: below -4.7534 and from 4.7508 on no bin matches, and the first one is taken, on either
    side (float32 has no 1 - 1e-6). Float32 whatever comes in, as TensorFlow and JAX compute.
    Source: octo-models/octo, octo/model/components/tokenizers.py BinTokenizer (bin_type "normal"), and
    octo/data/utils/data_utils.py for the 1e-8.
    """

    faults: tuple[str, ...] = (
        "an action from 4.7508 standard deviations on becomes the most negative one",
        "normalising adds 1e-8 to the standard deviation and undoing it does not",
    )

    def __init__(self, low: Doubles, high: Doubles, bins: int) -> None:
        mean, std = (low + high) / 2, (high - low) / 2
        self.bins, self.mean, self.std = bins, mean.astype(np.float32), std.astype(np.float32)
        self.divisor = (std + 1e-8).astype(np.float32)
        self.edges = octo_edges.normal_edges(bins)
        self.limits = (mean + std * float(self.edges[0]), mean + std * float(self.edges[-1]))
        self.order: Ints | None = _first_unless_between(bins)

    def cells(self, x: Floats) -> Ints:
        z = (x.astype(np.float32) - self.mean) / self.divisor
        return np.searchsorted(self.edges, z, side="right").astype(np.int32)

    def values(self, dtype: npt.DTypeLike) -> Floats:
        middles = (self.edges[1:] + self.edges[:-1]) / np.float32(2)
        values: Floats = middles * self.std[:, None] + self.mean[:, None]
        return values.astype(dtype)


def _first_unless_between(bins: int) -> Ints:
    """The bins of the cells below, between and above bins + 1 edges, where what lies outside is bin 0."""
    return np.concatenate([[0], np.arange(bins), [0]]).astype(np.int32)


class Rounded:
    """``dexbotic-255``: clip, y = (x - low) / (high - low + 1e-8) * 2 - 1, bin = round((y + 1) / 2 * (bins - 1)),
    half to even; value = (bin / (bins - 1) * 2 - 1 + 1) / 2 * (high - low) + low. Float64.

    Source: dexmal/dexbotic, data/dataset/transform/action.py ActionNormAnd2String (255 bins by default).
    """

    order: Ints | None = None
    faults: tuple[str, ...] = ("normalising adds 1e-8 to the width and undoing it does not",)

    def __init__(self, low: Doubles, high: Doubles, bins: int) -> None:
        self.low, self.high, self.bins, self.limits = low, high, bins, (low, high)

    def cells(self, x: Floats) -> Ints:
        y = np.clip(x.astype(np.float64), self.low, self.high)
        y = (y - self.low) / (self.high - self.low + 1e-8) * 2 - 1
        return np.clip(np.rint((y + 1) / 2 * (self.bins - 1)), 0, self.bins - 1).astype(np.int32)

    def values(self, dtype: npt.DTypeLike) -> Floats:
        y = np.arange(self.bins) / (self.bins - 1) * 2 - 1
        return ((y + 1) / 2 * (self.high - self.low)[:, None] + self.low[:, None]).astype(dtype)


class MuLaw:
    """``gato``: F(x) = sign(x) ln(mu |x| + 1) / ln(mu M + 1), clipped to [-1, 1], in `bins` uniform bins; a bin's
    value is F's inverse at its centre. M is the high bound of the dimension (256), mu an option (100).

    An error of at most half a bin holds in F. The edges are computed to 40 digits and rounded once, so that no
    machine's logarithm decides about a bin.
    Source: Gato, arXiv 2205.06175, appendix B (256 for M, 100 for mu, 1024 bins, ids from 32000 upward).
    """

    order: Ints | None = None
    faults: tuple[str, ...] = ()

    def __init__(self, high: Doubles, bins: int, mu: float) -> None:
        self.bins, self.limits = bins, (-high, high)
        tables = {h: _mu_law(h, bins, mu) for h in set(high.tolist())}
        self.edges = np.array([tables[h][0] for h in high.tolist()])
        self.centres = np.array([tables[h][1] for h in high.tolist()])

    def cells(self, x: Floats) -> Ints:
        return _search(self.edges, x.astype(np.float64))

    def values(self, dtype: npt.DTypeLike) -> Floats:
        return self.centres.astype(dtype)


def _mu_law(high: float, bins: int, mu: float) -> tuple[list[float], list[float]]:
    """The bins - 1 inner edges and the bins centres of mu-law bins within [-high, high]."""
    from decimal import Context, Decimal

    c = Context(prec=40)
    base = c.add(c.multiply(Decimal(mu), Decimal(high)), Decimal(1))
    ratio = c.exp(c.divide(c.ln(base), Decimal(bins)))
    # inverse[j] = F's inverse at j / bins
    power, inverse = Decimal(1), []
    for _ in range(bins + 1):
        inverse.append(float(c.divide(c.subtract(power, Decimal(1)), Decimal(mu))))
        power = c.multiply(power, ratio)

    def at(j: int) -> float:
        return inverse[j] if j >= 0 else -inverse[-j]

    return [at(2 * k - bins) for k in range(1, bins)], [at(2 * k + 1 - bins) for k in range(bins)]


def _search(edges: Floats, x: Floats) -> Ints:
    """How many edges of its dimension each number reaches: edges (D, n) ascending, x (..., D)."""
    if (edges == edges[0]).all():
        return np.searchsorted(edges[0], x, side="right").astype(np.int32)
    out = np.empty(x.shape, np.int32)
    for d, row in enumerate(edges):
        out[..., d] = np.searchsorted(row, x[..., d], side="right")
    return out


def round_inside(bound: Doubles, dtype: npt.DTypeLike, *, up: bool) -> Floats:
    """Round a bound to a type, not below it (`up`) or not above it.

    Comparing a number of that type with the result is comparing it with the bound.
    """
    kept: Floats = bound.astype(dtype)
    outside = kept < bound if up else kept > bound
    return np.where(outside, np.nextafter(kept, kept.dtype.type(np.inf if up else -np.inf)), kept)


def thresholds(rule: Quantizer, dtype: npt.DTypeLike, dims: int) -> Floats:
    """Per dimension, the smallest number of `dtype` that reaches each cell from 1 on: (D, cells - 1), ascending.

    A search among them is the rule itself, in any array library and without float64: found by bisection over the
    ordered bit patterns of the type, by asking the rule. A cell that no number reaches has infinity.
    """
    kind = np.dtype(dtype)
    integer = np.dtype(f"i{kind.itemsize}")
    cells = (len(rule.order) if rule.order is not None else rule.bins) - 1

    def number(key: npt.NDArray[Any]) -> Floats:
        # Ordered integers to floats: negative floats count downward in their bit patterns.
        return np.where(key >= 0, key, np.iinfo(integer).min - key).astype(integer).view(kind)

    wanted = np.arange(1, cells + 1)
    top = int(np.array(np.inf, kind).view(integer))
    low = np.full((dims, cells), -top, integer)
    high = np.full((dims, cells), top, integer)
    while (low < high).any():
        middle = (low >> 1) + (high >> 1) + (low & high & 1)
        with np.errstate(all="ignore"):
            reached = wanted <= rule.cells(number(middle).T).T
        low = np.where(reached | (low == high), low, middle + 1)
        high = np.where(reached, middle, high)
    return number(low)
