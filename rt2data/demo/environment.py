"""The demo world as an environment: actions move the arm, the arm moves the objects, and the task succeeds or not.

What happens to an object follows from the tool's pose alone, not from the script that made the demonstrations, so that
actions which were tokenized, or come from a model, can be judged by their effect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from rt2data.demo import motion
from rt2data.demo.motion import State, Task
from rt2data.demo.pose import Matrix, Vector, add, cross, dot, from_rpy, product, rotate, transpose
from rt2data.demo.robot import FINGER_BACK, FINGER_GAP, FINGER_TIP
from rt2data.demo.scene import Thing
from rt2data.demo.shapes import PLATE_FLOOR, SHAPES

# An object is held where the fingers come within SLIP metres of its width and it lies between them: off their middle by
# no more than the opening leaves room for along tool y, by half a finger along x, and by this angle.
_SLIP, _ASIDE, _TURNED = 0.002, 0.008, 0.3
_PUSHED_ASIDE = 0.020  # metres off the line through its middle by which a pushed object turns away
# What counts as success, in metres.
_LIFTED = 0.05
_SLID = 0.05
_TOUCHING = 0.015
_ON_PLATE = 0.045
_DROPPED = 0.03  # from higher than this an object topples


class Tabletop:
    """The tabletop of the sample world; `reset` starts one of its episodes.

    A state and an action are x y z roll pitch yaw gripper, as in the dataset ``tabletop``: metres, radians, openness in
    [0, 1] with 1 = open.

    Attributes:
        task: what the instruction asks, with the scene as it was at the start.
        state: the arm's state.
        things: the objects as they are now; the task is about the first.
    """

    task: Task
    state: State
    things: list[Thing]

    def __init__(self, seed: int = 17) -> None:
        """Make the sample world of a seed, that of `rt2data.demo.write_sample`."""
        self._seed = seed

    def reset(self, episode: int) -> State:
        """Start episode number `episode`, from 0, and return the first state; those of the dataset are its first."""
        self.task, _ = motion.draw_task(self._seed, episode)
        self.state, self.things = self.task.start, list(self.task.things)
        self._held: tuple[Vector, Matrix] | None = None  # the first object's pose in the tool's frame
        self._toppled = False
        return self.state

    def step(self, action: Sequence[float]) -> State:
        """Move the arm, and what it pushes, holds or lets go of; return the state after it.

        The table stops the fingers, and a gripper opens no farther than it can.
        """
        x, y, z, roll, pitch, yaw, openness = action
        before = self.state
        after = motion.apply_action(before, (x, y, z, roll, pitch, yaw, min(1.0, max(0.0, openness))))
        self.state = (*after[:2], max(after[2], FINGER_TIP), *after[3:])
        thing, tool = self.things[0], from_rpy(*self.state[3:6])
        gap = self.state[6] * FINGER_GAP
        closed = gap <= SHAPES[thing.shape].grip + _SLIP
        if self._held and closed:
            place, turn = self._held
            thing = replace(thing, position=add(self.state[:3], rotate(tool, place)), turn=product(tool, turn))
        elif self._held:
            self._held, thing = None, self._let_go(thing)
        elif closed and before[6] > self.state[6] and self._between_fingers(thing, tool):
            back = transpose(tool)
            self._held = rotate(back, add(thing.position, self.state[:3], -1.0)), product(back, thing.turn)
        elif self.task.push is not None:
            thing = self._pushed(thing, self.task.push, before)
        self.things[0] = thing
        return self.state

    @property
    def success(self) -> bool:
        """Whether the scene is now as the instruction asks.

        pick: the object is held, 5 cm above the table. place: it was let go over the plate and stands on it. push: it
        is within 1.5 cm of the other object. slide: it is 5 cm farther in the direction named.
        """
        thing, shape = self.things[0], SHAPES[self.things[0].shape]
        if self.task.kind == "pick":
            return self._held is not None and thing.position[2] >= _LIFTED
        if self.task.kind == "place":
            return self._held is None and thing.position[2] == PLATE_FLOOR and not self._toppled
        if self.task.kind == "push":
            other = self.things[1]
            apart = motion.distance(thing.position, other.position) - shape.radius - SHAPES[other.shape].radius
            return abs(apart) <= _TOUCHING
        ahead = self.task.push or (0.0, 0.0, 0.0)
        return dot(ahead, add(thing.position, self.task.things[0].position, -1.0)) >= _SLID

    def _between_fingers(self, thing: Thing, tool: Matrix) -> bool:
        shape = SHAPES[thing.shape]
        x, y, _ = rotate(transpose(tool), add(thing.position, self.state[:3], -1.0))
        deep = self.state[2] - FINGER_TIP <= 0.75 * shape.height
        heading = math.atan2(thing.turn[1][0], thing.turn[0][0]) - math.atan2(tool[1][0], tool[0][0])
        aligned = not shape.turn or abs(motion.fold_angle(heading, shape.turn)) <= _TURNED
        return deep and aligned and abs(x) <= FINGER_BACK and abs(y) <= _ASIDE

    def _let_go(self, thing: Thing) -> Thing:
        x, y, height = thing.position
        plate = self.task.plate
        floor = PLATE_FLOOR if plate and math.hypot(x - plate[0], y - plate[1]) <= _ON_PLATE else 0.0
        self._toppled = height - floor > _DROPPED
        return motion.put_down(thing, floor)

    def _pushed(self, thing: Thing, ahead: Vector, before: State) -> Thing:
        """Return the object after the tool came from `before`: it moves where hit from behind, near its middle."""
        contact = self.task.contact
        aside = dot(cross((0.0, 0.0, 1.0), ahead), add(self.state[:3], thing.position, -1.0))
        behind = motion.measure_entry(thing, ahead, contact, before) <= _SLIP
        return motion.push_along(thing, ahead, contact, self.state) if behind and abs(aside) <= _PUSHED_ASIDE else thing
