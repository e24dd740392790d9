"""The edges of Octo's bins, as JAX computes them in float32: one ulp decides about numbers that lie on an edge.

JAX's ``linspace`` and ``norm.ppf`` are followed operation by operation: each result is rounded to float32, and where
XLA fuses a product and a sum on a CPU, they are rounded once (`_fused`). Plain IEEE arithmetic, so the same on every
machine. With 256 bins, and other powers of two from 64 on, the edges are those of JAX 0.10 to the last bit; compiled as
part of a larger function, or on a GPU, JAX itself differs in the last place of some. The coefficients are those of
Cephes, ``ndtri`` and ``logf`` (S. L. Moshier).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # numpy.typing costs a millisecond
    import numpy.typing as npt

    Singles = npt.NDArray[np.float32]

EPSILON = 1e-6  # the outermost quantiles

_TAIL = 0.1353352832366127  # exp(-2): below it, and above 1 - exp(-2), another approximation is used
_ROOT_2_PI = 2.5066282746310002
# Numerator and denominator, highest power first: of w^2 for w = p - 1/2; of 1 / z for z = sqrt(-2 ln p).
_MIDDLE = (
    (-59.9633501014107895267, 98.0010754185999661536, -56.6762857469070293439, 13.9312609387279679503,
     -1.23916583867381258016),
    (1.0, 1.95448858338141759834, 4.67627912898881538453, 86.3602421390890590575, -225.462687854119370527,
     200.260212380060660359, -82.0372256168333339912, 15.9056225126211695515, -1.18331621121330003142),
)  # fmt: skip
_OUTER = (
    (4.05544892305962419923, 31.5251094599893866154, 57.1628192246421288162, 44.0805073893200834700,
     14.6849561928858024014, 2.18663306850790267539, -0.140256079171354495875, -0.0350424626827848203418,
     -0.000857456785154685413611),
    (1.0, 15.7799883256466749731, 45.3907635128879210584, 41.3172038254672030440, 15.0425385692907503408,
     2.50464946208309415979, -0.142182922854787788574, -0.0380806407691578277194, -0.000933259480895457427372),
)  # fmt: skip
# ln(1 + m): three polynomials of m, which are joined by powers of m^3.
_LOG = (
    (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1),
    (-1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1),
    (2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
)
_LN_2 = (0.693359375, -2.12194440e-4)


def uniform_edges(low: float, high: float, bins: int) -> Singles:
    """Return the bins + 1 edges of bins of equal width between low and high, float32."""
    first, last = np.float32(low), np.float32(high)
    step = np.arange(bins, dtype=np.float32) / np.float32(bins)
    return np.append(_fused(last, step, first * (np.float32(1) - step)), last)


def normal_edges(bins: int) -> Singles:
    """Return the bins + 1 quantiles of a normal distribution between which its bins lie, float32."""
    return _quantile(uniform_edges(EPSILON, 1 - EPSILON, bins))


def _quantile(p: Singles) -> Singles:
    upper = p > np.float32(1 - _TAIL)
    q = np.where(upper, np.float32(1) - p, p)
    w = q - np.float32(0.5)
    square = w * w
    middle = w + w * square * _ratio(_MIDDLE, square)
    z = np.sqrt(np.float32(-2) * _log(q))
    outer = z - _log(z) / z - _ratio(_OUTER, np.float32(1) / z) / z
    found = np.where(q > np.float32(_TAIL), middle * np.float32(-_ROOT_2_PI), outer)
    return np.asarray(np.where(upper, found, -found), np.float32)


def _log(x: Singles) -> Singles:
    fraction, power = np.frexp(x)
    e, m = power.astype(np.float32), fraction.astype(np.float32)
    small = m < np.float32(0.707106781186547524)
    e = np.where(small, e - np.float32(1), e)
    m = np.where(small, m + m, m) - np.float32(1)
    square = m * m
    cube = square * m
    first, second, third = (_polynomial(coefficients, m) for coefficients in _LOG)
    y = _fused(_fused(_fused(first, cube, second), cube, third), cube, e * np.float32(_LN_2[1]))
    return _fused(e, np.float32(_LN_2[0]), _fused(square, np.float32(-0.5), m) + y)


def _ratio(polynomials: tuple[tuple[float, ...], tuple[float, ...]], x: Singles) -> Singles:
    return _polynomial(polynomials[0], x) / _polynomial(polynomials[1], x)


def _polynomial(coefficients: tuple[float, ...], x: Singles) -> Singles:
    out = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        out = _fused(out, x, np.float32(coefficient))
    return out


def _fused(a: Any, b: Any, c: Any) -> Singles:
    """Return a b + c of float32, rounded to float32 once; the product of two float32 is exact in float64."""
    return np.asarray(np.asarray(a, np.float64) * b + c, np.float32)
