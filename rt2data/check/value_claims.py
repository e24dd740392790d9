"""Claims on the size of the numbers: dimensions that keep one value, and values that are not possible in their unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rt2data.check.evidence import OBJECTS, UNKNOWN, Claim, EpisodeEvidence
from rt2data.robot import value_limits
from rt2data.robot.fields import RobotFields
from rt2data.robot.value_limits import OPENNESS, Extent


def check_constants(robot: RobotFields, episodes: Sequence[EpisodeEvidence]) -> Iterator[Claim]:
    """Name the dimensions that keep one value, but for noise that their unit does not resolve; grippers aside."""
    values = np.concatenate([episode.action[episode.known] for episode in episodes])
    values = values[np.isfinite(values).all(axis=1)]
    if len(values) < 2:
        return
    columns = robot.dims, robot.units, values.min(axis=0).tolist(), values.max(axis=0).tolist()
    extents = [Extent(*column) for column in zip(*columns, strict=True)]
    still = [extent for extent in extents if extent.unit != OPENNESS and value_limits.is_constant(extent)]
    if still:
        names = ", ".join(extent.name for extent in still)
        claim = f"{names} {'is a dimension' if len(still) == 1 else 'are dimensions'} of the action"
        text = f"the same value in every step: {value_limits.describe_constants(still)}"
        yield Claim(claim, text, UNKNOWN)


def check_magnitudes(robot: RobotFields, episodes: Sequence[EpisodeEvidence]) -> Iterator[Claim]:
    """Name the dimensions with values that are not possible, with the first of them."""
    steps = sum(int(np.count_nonzero(episode.known)) for episode in episodes)
    for i, name in enumerate(robot.dims):
        low, high = value_limits.possible(robot, i)
        count, example = 0, ""
        for episode in episodes:
            own = episode.action[:, i]
            hits = np.flatnonzero(episode.known & np.isfinite(own) & ((own < low) | (own > high)))
            count += len(hits)
            if len(hits) and not example:
                example = f"{own[hits[0]]:.4g} in episode {episode.name}, step {hits[0]}"
        if robot.units[i] == OPENNESS and count > value_limits.SHARE * steps:
            continue  # the claim on its range says so
        if count:
            claim = f"{name} lies in {value_limits.describe_possible(low, high, robot.units[i])}"
            yield Claim(claim, f"outside in {count:,} of {steps:,} steps: {example}", OBJECTS)
