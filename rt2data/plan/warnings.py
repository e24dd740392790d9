"""Caveats: what a user should know of a plan before the build."""

from __future__ import annotations

from rt2data.plan import video_frames
from rt2data.plan.plan import SourcePlan
from rt2data.recipes.recipe import Recipe
from rt2data.robot.fields import ARM
from rt2data.samples import selection

_UNKNOWN = (
    {"units": "number of examples", "samples": "number of texts", "images": "bytes of the images"},
    {"units": "number of episodes", "samples": "number of steps", "images": "bytes of the images"},
)


def warnings(recipe: Recipe, plans: list[SourcePlan], splits: dict[str, int]) -> list[str]:
    """What a user should know before the build, a sentence each; `splits` gives the samples of each."""
    unknown = any("samples" in plan.unknown for plan in plans)
    without: dict[str, list[str]] = {}
    # What is held out is known only from an index.
    guessed = recipe.holdout.split if recipe.holdout and any(plan.estimated for plan in plans) else None
    empty = [name for name, samples in splits.items() if not samples and name != guessed]
    warnings = [] if unknown else [f"split {name} is empty" for name in empty]
    for source, plan in zip(recipe.sources, plans, strict=True):
        filled = [name for name, n in splits.items() if n and name != "train" and name in source.splits]
        if plan.unknown:
            words = _UNKNOWN[plan.kind == "robot"]
            what = ", ".join(words[word] for word in plan.unknown)
            warnings.append(f"{plan.dataset}: not known without its data: {what}")
        else:
            warnings += [f"{plan.dataset} gives {name} no sample" for name in filled if not plan.samples[name]]
        if plan.never_terminate:
            warnings.append(f"{plan.dataset}: in {plan.never_terminate} of {plan.units} episodes no step terminates")
        warnings += [
            f"{plan.dataset}: {sentence}" for sentence in video_frames.sentences(plan.frames, selection.cameras(source))
        ]
        robot = source.declaration.robot
        warnings += [
            f"{plan.dataset}: {about} is unverified: {reason}" for about, reason in source.declaration.unverified
        ]
        project = source.declaration.standardisation
        if project:
            warnings += [f"{plan.dataset}: as {project} reads it: {quirk}" for quirk in source.declaration.raw["notes"]]
        if robot and robot.controller:
            names = ", ".join(name for name, unit in zip(robot.dims, robot.units, strict=True) if unit == "controller")
            warnings.append(f"{plan.dataset}: {names} are in units of a controller, no metres or radians")
        missing = [c for c in source.cameras if robot and c not in source.declaration.cameras]
        if missing:
            without.setdefault(", ".join(missing), []).append(plan.dataset)
    for cameras, whose in without.items():
        warnings.append(f"{', '.join(whose)} {'has' if len(whose) == 1 else 'have'} no camera {cameras}")
    return warnings + _lengths(recipe)


def _lengths(recipe: Recipe) -> list[str]:
    """A sentence about arms whose actions have different dimensions: no prompt tells them apart, the picture must."""
    names: dict[str, list[str]] = {}
    for source in recipe.sources:
        robot = source.declaration.robot
        if robot and set(robot.dims) <= set(ARM):
            names.setdefault(" ".join(robot.dims), []).append(source.id)
    if len(names) < 2:
        return []
    every = sorted(names.items(), key=lambda item: -len(item[1]))
    parts = [f"{dims} ({', '.join(ids)})" for dims, ids in every[1:]]
    return [f"the arms have actions of different dimensions: most {every[0][0]}; {'; '.join(parts)}"]
