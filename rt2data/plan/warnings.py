"""Caveats: what a user should know of a plan before the build."""

from __future__ import annotations

from rt2data.plan import shared_pictures, video_frames
from rt2data.plan.plan import SourcePlan
from rt2data.plan.remarks import describe_remarks, explain_boxes
from rt2data.recipes import filters
from rt2data.recipes.recipe import Recipe, RecipeSource
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
        filled = [name for name, n in splits.items() if n and name != "train" and name in source.splits.names]
        if plan.unknown:
            words = _UNKNOWN[plan.kind == "robot"]
            what = ", ".join(words[word] for word in plan.unknown)
            warnings.append(f"{plan.dataset}: not known without its data: {what}")
        else:
            warnings += [f"{plan.dataset} gives {name} no sample" for name in filled if not plan.samples[name]]
        for name in source.splits.into_train:
            if name not in source.declaration.train_splits:
                warnings.append(f'{plan.dataset}: its split "{name}" goes into train, as the recipe asks')
        if plan.never_terminate:
            endless = f"{plan.never_terminate:,} of {plan.units:,} episodes"
            warnings.append(f"{plan.dataset}: in {endless} no step terminates")
        frames = video_frames.sentences(plan.frames, selection.cameras(source))
        warnings += [f"{plan.dataset}: {sentence}" for sentence in frames]
        warnings += [*_texts(source, plan), *describe_remarks(source, plan), *explain_boxes(source, plan)]
        robot = source.declaration.robot
        warnings += _failures(source, plan)
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
    return warnings + shared_pictures.overlaps(recipe) + _lengths(recipe)


def _texts(source: RecipeSource, plan: SourcePlan) -> list[str]:
    """Sentences about a source's instructions: those that were no UTF-8, and paraphrases that nobody has counted."""
    sentences = []
    if plan.recoded:
        found = f"the instructions of {plan.recoded:,} of {plan.units:,} episodes are no UTF-8"
        sentences.append(f"{plan.dataset}: {found} and are read as Windows-1252 or UTF-16")
    if plan.estimated and source.instructions == "all":
        sentences.append(f"{plan.dataset}: each paraphrase is a sample; only an index counts them (plan --index)")
    return sentences


def _failures(source: RecipeSource, plan: SourcePlan) -> list[str]:
    """A sentence about episodes that failed: that they are kept, or that nobody knows how many are left out."""
    robot, dataset = source.declaration.robot, plan.dataset
    if robot is None or robot.success is None:
        return []
    repair = "; filters: {success: true} leaves them out"
    if plan.failed is None:
        return [f"{dataset}: episodes that failed are kept, and nobody states how many{repair}"]
    if plan.failed:
        mark = "~" if plan.estimated else ""
        return [f"{dataset}: {mark}{plan.failed:,} of {plan.units:,} episodes failed and are kept{repair}"]
    published = source.declaration.raw.get("published", {})
    if plan.estimated and not filters.keeps_failures(source.filters) and "successes" not in published:
        return [f"{dataset}: how many episodes failed is not known without its data: none is taken off here"]
    return []


def _lengths(recipe: Recipe) -> list[str]:
    """A sentence about arms whose actions have different dimensions: no prompt tells them apart, the picture must."""
    names: dict[str, list[str]] = {}
    for source in recipe.sources:
        robot = source.declaration.robot
        if robot and set(robot.dims) <= set(ARM):
            names.setdefault(" ".join(robot.dims), []).append(source.name)
    if len(names) < 2:
        return []
    every = sorted(names.items(), key=lambda item: -len(item[1]))
    parts = [f"{dims} ({', '.join(ids)})" for dims, ids in every[1:]]
    return [f"the arms have actions of different dimensions: most {every[0][0]}; {'; '.join(parts)}"]
