"""The demo world as an environment: demonstrations replayed open loop, as they are and through the tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from support import bounds_by_rule

from rt2data.demo.environment import Tabletop
from rt2data.demo.episodes import SPLITS
from rt2data.demo.motion import Course, draw_task, perform_task
from rt2data.recipes.recipe import find_recipe, read_recipe
from rt2data.tokenizer import ActionTokenizer

SEED = 17  # of `rt2data sample`
COUNT = sum(SPLITS.values())


@pytest.fixture(scope="module")
def courses() -> list[Course]:
    """The demonstrations of the sample world."""
    return [perform_task(rng, task) for task, rng in (draw_task(SEED, n) for n in range(COUNT))]


def replay(world: Tabletop, episode: int, actions: Sequence[Sequence[float]]) -> bool:
    world.reset(episode)
    for action in actions:
        world.step(action)
    return world.success


def test_demonstrations_succeed_and_move_every_object_as_they_say(courses: list[Course]) -> None:
    """The environment does not know how the objects were moved when the demonstrations were made."""
    world = Tabletop(SEED)
    for episode, course in enumerate(courses):
        assert world.reset(episode) == course.states[0]
        assert not world.success
        for k, action in enumerate(course.actions[:-1]):
            assert world.step(action) == course.states[k + 1]
            assert world.things[0] == course.movers[k + 1], (episode, k)
        world.step(course.actions[-1])
        assert world.success, episode
        assert world.things[1:] == world.task.things[1:]


def through_tokens(tokenizer: ActionTokenizer, course: Course) -> list[list[float]]:
    actions = np.array(course.actions, np.float32)
    last = np.arange(len(actions)) == len(actions) - 1
    decoded: list[list[float]] = tokenizer.decode(tokenizer.encode(actions, last)).actions.tolist()
    return decoded


def measured(courses: list[Course], bounds: str | None) -> ActionTokenizer:
    """The tokenizer with bounds from the train split; None: as the bundled recipe of the sample has them."""
    train = np.concatenate([np.array(course.actions, np.float32) for course in courses[: SPLITS["train"]]])
    source = bounds_by_rule.source("tabletop", bounds)
    if bounds is None:
        assert read_recipe(find_recipe("quickstart")).sources[0].bounds == source.bounds
    return bounds_by_rule.measure(source, train)


def test_every_demonstration_succeeds_through_the_default_tokens(courses: list[Course]) -> None:
    world, tokenizer = Tabletop(SEED), measured(courses, None)
    failed = [n for n, course in enumerate(courses) if not replay(world, n, through_tokens(tokenizer, course))]
    assert failed == []


def test_clipping_at_the_percentiles_spoils_demonstrations(courses: list[Course]) -> None:
    world, tokenizer = Tabletop(SEED), measured(courses, "quantiles")
    succeeded = [replay(world, n, through_tokens(tokenizer, course)) for n, course in enumerate(courses)]
    assert 40 <= sum(succeeded) < 60


Actions = npt.NDArray[np.float64]


@pytest.mark.parametrize(
    ("fault", "most"),
    [
        (lambda a: a * [-1, 1, 1, 1, 1, 1, 1], 0.1),  # x the wrong way round
        (lambda a: np.concatenate([a[:, :6], 1 - a[:, 6:]], axis=1), 0),  # the gripper the wrong way round
        (lambda a: a * [0, 0, 0, 0, 0, 0, 1], 0),  # nothing moves
        (lambda a: a * [1, 1, 1, 1, 1, -1, 1], 0.7),  # yaw the wrong way round
        (lambda a: a * [1.3, 1.3, 1.3, 1, 1, 1, 1], 0.1),  # bounds that are too wide
    ],
)
def test_faults_fail(courses: list[Course], fault: Callable[[Actions], Actions], most: float) -> None:
    """What a wrong decoder does to demonstrations that grasp: the environment does not let it pass."""
    world, succeeded = Tabletop(SEED), []
    for episode, course in enumerate(courses):
        world.reset(episode)
        if world.task.kind in ("pick", "place"):
            succeeded.append(replay(world, episode, fault(np.array(course.actions)).tolist()))
    assert np.mean(succeeded) <= most


def test_the_table_stops_the_hand() -> None:
    world = Tabletop(SEED)
    x, y, z, *_ = world.reset(0)
    state = world.step((0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 7.0))
    assert state[:2] == (x, y)
    assert 0 < state[2] < 0.02 < z
    assert state[6] == 1.0


def test_an_object_let_go_beside_the_plate_or_high_above_it_is_no_success(courses: list[Course]) -> None:
    world = Tabletop(SEED)
    number = next(n for n in range(COUNT) if draw_task(SEED, n)[0].kind == "place")
    actions = np.array(courses[number].actions)
    opens = int(np.flatnonzero(np.diff(actions[:, 6]) > 0.01)[-2])  # before the hand opens over the plate
    assert replay(world, number, actions.tolist())
    beside = actions.copy()
    beside[opens, 0] += 0.06
    assert not replay(world, number, beside.tolist())
    assert world.things[0].position[2] == 0.0
    above = actions.copy()
    above[opens, 2] += 0.06
    assert not replay(world, number, above.tolist())
