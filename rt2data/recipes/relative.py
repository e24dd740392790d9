"""Parse the field ``action`` of a recipe: action chunks relative to the state at their start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rt2data.declarations.declaration import Declaration
from rt2data.errors import Rt2dataError, near
from rt2data.robot import origins

KEY = "action"
EXEMPT = ["gripper"]  # unless the recipe says otherwise; every gripper
MAX_NUMBERS = 4096  # of a chunk with statistics per step, whose memory grows with them

At = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Relative:
    """How the action chunks of a robot source are relative to the state at their start.

    Attributes:
        word: ``subtract`` or ``pose``, as the recipe says.
        rules: of each dimension, one of `rt2data.robot.relative.RULES`, or ``none``.
        per_step: whether each step of a chunk has statistics, and bounds, of its own.
    """

    word: str
    rules: tuple[str, ...]
    per_step: bool


def parse_relative(
    declaration: Declaration, common: Mapping[str, Any], own: Mapping[str, Any], at: tuple[At, At], horizon: int
) -> Relative | None:
    """Parse ``action`` of a robot source: its own, else the recipe's. None where it asks for nothing.

    Raises:
        Rt2dataError: a source that cannot follow, and why; an unknown dimension.
    """
    robot = declaration.robot
    fields, where = (own, at[1](KEY)) if KEY in own else (common, at[0](KEY))
    raw = fields.get(KEY)
    if robot is None or raw is None:
        return None
    word, exempt = raw["relative"], raw.get("exempt", EXEMPT)
    for name in exempt if KEY in own else ():
        if name not in ("gripper", *robot.dims):
            known = ("gripper", *robot.dims)
            raise Rt2dataError(where, f'exempt: no dimension "{name}"', f"one of {', '.join(known)}", near(name, known))
    rules = origins.choose_rules(robot, word, exempt)
    reason = origins.explain_refusal(robot, rules)
    if reason:
        found = f"relative: {word} for {declaration.name}: {reason}"
        repair = "Leave this source as it is with action: null, or name in exempt: what keeps its value"
        raise Rt2dataError(where, found, "actions that can be relative to the state at a chunk's start", repair)
    per_step = raw.get("statistics", "flat") == "per_step" and horizon > 1
    if per_step and horizon * len(rules) > MAX_NUMBERS:
        found = f"statistics: per_step of {horizon} steps of {len(rules)} dimensions"
        raise Rt2dataError(where, found, f"at most {MAX_NUMBERS} numbers in a chunk", "Take statistics: flat")
    return Relative(word, rules, per_step)


def check_exempt(common: Mapping[str, Any], declarations: Iterable[Declaration], at: At) -> None:
    """Raise where a recipe exempts a dimension that no source has."""
    known = {name: None for declaration in declarations if declaration.robot for name in declaration.robot.dims}
    for name in (common.get(KEY) or {}).get("exempt", ()):
        if name != "gripper" and name not in known:
            found = f'exempt: no source has the dimension "{name}"'
            raise Rt2dataError(at(KEY), found, f"one of {', '.join(known)}", near(name, known))
