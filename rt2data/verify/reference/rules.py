"""The rules of the schemes once more, in plain Python: one number at a time, as their sources state them."""

from __future__ import annotations

import math
import struct
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any

from rt2data.verify.reference import octo


def float32(x: float) -> float:
    """The float32 nearest to `x`, ties to even; infinity where it is too large."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", float(x)))[0])
    except OverflowError:
        return math.inf if x > 0 else -math.inf


class Rule(ABC):
    """A scheme for one dimension. `bin` takes any finite number; `value` any bin."""

    limits: tuple[float, float]
    tolerance: float | None

    def __init__(self, low: float, high: float, bins: int, dim: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.low, self.high, self.bins, self.limits = low, high, bins, (low, high)
        # Half a bin, and what float64 itself loses.
        self.tolerance = (high - low) / bins / 2 + max(abs(low), abs(high)) * 2.0**-50
        self.prepare(dim, options)

    def prepare(self, dim: Mapping[str, Any], options: Mapping[str, Any]) -> None:  # noqa: B027  # few need it
        """What a scheme needs beyond bounds."""

    @abstractmethod
    def bin(self, x: float) -> int:
        """The bin of a number."""

    @abstractmethod
    def value(self, b: int) -> float:
        """The number that a bin stands for."""

    def value32(self, b: int) -> float:
        """The value as a robot in float32 gets it."""
        return float32(self.value(b))


class _Uniform(Rule):
    """RT-2 as rt2data defines it: equal bins, their centres, float64; a product with bins / width, not a quotient."""

    def bin(self, x: float) -> int:
        u = (x - self.low) * (self.bins / (self.high - self.low))
        return 0 if u < 0 else self.bins - 1 if u >= self.bins else math.floor(u)

    def value(self, b: int) -> float:
        return self.low + (b + 0.5) * ((self.high - self.low) / self.bins)


class _Truncated(Rule):
    """RT-1 (google-research/robotics_transformer): clip, scale to bins - 1, truncate, in float32; values are edges."""

    def prepare(self, dim: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.tolerance = (self.high - self.low) / (self.bins - 1) + max(abs(self.low), abs(self.high)) * 2.0**-20

    def bin(self, x: float) -> int:
        low, high = float32(self.low), float32(self.high)
        x = min(max(float32(x), low), high)
        u = float32(float32(x - low) / float32(high - low))
        return int(float32(u * (self.bins - 1)))

    def value(self, b: int) -> float:
        return b / (self.bins - 1) * (self.high - self.low) + self.low

    def value32(self, b: int) -> float:
        low, width = float32(self.low), float32(float32(self.high) - float32(self.low))
        return float32(float32(float32(b / (self.bins - 1)) * width) + low)


class _Integer(Rule):
    """RT-2 on Language-Table: integers -n to n over the bound, half to even."""

    def prepare(self, dim: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.half = (self.bins - 1) // 2
        self.tolerance = self.high / self.half / 2 + self.high * 2.0**-50

    def bin(self, x: float) -> int:
        return int(min(max(round(x * self.half / self.high), -self.half), self.half)) + self.half

    def value(self, b: int) -> float:
        return (b - self.half) * self.high / self.half


def _linspace(low: float, high: float, count: int) -> list[float]:
    step = (high - low) / (count - 1)
    return [i * step + low for i in range(count - 1)] + [high]


class _OpenVLA(Rule):
    """OpenVLA: normalise in float32 with 1e-8 in the width, 256 edges, 255 middles; bounds of -1 and 1: as they are."""

    def prepare(self, dim: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.edges = _linspace(-1.0, 1.0, self.bins)
        self.raw = self.low == -1 and self.high == 1
        self.constant = bool(dim.get("constant", False))
        half = (self.high - self.low) / (self.bins - 1) / 2
        self.tolerance = None if self.constant else half + 1e-8 + max(abs(self.low), abs(self.high)) * 2.0**-20

    def bin(self, x: float) -> int:
        y = float32(x)
        if not self.raw:
            share = float32(2 * float32(y - float32(self.low)) / float32(self.high - self.low + 1e-8))
            y = float32(share - 1)
        y = 0.0 if self.constant else min(max(y, -1.0), 1.0)
        return bisect_right(self.edges, y) - 1

    def value(self, b: int) -> float:
        b = min(b, self.bins - 2)  # 256 edges have 255 middles
        middle = (self.edges[b] + self.edges[b + 1]) / 2
        return middle if self.raw else 0.5 * (middle + 1) * (self.high - self.low) + self.low


class _OctoUniform(Rule):
    """Octo: clip to the bounds less 1e-6, equal bins, their middles, in float32; a number in no bin is in bin 0."""

    def prepare(self, dim: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.edges = octo.linspace(self.low, self.high, self.bins)
        large = max(abs(self.low), abs(self.high))
        lost = float32(self.high - 1e-6) >= self.edges[-1]  # then the high bound itself is in no bin
        self.tolerance = None if lost else (self.high - self.low) / self.bins / 2 + 1e-6 + large * 2.0**-20

    def bin(self, x: float) -> int:
        return _octo_bin(self.edges, min(max(float32(x), float32(self.low + 1e-6)), float32(self.high - 1e-6)))

    def value(self, b: int) -> float:
        return float32(float32(self.edges[b + 1] + self.edges[b]) / 2)


class _OctoNormal(Rule):
    """Octo's Gaussian bins, in float32: what lies beyond the outer edges matches no bin, and becomes bin 0."""

    def prepare(self, dim: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.mean, self.std = (self.low + self.high) / 2, (self.high - self.low) / 2
        self.edges = octo.quantiles(self.bins)
        self.limits = (self.mean + self.std * self.edges[0], self.mean + self.std * self.edges[-1])
        self.tolerance = None

    def bin(self, x: float) -> int:
        z = float32(float32(float32(x) - float32(self.mean)) / float32(self.std + 1e-8))
        return _octo_bin(self.edges, z)

    def value(self, b: int) -> float:
        middle = float32(float32(self.edges[b + 1] + self.edges[b]) / 2)
        return float32(float32(middle * float32(self.std)) + float32(self.mean))


def _octo_bin(edges: Sequence[float], x: float) -> int:
    return bisect_right(edges, x) - 1 if edges[0] <= x < edges[-1] else 0


class _Rounded(Rule):
    """dexbotic: normalise with 1e-8 in the width, round half to even to bins - 1."""

    def prepare(self, dim: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.tolerance = (
            (self.high - self.low) / (self.bins - 1) / 2 + 1e-8 + max(abs(self.low), abs(self.high)) * 2.0**-50
        )

    def bin(self, x: float) -> int:
        x = min(max(x, self.low), self.high)
        y = (x - self.low) / (self.high - self.low + 1e-8) * 2 - 1
        return min(max(round((y + 1) / 2 * (self.bins - 1)), 0), self.bins - 1)

    def value(self, b: int) -> float:
        y = b / (self.bins - 1) * 2 - 1
        return (y + 1) / 2 * (self.high - self.low) + self.low


class _MuLaw(Rule):
    """Gato: F(x) = sign(x) ln(mu |x| + 1) / ln(mu M + 1) in equal bins; edges and centres to 50 digits."""

    def prepare(self, dim: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        mu = float(options.get("mu", 100.0))
        self.edges = [_expanded(2 * k, self.bins, self.high, mu) for k in range(1, self.bins)]
        self.centres = [_expanded(2 * k + 1, self.bins, self.high, mu) for k in range(self.bins)]
        self.tolerance = None

    def bin(self, x: float) -> int:
        return bisect_right(self.edges, x)

    def value(self, b: int) -> float:
        return self.centres[b]


@lru_cache(maxsize=1 << 16)
def _expanded(half_steps: int, bins: int, high: float, mu: float) -> float:
    """F's inverse at half_steps / bins - 1."""
    c = Context(prec=50)
    j = half_steps - bins
    power = c.power(c.add(c.multiply(Decimal(mu), Decimal(high)), Decimal(1)), c.divide(Decimal(abs(j)), Decimal(bins)))
    return math.copysign(float(c.divide(c.subtract(power, Decimal(1)), Decimal(mu))), j)


class _VLA0(Rule):
    """VLA-0 (NVlabs/vla0): the share of the way from low to high in thousandths, half to even, in float32."""

    def prepare(self, dim: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.start, self.width = float32(self.low), float32(float32(self.high) - float32(self.low))
        half = (self.high - self.low) / (self.bins - 1) / 2
        self.tolerance = half * (1 + 2.0**-12) + max(abs(self.low), abs(self.high)) * 2.0**-20

    def bin(self, x: float) -> int:
        x = min(max(float32(x), self.start), float32(self.high))
        share = float32(float32(x - self.start) / self.width)
        return min(max(round(float32(share * (self.bins - 1))), 0), self.bins - 1)

    def value(self, b: int) -> float:
        return float32(float32(float32(b / (self.bins - 1)) * self.width) + self.start)


class _Pi05State(Rule):
    """openpi's states: normalised with 1e-6 in the width, digitized among the lower edges of the bins of [-1, 1]."""

    def prepare(self, dim: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.below = 1 if options.get("below", True) else 0
        self.count = self.bins - self.below
        self.raw = self.low == -1 and self.high == 1
        self.width = 2.0 if self.raw else self.high - self.low + 1e-6
        self.tolerance = self.width / self.count / 2 + 1e-6 + max(abs(self.low), abs(self.high)) * 2.0**-50

    def bin(self, x: float) -> int:
        y = x if self.raw else (x - self.low) / self.width * 2 - 1
        edges = _linspace(-1.0, 1.0, self.count + 1)[:-1]
        return max(bisect_right(edges, y) - 1 + self.below, 0)

    def value(self, b: int) -> float:
        return (b - self.below + 0.5) / self.count * self.width + self.low


class _MolmoAct2State(Rule):
    """MolmoAct2's states (LeRobot): clipped to [-1, 1] and rounded to bins - 1, half to even, in float32."""

    def prepare(self, dim: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.raw = self.low == -1 and self.high == 1
        self.start, self.width = float32(self.low), float32(float32(self.high) - float32(self.low))
        half = (self.high - self.low) / (self.bins - 1) / 2
        self.tolerance = half * (1 + 2.0**-12) + max(abs(self.low), abs(self.high)) * 2.0**-20

    def bin(self, x: float) -> int:
        y = float32(x)
        if not self.raw:
            y = float32(float32(float32(2 * float32(y - self.start)) / self.width) - 1)
        y = min(max(y, -1.0), 1.0)
        return round(float32(float32(float32(y + 1) / 2) * (self.bins - 1)))

    def value(self, b: int) -> float:
        return float32(float32(float32(b / (self.bins - 1)) * self.width) + self.start)


RULES: Mapping[str, Callable[[float, float, int, Mapping[str, Any], Mapping[str, Any]], Rule]] = {
    "uniform": _Uniform,
    "truncated": _Truncated,
    "integer": _Integer,
    "openvla": _OpenVLA,
    "octo-uniform": _OctoUniform,
    "octo-normal": _OctoNormal,
    "rounded": _Rounded,
    "mu-law": _MuLaw,
    "vla0": _VLA0,
    "pi05-state": _Pi05State,
    "molmoact2-state": _MolmoAct2State,
}
