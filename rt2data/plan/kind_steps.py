"""The steps of each kind of sample, counted before quotas: which fit, what is missing, and which kind takes which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rt2data import index
from rt2data.errors import Rt2dataError, near
from rt2data.plan import kind_quotas
from rt2data.plan.plan import SourcePlan
from rt2data.recipes.recipe import RecipeSource
from rt2data.samples import kinds, objects, selection, windows
from rt2data.samples.job import Job
from rt2data.samples.selection import Selection
from rt2data.tracks.store import TrackStore
from rt2data.turns.drawings import Drawing
from rt2data.turns.kinds import VALUES, Kind
from rt2data.turns.template import STEP, Picture, parse_slot


def choose_kinds(job: Job, plans: Sequence[SourcePlan]) -> list[Rt2dataError]:
    """Count the steps that each kind fits and, where a step gives one sample, decide which kind takes which.

    Returns:
        An error for each placeholder that names nothing, each kind whose samples lack something the recipe does not
        provide for, and each whose share of train cannot be filled.
    """
    problems: list[Rt2dataError] = []
    for number, source in enumerate(job.recipe.sources):
        if not source.kinds:
            continue
        if unknown := check_names(source, job.tracks(number)):
            problems += unknown
            continue
        for _, samples, steps, table in _parts(job, number):
            _count(job, source, plans[number], samples, steps, table)
        problems += kind_quotas.refuse_missing(source, plans[number])
        if source.choose == "one_kind_per_step" and not problems:
            problems += _choose(job, number, plans[number])
    return problems


def _parts(job: Job, number: int) -> Iterator[tuple[Any, Selection, list[kinds.KindSteps], Any]]:
    for part in job.parts:
        if part.source == number:
            table = job.table(part)
            samples = selection.select(table, job.recipe, job.source(part), part.split)
            yield part, samples, kinds.kind_steps(job.values(part, table)), table


def _count(
    job: Job, source: RecipeSource, plan: SourcePlan, samples: Selection, steps: list[kinds.KindSteps], table: Any
) -> None:
    some = np.zeros(len(samples.rows), np.bool_)
    for kind, own in zip(source.kinds, steps, strict=True):
        one, fits = plan.kinds[kind.name], own.fits[samples.rows]
        some |= fits
        one.otherwise += int(np.count_nonzero(own.otherwise[samples.rows]))
        for split, name in enumerate(job.recipe.splits):
            one.fits[name] += int(np.count_nonzero(fits & (samples.split == split)))
        for key, gone in own.missing.items():
            rows = samples.rows[gone[samples.rows]]
            if len(rows):
                one.missing[key] += len(rows)
                episodes, names = index.codes(table, "episode")
                first = int(rows[0])
                name = names[episodes[first]] if episodes[first] >= 0 else ""
                one.place = one.place or f"step {index.numbers(table, 'step')[first]} of episode {name}"
    if not some.all():
        plan.left_out["no_kind"] += len(np.unique(samples.rows[~some]))
    for split, name in enumerate(job.recipe.splits):
        plan.steps[name] += int(np.count_nonzero(some & (samples.split == split)))


def _choose(job: Job, number: int, plan: SourcePlan) -> list[Rt2dataError]:
    recipe, source = job.recipe, job.recipe.sources[number]
    position = {kind.name: place for place, kind in enumerate(source.kinds)}

    def free(kind: str) -> kind_quotas.Hashed:
        for _, samples, steps, _table in _parts(job, number):
            fits = [one.fits[samples.rows] for one in steps]
            taken = kinds.choose(recipe, source, samples, fits, plan.kinds, until=kind)
            hashed = kinds.kind_hashes(recipe, source, samples, kind)
            yield hashed, samples.split, fits[position[kind]] & (taken < 0)

    return kind_quotas.choose_limits(recipe, source, plan, free)


def by_kind(source: RecipeSource, samples: Selection) -> Iterator[tuple[str, Selection]]:
    """The samples of each kind, by its name; all of them under "" where the source has no kinds."""
    if samples.kind is None:
        yield "", samples
        return
    for number, kind in enumerate(source.kinds):
        yield kind.name, samples.take(samples.kind == number)


def by_pictures(source: RecipeSource, samples: Selection, rows: Any) -> Iterator[tuple[list[Picture], Any]]:
    """The rows of some samples, with the images that they show."""
    if samples.kind is None:
        yield windows.pictures(source, None), samples.rows[rows]
        return
    for number, kind in enumerate(source.kinds):
        mine = rows[samples.kind[rows] == number]
        if len(mine):
            yield windows.pictures(source, kind), samples.rows[mine]


def assume_all(recipe_splits: Sequence[str], source: RecipeSource, plan: SourcePlan) -> None:
    """Fill in the kinds of a plan that looked at no data, as if every step fitted every kind."""
    one = source.choose == "one_kind_per_step"
    plan.estimated |= any(kind.requires for kind in source.kinds)
    for name in recipe_splits:
        steps = plan.samples[name]
        plan.steps[name] = steps
        total = sum(1 if kind.weight is None else kind.weight for kind in source.kinds)
        for kind in source.kinds:
            own = plan.kinds[kind.name]
            own.fits[name] = 0 if kind.weight == 0 else round(steps * sum(kind.share) / 2)
            own.samples[name] = kind.variants() * own.fits[name]
            if one:
                own.samples[name] = round(steps * (1 if kind.weight is None else kind.weight) / total)
        plan.samples[name] = sum(own.samples[name] for own in plan.kinds.values())


def image_share(source: RecipeSource, plan: SourcePlan) -> float:
    """How many of the images of its steps a source's drawn samples show on average; a kind may show none."""
    every = len(windows.pictures(source, None)) * sum(plan.quota.values())
    shown = sum(
        sum(plan.kinds[kind.name].quota.values()) * len(windows.pictures(source, kind)) for kind in source.kinds
    )
    return shown / max(1, every) if source.kinds else 1.0


def check_names(source: RecipeSource, store: TrackStore | None) -> list[Rt2dataError]:
    """An error for each placeholder of the source's kinds that is no value and names no track."""
    known = [*VALUES, *(store.names() if store else ())]
    problems = []
    for kind in source.kinds:
        written = kind.values()
        needed = {key: parse_slot(key, "") for key in (*kind.requires, *([kind.over] if kind.over else []))}
        for key, slot in (needed | written).items():
            if slot.name not in known:
                where = f"{source.where}: {source.name}, kind {kind.name}"
                repair = near(slot.name, known) or "annotations: adds tracks, and a declaration those of a dataset"
                found = f"{{{slot.key}}}, and no track of this name"
                problems.append(Rt2dataError(where, found, f"one of {', '.join(known)}", repair))
            elif store is not None and kinds.is_track(slot, store):
                if key not in written and not slot.form:  # it is looked for, not written
                    continue
                problems += objects.check_form(source, kind, slot, store.names()[slot.name])
            elif any(function != STEP for function, _ in slot.selects) and not slot.is_image:
                where = f"{source.where}: {source.name}, kind {kind.name}"
                found = f"{{{slot.key}}}, and {slot.name} is no track"
                problems.append(Rt2dataError(where, found, f"{{{slot.name}}} alone"))
        problems += [error for _, one in kind.drawn().values() for error in _check_drawing(source, kind, one, store)]
    return problems


def _check_drawing(source: RecipeSource, kind: Kind, drawing: Drawing, store: TrackStore | None) -> list[Rt2dataError]:
    """An error where a drawing names no track, or one that cannot be drawn."""
    tracks, name = store.names() if store else {}, drawing.slot.name
    if name in tracks:
        return objects.check_drawing(source, kind, drawing, tracks[name])
    found = f"the drawing {drawing.name} of {name}, and no track of this name"
    where = f"{source.where}: {source.name}, kind {kind.name}"
    return [Rt2dataError(where, found, f"one of {', '.join(tracks) or '(none)'}", near(name, list(tracks)))]
