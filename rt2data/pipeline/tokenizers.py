"""The tokenizers of a recipe: its own, and with the bounds of every source once the data are measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rt2data.pipeline.measure import action_statistics, chunk_statistics
from rt2data.recipes.action_schemes import ActionScheme
from rt2data.recipes.recipe import Recipe, RecipeSource
from rt2data.tokenizer import ActionTokenizer, proprio


def open_tokenizer(recipe: Recipe) -> ActionTokenizer:
    """The recipe's tokenizer, before any source's bounds are known."""
    spec = ActionTokenizer.from_pretrained(recipe.tokenizer)
    return spec if spec.horizon == recipe.horizon else spec.with_horizon(recipe.horizon)


def resolve(recipe: Recipe, spec: ActionTokenizer, measured: dict[int, dict[str, Any]]) -> ActionTokenizer:
    """Return `spec` with the bounds of every robot source that has train steps.

    Args:
        recipe: the recipe.
        spec: the tokenizer before any source's bounds are known.
        measured: the statistics of each robot source, by its position (`measure_all`).
    """
    dims = {}
    for number, source in enumerate(recipe.sources):
        own = measured.get(number, {})
        stats, chunks = own.get("train", {"count": 0}), own.get(chunk_statistics.SET)
        if source.declaration.robot and stats["count"]:
            shared, measure = measured[number].get("shared", stats), action_statistics.bounds
            dims[source.name] = (
                chunk_statistics.chunk_bounds(source, chunks, spec, measure)
                if chunks is not None
                else measure(source, shared, spec)
            )
    return _with_names(recipe, spec.with_sources(dims)) if dims else spec


def resolve_actions(recipe: Recipe, measured: dict[int, dict[str, Any]]) -> dict[str, ActionTokenizer]:
    """The further tokenizers of a recipe's actions, by name, with the bounds of every robot source, as `resolve`."""
    found = {}
    for scheme in recipe.actions:
        spec = ActionTokenizer.from_pretrained(scheme.spec).with_horizon(scheme.horizon)
        under = replace(recipe, sources=tuple(replace(source, bounds=scheme.bounds) for source in recipe.sources))
        first = {number: _first_steps(recipe.sources[number], own, scheme) for number, own in measured.items()}
        found[scheme.name] = resolve(under, spec, first)
    return found


def _first_steps(source: RecipeSource, measured: Mapping[str, Any], scheme: ActionScheme) -> dict[str, Any]:
    """The statistics that a further tokenizer is given its bounds by: floats share none; of chunks whose steps have
    their own, those of its steps.
    """
    own = {name: stats for name, stats in measured.items() if not (scheme.floats and name == "shared")}
    how = source.sampling.relative
    if how and how.per_step and chunk_statistics.SET in own:
        own[chunk_statistics.SET] = chunk_statistics.first_steps(own[chunk_statistics.SET], scheme.horizon)
    return own


def resolve_proprio(recipe: Recipe, measured: dict[int, dict[str, Any]]) -> ActionTokenizer | None:
    """The tokenizer of the states that prompts hold, with the bounds of each source; None where no prompt does."""
    dims, scheme = {}, proprio.load_scheme(recipe.state)
    for number, source in enumerate(recipe.sources):
        stats = measured.get(number, {}).get("proprio", {"count": 0})
        if source.sampling.state and stats["count"]:
            dims[source.name] = action_statistics.proprio_bounds(source, stats, scheme.bins)
    return _with_names(recipe, scheme.with_sources(dims)) if dims else None


def _with_names(recipe: Recipe, tokenizer: ActionTokenizer) -> ActionTokenizer:
    """Return a tokenizer that knows its sources by every name: a server has the tokenizer, but no declaration."""
    declared = {source.name: source.declaration for source in recipe.sources}
    aliases = {alias: name for name in tokenizer.sources for alias in declared[name].names if alias != name}
    return ActionTokenizer(tokenizer.spec.with_aliases(aliases))
