"""Convert rotations in float64 arrays: stored representations to matrices, matrices to roll, pitch, yaw.

R = Rz(yaw) Ry(pitch) Rx(roll), pitch in [-pi/2, pi/2]. Products are written out: a BLAS may round differently from one
machine to the next, and these numbers reach the shards. This is the only place with such formulas, but for
`rt2data.demo.pose`, which must not depend on SIMD either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Where cos(pitch) is below this, only yaw - roll (or their sum) is determined. At the square root of the float64
# epsilon both ways to compute the angles are equally exact.
GIMBAL = 1e-8


def product(a: Floats, b: Floats) -> Floats:
    """Multiply matrices: ``a[i] b[i]`` of (n, 3, 3) arrays."""
    return a[:, :, 0, None] * b[:, None, 0] + a[:, :, 1, None] * b[:, None, 1] + a[:, :, 2, None] * b[:, None, 2]


def rotate(a: Floats, v: Floats) -> Floats:
    """Rotate vectors: ``a[i] v[i]`` of (n, 3, 3) matrices and (n, 3) vectors."""
    return a[:, :, 0] * v[:, 0, None] + a[:, :, 1] * v[:, 1, None] + a[:, :, 2] * v[:, 2, None]


def transpose(a: Floats) -> Floats:
    """Invert rotation matrices (n, 3, 3)."""
    return a.transpose(0, 2, 1)


def to_rpy(a: Floats) -> Floats:
    """Convert matrices (n, 3, 3) to roll, pitch, yaw (n, 3) in radians; roll is 0 where pitch is pi/2 or -pi/2."""
    cos = np.hypot(a[:, 0, 0], a[:, 1, 0])
    pitch = np.arctan2(-a[:, 2, 0], cos)
    lock = cos < GIMBAL
    roll = np.where(lock, 0.0, np.arctan2(a[:, 2, 1], a[:, 2, 2]))
    yaw = np.where(lock, np.arctan2(-a[:, 0, 1], a[:, 1, 1]), np.arctan2(a[:, 1, 0], a[:, 0, 0]))
    return np.stack([roll, pitch, yaw], axis=1)


def from_rpy(angles: Floats) -> Floats:
    """Convert roll, pitch, yaw (n, 3) in radians to matrices (n, 3, 3)."""
    return from_euler(angles, "xyz")


def from_euler(angles: Floats, order: str) -> Floats:
    """Convert Euler angles (n, 3) in radians about the axes of `order`, in that order, to matrices (n, 3, 3).

    Lower case means extrinsic (fixed) axes, upper case intrinsic (moving) ones, as in scipy.
    """
    first, second, third = (_turn(angles[:, i], "xyz".index(axis)) for i, axis in enumerate(order.lower()))
    return product(product(first, second), third) if order.isupper() else product(product(third, second), first)


def _turn(angle: Floats, axis: int) -> Floats:
    out = np.zeros((len(angle), 3, 3))
    out[:, axis, axis] = 1.0
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out[:, i, i] = out[:, j, j] = np.cos(angle)
    out[:, j, i] = np.sin(angle)
    out[:, i, j] = -out[:, j, i]
    return out


def from_quaternion(values: Floats, order: str) -> Floats:
    """Convert quaternions (n, 4) of any norm, `order` ``xyzw`` or ``wxyz``, to matrices."""
    x, y, z, w = (values[:, order.index(c)] for c in "xyzw")
    # Scaled by the largest part first: the square of a tiny or huge one would leave the range of float64.
    largest = np.abs(values).max(axis=1, initial=0.0)
    x, y, z, w = (part / largest for part in (x, y, z, w))
    s = 2.0 / (x * x + y * y + z * z + w * w)
    return _matrix(
        (1.0 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)),
        (s * (x * y + z * w), 1.0 - s * (x * x + z * z), s * (y * z - x * w)),
        (s * (x * z - y * w), s * (y * z + x * w), 1.0 - s * (x * x + y * y)),
    )


def from_axis_angle(values: Floats) -> Floats:
    """Convert rotation vectors (n, 3), axis times angle in radians, to matrices."""
    x, y, z = values.T
    angle = np.sqrt(x * x + y * y + z * z)
    with np.errstate(invalid="ignore"):
        a = np.where(angle == 0.0, 1.0, np.sin(angle) / angle)
        half = np.where(angle == 0.0, 1.0, np.sin(angle / 2) / (angle / 2))
    b = 0.5 * half * half  # (1 - cos(angle)) / angle^2 without its cancellation
    return _matrix(
        (1.0 - b * (y * y + z * z), b * x * y - a * z, b * x * z + a * y),
        (b * x * y + a * z, 1.0 - b * (x * x + z * z), b * y * z - a * x),
        (b * x * z - a * y, b * y * z + a * x, 1.0 - b * (x * x + y * y)),
    )


def rpy_to_axis_angle(angles: Floats) -> Floats:
    """Rotation vectors (..., 3), axis times angle in [0, pi] radians, of roll, pitch, yaw (..., 3) in radians."""
    (cr, cp, cy), (sr, sp, sy) = (f(np.moveaxis(angles, -1, 0) / 2) for f in (np.cos, np.sin))
    w = cr * cp * cy + sr * sp * sy
    v = np.stack([sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy, cr * cp * sy - sr * sp * cy], axis=-1)
    v = np.where(w[..., None] < 0, -v, v)
    size = np.linalg.norm(v, axis=-1, keepdims=True)
    angle = 2 * np.arctan2(size, np.abs(w)[..., None])
    # sin(a/2) / a is 1/2 at 0: no quotient of two zeros.
    return v * np.where(size > 0, angle / np.where(size > 0, size, 1), 2.0)


def axis_angle_to_rpy(vectors: Floats) -> Floats:
    """Convert rotation vectors (..., 3) to roll, pitch, yaw (..., 3) in radians, as `to_rpy` gives them."""
    return to_rpy(from_axis_angle(vectors.reshape(-1, 3))).reshape(vectors.shape)


def from_6d(values: Floats, layout: str) -> Floats:
    """Convert the 6D representation (n, 6), first two ``columns`` or ``rows``, to matrices (arXiv 1812.07035)."""
    first = values[:, :3] / _length(values[:, :3])
    second = values[:, 3:] - first * _dot(first, values[:, 3:])
    second = second / _length(second)
    out = np.stack([first, second, _cross(first, second)], axis=2)
    return out if layout == "columns" else transpose(out)


def to_6d(a: Floats, layout: str) -> Floats:
    """Convert matrices (n, 3, 3) to the 6D representation (n, 6): the first two ``columns`` or ``rows``, one after the
    other.
    """
    vectors = transpose(a) if layout == "columns" else a
    return np.concatenate([vectors[:, 0], vectors[:, 1]], axis=1)


def nearest(a: Floats) -> Floats:
    """Return the rotation nearest to each matrix (n, 3, 3) in the sum of squares; NaN for one that is not finite."""
    known = np.asarray(np.isfinite(a).all(axis=(1, 2)))
    u, _, v = np.linalg.svd(np.where(known[:, None, None], a, np.eye(3)))
    u[:, :, 2] *= np.linalg.det(u @ v)[:, None]
    return np.where(known[:, None, None], u @ v, np.nan)


def from_matrix(values: Floats) -> Floats:
    """Reshape matrices stored row by row, (n, 9)."""
    return values.reshape(-1, 3, 3)


_AXES = ("xyz", "xzy", "yxz", "yzx", "zxy", "zyx", "xyx", "xzx", "yxy", "yzy", "zxz", "zyz")

# Name of the operation: (columns of the field, words that it takes, function of values and word).
REPRESENTATIONS: dict[str, tuple[int, tuple[str, ...], Callable[[Floats, Any], Floats]]] = {
    "quaternion": (4, ("xyzw", "wxyz"), from_quaternion),
    "axis_angle": (3, (), lambda values, _: from_axis_angle(values)),
    "euler": (3, (*_AXES, *(order.upper() for order in _AXES)), from_euler),
    "rotation_6d": (6, ("columns", "rows"), from_6d),
    "matrix": (9, (), lambda values, _: from_matrix(values)),
}


def to_matrices(values: Floats, name: str, argument: str) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Convert values of representation `name` (of REPRESENTATIONS) to matrices (n, 3, 3), and say which are known (n,).

    Four, six or nine zeros are missing data: the matrix is the identity and not known. Three zeros are a rotation by 0.
    Values that are not finite give NaN.
    """
    known = np.ones(len(values), np.bool_)
    if name in ("quaternion", "rotation_6d", "matrix"):
        known &= (values != 0.0).any(axis=1)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        out = REPRESENTATIONS[name][2](values, argument).copy()
    # arctan2(inf, inf) is an angle; what is not finite must not become one.
    out[~np.asarray(np.isfinite(values).all(axis=1))] = np.nan
    out[~known] = np.eye(3)
    return out, known


def _matrix(*rows: tuple[Floats, Floats, Floats]) -> Floats:
    return np.stack([np.stack(row, axis=1) for row in rows], axis=1)


def _dot(a: Floats, b: Floats) -> Floats:
    return a[:, :1] * b[:, :1] + a[:, 1:2] * b[:, 1:2] + a[:, 2:] * b[:, 2:]


def _length(a: Floats) -> Floats:
    return np.sqrt(_dot(a, a))


def _cross(a: Floats, b: Floats) -> Floats:
    x, y, z = a.T
    u, v, w = b.T
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=1)
