"""Which version of each dataset is read."""

from __future__ import annotations

from collections.abc import Iterable

from rt2data.plan.plan import SourcePlan
from rt2data.sources.base import Source


def set_versions(plans: Iterable[SourcePlan], datasets: Iterable[Source | None]) -> None:
    """Set the version of each source's dataset in its plan; that of a dataset that is not at hand (None) is unknown."""
    for plan, dataset in zip(plans, datasets, strict=True):
        if dataset is not None:
            plan.version, plan.revision = dataset.version, dataset.revision
            plan.other_versions = list(dataset.other_versions)


def describe_version(plan: SourcePlan) -> str:
    """Describe the version that is read, and those beside it; "" where the dataset states none."""
    parts = [plan.version] if plan.version else []
    parts += [f"revision {plan.revision}"] if plan.revision else []
    if plan.other_versions:
        parts.append(f"not {', '.join(plan.other_versions)} beside it")
    return f"version: {', '.join(parts)}" if parts else ""
