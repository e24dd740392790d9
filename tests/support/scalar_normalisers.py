"""What each stack makes of one number, in plain Python: a second computation of `rt2data.tokenizer.normalisers`.

Float32 is computed as Python's floats rounded after each operation, which for + - * / gives the same bits.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping

Number = Callable[[float], float]
Measures = Mapping[str, float]


def single(x: float) -> float:
    """The float32 nearest to a number."""
    try:
        return float(struct.unpack("f", struct.pack("f", x))[0])
    except OverflowError:
        return math.copysign(math.inf, x)


def double(x: float) -> float:
    return x


def limit(x: float, most: float) -> float:
    return x if math.isnan(x) else max(-most, min(most, x))


def over(x: float, y: float) -> float:
    if y == 0:
        return math.nan if x == 0 or math.isnan(x) else math.copysign(math.inf, x)
    return x / y


def ends(kind: str) -> tuple[str, str]:
    return {"quantiles": ("q01", "q99"), "quantiles10": ("q10", "q90"), "zscore": ("mean", "std")}.get(
        kind, ("min", "max")
    )


def affine(x: float, low: float, width: float, r: Number) -> float:
    """2 (x - low) / width - 1, each step rounded."""
    return r(r(2 * r(over(r(x - low), width))) - 1)


def inverse(y: float, low: float, width: float, r: Number) -> float:
    return r(r(r(r(y + 1) / 2) * width) + low)


def openvla(x: float, s: Measures, kind: str, scaled: bool) -> float:
    """Computed by TensorFlow in float32, the width by numpy in float64."""
    low, high = (s[name] for name in ends(kind))
    x, low32 = single(x), single(low)
    if kind == "zscore":
        return single(over(single(x - low32), single(high + 1e-8))) if scaled else x
    if s["min"] == s["max"]:
        return 0.0
    return limit(affine(x, low32, single(high - low + 1e-8), single), 1.0) if scaled else x


def octo(x: float, s: Measures, kind: str, scaled: bool) -> float:
    low, high = (s[name] for name in ends(kind))
    x, low32 = single(x), single(low)
    if not scaled:
        return x
    if kind == "zscore":
        return single(over(single(x - low32), single(high + 1e-8)))
    return limit(affine(x, low32, single(high - low + 1e-8), single), 1.0)


def openpi(x: float, s: Measures, kind: str, back: bool) -> float:
    low, high = (s[name] for name in ends(kind))
    if kind == "zscore":
        return x * (high + 1e-6) + low if back else (x - low) / (high + 1e-6)
    width = high - low + 1e-6
    return inverse(x, low, width, double) if back else affine(x, low, width, double)


def lerobot(x: float, s: Measures, kind: str, back: bool, r: Number) -> float:
    """Statistics take the type of the values, which `r` rounds to."""
    low, high = (r(s[name]) for name in ends(kind))
    if kind == "zscore":
        return r(r(x * high) + low) if back else r(over(r(x - low), r(high + r(1e-8))))
    width = r(high - low) or r(1e-8)
    return inverse(x, low, width, r) if back else affine(x, low, width, r)


def molmoact2(x: float, s: Measures, scaled: bool, r: Number) -> float:
    return limit(lerobot(x, s, "quantiles", False, r), 1.0) if scaled else x


def gr00t(x: float, s: Measures, kind: str, back: bool) -> float:
    """Of float64 values; the relative ones go by minimum and maximum."""
    low, high = (s[name] for name in ends(kind))
    if kind == "zscore":
        if back:
            return x * high + low if high else x
        return limit((x - low) / high if high else x, 1.0)
    if back:
        return inverse(limit(x, 1.0), low, high - low, double)
    if abs(high - low) <= 1e-8 + 1e-5 * abs(low):
        return 0.0
    return limit(affine(x, low, high - low, double), 1.0)


def n15(x: float, s: Measures, kind: str, clip: float, back: bool, r: Number) -> float:
    """GR00T N1.5, and with another `clip` starVLA."""
    low, high = (r(s[name]) for name in ends(kind))
    if kind == "binary":
        return float(x > 0.5)
    if kind == "scale":
        largest = max(abs(low), abs(high))
        return r(x / largest) if largest else 0.0
    if kind == "zscore":
        return r(r(x * high) + low) if back else r(r(x - low) / high) if high else x
    width = r(high - low)
    if back:
        return inverse(x, low, width, r)
    if kind == "minmax":
        return affine(x, low, width, r) if width else 0.0
    return limit(affine(x, low, width, r) if width else x, clip)
