"""What each stack's statistics files hold and mean, as data: their names, their quantiles, their masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# The bounds that statistics give: which two measures. A z-score's are the mean minus and plus the standard deviation.
BOUNDS: Mapping[str, tuple[str, str]] = {
    "quantiles": ("q01", "q99"),
    "quantiles10": ("q10", "q90"),
    "minmax": ("min", "max"),
    "zscore": ("mean", "std"),
}


@dataclass(frozen=True, slots=True)
class Stack:
    """The statistics files of one stack.

    Attributes:
        title: its name in prose.
        file: where it keeps them.
        rules: its key in `rt2data.tokenizer.normalisers.RULES`.
        bounds: the bounds that it scales by, keys of BOUNDS; the first that a file has is the default.
        quantiles: how the stack's own code measures the 1st and 99th percentile.
        mask: what the mask means there.
        spec: the bundled tokenizer of the stack, else rt2.
    """

    title: str
    file: str
    rules: str
    bounds: tuple[str, ...]
    quantiles: str
    mask: str
    spec: str = "rt2"


_NUMPY = "numpy.quantile over all steps in float32, interpolated"
_NO_MASK = "none: every dimension is scaled"
_SCALED = "true: scaled; false: passes as it is"

STACKS: Mapping[str, Stack] = {
    "openvla": Stack(
        "OpenVLA", "dataset_statistics.json", "openvla", ("quantiles", "minmax"), _NUMPY, _SCALED, "openvla"
    ),
    "openvla-oft": Stack(
        "OpenVLA-OFT", "dataset_statistics.json", "openvla-oft", ("quantiles", "minmax"), _NUMPY, _SCALED, "openvla"
    ),
    "octo": Stack("Octo", "dataset_statistics.json", "octo", ("quantiles", "zscore"), _NUMPY, _SCALED),
    "openpi": Stack(
        "openpi",
        "norm_stats.json",
        "openpi",
        ("quantiles",),
        "the left edge of the bin of a running histogram of 5000 bins where the count passes",
        _NO_MASK + "; a mask elsewhere in openpi (DeltaActions) says which become relative",
    ),
    "lerobot": Stack(
        "LeRobot v3.0",
        "meta/stats.json",
        "lerobot",
        ("quantiles", "minmax"),
        "of each episode by a histogram; merged, the least of q01 and q10 and the greatest of q90 and q99: an envelope "
        "over episodes (until January 2026: their mean, weighted by steps)",
        _NO_MASK,
    ),
    "lerobot-v2.1": Stack(
        "LeRobot v2.1", "meta/episodes_stats.jsonl", "lerobot", ("minmax",), "none in the file", _NO_MASK
    ),
    "gr00t": Stack("GR00T", "meta/stats.json", "gr00t", ("minmax", "quantiles"), _NUMPY, _NO_MASK),
    "gr00t-relative": Stack(
        "GR00T (relative)",
        "meta/relative_stats.json",
        "gr00t",
        ("minmax",),
        "numpy.quantile over whole chunks, for each step of the chunk",
        _NO_MASK,
    ),
    "starvla": Stack(
        "starVLA",
        "dataset_statistics.json",
        "starvla",
        ("quantiles", "minmax"),
        _NUMPY,
        "true: scaled; false: 0 or 1 by a threshold at 0.5",
    ),
    "molmoact2": Stack(
        "MolmoAct2",
        "norm_stats.json",
        "molmoact2",
        ("quantiles",),
        "those of LeRobot",
        "true: scaled; false: passes as it is, and must lie in [-1, 1]",
    ),
}
