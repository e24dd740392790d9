"""The tokenizer, one number at a time, in plain Python: what the fast code is tested against.

Written from the definitions, without numpy and without the package. `float32` is a number rounded to float32, so that
RT-1's arithmetic in float32 can be followed step by step (a float64 result of two float32 numbers, rounded once, is the
float32 result).
"""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


def float32(x: float) -> float:
    return struct.unpack("<f", struct.pack("<f", x))[0]


def same(x: float) -> float:
    return x


@dataclass(frozen=True)
class Dim:
    low: float
    high: float
    constant: bool = False


def clip(x: float, low: float, high: float) -> float:
    return low if x < low else min(x, high)


def half_even(x: float) -> int:
    return round(x)


def encode(scheme: str, x: float, dim: Dim, bins: int, options: dict[str, Any], rounded: Any = same) -> int:
    """The bin of one number. `rounded` is float32 where a scheme that computes in the type it is given gets float32."""
    low, high = dim.low, dim.high
    if scheme == "uniform":
        return int(clip(math.floor((x - low) * (bins / (high - low))), 0, bins - 1))
    if scheme == "truncated":
        low, high = rounded(low), rounded(high)
        u = rounded(rounded(clip(x, low, high) - low) / rounded(high - low))
        return int(rounded(u * rounded(bins - 1)))
    if scheme == "integer":
        n = (bins - 1) / 2
        return int(clip(half_even(n * x / high), -n, n) + n)
    if scheme == "openvla":
        y = float32(x)  # OpenVLA's loader normalises in float32
        if (low, high) != (-1, 1):
            doubled = overflowing(2 * overflowing(y - float32(low)))
            y = overflowing(overflowing(doubled / float32(high - low + 1e-8)) - 1)
        y = 0.0 if dim.constant else clip(y, -1, 1)
        # numpy.digitize: how many edges are not above y
        return sum(edge <= y for edge in linspace(-1, 1, bins)) - 1
    if scheme == "octo-uniform":
        y = clip(float32(x), float32(low + 1e-6), float32(high - 1e-6))
        return octo(y, jax_linspace(low, high, bins))
    if scheme == "octo-normal":
        mean, std = (low + high) / 2, (high - low) / 2
        return octo(overflowing(overflowing(float32(x) - float32(mean)) / float32(std + 1e-8)), normal_edges(bins))
    if scheme == "rounded":
        y = (clip(x, low, high) - low) / (high - low + 1e-8) * 2 - 1
        return int(clip(half_even((y + 1) / 2 * (bins - 1)), 0, bins - 1))
    if scheme == "mu-law":
        f = math.copysign(math.log(abs(x) * options["mu"] + 1) / math.log(high * options["mu"] + 1), x)
        return int(clip(math.floor((clip(f, -1, 1) + 1) / 2 * bins), 0, bins - 1))
    if scheme == "vla0":
        share = float32(float32(clip(float32(x), float32(low), float32(high)) - float32(low)) / width32(dim))
        return int(clip(half_even(float32(share * (bins - 1))), 0, bins - 1))
    if scheme == "pi05-state":
        edges = linspace(-1, 1, bins - options["below"] + 1)[:-1]
        y = x if (low, high) == (-1, 1) else (x - low) / (high - low + 1e-6) * 2 - 1
        reached = sum(edge <= y for edge in edges)  # numpy.digitize
        return reached if options["below"] else max(reached - 1, 0)
    if scheme == "molmoact2-state":
        y = float32(x)
        if (low, high) != (-1, 1):
            doubled = overflowing(2 * overflowing(y - float32(low)))
            y = overflowing(overflowing(doubled / width32(dim)) - 1)
        return half_even(float32(float32(float32(clip(y, -1, 1) + 1) / 2) * (bins - 1)))
    raise ValueError(scheme)


def decode(scheme: str, b: int, dim: Dim, bins: int, options: dict[str, Any], rounded: Any = same) -> float:
    """The number of one bin."""
    low, high = dim.low, dim.high
    if scheme == "uniform":
        return rounded(low + (b + 0.5) * ((high - low) / bins))
    if scheme == "truncated":
        low, high = rounded(low), rounded(high)
        return rounded(rounded(rounded(rounded(b) / rounded(bins - 1)) * rounded(high - low)) + low)
    if scheme == "integer":
        n = (bins - 1) / 2
        return rounded((b - n) * high / n)
    if scheme == "openvla":
        edges = linspace(-1, 1, bins)
        b = min(b, bins - 2)
        y = (edges[b] + edges[b + 1]) / 2
        return rounded(y if (low, high) == (-1, 1) else 0.5 * (y + 1) * (high - low) + low)
    if scheme == "octo-uniform":
        edges = jax_linspace(low, high, bins)
        return float32((edges[b] + edges[b + 1]) / 2)
    if scheme == "octo-normal":
        edges = normal_edges(bins)
        middle = float32((edges[b] + edges[b + 1]) / 2)
        return float32(float32(float32((high - low) / 2) * middle) + float32((low + high) / 2))
    if scheme == "rounded":
        y = b / (bins - 1) * 2 - 1
        return rounded((y + 1) / 2 * (high - low) + low)
    if scheme in ("vla0", "molmoact2-state"):
        return float32(float32(float32(b / (bins - 1)) * width32(dim)) + float32(low))
    if scheme == "pi05-state":
        width = 2 if (low, high) == (-1, 1) else high - low + 1e-6
        return rounded((b - options["below"] + 0.5) / (bins - options["below"]) * width + low)
    if scheme == "mu-law":
        f = (b + 0.5) / bins * 2 - 1
        return rounded(math.copysign((math.exp(abs(f) * math.log(high * options["mu"] + 1)) - 1) / options["mu"], f))
    raise ValueError(scheme)


def width32(dim: Dim) -> float:
    return float32(float32(dim.high) - float32(dim.low))


@cache
def linspace(low: float, high: float, count: int) -> list[float]:
    step = (high - low) / (count - 1)
    return [low + i * step for i in range(count - 1)] + [high]


def overflowing(x: float) -> float:
    """`x` in float32, infinity where that is too large for it."""
    return math.copysign(math.inf, x) if abs(x) > 3.4028235677973362e38 else float32(x)


@cache
def jax_linspace(low: float, high: float, bins: int) -> list[float]:
    """The edges of `bins` bins as JAX computes them in float32; the sum is rounded with its second product, once."""
    low, high = float32(low), float32(high)
    shares = [float32(i / bins) for i in range(bins)]
    return [float32(high * share + float32(low * float32(1 - share))) for share in shares] + [high]


@cache
def normal_edges(bins: int) -> list[float]:
    """What JAX 0.10 gives for 256 bins: norm.ppf(linspace(1e-6, 1 - 1e-6, 257)), in float32, on a CPU."""
    edges: list[float] = json.loads((Path(__file__).parent / "octo_normal_edges.json").read_text())
    assert len(edges) == bins + 1
    return edges


def octo(y: float, edges: list[float]) -> int:
    """The first bin that holds y; argmax over all-zeros is 0."""
    return next((i for i in range(len(edges) - 1) if edges[i] <= y < edges[i + 1]), 0)


def dct(chunk: list[list[float]], scale: float, min_code: int, bins: int) -> list[int]:
    """FAST's codes of a normalised chunk (time, dimension): frequency by frequency."""
    n = len(chunk)
    codes = []
    for k in range(n):
        norm = math.sqrt((1 if k == 0 else 2) / n)
        for d in range(len(chunk[0])):
            c = norm * math.fsum(chunk[t][d] * math.cos(math.pi * (2 * t + 1) * k / (2 * n)) for t in range(n))
            codes.append(int(clip(half_even(c * scale) - min_code, 0, bins - 1)))
    return codes


def inverse_dct(codes: list[int], n: int, scale: float, min_code: int) -> list[list[float]]:
    dims = len(codes) // n
    out = []
    for t in range(n):
        row = []
        for d in range(dims):
            terms = []
            for k in range(n):
                norm = math.sqrt((1 if k == 0 else 2) / n)
                c = (codes[k * dims + d] + min_code) / scale
                terms.append(norm * c * math.cos(math.pi * (2 * t + 1) * k / (2 * n)))
            row.append(math.fsum(terms))
        out.append(row)
    return out


def parse(text: str, fields: list[tuple[int, int, int]], lead: str = "") -> list[int] | None:
    """The bins of a string, or None. A field is (lowest number, highest number, the number of bin 0)."""
    number = r"(-?[1-9][0-9]*|0)"
    found = re.fullmatch(lead + " ".join([number] * len(fields)), text, re.ASCII) if len(text) < 10_000 else None
    if not found:
        return None
    bins = []
    for group, (low, high, first) in zip(found.groups(), fields, strict=True):
        if not low <= int(group) <= high:
            return None
        bins.append(int(group) - first)
    return bins


def write(bins: list[int], fields: list[tuple[int, int, int]], lead: str = "") -> str:
    return lead + " ".join(str(b + first) for b, (_, _, first) in zip(bins, fields, strict=True))


def vla0_actions(text: str, dims: list[Dim], horizon: int) -> list[list[float]]:
    """What VLA-0 makes of a reply, whatever it says."""
    middle = [float32(float32(float32(d.low) + float32(d.high)) / 2) for d in dims]
    try:
        numbers = [int(word) for word in text.strip().split(" ")]
    except ValueError:
        return [middle] * horizon
    if any(abs(n) >= 2**63 for n in numbers):
        return [middle] * horizon
    steps = [numbers[i : i + len(dims)] for i in range(0, len(numbers) - len(dims) + 1, len(dims))][:horizon]
    steps += steps[-1:] * (horizon - len(steps))
    return [[decode("vla0", n, d, 1001, {}) for n, d in zip(step, dims, strict=True)] for step in steps]


def join(codes: list[int], merges: list[tuple[int, int]], bins: int) -> list[int]:
    """Byte-pair encoding: each merge in turn, over the whole row, from left to right."""
    expansions = {i: (i,) for i in range(bins)}
    ids = list(codes)
    for a, b in merges:
        expansion = expansions[a] + expansions[b]
        made = next((i for i, e in expansions.items() if e == expansion), len(expansions))
        expansions[made] = expansion
        out: list[int] = []
        i = 0
        while i < len(ids):
            if ids[i : i + 2] == [a, b]:
                out.append(made)
                i += 2
            else:
                out.append(ids[i])
                i += 1
        ids = out
    return ids
