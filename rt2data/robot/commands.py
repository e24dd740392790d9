"""Find the steps that command a gripper, though their action is otherwise undefined.

Such a step is kept: the arm is not to move, or nobody knows how, but what the gripper does is in the data, and a policy
that never sees it never learns to grasp. Its displacement is 0 and its gripper the commanded one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rt2data.robot import operations
from rt2data.robot.fields import Ref, RobotFields, Rule, Term, split_dimension

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

FLAGS = ("steps/is_first", "steps/is_last", "steps/is_terminal")
TRIGGERS = "relative_to_absolute"


def find_gripper_commands(
    robot: RobotFields, values: Floats, valid: Bools, column: Callable[[Term], npt.NDArray[Any]]
) -> Bools:
    """Return the steps at which a gripper is commanded, bool (T,).

    A trigger commands; a gripper that is stored as openness commands where it differs from the step before. Where
    `valid_action` says that an action is undefined, that holds for its gripper too, unless the rule looks at what the
    arm's motion is read from and not at the gripper, or the gripper is a trigger, for which 0 means: keep.

    Args:
        robot: the declaration.
        values: the canonical actions (T, D).
        valid: where `valid_action` holds, (T,).
        column: returns the values (T, 1) that a term has, in the type in which triggers are compared.
    """
    out = np.zeros(len(values), np.bool_)
    for i, name in enumerate(robot.dims):
        if split_dimension(name)[1] != "gripper":
            continue
        term = next(term for term in robot.terms if name in term.to)
        before = next((n for n, op in enumerate(term.ops) if op.name == TRIGGERS), None)
        if before is None:
            earlier = np.concatenate([values[:1, i], values[:-1, i]])
            told = np.isfinite(earlier) & (values[:, i] != earlier)
        else:
            told = operations.is_trigger(column(replace(term, ops=term.ops[:before])))[:, 0]
        defined = valid | _is_defined_apart(robot, term, trigger=before is not None)
        out |= told & defined & np.isfinite(values[:, i])
    return out


def _is_defined_apart(robot: RobotFields, gripper: Term, *, trigger: bool) -> bool:
    """Whether a gripper's value means something where `valid_action` does not hold."""
    rule = robot.valid_action
    if not isinstance(rule, Rule) or rule.field in FLAGS:
        return False
    looked_at = Ref(rule.field, rule.columns)
    arm = (term for term in robot.terms if any(split_dimension(name)[1] != "gripper" for name in term.to))
    apart = not any(_overlap(looked_at, ref) for ref in _refs(gripper))
    return trigger or (apart and any(_overlap(looked_at, ref) for term in arm for ref in _refs(term)))


def _refs(term: Term) -> Iterator[Ref]:
    if term.field:
        yield Ref(term.field, term.columns)
    yield from (op.other for op in term.ops if op.other)


def _overlap(a: Ref, b: Ref) -> bool:
    return a.field == b.field and (a.columns is None or b.columns is None or bool(set(a.columns) & set(b.columns)))
