"""The demo world as an environment: demonstrations replayed open loop, as they are and through the tokenizer."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from support import bounds_by_rule

from rt2data.demo.environment import LIMIT, UNSEEN, Tabletop
from rt2data.demo.episodes import SPLITS, render_episode
from rt2data.demo.motion import Course, draw_task, perform_task
from rt2data.demo.pose import from_rpy, product, to_rpy
from rt2data.errors import Rt2dataError
from rt2data.images.codec import encode_image
from rt2data.recipes.recipe import find_recipe, read_recipe
from rt2data.tokenizer import ActionTokenizer

SEED = 17  # of `rt2data sample`
COUNT = sum(SPLITS.values())


@pytest.fixture(scope="module")
def courses() -> list[Course]:
    """The demonstrations of the sample world."""
    return [perform_task(rng, task) for task, rng in (draw_task(SEED, n) for n in range(COUNT))]


def test_demonstrations_succeed_and_move_every_object_as_they_say(courses: list[Course]) -> None:
    """The environment does not know how the objects were moved when the demonstrations were made."""
    world = Tabletop(SEED, images=False)
    for episode, course in enumerate(courses):
        _, info = world.reset(options={"episode": episode})
        assert world.state == course.states[0]
        assert info == {"episode": episode, "task": world.task.kind, "success": False}
        for k, action in enumerate(course.actions[:-1]):
            world.step(action)
            assert world.state == course.states[k + 1]
            assert world.things[0] == course.movers[k + 1], (episode, k)
        observation, reward, terminated, truncated, info = world.step(course.actions[-1])
        assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True), episode
        assert observation["instruction"] == world.task.instruction
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
    world, tokenizer = Tabletop(SEED, images=False), measured(courses, None)
    failed = [n for n, course in enumerate(courses) if not world.replay(n, through_tokens(tokenizer, course))]
    assert failed == []


def test_clipping_at_the_percentiles_spoils_demonstrations(courses: list[Course]) -> None:
    world, tokenizer = Tabletop(SEED, images=False), measured(courses, "quantiles")
    succeeded = [world.replay(n, through_tokens(tokenizer, course)) for n, course in enumerate(courses)]
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
    world, succeeded = Tabletop(SEED, images=False), []
    for episode, course in enumerate(courses):
        world.reset(options={"episode": episode})
        if world.task.kind in ("pick", "place"):
            succeeded.append(world.replay(episode, fault(np.array(course.actions)).tolist()))
    assert np.mean(succeeded) <= most


def test_the_table_stops_the_hand() -> None:
    world = Tabletop(SEED, images=False)
    x, y, z, *_ = world.reset(options={"episode": 0})[0]["state"].tolist()
    state = world.step((0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 7.0))[0]["state"].tolist()
    assert state[:2] == [x, y]
    assert 0 < state[2] < 0.02 < z
    assert state[6] == 1.0


def test_an_object_let_go_beside_the_plate_or_high_above_it_is_no_success(courses: list[Course]) -> None:
    world = Tabletop(SEED, images=False)
    number = next(n for n in range(COUNT) if draw_task(SEED, n)[0].kind == "place")
    actions = np.array(courses[number].actions)
    opens = int(np.flatnonzero(np.diff(actions[:, 6]) > 0.01)[-2])  # before the hand opens over the plate
    assert world.replay(number, actions.tolist())
    beside = actions.copy()
    beside[opens, 0] += 0.06
    assert not world.replay(number, beside.tolist())
    assert world.things[0].position[2] == 0.0
    above = actions.copy()
    above[opens, 2] += 0.06
    assert not world.replay(number, above.tolist())


def test_pictures_are_those_of_the_dataset(courses: list[Course]) -> None:
    """The camera, the light, the table and the arm's colour too: before JPEG every byte is the same."""
    world, number = Tabletop(SEED), 3
    written = render_episode(SEED, number)[0]["steps"]
    observation, _ = world.reset(options={"episode": number})
    for step, action in enumerate(courses[number].actions):
        assert observation["image"].dtype == observation["wrist_image"].dtype == np.uint8
        assert encode_image(Image.fromarray(observation["image"]), "jpeg") == written["observation"]["image"][step]
        png = Image.open(io.BytesIO(written["observation"]["wrist_image"][step]))
        assert np.array_equal(observation["wrist_image"], np.asarray(png))
        assert np.array_equal(observation["state"], written["observation"]["state"][step])
        assert observation["state"].dtype == np.float32
        assert observation["instruction"] == written["language_instruction"][step]
        assert np.array_equal(world.render(), observation["image"])
        if step == 3:
            break
        observation = world.step(action)[0]


def test_nothing_is_drawn_that_nobody_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tabletop, "look", lambda _: pytest.fail("drawn"))
    world = Tabletop(SEED, images=False)
    observation, _ = world.reset(seed=0)
    assert set(observation) == set(world.step([0.0] * 7)[0]) == {"state", "instruction"}


def test_a_seed_draws_the_same_unseen_episodes_again() -> None:
    world = Tabletop(SEED, images=False)
    numbers = [world.reset(seed=5)[1]["episode"], *(world.reset()[1]["episode"] for _ in range(3))]
    assert numbers == [world.reset(seed=5)[1]["episode"], *(world.reset()[1]["episode"] for _ in range(3))]
    assert len(set(numbers)) == 4
    assert all(number in UNSEEN for number in numbers)
    assert world.reset(seed=6)[1]["episode"] != numbers[0]
    assert Tabletop(SEED, [4], images=False).reset()[1]["episode"] == 4


def test_an_episode_ends_at_its_limit() -> None:
    world = Tabletop(SEED, images=False)
    world.reset(seed=0)
    ends = [world.step([0.0] * 7)[2:4] for _ in range(LIMIT)]
    assert ends == [(False, False)] * (LIMIT - 1) + [(False, True)]


@pytest.mark.parametrize("action", [[0.0] * 6, [0.0] * 6 + [math.nan], [math.inf] + [0.0] * 6, [1e300] + [0.0] * 6])
def test_a_bad_action_is_an_error(action: list[float]) -> None:
    world = Tabletop(SEED, images=False)
    world.reset(seed=0)
    with pytest.raises(Rt2dataError, match=r"Tabletop: action: .*; expected 7 numbers from -1000 to 1000"):
        world.step(action)


@pytest.mark.parametrize("number", [-1, "3", 1.5])
def test_a_bad_episode_is_an_error(number: object) -> None:
    with pytest.raises(Rt2dataError, match=r"Tabletop: episode: .*; expected a whole number from 0"):
        Tabletop(SEED).reset(options={"episode": number})


def test_the_arm_stays_within_its_reach_wherever_it_is_sent() -> None:
    world = Tabletop(SEED)
    world.reset(seed=0)
    for action in ([900.0, -900.0, 900.0, 3.0, 1.5, -3.0, 1.0], [-900.0, 900.0, -900.0, -3.0, -1.5, 3.0, -1.0]):
        observation = world.step(action)[0]
        assert np.abs(observation["state"][:3]).max() < 1
        assert observation["image"].std() > 15


def test_gymnasium_takes_it_for_one_of_its_own() -> None:
    checker = pytest.importorskip("gymnasium.utils.env_checker")
    from rt2data.demo.gym import TabletopEnv

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        checker.check_env(TabletopEnv())
    said = [str(warning.message) for warning in warned]
    # Displacements are in metres, not in [-1, 1]; and it is in no registry.
    assert all("symmetric and normalized" in text or "not having a spec" in text for text in said), said
    world = TabletopEnv(images=False)
    assert world.reset(seed=0)[0] in world.observation_space
    assert set(world.observation_space) == {"state", "instruction"}


def turned(courses: list[Course], angle: float) -> list[tuple[str, bool]]:
    """The kind and the success of each push and slide whose hand is turned by an angle from its first step on."""
    world, found = Tabletop(SEED, images=False), []
    for episode, course in enumerate(courses):
        actions = np.array(course.actions)
        turn = from_rpy(0.0, 0.0, angle)
        actions[0, 3:6] = to_rpy(product(turn, from_rpy(*actions[0, 3:6])))
        done = world.replay(episode, actions)
        if world.task.push:
            found.append((world.task.kind, done))
    return found


@pytest.mark.parametrize(("angle", "succeeds"), [(0.1, True), (-0.1, True), (0.3, False), (-0.3, False)])
def test_a_push_with_turned_fingers_turns_the_object(courses: list[Course], angle: float, succeeds: bool) -> None:
    found = turned(courses, angle)
    assert {kind for kind, _ in found} == {"push", "slide"}
    assert {done for _, done in found} == {succeeds}
