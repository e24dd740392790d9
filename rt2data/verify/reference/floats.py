"""The scheme ``float`` once more, in plain Python: what the stacks make of one number of an action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What each stack adds to the width by bounds, and to the standard deviation.
_EPSILON: Mapping[str, tuple[float, float]] = {
    "openvla": (1e-8, 1e-8),
    "openvla-oft": (1e-8, 1e-8),
    "octo": (1e-8, 1e-8),
    "openpi": (1e-6, 1e-6),
    "lerobot": (0.0, 1e-8),
}
# Where a stack clips what it has normalised, and by which of the statistics.
_CLIP: Mapping[tuple[str, str], float] = {
    ("openvla", "quantiles"): 1.0,
    ("openvla", "minmax"): 1.0,
    ("openvla-oft", "quantiles"): 1.0,
    ("openvla-oft", "minmax"): 1.0,
    ("octo", "quantiles"): 1.0,
    ("gr00t", "quantiles"): 1.0,
    ("gr00t", "minmax"): 1.0,
    ("gr00t", "zscore"): 1.0,
    ("gr00t-n1.5", "quantiles"): 1.0,
    ("starvla", "quantiles"): 2.2,
    ("starvla-deploy", "quantiles"): 2.2,
    ("molmoact2", "quantiles"): 1.0,
}
# Where a dimension that does not move becomes 0.
_ZERO = frozenset(
    (stack, kind)
    for stack, kinds in (
        ("openvla", ("quantiles", "minmax")),
        ("openvla-oft", ("quantiles", "minmax")),
        ("gr00t", ("quantiles", "minmax")),
        ("gr00t-n1.5", ("minmax",)),
        ("starvla", ("minmax",)),
    )
    for kind in kinds
)
RAW_GRIPPER = ("openvla", "openvla-oft", "octo", "starvla", "starvla-deploy")


class FloatRule:
    """How one dimension is normalised.

    Attributes:
        limits: outside of them a number counts as clipped.
        tolerance: how far float32 arithmetic may be from `normalised`, beside 2e-6 of the number.
    """

    def __init__(self, dim: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        stack, kind = options["stack"], options["kind"]
        low, high = float(dim["low"]), float(dim["high"])
        self.raw = low == -1 and high == 1
        self.binary = self.raw and stack.startswith("starvla")
        self.zero = (stack, kind) in _ZERO and bool(dim.get("constant", False))
        self.clip = _CLIP.get((stack, kind))
        epsilon = _EPSILON.get(stack, (0.0, 0.0))[kind == "zscore"]
        self.zscore = kind == "zscore"
        self.limits = (float("-inf"), float("inf")) if self.zscore else (low, high)
        self.start = (low + high) / 2 if self.zscore else low
        self.width = ((high - low) / 2 if self.zscore else high - low) + epsilon
        self.tolerance = 0.0 if self.raw else max(abs(low), abs(high)) * 2.0**-21 / self.width

    def normalised(self, x: float) -> float:
        """The number that a model is trained on."""
        if self.zero:
            return 0.0
        if self.raw:
            return float(x > 0.5) if self.binary else x
        y = (x - self.start) / self.width
        y = y if self.zscore else 2 * y - 1
        return y if self.clip is None else min(max(y, -self.clip), self.clip)
