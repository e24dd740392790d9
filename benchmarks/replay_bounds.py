"""Bounds compared by what they do to demonstrations: the episodes of the sample world, replayed open loop, and drift on
real data.

    python benchmarks/replay_bounds.py [--seed 17] [--data FOLDER --dataset DECLARATION] [--spec rt2]

Each kind of bounds is measured on the train steps, as a build does, and every action goes through encode and decode.
A row says how many of the 64 episodes succeed, in how many steps and episodes a number is clipped, how far the end of
an episode is from where the raw actions lead (worst and median), and the most by which a bin widens where of 10,000 of
the steps (drawn with replacement) one is a hundred times too large, over 40 choices of that step and its sign. With
--data the end of each episode of that dataset's train split is compared likewise.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rt2data import ActionTokenizer
from rt2data.demo import motion
from rt2data.demo.environment import Tabletop
from rt2data.demo.pose import from_rpy, product, transpose
from rt2data.pipeline.measure import action_statistics
from rt2data.pipeline.measure.exact_stats import Cells, Moments
from rt2data.recipes.recipe import RecipeSource, parse_recipe

RULES: tuple[Any, ...] = (
    "fixed",
    "quantiles",
    {"quantiles": [0.005, 0.995]},
    {"quantiles": [0.001, 0.999]},
    {"quantiles": [0.0001, 0.9999]},
    "minmax",
    "robust",
)
TRAIN, EPISODES = 56, 64  # of the sample world
STEPS, CHOICES, FACTOR = 10_000, 40, 100.0


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=17, help="of the sample world")
    parser.add_argument("--spec", default="rt2", help="the tokenizer")
    parser.add_argument("--data", type=Path, help="the folder of a robot dataset")
    parser.add_argument("--dataset", help="its declaration: a name or a file")
    args = parser.parse_args()
    sample(args.seed, args.spec)
    if args.data:
        if not args.dataset:
            parser.error("--data needs --dataset")
        real(args.data, args.dataset, args.spec)


def tokenizer_of(source: RecipeSource, actions: Any, spec: ActionTokenizer) -> ActionTokenizer:
    """The tokenizer with the bounds that a source's rule gives on `actions`, float32 (n, D)."""
    robot = source.declaration.robot
    assert robot is not None
    moments = Moments.from_array(actions)
    cells = Cells.from_array(actions, action_statistics.wanted_cells({"train": moments}, source.bounds)["train"])
    stats = action_statistics.summary(moments, cells, robot.dims, source.bounds)
    return spec.with_dims(action_statistics.bounds(source, stats, spec))


def source_of(name: str, rule: Any) -> RecipeSource:
    """The one source of a recipe with these bounds."""
    return parse_recipe(
        {"name": "replay", "tokenizer": {"bounds": rule}, "sources": [{"source": name}]}, "replay"
    ).sources[0]


def round_trip(tokenizer: ActionTokenizer, actions: Any) -> tuple[Any, int]:
    """The actions of an episode after encode and decode, and the steps with a clipped number."""
    last = np.arange(len(actions)) == len(actions) - 1
    bins, clipped = tokenizer.encode(actions, last, return_clipped=True)
    return tokenizer.decode(bins).actions, int(np.any(clipped != 0, axis=-1).sum())


def widening(source: RecipeSource, train: Any, spec: ActionTokenizer) -> float:
    """The most by which a bin widens through one bad step in STEPS."""
    rng = np.random.default_rng(0)
    steps = train[rng.integers(0, len(train), STEPS)]
    before = widths(tokenizer_of(source, steps, spec))
    worst = 1.0
    for number in range(CHOICES):
        bad = steps.copy()
        bad[rng.integers(0, STEPS)] *= np.float32(FACTOR if number % 2 else -FACTOR)
        worst = max(worst, float((widths(tokenizer_of(source, bad, spec)) / before).max()))
    return worst


def widths(tokenizer: ActionTokenizer) -> Any:
    """High - low of each dimension."""
    return np.array([dim.high - dim.low for dim in tokenizer.dims])


def show(rule: Any, first: str, clipped: Sequence[int], errors: Any, grown: float) -> None:
    """Print a row. `errors`: (episodes, 2), metres and radians."""
    name = rule if isinstance(rule, str) else "quantiles " + " ".join(f"{q:g}" for q in rule["quantiles"])
    episodes = sum(n > 0 for n in clipped)
    (mm, rad), (middle, turn) = errors.max(0) * (1e3, 1), np.median(errors, 0) * (1e3, 1)
    print(
        f"{name:<26}{first:>9}{sum(clipped):>7}{episodes:>9}{mm:>10.1f}{rad:>9.3f}{middle:>10.2f}{turn:>9.4f}{grown:>10.2f}"
    )


def head(title: str, first: str) -> None:
    """Print the names of the columns."""
    print(f"\n{title}")
    columns = (
        ("clipped", 9),
        ("episodes", 9),
        ("worst mm", 10),
        ("rad", 9),
        ("median mm", 10),
        ("rad", 9),
        ("widening", 10),
    )
    print(
        f"{'bounds':<26}{first:>9}"
        + "".join(f"{name:>{width}}" for name, width in columns[:1])
        + "".join(f"{name:>{width}}" for name, width in columns[1:])
    )


def sample(seed: int, spec_name: str) -> None:
    """Replay the episodes of the sample world."""
    spec, world = ActionTokenizer.from_pretrained(spec_name), Tabletop(seed, images=False)
    courses = [motion.perform_task(rng, task) for task, rng in (motion.draw_task(seed, n) for n in range(EPISODES))]
    actions = [np.array(course.actions, np.float32) for course in courses]
    train = np.concatenate(actions[:TRAIN])

    def replay(episode: int, steps: Any) -> tuple[bool, motion.State]:
        return world.replay(episode, steps), world.state

    raw = [replay(n, steps) for n, steps in enumerate(actions)]
    head(f"sample world, seed {seed}: raw actions succeed in {sum(done for done, _ in raw)} of {EPISODES}", "succeed")
    for rule in RULES:
        source = source_of("tabletop", rule)
        tokenizer = tokenizer_of(source, train, spec)
        decoded = [round_trip(tokenizer, steps) for steps in actions]
        replayed = [replay(n, steps) for n, (steps, _) in enumerate(decoded)]
        errors = np.array([_apart(a, b) for (_, a), (_, b) in zip(raw, replayed, strict=True)])
        succeed = f"{sum(done for done, _ in replayed)}/{EPISODES}"
        show(rule, succeed, [n for _, n in decoded], errors, widening(source, train, spec))


def _apart(a: motion.State, b: motion.State) -> tuple[float, float]:
    turn = product(from_rpy(*a[3:6]), transpose(from_rpy(*b[3:6])))
    return math.dist(a[:3], b[:3]), math.acos(max(-1.0, min(1.0, (turn[0][0] + turn[1][1] + turn[2][2] - 1) / 2)))


def real(folder: Path, dataset: str, spec_name: str) -> None:
    """Compare where the actions of each train episode lead, raw and decoded."""
    from rt2data.robot import rotation
    from rt2data.robot.compose import compose_actions

    spec = ActionTokenizer.from_pretrained(spec_name)
    episodes = read_episodes(folder, dataset)
    robot = source_of(dataset, "minmax").declaration.robot
    assert robot is not None
    place = [robot.dims.index(name) for name in ("x", "y", "z", "roll", "pitch", "yaw")]

    def ends(steps: Any) -> tuple[Any, Any]:
        whole = compose_actions(robot, steps, np.array([0]), np.array([len(steps)]), len(steps))[0, place]
        return whole[:3], rotation.from_rpy(whole[None, 3:])[0]

    train = np.concatenate(episodes)
    head(f"{dataset}: {len(episodes)} episodes, {len(train)} steps", "")
    for rule in RULES:
        source = source_of(dataset, rule)
        tokenizer = tokenizer_of(source, train, spec)
        errors, clipped = [], []
        for steps in episodes:
            decoded, number = round_trip(tokenizer, steps)
            (p, r), (q, s) = ends(steps), ends(decoded)
            cosine = (np.sum(r * s) - 1) / 2
            errors.append((float(np.linalg.norm(p - q)), math.acos(max(-1.0, min(1.0, float(cosine))))))
            clipped.append(number)
        show(rule, "", clipped, np.array(errors), widening(source, train, spec))


def read_episodes(folder: Path, dataset: str) -> list[Any]:
    """The actions of each train episode of a dataset, float32 (n, D); steps that are no samples are left out."""
    from rt2data import index
    from rt2data.pipeline import stages
    from rt2data.runners import progress
    from rt2data.runners.engine import Direct
    from rt2data.samples import selection

    raw = {"name": "replay", "sources": [{"source": dataset, "path": str(folder.absolute())}]}
    recipe, episodes = parse_recipe(raw, "replay"), []
    with tempfile.TemporaryDirectory() as work:
        engine = Direct(progress.Reporter(enabled=False))
        job = stages.prepare(recipe, None, Path(work), engine, check="quick").job
        for part in job.parts:
            table = job.table(part)
            rows = np.flatnonzero(selection.rejected(table, job.source(part))[1])
            number = np.cumsum(index.numbers(table, "step") == 0)[rows]
            action = index.matrix(table.column("action"))[rows]
            episodes += [action[number == one] for one in np.unique(number)]
    return episodes


if __name__ == "__main__":
    main()
