"""Octo's bin edges in float32, one number at a time, as JAX computes them on a CPU.

JAX's linspace is low (1 - i / n) + high (i / n), and its quantile of the normal distribution that of Cephes (ndtri,
with its own logarithm). Each step is rounded to float32; a product that is added to something is rounded with it, once.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from functools import lru_cache


def single(x: float) -> float:
    """The float32 nearest to `x`."""
    return float(struct.unpack("<f", struct.pack("<f", x))[0])


@lru_cache(maxsize=4096)
def linspace(low: float, high: float, count: int) -> list[float]:
    """`count` + 1 numbers from low to high."""
    first, last = single(low), single(high)
    out = []
    for i in range(count):
        part = single(i / count)
        out.append(single(last * part + single(first * single(1.0 - part))))
    return [*out, last]


@lru_cache(maxsize=64)
def quantiles(count: int) -> list[float]:
    """The quantiles of a normal distribution at `count` + 1 probabilities from 1e-6 to 1 - 1e-6."""
    return [_quantile(p) for p in linspace(1e-6, 1 - 1e-6, count)]


def _quantile(p: float) -> float:
    tail = math.exp(-2.0)
    above = p > single(1 - tail)
    q = single(1.0 - p) if above else p
    if q > single(tail):
        w = single(q - 0.5)
        ww = single(w * w)
        quotient = single(_horner(CENTRE[0], ww) / _horner(CENTRE[1], ww))
        x = single(w + single(single(w * ww) * quotient))
        x = single(x * single(-math.sqrt(2 * math.pi)))
    else:
        z = single(math.sqrt(single(-2.0 * _logarithm(q))))
        inverse = single(1.0 / z)
        quotient = single(_horner(SIDES[0], inverse) / _horner(SIDES[1], inverse))
        x = single(single(z - single(_logarithm(z) / z)) - single(quotient / z))
    return x if above else -x


def _logarithm(x: float) -> float:
    m, power = math.frexp(x)
    e = float(power)
    if m < single(math.sqrt(0.5)):
        e, m = e - 1, m + m
    m = single(m - 1.0)
    square = single(m * m)
    cube = single(square * m)
    y = _horner(LOGARITHM[0], m)
    for coefficients in LOGARITHM[1:]:
        y = single(y * cube + _horner(coefficients, m))
    y = single(y * cube + single(e * single(-2.12194440e-4)))
    return single(e * 0.693359375 + single(single(square * -0.5 + m) + y))


def _horner(coefficients: Sequence[float], x: float) -> float:
    total = single(coefficients[0])
    for coefficient in coefficients[1:]:
        total = single(total * x + single(coefficient))
    return total


CENTRE = (
    (-5.99633501014107895267e1, 9.80010754185999661536e1, -5.66762857469070293439e1, 1.39312609387279679503e1,
     -1.23916583867381258016e0),
    (1.0, 1.95448858338141759834e0, 4.67627912898881538453e0, 8.63602421390890590575e1, -2.25462687854119370527e2,
     2.00260212380060660359e2, -8.20372256168333339912e1, 1.59056225126211695515e1, -1.18331621121330003142e0),
)  # fmt: skip
SIDES = (
    (4.05544892305962419923e0, 3.15251094599893866154e1, 5.71628192246421288162e1, 4.40805073893200834700e1,
     1.46849561928858024014e1, 2.18663306850790267539e0, -1.40256079171354495875e-1, -3.50424626827848203418e-2,
     -8.57456785154685413611e-4),
    (1.0, 1.57799883256466749731e1, 4.53907635128879210584e1, 4.13172038254672030440e1, 1.50425385692907503408e1,
     2.50464946208309415979e0, -1.42182922854787788574e-1, -3.80806407691578277194e-2, -9.33259480895457427372e-4),
)  # fmt: skip
LOGARITHM = (
    (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1),
    (-1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1),
    (2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
)
