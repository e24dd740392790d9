"""Claims on what a policy must learn to command: closing, opening, ending. Each must be seen in samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from rt2data.check.evidence import AGREES, OBJECTS, UNKNOWN, Claim, EpisodeEvidence, arm_prefix
from rt2data.robot.fields import RobotFields, split_dimension

MOVED = 0.001  # openness: a gripper that differs by more from the step before was told to move


def check_commands_in_samples(robot: RobotFields, episodes: Sequence[EpisodeEvidence]) -> Iterator[Claim]:
    """Test that the steps that close or open a gripper, or end an episode, are not those that are left out."""
    if not any(episode.samples.any() for episode in episodes):
        return  # other claims say why
    for i, name in enumerate(robot.dims):
        arm, which = split_dimension(name)
        if which == "gripper":
            for word, sign in (("close", -1.0), ("open", 1.0)):
                told = [_moves(episode.action[:, i], sign) for episode in episodes]
                yield from _claim(f"{word} the {arm_prefix(arm)}gripper", told, episodes)
    yield from _claim("end an episode", [episode.ends for episode in episodes], episodes)


def _moves(openness: npt.NDArray[np.float64], sign: float) -> npt.NDArray[np.bool_]:
    """Return where openness changes in the direction `sign` from the step before, bool (T,). A NaN does not."""
    with np.errstate(invalid="ignore"):
        return np.concatenate([[False], sign * np.diff(openness) > MOVED])


def _claim(what: str, told: Sequence[npt.NDArray[np.bool_]], episodes: Sequence[EpisodeEvidence]) -> Iterator[Claim]:
    count = sum(int(steps.sum()) for steps in told)
    kept = sum(int((steps & episode.samples).sum()) for steps, episode in zip(told, episodes, strict=True))
    if count:
        verdict = OBJECTS if not kept else AGREES if 2 * kept > count else UNKNOWN
        yield Claim(f"steps that {what} become samples", f"{kept:,} of {count:,} do", verdict)
