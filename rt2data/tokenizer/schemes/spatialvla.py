"""``spatialvla``: three ids for the seven numbers of an arm's step: of its translation, its rotation and its gripper.

Rule: numbers are normalised as OpenVLA does, between the 1st and 99th percentile, and kept in [-1, 1]. The translation
becomes theta = atan2(sqrt(x^2 + y^2), z), phi = atan2(y, x) and r, its length, in 16, 32 and 8 bins; roll, pitch and
yaw have 16 bins each, and the gripper has 2, below 0.5 and from there on. Edges are equidistant, or quantiles of a
normal distribution with the mean and the standard deviation of each axis (the option ``gaussian``). A number beyond the
outer edges is in the outer bin. Ids: theta * 256 + phi * 8 + r; 4096 + roll * 256 + pitch * 16 + yaw; 8192 + gripper:
here they are the bins. A bin's value is the middle between its edges; the translation is kept in [-1, 1] once more.
Computed in float64 on the host.
Source: SpatialVLA/SpatialVLA@e480753, model/action_tokenizer.py, scripts/action_config.json, scripts/gs_bridge.json.

What differs: NaN is an error, where the original has ids for it, and so is a reply of too few ids, which it fills with
id 0.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from rt2data.tokenizer import arrays
from rt2data.tokenizer.arrays import Array, Namespace
from rt2data.tokenizer.schemes.quantizers import round_inside
from rt2data.tokenizer.spec import Spec

if TYPE_CHECKING:
    import numpy.typing as npt

    Doubles = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

# The axes that have bins, in the order of the option gaussian: (lowest value, highest value, bins).
AXES = (
    (0.0, math.pi, 16),
    (-math.pi, math.pi, 32),
    (0.0, math.sqrt(3), 8),
    *((-1.0, 1.0, 16),) * 3,
)
ROTATION, GRIPPER, IDS = 4096, 8192, 8194  # the first id of each, and how many there are


class SpatialVla:
    """The rule above over arrays (..., 7)."""

    __slots__ = ("_edges", "_spec")

    faults = (
        "a translation is one of 4096 cells of a sphere: far ones are off by up to half a unit",
        "a decoded translation is kept in [-1, 1], so some encode to another id",
        "normalising adds 1e-8 to the width and undoing it does not",
    )

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        given = spec.options["gaussian"] or (None,) * len(AXES)
        self._edges = [axis_edges(*axis, own) for axis, own in zip(AXES, given, strict=True)]

    def encode(self, xp: Namespace, x: Array) -> Array:
        """Bins (..., 3), int32, of actions (..., 7)."""
        y = self._normalised(arrays.to_numpy(x))
        theta, phi, r = (
            self._cells(axis, value)
            for axis, value in enumerate(
                (
                    np.arctan2(np.sqrt(y[..., 0] ** 2 + y[..., 1] ** 2), y[..., 2]),
                    np.arctan2(y[..., 1], y[..., 0]),
                    np.sqrt(y[..., 0] ** 2 + y[..., 1] ** 2 + y[..., 2] ** 2),
                )
            )
        )
        roll, pitch, yaw = (self._cells(axis, y[..., axis]) for axis in (3, 4, 5))
        ids = (
            theta * 256 + phi * 8 + r,
            ROTATION + roll * 256 + pitch * 16 + yaw,
            GRIPPER + (y[..., 6] >= 0.5),
        )
        return arrays.constant(xp, np.stack(ids, axis=-1).astype(np.int32), x)

    def clipped(self, xp: Namespace, x: Array) -> Array:
        """Where actions (..., 7) lie below (-1) or above (+1) the bounds, as int8."""
        kind = arrays.widest_float(xp, x)
        low, high = (np.array([getattr(d, side) for d in self._spec.dims]) for side in ("low", "high"))
        least, most = round_inside(low, kind, up=True), round_inside(high, kind, up=False)
        y = arrays.cast(xp, x, kind)
        above, below = y > arrays.constant(xp, most, x), y < arrays.constant(xp, least, x)
        return arrays.cast(xp, above, "int8") - arrays.cast(xp, below, "int8")

    def decode(self, xp: Namespace, bins: Array, dtype: str) -> Array:
        """Actions (..., 7) of bins (..., 3)."""
        ids = arrays.to_numpy(bins).astype(np.int64)
        place, turn = np.clip(ids[..., 0], 0, ROTATION - 1), np.clip(ids[..., 1] - ROTATION, 0, ROTATION - 1)
        theta, phi, r = (self._middles(i, cell) for i, cell in enumerate((place // 256, place // 8 % 32, place % 8)))
        cells = (turn // 256, turn // 16 % 16, turn % 16)
        y = np.stack(
            [
                np.clip(r * np.sin(theta) * np.cos(phi), -1, 1),
                np.clip(r * np.sin(theta) * np.sin(phi), -1, 1),
                np.clip(r * np.cos(theta), -1, 1),
                *(self._middles(3 + i, cell) for i, cell in enumerate(cells)),
                (ids[..., 2] > GRIPPER).astype(np.float64),
            ],
            axis=-1,
        )
        low, high, raw = self._bounds()
        return arrays.constant(xp, np.where(raw, y, 0.5 * (y + 1) * (high - low) + low).astype(dtype), bins)

    def round_trip(self) -> tuple[bool, bool, int]:
        """See Properties; over every translation, every rotation and both grippers."""
        bins = np.empty((ROTATION, 3), np.int32)
        every = np.arange(ROTATION)
        bins[:, 0], bins[:, 1], bins[:, 2] = every, ROTATION + every, GRIPPER + every % 2
        values = [self.decode(np, bins, dtype) for dtype in ("float32", "float64")]
        changed = [int((self.encode(np, own)[:, :2] != bins[:, :2]).sum()) for own in values]
        injective = all(len(np.unique(own[:, part], axis=0)) == ROTATION for own in values for part in _PARTS)
        return changed == [0, 0], injective, changed[0]

    def _bounds(self) -> tuple[Doubles, Doubles, npt.NDArray[np.bool_]]:
        low, high = (np.array([getattr(d, side) for d in self._spec.dims]) for side in ("low", "high"))
        return low, high, (low == -1) & (high == 1)

    def _normalised(self, x: npt.NDArray[Any]) -> Doubles:
        """Actions as OpenVLA normalises them, in float32; then float64."""
        low, high, raw = self._bounds()
        y = x.astype(np.float32)
        scaled = np.float32(2) * (y - low.astype(np.float32)) / (high - low + 1e-8).astype(np.float32) - np.float32(1)
        constant = np.array([d.constant for d in self._spec.dims])
        kept: Doubles = np.where(constant, 0.0, np.clip(np.where(raw, y, scaled).astype(np.float64), -1, 1))
        return kept

    def _cells(self, axis: int, values: Doubles) -> Ints:
        return np.searchsorted(self._edges[axis][1:-1], values, side="right")

    def _middles(self, axis: int, cells: Ints) -> Doubles:
        edges = self._edges[axis]
        middles: Doubles = (edges[cells] + edges[cells + 1]) / 2
        return middles


_PARTS = (slice(0, 3), slice(3, 6))


def axis_edges(low: float, high: float, bins: int, normal: tuple[float, float] | None) -> Doubles:
    """The edges of an axis: bins + 1 of them, of equal width, or of equal weight by a normal distribution."""
    if normal is None:
        return np.linspace(low, high, bins + 1)
    own = NormalDist(*normal)
    shares = np.linspace(own.cdf(low), own.cdf(high), bins + 1)[1:-1]
    return np.array([low, *(min(max(own.inv_cdf(share), low), high) for share in shares.tolist()), high])
