"""Evidence: what the claims of a declaration are tested with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rt2data.robot import actions, rotation
from rt2data.robot.fields import ROTATION, TRANSLATION, RobotFields, Term

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

AGREES, OBJECTS, UNKNOWN = "agrees", "objects", "cannot tell"
SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the declaration in words, what the data show, and AGREES, OBJECTS or UNKNOWN."""

    claim: str
    evidence: str
    verdict: str


@dataclass(frozen=True, slots=True)
class EpisodeEvidence:
    """An episode of T steps as the declaration reads it: `action` (T, D) float64, `known` and `ends` bool (T,).

    `name` is its id, for a person. `samples`, bool (T,): which steps a recipe could take, by their action, instruction
    and first camera.
    """

    name: str
    steps: int
    read: actions.Read
    action: Floats
    known: Bools
    ends: Bools
    samples: Bools
    texts: list[str | None]
    flags: dict[str, Bools]
    images: dict[str, list[bytes]]


def action_columns(
    robot: RobotFields, episodes: Sequence[EpisodeEvidence], arm: str, names: Sequence[str]
) -> tuple[list[int], Floats]:
    """Return the positions of an arm's dimensions in the action, and their values (n, k) where known and finite."""
    at = [robot.dims.index(f"{arm}_{w}" if arm else w) for w in names if (f"{arm}_{w}" if arm else w) in robot.dims]
    rows = [episode.action[episode.known][:, at] for episode in episodes]
    values = np.concatenate(rows)
    return at, values[np.isfinite(values).all(axis=1)]


def arm_prefix(arm: str) -> str:
    """Return how a claim on one of several arms begins."""
    return f"{arm} " if arm else ""


def read_stored(episode: EpisodeEvidence, term: Term) -> Floats:
    """Read the columns of a term, in the declared unit, after those of its operations that only scale."""
    with np.errstate(all="ignore"):
        table = episode.read(term.field).reshape(episode.steps, -1).astype(np.float64)
        values = table if term.columns is None else table[:, list(term.columns)]
        values = values * np.array(term.factors) if term.factors else values
        for op in term.ops:
            if op.name == "scale":
                values = values * np.array(op.numbers)
    return np.asarray(values)


def compute_pose(robot: RobotFields, episode: EpisodeEvidence, arm: str) -> tuple[Floats, Floats | None] | None:
    """Compute an arm's end-effector pose: position (T, 3) and rotation (T, 3, 3) or None.

    From the declared state, else from proprioception by its names; None where neither has a position.
    """
    names = [f"{arm}_{w}" if arm else w for w in (*TRANSLATION, *ROTATION)]
    if robot.kind == "pose" and robot.state:
        where = compute_positions(episode, robot.state, arm)
        _, turns = actions.evaluate_terms(
            robot.state, episode.read, episode.steps, "", np.ones(episode.steps, np.bool_)
        )
        return None if where is None else (where, turns.get(arm, _rpy(robot, episode, names[3:])))
    table = read_proprio(robot, episode)
    if not all(name in table for name in names[:3]):
        return None
    where = np.stack([table[name] for name in names[:3]], axis=1)
    quaternion = [f"{arm}_{w}" if arm else w for w in ("qx", "qy", "qz", "qw")]
    if all(name in table for name in quaternion):
        return where, rotation.to_matrices(np.stack([table[n] for n in quaternion], axis=1), "quaternion", "xyzw")[0]
    return where, _rpy(robot, episode, names[3:])


def _rpy(robot: RobotFields, episode: EpisodeEvidence, names: Sequence[str]) -> Floats | None:
    table = read_proprio(robot, episode)
    return (
        rotation.from_rpy(np.stack([table[name] for name in names], axis=1))
        if all(name in table for name in names)
        else None
    )


def read_proprio(robot: RobotFields, episode: EpisodeEvidence) -> dict[str, Floats]:
    """Read the proprioception by name, each (T,)."""
    out: dict[str, Floats] = {}
    for part in robot.proprio:
        table = episode.read(part.field).reshape(episode.steps, -1).astype(np.float64)
        columns = table if part.columns is None else table[:, list(part.columns)]
        out |= dict(zip(part.dims, columns.T, strict=True))
    return out


def compute_positions(episode: EpisodeEvidence, terms: Sequence[Term], arm: str) -> Floats | None:
    """Compute the end-effector position (T, 3) that `terms` give an arm; None where they give none."""
    names = [f"{arm}_{w}" if arm else w for w in TRANSLATION]
    values, _ = actions.evaluate_terms(terms, episode.read, episode.steps, "", np.ones(episode.steps, np.bool_))
    return np.stack([values[name] for name in names], axis=1) if all(name in values for name in names) else None


def chance(hits: int, count: int) -> float:
    """Compute the chance of at least `hits` heads in `count` throws of a coin."""
    return sum(math.comb(count, k) for k in range(hits, count + 1)) / 2.0**count
