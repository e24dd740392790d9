"""Caveats: what a user should know of a plan before the build."""

from __future__ import annotations

from rt2data.plan import shared_pictures, video_frames
from rt2data.plan.plan import SourcePlan
from rt2data.plan.remarks import describe_remarks, explain_boxes
from rt2data.recipes import filters
from rt2data.recipes.kinds import asked_before
from rt2data.recipes.recipe import Recipe, RecipeSource
from rt2data.robot.fields import ARM
from rt2data.samples import selection
from rt2data.tokenizer import ActionTokenizer, GroundingTokenizer
from rt2data.turns.kinds import Turn
from rt2data.turns.template import CALL_FORM

PALIGEMMA = 257_152  # token ids of its vocabulary, of which the last 128 are <seg...>
LOC_TOKENS = range(256_000, 257_024)

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
        warnings += [
            *_texts(source, plan),
            *_assumed(source, plan),
            *describe_remarks(source, plan),
            *explain_boxes(source, plan),
        ]
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
    kinds = [
        *_loc_tokens(recipe),
        *(text for source in recipe.sources for text in [*_resized(source), *_alike(source)]),
    ]
    return warnings + shared_pictures.overlaps(recipe) + _lengths(recipe) + kinds


def _texts(source: RecipeSource, plan: SourcePlan) -> list[str]:
    """Sentences about a source's texts: those that were no UTF-8, and what nobody has counted of the others."""
    sentences = []
    if plan.recoded:
        found = f"the instructions of {plan.recoded:,} of {plan.units:,} episodes are no UTF-8"
        sentences.append(f"{plan.dataset}: {found} and are read as Windows-1252 or UTF-16")
    if plan.estimated and source.instructions == "all":
        sentences.append(f"{plan.dataset}: each paraphrase is a sample; only an index counts them (plan --index)")
    web = source.declaration.web
    if plan.estimated and web and web.text_only and "text_only" not in plan.remarks:
        sentences.append(f"{plan.dataset}: how many samples are text alone is known only from an index (plan --index)")
    return sentences


def _assumed(source: RecipeSource, plan: SourcePlan) -> list[str]:
    """A sentence about kinds of sample of which nobody has counted the steps that they fit."""
    names = [kind.name for kind in source.kinds if kind.requires]
    if not plan.estimated or not names:
        return []
    found = f"every step is taken to have what the kinds {', '.join(names)} require"
    return [f"{plan.dataset}: {found}; only an index counts those that do (plan --index)"]


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


def _loc_tokens(recipe: Recipe) -> list[str]:
    """Sentences about action ids that are PaliGemma's location tokens, where a kind of sample writes these."""
    used = [f"{source.name}, kind {kind.name}" for source in recipe.sources for kind in source.kinds
            if any(slot.form.startswith("paligemma") for slot in kind.values().values())]  # fmt: skip
    sentences = []
    for name in dict.fromkeys([recipe.tokenizer, *(scheme.spec for scheme in recipe.actions)]) if used else ():
        spec = ActionTokenizer.from_pretrained(name).spec
        skip, behind = spec.vocabulary.get("skip", 0), PALIGEMMA - LOC_TOKENS.stop
        ends = skip + spec.bins  # behind the last id, counted from the end of the vocabulary
        if spec.vocabulary["place"] != "tail" or skip >= PALIGEMMA - LOC_TOKENS.start or ends <= behind:
            continue
        first = max(behind - skip, 0)
        token = PALIGEMMA - 1 - skip - first
        found = f"its id {first} is {token}, <loc{token - LOC_TOKENS.start:04}>"
        repair = (
            f"vocabulary: {{place: tail, skip: {PALIGEMMA - LOC_TOKENS.start}}} in a specification keeps them apart"
        )
        sentence = f"the tokenizer {name} writes actions with PaliGemma's location tokens ({found})"
        sentences.append(f"{sentence}, which also stand for places in {'; '.join(used)}: {repair}")
    return sentences


def _resized(source: RecipeSource) -> list[str]:
    """Sentences about forms whose numbers depend on how a model's processor resizes images."""
    forms: dict[str, list[str]] = {}
    for kind in source.kinds:
        for slot in kind.values().values():
            if slot.form not in ("", CALL_FORM) and kind.name not in forms.setdefault(slot.form, []):
                forms[slot.form].append(kind.name)
    sentences = []
    for name, users in forms.items():
        resize = GroundingTokenizer.from_pretrained(name).form.resize
        if resize is not None:
            said = f"rule {resize.rule}, factor {resize.factor}, {resize.min_pixels:,} to {resize.max_pixels:,} pixels"
            said += f", longest side {resize.longest}" if resize.longest else ""
            counted = f"the form {name} (kind {', '.join(users)}) counts pixels of the image that the model resizes"
            sentences.append(f"{source.name}: {counted}: {said}; its processor needs the same bounds")
    return sentences


def _is_answer(turn: Turn) -> bool:
    return turn.role == "assistant" and turn.loss != "none"


def _alike(source: RecipeSource) -> list[str]:
    """Sentences about kinds of sample that ask the same and answer in another way: nothing tells a model which."""
    first: dict[str, tuple[str, Turn]] = {}
    pairs: dict[tuple[str, str], str] = {}
    # A kind that stands in for another is asked where that one cannot be.
    stands_in = {kind.name: kind.otherwise for kind in source.kinds}
    for kind in source.kinds:
        texts, answer = asked_before(kind, _is_answer)
        if answer is None:  # an action head's answer is no text
            continue
        for text in texts:
            name, other = first.setdefault(text, (kind.name, answer))
            if other.pool != answer.pool and kind.name != stands_in[name] and name != kind.otherwise:
                pairs.setdefault((name, kind.name), text)
    return [
        f"{source.name}: the kinds {one} and {other} ask the same and answer differently, so that a model cannot tell "
        f'which is wanted: "{" ".join(text.split())[:120]}"'
        for (one, other), text in pairs.items()
    ]
