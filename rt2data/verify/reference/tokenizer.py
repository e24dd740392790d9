"""The action tokenizer once more, in plain Python: one number at a time, no numpy, no tables, no speed.

It is the oracle of the tests and of `rt2data.verify`, and shares no code with `rt2data.tokenizer`: it reads a
specification's JSON and follows the rules as their sources state them. Stored actions are float32; a float32 is given
here as the Python float of the same value.
"""

from __future__ import annotations

import json
import math
import re
import struct
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from rt2data.verify.reference import octo
from rt2data.verify.reference.dct import Dct
from rt2data.verify.reference.fast_bpe import ByteDct


class InvalidAction(ValueError):
    """A specification, action or string that the reference cannot take."""


def float32(x: float) -> float:
    """The float32 nearest to `x`, ties to even; infinity where it is too large."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", float(x)))[0])
    except OverflowError:
        return math.inf if x > 0 else -math.inf


def fingerprint(raw: Mapping[str, Any], source: str | None = None) -> str:
    """The fingerprint of a specification: 32 hex digits over its JSON without names and vocabulary, keys sorted.

    Args:
        raw: the JSON of a ``tokenizer.json``, as it is written.
        source: restrict it to this source first: its dimensions, and no sources.
    """
    content = {key: value for key, value in raw.items() if key not in ("name", "vocabulary", "aliases")}
    if source is not None:
        content["dims"] = content.pop("sources")[source]["dims"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return blake2b(text.encode(), digest_size=16).hexdigest()


class Reference:
    """The tokenizer of one specification, or of one source of a mixture's.

    Args:
        raw: the JSON of a specification.
        source: which of its sources; None where it has none.
    """

    def __init__(self, raw: Mapping[str, Any], source: str | None = None) -> None:
        self.scheme: str = raw["scheme"]
        self.bins: int = raw["bins"]
        self.horizon: int = raw.get("horizon", 1)
        self.terminate: Mapping[str, int] | None = raw.get("terminate")
        text = raw.get("text", {})
        self.lead: str = text.get("lead", "")
        self.first: int = text.get("first", 0)
        self.options: Mapping[str, Any] = raw.get("options", {})
        self.dims: list[Mapping[str, Any]] = raw["sources"][source]["dims"] if source is not None else raw["dims"]
        self.fingerprint = fingerprint(raw, source)
        self.dct: Dct | None = None
        self.rules: list[_Rule] = []
        if self.scheme in ("dct", "fast-bpe"):
            kind = Dct if self.scheme == "dct" else ByteDct
            self.dct = kind(self.dims, self.horizon, self.bins, self.options)
            return
        if self.scheme not in _RULES:
            raise InvalidAction(f'scheme "{self.scheme}"; expected dct, fast-bpe or one of {", ".join(_RULES)}')
        self.rules = [
            _RULES[self.scheme](float(d["low"]), float(d["high"]), self.bins, d, self.options) for d in self.dims
        ]

    @property
    def fields(self) -> int:
        """How many integers an action has: horizon x (dimensions + 1 where there is a terminate field)."""
        return self.horizon * (len(self.dims) + (self.terminate is not None))

    def encode(self, action: Sequence[float], terminate: Sequence[bool | int]) -> list[int]:
        """Bins of an action.

        Args:
            action: horizon x D numbers, step after step, in the units of the dimensions. Computed as float32 where the
                scheme does so.
            terminate: one flag per step; ignored where the scheme has no such field.
        """
        width = len(self.dims)
        if len(action) != self.horizon * width:
            raise InvalidAction(f"{len(action)} numbers; expected {self.horizon * width}")
        if not all(math.isfinite(x) for x in action):
            raise InvalidAction("NaN or infinity; expected finite numbers")
        if self.dct:
            return self.dct.encode(action)
        out = []
        for step in range(self.horizon):
            if self.terminate is not None:
                flag = terminate[step]
                out.append(self.terminate["true" if flag else "false"] if isinstance(flag, bool) else flag)
            out += [rule.bin(x) for rule, x in zip(self.rules, action[step * width : (step + 1) * width], strict=True)]
        return out

    def decode(self, bins: Sequence[int]) -> tuple[list[float], list[bool]]:
        """(numbers in float64, horizon x D; one terminate flag per step, none where the scheme has no such field)."""
        self.check(bins)
        if self.dct:
            return self.dct.decode(bins), []
        action: list[float] = []
        ends = []
        per_step = self.fields // self.horizon
        for step in range(self.horizon):
            own = list(bins[step * per_step : (step + 1) * per_step])
            if self.terminate is not None:
                ends.append(own.pop(0) == self.terminate["true"])
            action += [rule.value(b) for rule, b in zip(self.rules, own, strict=True)]
        return action, ends

    def held(self, field: int) -> Sequence[int]:
        """The bins that field number `field`, from 0, can hold."""
        if self.terminate is not None and field % (len(self.dims) + 1) == 0:
            modes = self.terminate.get("modes", 2)
            return range(modes) if modes > 2 else sorted((self.terminate["true"], self.terminate["false"]))
        return range(self.bins)

    def check(self, bins: Sequence[int]) -> None:
        """Raise InvalidAction unless `bins` is an action's: so many fields, each one that its field can hold."""
        if len(bins) != self.fields:
            raise InvalidAction(f"{len(bins)} fields; expected {self.fields}")
        for field, b in enumerate(bins):
            if isinstance(b, bool) or b not in self.held(field):
                raise InvalidAction(f"{b} in field {field + 1}; expected a bin that it can hold")

    def format(self, bins: Sequence[int]) -> str:
        """The one string of `bins`."""
        self.check(bins)
        if self.dct and self.dct.merged:
            return self.lead + self.dct.write(bins)
        return self.lead + " ".join(str(b + self._offset(field)) for field, b in enumerate(bins))

    def parse(self, text: str) -> list[int]:
        """The bins of a string; InvalidAction for every string that `format` does not write."""
        if not text.startswith(self.lead):
            raise InvalidAction("no space before the first field")
        if self.dct is not None and self.dct.merged:
            try:
                bins = self.dct.read(text[len(self.lead) :])
            except ValueError as error:
                raise InvalidAction(str(error)) from None
            self.check(bins)
            return bins
        parts = text[len(self.lead) :].split(" ")
        if len(parts) != self.fields:
            raise InvalidAction(f"{len(parts)} fields; expected {self.fields}")
        for part in parts:
            if not re.fullmatch(r"0|-?[1-9][0-9]{0,8}", part):
                raise InvalidAction(f"{part[:20]!a} is not a canonical integer")
        bins = [int(part) - self._offset(field) for field, part in enumerate(parts)]
        self.check(bins)
        return bins

    def _offset(self, field: int) -> int:
        return 0 if self.terminate is not None and field % (len(self.dims) + 1) == 0 else self.first

    def clipped(self, action: Sequence[float]) -> list[bool]:
        """Which of horizon x D numbers lie outside the bounds; of DCT codes, which of them are kept to the bins."""
        if self.dct:
            kept = self.dct.encode(action)
            return [code != inside for code, inside in zip(self.dct.unbounded(action), kept, strict=True)]
        width = len(self.dims)
        limits = [rule.limits for rule in self.rules]
        return [not limits[i % width][0] <= x <= limits[i % width][1] for i, x in enumerate(action)]

    def tolerance(self, dim: int) -> float | None:
        """How far decode(encode(x)) may be from an x within the bounds; None where the scheme does not promise it."""
        return self.dct.tolerance(dim) if self.dct else self.rules[dim].tolerance

    def changed(self) -> int:
        """How many bins, of all dimensions, encode(decode(b)) changes when values are kept as float32.

        Of the scheme dct none is counted: its codes mean nothing one at a time.
        """
        return sum(rule.bin(rule.value32(b)) != b for rule in self.rules for b in range(self.bins))

    def steps(self, action: Sequence[float], bins: Sequence[int]) -> list[tuple[list[int], list[bool]]]:
        """What statistics count of an action: (bins, clipped) per step, of the first step alone.

        Of the scheme dct, whose codes belong to the chunk: those of each frequency.
        """
        width, clipped = len(self.dims), self.clipped(action)
        if not self.dct:
            return [(list(bins[: self.fields // self.horizon]), clipped[:width])]
        rows = range(0, len(bins), width)
        return [(list(bins[i : i + width]), clipped[i : i + width]) for i in rows]


class _Rule(ABC):
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


class _Uniform(_Rule):
    """RT-2 as rt2data defines it: equal bins, their centres, float64; a product with bins / width, not a quotient."""

    def bin(self, x: float) -> int:
        u = (x - self.low) * (self.bins / (self.high - self.low))
        return 0 if u < 0 else self.bins - 1 if u >= self.bins else math.floor(u)

    def value(self, b: int) -> float:
        return self.low + (b + 0.5) * ((self.high - self.low) / self.bins)


class _Truncated(_Rule):
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


class _Integer(_Rule):
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


class _OpenVLA(_Rule):
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


class _OctoUniform(_Rule):
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


class _OctoNormal(_Rule):
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


class _Rounded(_Rule):
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


class _MuLaw(_Rule):
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


_RULES: Mapping[str, Callable[[float, float, int, Mapping[str, Any], Mapping[str, Any]], _Rule]] = {
    "uniform": _Uniform,
    "truncated": _Truncated,
    "integer": _Integer,
    "openvla": _OpenVLA,
    "octo-uniform": _OctoUniform,
    "octo-normal": _OctoNormal,
    "rounded": _Rounded,
    "mu-law": _MuLaw,
}
