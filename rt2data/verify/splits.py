"""What the field ``splits`` of a source in a resolved recipe says: shares, or lists of the dataset's own splits."""

from __future__ import annotations

from typing import Any


def names(rule: dict[str, Any]) -> list[str]:
    """Return the splits of the mixture that a source fills, in order."""
    return [name for name in rule["splits"] if name != "from"]


def shares(rule: dict[str, Any]) -> dict[str, float]:
    """Return the share of each split; none where lists say what it holds."""
    return {name: rule["splits"][name] for name in names(rule)} if "from" in rule["splits"] else {}


def dataset_splits(rule: dict[str, Any]) -> set[str]:
    """Return the dataset's own splits that a source reads."""
    lists = [value for value in rule["splits"].values() if isinstance(value, list)]
    return {name for one in lists for name in one}
