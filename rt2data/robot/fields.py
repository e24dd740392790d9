"""What a declaration says of a robot dataset: its fields, and what their numbers mean (`robot_parser` reads it)."""

from __future__ import annotations

from dataclasses import dataclass

from rt2data.robot.kinematics import JOINTS
from rt2data.robot.operations import TWO_FIELDS
from rt2data.robot.rotation import REPRESENTATIONS

ARM = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
TRANSLATION, ROTATION = ARM[:3], ARM[3:6]
FORWARD_KINEMATICS = "forward_kinematics"


@dataclass(frozen=True, slots=True)
class Ref:
    """Columns of a numeric field of the steps; all where None."""

    field: str
    columns: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Proprio:
    """Columns of one numeric field that belong to the proprioception, as stored; all where `columns` is None."""

    field: str
    columns: tuple[int, ...] | None
    dims: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """True where a column is `above` or `below` a value, or where any column is not 0 (neither given)."""

    field: str
    columns: tuple[int, ...] | None
    above: float | None
    below: float | None


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera: its name, the field of its images, whether they are mere padding, and where they count."""

    name: str
    field: str
    padding: bool
    colour: str
    valid: Rule | None = None


@dataclass(frozen=True, slots=True)
class Instruction:
    """Where the instruction is: the first of `fields` that is not empty, or `text` for every step, or nowhere.

    An empty `text` is the blank that Octo has for some datasets.

    `codes`: the fields hold UTF-8 bytes as integers. `dummy` texts count as none. `table` maps what is stored to texts.
    """

    fields: tuple[str, ...]
    codes: bool
    dummy: tuple[str, ...]
    table: dict[str, str] | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Success:
    """Which episodes succeeded: those in which `rule` holds at some step, or the text of `field` has `contains` in it.

    Where there is a rule `known`, an episode has a verdict only where that holds at some step.
    """

    rule: Rule | None
    field: str = ""
    contains: str = ""
    known: Rule | None = None


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of a term: its numbers, its word (an order, a layout), or the other field that it takes."""

    name: str
    numbers: tuple[float, ...] = ()
    word: str = ""
    other: Ref | None = None

    @property
    def rotation(self) -> bool:
        """Whether it turns a stored rotation into roll, pitch, yaw."""
        return self.name in REPRESENTATIONS

    @property
    def kinematics(self) -> bool:
        """Whether it turns joint angles into a pose."""
        return self.name == FORWARD_KINEMATICS


@dataclass(frozen=True, slots=True)
class Term:
    """Columns of one numeric field that become dimensions of the action, in order.

    `factors` multiply the columns before `ops`: they take the declared unit to metres and radians. () is no factor.
    `pad` stands in place of a field, which is then "": other projects fill up what a dataset does not have.
    """

    field: str
    columns: tuple[int, ...] | None
    to: tuple[str, ...]
    ops: tuple[Op, ...] = ()
    factors: tuple[float, ...] = ()
    pad: float | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        return (*((self.field,) if self.field else ()), *(op.other.field for op in self.ops if op.other))

    @property
    def width(self) -> int:
        """How many columns it reads."""
        return next((count_inputs(op.name) for op in self.ops if op.rotation or op.kinematics), len(self.to))

    def width_of(self, op: Op) -> int:
        """How many columns one of `ops` reads of its other field."""
        return TWO_FIELDS[op.name][2] or self.width


@dataclass(frozen=True, slots=True)
class RobotFields:
    """What a robot dataset's fields mean. Units after the terms: metres, radians, gripper openness 0..1.

    Attributes:
        kind: ``displacement``, ``pose`` or ``absolute``, as declared; the canonical action of a pose is a displacement.
        state: the terms of the pose that a ``pose`` is taken `against`.
        rotation_frame: ``tool`` where the displacement is in the base frame but its rotation in the tool's; the
            canonical action has both in the base frame, by the rotation that `state` gives.
        missing: what a step without data is (a quaternion of zeros): ``invalid``, or at ``rest``.
        rates: dimensions for which 0 is rest, beside the displacement of an arm.
        plan: where the data have a plan in words for each step; None where they have none.
        units: unit of each dimension: m, rad, openness, ``controller``, or as declared.
        every: of so many steps the first is read, as if the others were not there: another project's way (compat).
        first_scale: two fields, A and P, of a factor per episode by which the action is multiplied: |A| of the first
            step over |P of the second - P of the first|, in the dataset's own steps, whatever `every` is (compat).
    """

    episode_id: tuple[str, ...]
    cameras: tuple[Camera, ...]
    depth: tuple[Camera, ...]
    instruction: Instruction
    plan: Instruction | None
    proprio: tuple[Proprio, ...]
    dims: tuple[str, ...]
    units: tuple[str, ...]
    rates: tuple[str, ...]
    terms: tuple[Term, ...]
    state: tuple[Term, ...]
    kind: str
    against: str
    frame: str | None
    rotation_frame: str | None
    missing: str
    terminate: str | Rule
    valid_action: str | Rule
    control_hz: float | None
    success: Success | None = None
    every: int = 1
    first_scale: tuple[str, str] | None = None

    @property
    def held(self) -> tuple[int, ...]:
        """Positions of the dimensions that keep their value at rest: grippers, commanded values. The others go to 0."""
        moves = self.kind != "absolute"
        return tuple(
            i
            for i, name in enumerate(self.dims)
            if name not in self.rates and not (moves and split_dimension(name)[1] in ARM[:6])
        )

    @property
    def proprio_dims(self) -> tuple[str, ...]:
        """Names of the numbers of the proprioception."""
        return tuple(name for one in self.proprio for name in one.dims)

    @property
    def controller(self) -> bool:
        """Whether some dimension is in units of a controller that nobody documents."""
        return "controller" in self.units

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule: of terminate, of valid_action, of cameras, of success."""
        success = (self.success.rule, self.success.known) if self.success else ()
        found = (self.terminate, self.valid_action, *(camera.valid for camera in self.cameras), *success)
        return tuple(rule for rule in found if isinstance(rule, Rule))

    @property
    def fields(self) -> tuple[str, ...]:
        """Every field that indexing reads, each once."""
        flags = {"is_terminal": "steps/is_terminal", "is_last": "steps/is_last", "not_last": "steps/is_last"}
        named = [flags[word] for word in (self.terminate, self.valid_action) if isinstance(word, str) and word in flags]
        terms = [field for term in (*self.terms, *self.state) for field in term.fields]
        said = self.plan.fields if self.plan else ()
        others = [*(rule.field for rule in self.rules), *named, *(p.field for p in self.proprio), *said]
        others += [self.success.field] if self.success and self.success.field else []
        others += self.first_scale or ()
        return tuple(
            dict.fromkeys(
                [*self.episode_id, *(c.field for c in self.cameras), *self.instruction.fields, *terms, *others]
            )
        )


def split_dimension(name: str) -> tuple[str, str]:
    """A dimension as (arm, which): ``left_yaw`` is ("left", "yaw"); with a name of its own ("", name)."""
    arm, _, last = name.rpartition("_")
    return (arm, last) if last in ARM else ("", name)


def count_inputs(name: str) -> int:
    """How many columns an operation takes that gives others; 0 for one that keeps their number."""
    return JOINTS if name == FORWARD_KINEMATICS else REPRESENTATIONS[name][0] if name in REPRESENTATIONS else 0
