"""Write statistics in the form of each stack, so that its own code loads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.normalisers import RULES
from rt2data.tokenizer.statistics.stacks import STACKS, Stack
from rt2data.tokenizer.statistics.values import Statistics

# GR00T's statistics of chunks have a function of their own: they are not those of single steps.
FORMATS = tuple(name for name in STACKS if name != "gr00t-relative")
_ONE_DATASET = ("openpi", "lerobot", "lerobot-v2.1", "gr00t")


@dataclass(frozen=True, slots=True)
class DatasetStatistics:
    """The statistics of one dataset, to be written.

    Attributes:
        name: the key of the dataset in a file that has several.
        action: of the actions (D,), with their names; its mask, where it has one, is written where the stack has masks.
        state: of the proprioceptive states; None where there are none.
        episodes: how many were measured.
    """

    name: str
    action: Statistics
    state: Statistics | None
    episodes: int


def statistics_files(form: str, datasets: Sequence[DatasetStatistics]) -> dict[str, str]:
    """Render the statistics of datasets in the form of a stack.

    Args:
        form: one of FORMATS.
        datasets: one or more; openpi, LeRobot and GR00T have a file for each.

    Returns:
        The text of each file, by its name where the stack looks for it, such as ``meta/stats.json``.

    Raises:
        ActionError: several datasets for a stack that keeps one in a file, or a measure that is missing.
    """
    if form not in FORMATS:
        raise ActionError("format", repr(form)[:60], f"one of {', '.join(FORMATS)}")
    if len(datasets) != 1 and (form in _ONE_DATASET or not datasets):
        found = f"statistics of {', '.join(one.name for one in datasets) or 'no dataset'}"
        raise ActionError(f"format {form}", found, "those of one dataset", "Name it with --source")
    first = datasets[0]
    if form in ("openvla", "openvla-oft"):
        content: Any = {one.name: _openvla(one) for one in datasets}
    elif form == "octo":
        content = {one.name: _octo(one) for one in datasets}
    elif form == "starvla":
        content = {one.name: _starvla(one) for one in datasets}
    elif form == "molmoact2":
        content = {"metadata_by_tag": {one.name: _molmoact2(one) for one in datasets}}
    elif form == "openpi":
        parts = {"state": first.state, "actions": first.action}
        named = {name: _measures(part, "mean std q01 q99") for name, part in parts.items() if part}
        content = {"norm_stats": named}
    elif form == "gr00t":
        stats = {name: _measures(part, "mean std min max q01 q99") for name, part in _columns(first).items()}
        return {"meta/stats.json": _json(stats), "meta/modality.json": _json(modality(first))}
    else:
        wanted = "min max mean std" + (" q01 q10 q50 q90 q99" if form == "lerobot" else "")
        content = {name: _measures(part, wanted, optional="q10 q50 q90") for name, part in _columns(first).items()}
        for name, part in _columns(first).items():
            content[name]["count"] = [part.count or 0]
        if form == "lerobot-v2.1":
            return {STACKS[form].file: json.dumps({"episode_index": 0, "stats": content}) + "\n"}
    return {STACKS[form].file: _json(content)}


def relative_statistics_file(groups: Mapping[str, Statistics]) -> str:
    """Render GR00T's ``meta/relative_stats.json``: for each group of actions statistics of each step, (H, D).

    Raises:
        ActionError: statistics that are not of each step, or without one of GR00T's measures.
    """
    for name, one in groups.items():
        if one.steps is None:
            raise ActionError(f"{one.where}: {name}", "one set for all steps", "statistics (H, D) of each step")
    return _json({name: _measures(one, "max min q01 q99 mean std") for name, one in groups.items()})


def modality(dataset: DatasetStatistics) -> dict[str, Any]:
    """Return GR00T's and starVLA's ``modality.json``, as far as statistics tell: which columns are which part.

    Consecutive dimensions of one arm, and its gripper, are a part each: ``arm``, ``left_gripper``. The states, whose
    dimensions have no names, are one part. Cameras and annotations are to be added.
    """
    parts: dict[str, dict[str, int]] = {}
    for i, name in enumerate(dataset.action.names or ["arm"] * dataset.action.dims):
        side, _, last = name.rpartition("_")
        side = f"{side}_" if side in ("left", "right") else ""
        part = side + (last if last in ("gripper", "base") else "arm")
        if part in parts and parts[part]["end"] != i:
            raise ActionError(f"{dataset.name}: {name}", f"{part} in two places", "its dimensions side by side")
        parts.setdefault(part, {"start": i})["end"] = i + 1
    state = {"state": {"start": 0, "end": dataset.state.dims}} if dataset.state else {}
    return {"state": state, "action": parts}


def statements(stack: Stack) -> dict[str, str]:
    """Say what a stack does with its statistics, by its default rule: one sentence for each topic."""
    kind, rule = next((k, r) for k, r in RULES[stack.rules].items() if k == stack.bounds[0])
    epsilon = f"{rule.epsilon:g} added to the width" if rule.epsilon else "none"
    if rule.epsilon:
        epsilon += ", on the way back too" if rule.epsilon_back else ", and nothing on the way back"
    elif rule.unused == "tiny":
        epsilon = "1e-08 in place of a width of 0"
    clip = "none" if rule.clip is None else f"-{rule.clip:g}..{rule.clip:g}"
    if rule.clip_back is not None:
        clip += f", and before scaling back -{rule.clip_back:g}..{rule.clip_back:g}"
    beside = "-1 at that value, and beside it " + ("-1 or 1" if rule.clip else "very large")
    unused = {"keep": "the value as it is", "zero": "0"}.get(rule.unused, beside)
    return {
        "bounds": " and ".join(_WORDS[kind]),
        "quantiles": stack.quantiles,
        "epsilon": epsilon,
        "clip": clip,
        "width 0": unused,
        "mask": stack.mask,
    }


_WORDS = {"quantiles": ("q01", "q99"), "minmax": ("minimum", "maximum"), "zscore": ("mean", "std")}


def _openvla(one: DatasetStatistics) -> dict[str, Any]:
    """OpenVLA writes zeros, as many as there are actions, where a dataset has no states."""
    order = "mean std max min q01 q99"
    state = one.state or replace(
        one.action, measures={name: np.zeros_like(v) for name, v in one.action.measures.items()}, mask=None
    )
    return {"action": _measures(one.action, order) | _mask(one.action), "proprio": _measures(state, order)} | _counts(
        one
    )


def _octo(one: DatasetStatistics) -> dict[str, Any]:
    def renamed(part: Statistics) -> dict[str, Any]:
        values = _measures(part, "mean std max min q99 q01")
        return {{"q01": "p01", "q99": "p99"}.get(name, name): value for name, value in values.items()}

    state = {"proprio": renamed(one.state)} if one.state else {}
    return {"action": renamed(one.action) | _mask(one.action)} | state | _counts(one)


def _starvla(one: DatasetStatistics) -> dict[str, Any]:
    order = "mean std max min q01 q99"
    state = {"state": _measures(one.state, order)} if one.state else {}
    return {"action": _measures(one.action, order) | _mask(one.action)} | state | _counts(one)


def _molmoact2(one: DatasetStatistics) -> dict[str, Any]:
    """A dimension that passes as it is must lie in [-1, 1], or MolmoAct2 refuses it: else it is scaled."""
    inside = (one.action.measure("min") >= -1) & (one.action.measure("max") <= 1)
    mask = _mask(one.action)["mask"]
    allowed = [bool(scaled or not fits) for scaled, fits in zip(mask, inside, strict=True)]
    order = "min max mean std q01 q99"
    action = _measures(one.action, order) | {"mask": allowed, "names": list(one.action.names)}
    state = _measures(one.state, order) | {"mask": [True] * one.state.dims} if one.state else {}
    return {"action_stats": action, "state_stats": state}


def _columns(one: DatasetStatistics) -> dict[str, Statistics]:
    return {"action": one.action} | ({"observation.state": one.state} if one.state else {})


def _counts(one: DatasetStatistics) -> dict[str, int]:
    return {"num_transitions": one.action.count or 0, "num_trajectories": one.episodes}


def _mask(part: Statistics) -> dict[str, list[bool]]:
    return {"mask": [True] * part.dims if part.mask is None else [bool(flag) for flag in part.mask]}


def _measures(part: Statistics, names: str, optional: str = "") -> dict[str, Any]:
    left_out = [name for name in optional.split() if name not in part.measures]
    return {name: part.measure(name).tolist() for name in names.split() if name not in left_out}


def _json(content: Any) -> str:
    return json.dumps(content, indent=2) + "\n"
