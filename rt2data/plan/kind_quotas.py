"""Quotas of the kinds of sample within a source, and which kind takes a step that is to give one sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from rt2data.errors import Rt2dataError
from rt2data.index import keys
from rt2data.plan import apportion
from rt2data.plan.plan import SourcePlan
from rt2data.recipes.recipe import Recipe, RecipeSource

Bools = npt.NDArray[np.bool_]


def set_kind_quotas(recipe: Recipe, source: RecipeSource, plan: SourcePlan, quota: int) -> list[Rt2dataError]:
    """Divide a source's quota among its kinds, and fill in its own as their sum.

    Args:
        recipe: the recipe.
        source: one of its sources, with kinds.
        plan: of the source; its kinds know their samples.
        quota: of the source, where its kinds have weights.

    Returns:
        An error for each kind without a train sample, and for each that would be repeated too often.
    """
    problems = []
    by_weight = source.kinds[0].weight is not None
    if by_weight:
        quotas = apportion.largest_remainder(quota, [Fraction(str(kind.weight)) for kind in source.kinds])
    else:
        passes = [Fraction(str(kind.repeat or 0)) * Fraction(str(source.repeat or 1)) for kind in source.kinds]
        quotas = [
            kind.samples or math.floor(plan.kinds[kind.name].samples["train"] * times + Fraction(1, 2))
            for kind, times in zip(source.kinds, passes, strict=True)
        ]
    for kind, quota in zip(source.kinds, quotas, strict=True):
        own = plan.kinds[kind.name]
        size = own.samples["train"]
        own.mix = quota
        own.quota["train"] = size if recipe.form == "by_source" else quota
        where = f"{source.where}: {source.name}, kind {kind.name}"
        if "samples" not in plan.unknown and kind.weight != 0:
            if not size:
                found = f"no train sample: no step has {_needs(source, kind.name)}"
                problems.append(Rt2dataError(where, found, "at least one", "Look at its tracks, or take it out"))
            elif quota > Fraction(str(recipe.max_repeat)) * size:
                found = f"repeated {quota / size:.1f} times ({size:,} samples for a quota of {quota:,})"
                expected = f"at most max_repeat: {recipe.max_repeat:g} times"
                problems.append(Rt2dataError(where, found, expected, "Either lower its weight, or raise max_repeat"))
            elif not quota:
                found = f"0 of its {size:,} samples"
                problems.append(Rt2dataError(where, found, "at least one", "Raise its weight, or take it out"))
        own.repeats = own.quota["train"] // max(1, size)
        for name in recipe.splits[1:]:
            own.quota[name] = own.samples[name]
    plan.mix = sum(one.mix for one in plan.kinds.values())
    for name in recipe.splits:
        plan.quota[name] = sum(one.quota[name] for one in plan.kinds.values())
    plan.repeats, plan.threshold = 0, -1
    return problems


def _needs(source: RecipeSource, name: str) -> str:
    kind = next(kind for kind in source.kinds if kind.name == name)
    return ", ".join(f"{{{key}}}" for key in kind.requires) or "what its turns need"


def refuse_missing(source: RecipeSource, plan: SourcePlan) -> list[Rt2dataError]:
    """An error for each kind whose samples lack a value, while nothing in the recipe says what is to be done."""
    problems = []
    for name, own in plan.kinds.items():
        for key, number in own.missing.items():
            total = sum(own.fits.values())
            found = f"{{{key}}} is missing at {number:,} of {total:,} steps, first at {own.place}"
            repair = (
                f"Say requires: [{key}] on the kind to leave these steps out of it, otherwise: KIND to take other "
                "turns, or missing: skip or empty on the turn"
            )
            if number == total:
                repair = f"No step has it: look at its rows above, and at episode: of its annotations. {repair}"
            where = f"{source.where}: {source.name}, kind {name}"
            problems.append(Rt2dataError(where, found, "what to do with them", repair))
    return problems


Hashed = Iterator[tuple[keys.U64, npt.NDArray[np.int8], Bools]]


def choose_limits(
    recipe: Recipe, source: RecipeSource, plan: SourcePlan, free: Callable[[str], Hashed]
) -> list[Rt2dataError]:
    """Decide which steps each kind takes, where a step is to give one sample: a limit of hashes for each split.

    Args:
        recipe: the recipe.
        source: one of its sources.
        plan: of the source; of its kinds `fits` is known, `turn` and `limits` are filled in.
        free: gives for a kind, part by part, the hash("kind", seed, key) of each step, its split, and whether the step
            is free and fits the kind, once the kinds before it have taken theirs.

    Returns:
        An error for each kind whose share of train cannot be filled.
    """
    problems = []
    by_split = {
        name: apportion.largest_remainder(plan.steps[name], [Fraction(str(kind.weight)) for kind in source.kinds])
        for name in recipe.splits
    }
    position = {kind.name: number for number, kind in enumerate(source.kinds)}
    order = sorted(source.kinds, key=lambda k: (not k.first, plan.kinds[k.name].fits["train"], position[k.name]))
    for turn, kind in enumerate(order):
        plan.kinds[kind.name].turn = turn
        plan.kinds[kind.name].limits = dict.fromkeys(recipe.splits, -1)
    for kind in order:
        own = plan.kinds[kind.name]
        hashes: dict[int, list[keys.U64]] = {number: [] for number in range(len(recipe.splits))}
        for hashed, split, fits in free(kind.name):
            for number, own_hashes in hashes.items():
                own_hashes.append(hashed[fits & (split == number)])
        for number, name in enumerate(recipe.splits):
            every = np.concatenate(hashes.pop(number) or [np.empty(0, np.uint64)])
            wanted = by_split[name][position[kind.name]]
            if name == "train" and wanted > len(every):
                found = f"{len(every):,} free steps that it fits, for a share of {wanted:,} of {plan.steps[name]:,}"
                repair = "Lower its weight, or say first: true on it, so that it takes steps before other kinds"
                where = f"{source.where}: {source.name}, kind {kind.name}"
                problems.append(Rt2dataError(where, found, f"{wanted:,} steps", repair))
            own.limits[name] = keys.threshold(every, min(wanted, len(every)), source.where)
    return problems
