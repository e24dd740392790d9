"""Quotas: how many samples each source gives train, by the amounts of the recipe."""

from __future__ import annotations

import decimal
import math
from fractions import Fraction

from rt2data.errors import Rt2dataError
from rt2data.plan import apportion, kind_quotas, left_out, video_frames
from rt2data.plan.plan import SourcePlan
from rt2data.plan.remarks import explain_boxes
from rt2data.recipes.recipe import Recipe, RecipeSource
from rt2data.samples import selection


def _without_samples(source: RecipeSource, plan: SourcePlan) -> Rt2dataError:
    """The error of a source that has no train sample."""
    word = "steps" if plan.kind == "robot" else "examples"
    reasons = ", ".join(f"{n} {reason}" for reason, n in plan.left_out.most_common()) or "none left out"
    reasons = "; ".join([reasons, *left_out.hints(plan)])
    others = ", ".join(f"{n} in {name}" for name, n in plan.samples.items() if n)
    found = f"{plan.dataset} gives train no sample: {plan.rows} {word} ({reasons}{'; ' + others if others else ''})"
    repair = "Check the dataset's folder and its splits:"
    if plan.left_out and not others:
        repair = "Change in the recipe what leaves them out, or take the source out"
        repair = "; ".join(video_frames.sentences(plan.frames, selection.cameras(source))) or repair
    if explained := explain_boxes(source, plan):
        repair = "; ".join(explained)
    return Rt2dataError(source.where, found, "at least one usable train sample", repair)


def set_quotas(recipe: Recipe, plans: list[SourcePlan]) -> list[Rt2dataError]:
    """Fill in each source's part of the mix, quota and copies.

    Returns:
        An error for each source that has no train sample, would give none, or whose samples would be repeated more than
        `max_repeat` times. What is filled in is then what the recipe asks for.
    """
    problems = []
    n = [plan.size for plan in plans]
    if recipe.sources[0].weight is not None:
        weights = [
            Fraction(str(s.weight or 0)) * _factor(recipe, size) for s, size in zip(recipe.sources, n, strict=True)
        ]
        every = sum(weights) or Fraction(1)  # 0: of no source is the size known
        if recipe.weights == "times_size":
            total = math.floor(every + Fraction(1, 2))
        else:
            total = max(
                math.ceil(size * every / weight) if weight else 0 for size, weight in zip(n, weights, strict=True)
            )
        quotas = (
            apportion.largest_remainder(recipe.train_samples or total, weights) if any(weights) else [0] * len(plans)
        )
        if recipe.weights == "share" or all(n):
            for plan, weight in zip(plans, weights, strict=True):
                plan.wanted = float(weight / every)
    else:
        quotas = [
            s.samples if s.samples is not None else math.floor(size * Fraction(str(s.repeat or 0)) + Fraction(1, 2))
            for s, size in zip(recipe.sources, n, strict=True)
        ]
    for source, plan, size, quota in zip(recipe.sources, plans, n, quotas, strict=True):
        if plan.kinds:
            problems += kind_quotas.set_kind_quotas(recipe, source, plan, quota)
            continue
        plan.mix = quota
        plan.quota["train"] = size if recipe.form == "by_source" else quota
        if "samples" in plan.unknown:
            continue
        if not size:
            problems.append(_without_samples(source, plan))
        elif quota > Fraction(str(recipe.max_repeat)) * size:
            found = f"{plan.dataset} would be repeated {quota / size:.1f} times ({size} samples for a quota of {quota})"
            way = "lower its weight" if plan.wanted is not None else "ask for less of it"
            expected = f"at most max_repeat: {recipe.max_repeat:g} times"
            problems.append(Rt2dataError(source.where, found, expected, f"Either {way}, or raise max_repeat"))
        elif not quota:
            way = "Raise its weight or train_samples" if plan.wanted is not None else "Ask for more of it"
            found = f"{plan.dataset} would give train 0 of its {size} samples"
            problems.append(Rt2dataError(source.where, found, "at least one", f"{way}, or take the source out"))
        plan.repeats = plan.quota["train"] // max(1, size)
        for name in recipe.splits[1:]:
            plan.quota[name] = plan.samples[name]
    return problems


def _factor(recipe: Recipe, size: int) -> Fraction:
    """What a weight is multiplied with, for a source of `size` samples.

    With a temperature T, size ** (1 / T) = exp(ln(size) / T) in decimal arithmetic of 50 digits, each of the three
    operations rounded half to even, then rounded to 30 digits: defined to the last digit, whatever the machine.
    """
    if recipe.weights == "share" or size == 0:
        return Fraction(size > 0 or recipe.weights == "share")
    if recipe.temperature is None:
        return Fraction(size)
    wide, narrow = decimal.Context(prec=50), decimal.Context(prec=30)
    power = wide.exp(wide.divide(wide.ln(decimal.Decimal(size)), decimal.Decimal(str(recipe.temperature))))
    return Fraction(narrow.plus(power))
