"""Make up an episode of the demo world: a task, the arm's trajectory, and how the objects move.

State and action are x y z roll pitch yaw gripper: metres, radians, openness in [0, 1] with 1 = open. The state at t + 1
is exactly `apply_action(state, action)` at t: p' = p + dp, R' = R(d) R in the base frame, the gripper as commanded.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeAlias

from rt2data.demo.pose import Matrix, Vector, add, dot, from_rpy, product, rotate, to_rpy, transpose
from rt2data.demo.render import scale
from rt2data.demo.robot import FINGER_BACK, FINGER_GAP, FINGER_TIP
from rt2data.demo.scene import COLOURS, Thing
from rt2data.demo.shapes import PLATE_FLOOR, PLATE_RADIUS, SHAPES

State: TypeAlias = tuple[float, float, float, float, float, float, float]

X_RANGE, Y_RANGE = (0.32, 0.57), (-0.22, 0.22)  # where objects may stand, metres
_APART = 0.098  # metres between the centres of two objects, so that the open hand fits between them
# Directions to push, as x and y. Left and right are those of the image, whose camera faces the robot.
DIRECTIONS = {
    "to the left": (0.0, -1.0),
    "to the right": (0.0, 1.0),
    "towards the robot": (-1.0, 0.0),
    "away from the robot": (1.0, 0.0),
}

KINDS = ("pick", "push", "slide", "place", "pick", "push")  # of the episodes, in turn

TEMPLATES = {
    "pick": ("pick up the {a}", "grab the {a}", "lift the {a} off the table", "pick the {a} up"),
    "push": ("push the {a} to the {b}", "slide the {a} over to the {b}", "push the {a} until it touches the {b}"),
    "place": ("put the {a} on the plate", "place the {a} on the white plate", "set the {a} down on the plate"),
    "slide": ("push the {a} {b}", "slide the {a} {b}", "move the {a} {b}"),
}


@dataclass(frozen=True, slots=True)
class Key:
    """A key pose of the trajectory: position, roll pitch yaw and openness that the tool reaches after `steps` steps.

    `rough` scales the noise of the motion. `grasp` is True where the hand holds the object at the end, False where it
    lets go at the beginning.
    """

    position: Vector
    angles: Vector
    openness: float
    steps: int
    rough: float = 1.0
    grasp: bool | None = None


@dataclass(slots=True)
class Task:
    """An instruction, the objects of its scene, and the key poses; the first of `things` is the one that moves."""

    kind: str
    instruction: str
    things: list[Thing]
    plate: Vector | None
    start: State
    keys: list[Key]
    push: Vector | None = None  # the direction of a push
    contact: float = 0.0  # metres before the object's centre at which the tool touches it


@dataclass(slots=True)
class Course:
    """The trajectory of a task: per step the state, the action, and the object that moves."""

    states: list[State] = field(default_factory=list)
    actions: list[State] = field(default_factory=list)
    movers: list[Thing] = field(default_factory=list)


def round_to_float32(value: float) -> float:
    """Round to the nearest float32."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def apply_action(state: State, action: State) -> State:
    """Return the state after an action, computed in float64 and rounded to float32 once."""
    x, y, z, roll, pitch, yaw, _ = state
    turn = product(from_rpy(*action[3:6]), from_rpy(roll, pitch, yaw))
    values = (x + action[0], y + action[1], z + action[2], *to_rpy(turn), action[6])
    a, b, c, d, e, f, g = map(round_to_float32, values)
    return a, b, c, d, e, f, g


def name_thing(thing: Thing) -> str:
    """Name an object as an instruction does: "red star"."""
    return f"{thing.colour} {thing.shape}"


def scatter_places(rng: Random, count: int, apart: float = _APART) -> list[Vector] | None:
    """Draw places for `count` objects; None where they did not fit."""
    places: list[Vector] = []
    for _ in range(60 * count):
        place = rng.uniform(*X_RANGE), rng.uniform(*Y_RANGE), 0.0
        if all(distance(place, other) >= apart for other in places):
            places.append(place)
            if len(places) == count:
                return places
    return None


def pick_things(rng: Random, places: Sequence[Vector]) -> list[Thing]:
    """Draw objects of distinct looks for the given places, with random orientations."""
    looks = [(shape, colour) for shape in SHAPES for colour in COLOURS]
    return [
        Thing(shape, colour, place, from_rpy(0.0, 0.0, rng.uniform(-math.pi, math.pi)))
        for (shape, colour), place in zip(rng.sample(looks, len(places)), places, strict=True)
    ]


def draw_task(seed: int, episode: int) -> tuple[Task, Random]:
    """Draw the task of an episode of the sample world; the generator goes on with its trajectory and its scene."""
    rng = Random(f"rt2data tabletop {seed} episode {episode}")
    return make_task(rng, KINDS[episode % len(KINDS)]), rng


def make_task(rng: Random, kind: str) -> Task:
    """Draw a task of the given kind that can be performed without touching other objects."""
    while True:
        places = scatter_places(rng, rng.randrange(4, 7) if kind != "place" else rng.randrange(3, 5))
        if places is None:
            continue
        plate = None
        if kind == "place":
            plate, places = places[-1], places[:-1]
            if any(distance(plate, place) < PLATE_RADIUS + 0.06 for place in places):
                continue
        things = pick_things(rng, places)
        task = _pick(rng, kind, things, plate) if kind in ("pick", "place") else _push(rng, kind, things)
        if task is not None:
            return task


def _draw_start(rng: Random, openness: float) -> State:
    low, high = (0.36, -0.14, 0.20, -0.14, -0.14, -0.7), (0.50, 0.14, 0.27, 0.14, 0.14, 0.7)
    a, b, c, d, e, f = (round_to_float32(rng.uniform(*ends)) for ends in zip(low, high, strict=True))
    return a, b, c, d, e, f, round_to_float32(openness)


def fold_angle(angle: float, period: float) -> float:
    """Return the equivalent angle in [-period / 2, period / 2)."""
    return (angle + period / 2) % period - period / 2


def _phrase(rng: Random, kind: str, a: str, b: str) -> str:
    text = rng.choice(TEMPLATES[kind]).format(a=a, b=b)
    # As in real data, some instructions are sentences.
    return text[0].upper() + text[1:] + "." if rng.random() < 0.25 else text


def _pick(rng: Random, kind: str, things: list[Thing], plate: Vector | None) -> Task:
    thing = things[0]
    shape = SHAPES[thing.shape]
    heading = math.atan2(thing.turn[1][0], thing.turn[0][0])
    yaw = fold_angle(heading, shape.turn) if shape.turn else rng.uniform(-0.8, 0.8)
    yaw = min((yaw + k * shape.turn for k in (-1, 0, 1)), key=abs)
    start = _draw_start(rng, round_to_float32(rng.uniform(0.85, 1.0)))
    x, y, _ = thing.position
    grip = round_to_float32(shape.grip / FINGER_GAP)
    low = max(FINGER_TIP + 0.003, shape.height * 0.5)
    level = rng.uniform(-0.03, 0.03), rng.uniform(-0.03, 0.03), yaw
    hover = Key((x, y, shape.height + rng.uniform(0.05, 0.09)), level, start[6], rng.randrange(7, 10))
    down = Key((x, y, low), level, start[6], rng.randrange(4, 6), 0.2)
    close = Key((x, y, low), level, grip, rng.randrange(2, 4), 0.1, grasp=True)
    tilt = level[0] + rng.uniform(-0.08, 0.08), level[1] + rng.uniform(-0.08, 0.08), yaw + rng.uniform(-0.2, 0.2)
    high = low + rng.uniform(0.12, 0.16)
    if plate is None:
        lift = Key((x + rng.uniform(-0.03, 0.03), y + rng.uniform(-0.03, 0.03), high), tilt, grip, rng.randrange(6, 9))
        return Task(kind, _phrase(rng, kind, name_thing(thing), ""), things, None, start, [hover, down, close, lift])
    settled = level[0], level[1], yaw + rng.uniform(-0.4, 0.4)
    lift = Key((x, y, high), tilt, grip, rng.randrange(4, 6))
    over = Key((plate[0], plate[1], high), settled, grip, rng.randrange(6, 9))
    lower = Key((plate[0], plate[1], low + PLATE_FLOOR), settled, grip, rng.randrange(3, 5), 0.1)
    release = Key(lower.position, settled, round_to_float32(min(1.0, grip + 0.3)), 2, 0.1, grasp=False)
    away = Key((plate[0], plate[1], high), settled, release.openness, rng.randrange(2, 4))
    keys = [hover, down, close, lift, over, lower, release, away]
    return Task(kind, _phrase(rng, kind, name_thing(thing), ""), things, plate, start, keys)


def _push(rng: Random, kind: str, things: list[Thing]) -> Task | None:
    thing, other = things[0], things[1]
    shape = SHAPES[thing.shape]
    if kind == "push":
        line = add(other.position, thing.position, -1.0)
        length = math.sqrt(dot(line, line))
        goal, ahead = name_thing(other), scale(line, 1 / length)
        far = length - shape.radius - SHAPES[other.shape].radius - 0.003
    else:
        goal = rng.choice(sorted(DIRECTIONS))
        ahead, far = (*DIRECTIONS[goal], 0.0), rng.uniform(0.08, 0.15)
    if not 0.05 <= far <= 0.24:
        return None
    end = add(thing.position, ahead, far)
    contact = FINGER_BACK + max(-dot(ahead, rotate(thing.turn, v)) for v in zip(*shape.mesh.vertices, strict=True))
    before = add(thing.position, ahead, -contact - rng.uniform(0.03, 0.05))
    if not (_inside(end, 0.03) and _inside(before, 0.09)):
        return None
    others = things[2:] if kind == "push" else things[1:]
    if any(_gap(other.position, before, end) < 0.085 for other in others):
        return None
    yaw = fold_angle(math.atan2(ahead[1], ahead[0]), math.pi)
    low = max(FINGER_TIP + 0.003, shape.height * 0.5)
    start = _draw_start(rng, round_to_float32(rng.uniform(0.3, 1.0)))
    level = rng.uniform(-0.04, 0.04), rng.uniform(-0.04, 0.04), yaw
    lean = level[0], level[1] + rng.uniform(-0.06, 0.06), yaw
    hover = Key((before[0], before[1], 0.12), level, 0.0, rng.randrange(7, 10))
    down = Key((before[0], before[1], low), level, 0.0, rng.randrange(4, 6), 0.3)
    through = add(add(end, ahead, -contact), (0.0, 0.0, low))
    push = Key(through, lean, 0.0, max(6, min(11, round(far / 0.02))), 0.3)
    away = Key(add(add(through, ahead, -0.04), (0.0, 0.0, 0.09)), level, 0.0, rng.randrange(3, 5))
    text = _phrase(rng, kind, name_thing(thing), goal)
    return Task(kind, text, things, None, start, [hover, down, push, away], ahead, contact)


def distance(a: Vector, b: Vector) -> float:
    """Return the distance of two points, metres."""
    d = add(a, b, -1.0)
    return math.sqrt(dot(d, d))


def _gap(point: Vector, a: Vector, b: Vector) -> float:
    """Return the distance of a point from the line between a and b."""
    line, rel = add(b, a, -1.0), add(point, a, -1.0)
    t = max(0.0, min(1.0, dot(line, rel) / dot(line, line)))
    return distance(point, add(a, line, t))


def _inside(place: Vector, margin: float) -> bool:
    (x0, x1), (y0, y1) = X_RANGE, Y_RANGE
    return x0 - margin <= place[0] <= x1 + margin and y0 - margin <= place[1] <= y1 + margin


def perform_task(rng: Random, task: Task) -> Course:
    """Perform a task. The last action moves nothing: it only says that the episode ends."""
    course = Course([task.start], [], [task.things[0]])
    drift = [0.0] * 6
    position, angles, openness = task.start[:3], task.start[3:6], task.start[6]
    held: tuple[Vector, Matrix] | None = None  # the mover's pose in the tool's frame
    for key in task.keys:
        for i in range(key.steps):
            t = (i + 1) / key.steps
            share = t * t * t * (10.0 - 15.0 * t + 6.0 * t * t)  # minimum jerk
            drift = [0.6 * d + rng.uniform(-1.0, 1.0) for d in drift]
            shaky = [d * key.rough * s for d, s in zip(drift, (0.0018,) * 3 + (0.012,) * 3, strict=True)]
            goal = [a + (b - a) * share + s for a, b, s in zip(position, key.position, shaky, strict=False)]
            turn = [a + (b - a) * share + s for a, b, s in zip(angles, key.angles, shaky[3:], strict=True)]
            state = course.states[-1]
            action = _action(state, goal, turn, openness + (key.openness - openness) * t)
            after = apply_action(state, action)
            course.actions.append(action)
            course.states.append(after)
            mover = course.movers[-1]
            tool = from_rpy(*after[3:6])
            if task.push is not None:
                mover = push_along(mover, task.push, task.contact, after)
            elif key.grasp and i == key.steps - 1:
                back = transpose(tool)
                held = rotate(back, add(mover.position, after[:3], -1.0)), product(back, mover.turn)
            elif held and key.grasp is False:
                held, mover = None, put_down(mover, PLATE_FLOOR)
            elif held:
                mover = replace(mover, position=add(after[:3], rotate(tool, held[0])), turn=product(tool, held[1]))
            course.movers.append(mover)
        position, angles, openness = key.position, key.angles, key.openness
    course.actions.append((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, course.states[-1][6]))
    return course


def _action(state: State, position: Sequence[float], angles: Sequence[float], openness: float) -> State:
    """Return the action, in float32, that takes a state to a pose."""
    turn = product(from_rpy(angles[0], angles[1], angles[2]), transpose(from_rpy(*state[3:6])))
    values = [p - s for p, s in zip(position, state, strict=False)] + [*to_rpy(turn), openness]
    a, b, c, d, e, f, g = map(round_to_float32, values)
    return a, b, c, d, e, f, g


def put_down(mover: Thing, height: float) -> Thing:
    """Return the object after it was let go: it stands upright at `height` metres, that of the plate or the table."""
    x, y, _ = mover.position
    yaw = math.atan2(mover.turn[1][0], mover.turn[0][0])
    return replace(mover, position=(x, y, height), turn=from_rpy(0.0, 0.0, yaw))


def push_along(mover: Thing, ahead: Vector, contact: float, state: State) -> Thing:
    """Return the object after the tool came to `state`: moved along the push where the tool would enter it."""
    entered = measure_entry(mover, ahead, contact, state)
    return (
        mover
        if entered <= 0 or is_above(mover, state)
        else replace(mover, position=add(mover.position, ahead, entered))
    )


def measure_entry(mover: Thing, ahead: Vector, contact: float, state: State) -> float:
    """Return how far, in metres along the push, the tool at `state` is inside the object; negative before it."""
    return dot(ahead, add(state[:3], mover.position, -1.0)) + contact


def is_above(thing: Thing, state: State) -> bool:
    """Return whether the finger tips pass over an object that stands on the table."""
    return state[2] - FINGER_TIP > SHAPES[thing.shape].height
