"""The tokens of a built mixture drive the arm through every demonstration, and what breaks them is seen to break it.

Each sample is read by `Loader`; its target is parsed, decoded and executed. Two ways:

- replay: the actions of an episode, one after the other;
- memory: at each step the action of the sample whose state is nearest to the arm's, as of a policy that has learned the
  mixture by heart. Only here an action must fit the observation that it stands beside: a whole episode that is late
  by one step is the same replay.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from support.built_mixture import Built

from rt2data import ActionTokenizer, Loader
from rt2data.demo import Tabletop

pytestmark = pytest.mark.closed_loop

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
EVERYTHING = ("pick", "place", "push", "slide")
# How far two states are apart: metres count in full, radians and openness a tenth.
NEAR = np.array([1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1])
# The bounds of bridge_orig in OpenVLA's dataset_statistics.json (openvla/openvla-7b), rounded: another robot's.
BRIDGE_LOW = (-0.0287, -0.0417, -0.0261, -0.0809, -0.0929, -0.2072, 0.0)
BRIDGE_HIGH = (0.0283, 0.0409, 0.0402, 0.0819, 0.0779, 0.2038, 1.0)


@dataclass(frozen=True)
class Episode:
    """A demonstration as the mixture has it: per step the state, the target, and the action that was tokenized."""

    number: int
    states: Floats
    targets: list[str]
    raw: Floats


@pytest.fixture(scope="module")
def tokenizer(quickstart: Built) -> ActionTokenizer:
    return ActionTokenizer.from_pretrained(quickstart.out).for_source("tabletop")


@pytest.fixture(scope="module")
def episodes(quickstart: Built) -> list[Episode]:
    """All 64, put together from the samples of both splits."""
    steps: dict[int, dict[int, tuple[list[float], str, list[float]]]] = defaultdict(dict)
    for split in ("train", "val"):
        for sample in Loader(str(quickstart.out), split=split):
            if (own := sample.json)["kind"] == "robot":
                steps[int(own["episode"])][own["step"]] = own["proprio"], own["target"], own["action"]
    found = []
    for number, by_step in sorted(steps.items()):
        assert sorted(by_step) == list(range(len(by_step)))
        states, targets, raw = zip(*(by_step[step] for step in range(len(by_step))), strict=True)
        found.append(Episode(number, np.array(states), list(targets), np.array(raw)))
    assert [episode.number for episode in found] == list(range(64))
    return found


def decoded(tokenizer: ActionTokenizer, targets: list[str]) -> Floats:
    return np.asarray(tokenizer.decode(tokenizer.parse(targets)).actions, np.float64)


def remember(world: Tabletop, episode: Episode, actions: Floats) -> bool:
    """Act from memory until the task is done, or time is up."""
    observation, _ = world.reset(options={"episode": episode.number})
    terminated = truncated = False
    while not (terminated or truncated):
        nearest = int((np.abs(episode.states - observation["state"]) * NEAR).sum(1).argmin())
        observation, _, terminated, truncated, _ = world.step(actions[nearest])
    return terminated


def replay(world: Tabletop, episode: Episode, actions: Floats) -> bool:
    return world.replay(episode.number, actions)


Drive = Callable[[Tabletop, Episode, Floats], bool]


def rate(drive: Drive, episodes: list[Episode], actions: Callable[[Episode], Floats], kinds: tuple[str, ...]) -> float:
    """The share of the episodes of these kinds that succeed."""
    world = Tabletop(images=False)
    tasks = [world.reset(options={"episode": episode.number})[1]["task"] for episode in episodes]
    concerned = [episode for episode, task in zip(episodes, tasks, strict=True) if task in kinds]
    done = [drive(world, episode, actions(episode)) for episode in concerned]
    assert len(done) >= 10
    return float(np.mean(done))


@pytest.mark.parametrize("drive", [replay, remember])
def test_every_demonstration_succeeds_through_its_tokens(
    drive: Drive, episodes: list[Episode], tokenizer: ActionTokenizer
) -> None:
    world = Tabletop(images=False)
    assert [e.number for e in episodes if not drive(world, e, e.raw)] == []
    assert [e.number for e in episodes if not drive(world, e, decoded(tokenizer, e.targets))] == []


def test_the_last_token_of_a_demonstration_ends_it(episodes: list[Episode], tokenizer: ActionTokenizer) -> None:
    for episode in episodes:
        terminate = tokenizer.decode(tokenizer.parse(episode.targets)).terminate
        assert np.ravel(terminate).tolist() == [False] * (len(episode.targets) - 1) + [True]


Fault = Callable[[ActionTokenizer, Episode, np.random.Generator], Floats]


def flipped(dimension: int) -> Fault:
    """A decoder that has the sign of a dimension wrong."""
    signs = np.where(np.arange(7) == dimension, -1.0, 1.0)
    return lambda tokenizer, episode, rng: decoded(tokenizer, episode.targets) * signs


def inverted_gripper(tokenizer: ActionTokenizer, episode: Episode, rng: np.random.Generator) -> Floats:
    actions = decoded(tokenizer, episode.targets)
    actions[:, 6] = 1 - actions[:, 6]
    return actions


def bounds_of_another(tokenizer: ActionTokenizer, episode: Episode, rng: np.random.Generator) -> Floats:
    ends = zip(tokenizer.dims, BRIDGE_LOW, BRIDGE_HIGH, strict=True)
    other = tokenizer.with_dims([dim.__class__(dim.name, low, high, dim.unit) for dim, low, high in ends])
    return decoded(other, episode.targets)


def moved(by: int) -> Fault:
    """Targets that stand beside the observation of another step; the episode's first or last one stands twice."""

    def fault(tokenizer: ActionTokenizer, episode: Episode, rng: np.random.Generator) -> Floats:
        steps = np.arange(len(episode.targets)) + by
        return decoded(tokenizer, episode.targets)[np.clip(steps, 0, len(steps) - 1)]

    return fault


def shuffled_steps(tokenizer: ActionTokenizer, episode: Episode, rng: np.random.Generator) -> Floats:
    return rng.permutation(decoded(tokenizer, episode.targets))


def shuffled_fields(tokenizer: ActionTokenizer, episode: Episode, rng: np.random.Generator) -> Floats:
    """Every action token in the place of another one: the same wrong order throughout."""
    order = [0, 3, 1, 2, 6, 4, 7, 5]
    return decoded(tokenizer, [" ".join(target.split()[i] for i in order) for target in episode.targets])


def shuffled_bins(tokenizer: ActionTokenizer, episode: Episode, rng: np.random.Generator) -> Floats:
    """A vocabulary in another order: each bin reads as some other one, always the same."""
    names = np.random.default_rng(1).permutation(256)
    targets = [[flag, *(str(names[int(bin_)]) for bin_ in bins)] for flag, *bins in map(str.split, episode.targets)]
    return decoded(tokenizer, [" ".join(target) for target in targets])


@pytest.mark.parametrize(
    ("fault", "drive", "kinds", "most"),
    [
        pytest.param(flipped(0), replay, EVERYTHING, 0.1, id="sign of x"),
        pytest.param(flipped(5), replay, EVERYTHING, 0.35, id="sign of yaw"),
        pytest.param(flipped(5), replay, ("push", "slide"), 0.2, id="sign of yaw, pushing"),
        pytest.param(inverted_gripper, replay, ("pick", "place"), 0.0, id="inverted gripper"),
        pytest.param(bounds_of_another, replay, EVERYTHING, 0.1, id="bounds of another source"),
        pytest.param(moved(-1), remember, EVERYTHING, 0.15, id="a step late"),
        pytest.param(moved(1), remember, EVERYTHING, 0.3, id="a step early"),
        pytest.param(shuffled_steps, remember, EVERYTHING, 0.1, id="shuffled steps"),
        pytest.param(shuffled_fields, replay, EVERYTHING, 0.1, id="shuffled fields"),
        pytest.param(shuffled_bins, replay, EVERYTHING, 0.1, id="shuffled bins"),
    ],
)
def test_a_planted_fault_is_seen(
    fault: Fault,
    drive: Drive,
    kinds: tuple[str, ...],
    most: float,
    episodes: list[Episode],
    tokenizer: ActionTokenizer,
) -> None:
    """Without it every one succeeds (above); with it no more than this share."""
    rng = np.random.default_rng(0)
    share = rate(drive, episodes, lambda episode: fault(tokenizer, episode, rng), kinds)
    assert share <= most
