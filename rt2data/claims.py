"""What the data say of a declaration's claims. Each function takes episodes and gives `Claim`s; nothing is read here.

The thresholds are wide on purpose: a claim is contradicted where it is off by a factor, a sign or a frame, not by a
percentage.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rt2data import actions, images, rotation
from rt2data.declaration import Declaration
from rt2data.robot import ARM, ROTATION, TRANSLATION, Robot, Term, split

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

AGREES, OBJECTS, UNKNOWN = "agrees", "objects", "cannot tell"

FASTEST, SLOWEST = 3.0, 0.004  # metres per second of a hand that works: the 99th percentile lies between them
LARGEST, SMALLEST = 0.7, 0.0004  # metres per step, where the rate is not declared
REACH = 3.0  # metres from the base of an arm, or from the origin of its room
TURN = 12.0  # radians per second; more than pi in a step is no displacement
FOLLOWS = 0.5  # correlation from which a robot counts as doing what it is told
SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the declaration in words, what the data show, and AGREES, OBJECTS or UNKNOWN."""

    claim: str
    evidence: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Seen:
    """An episode of T steps as the declaration reads it: `action` (T, D) float64, `known` and `ends` bool (T,)."""

    steps: int
    read: actions.Read
    action: Floats
    known: Bools
    ends: Bools
    texts: list[str | None]
    flags: dict[str, Bools]
    pictures: dict[str, list[bytes]]


def all_of(declared: Declaration, robot: Robot, seen: Sequence[Seen]) -> Iterator[Claim]:
    """Every claim that can be tested."""
    with np.errstate(all="ignore"):
        yield from lengths(seen)
        yield from flags(seen)
        yield from ends(robot, seen)
        yield from instructions(robot, seen)
        yield from numbers(robot, seen)
        for arm in dict.fromkeys(split(name)[0] for name in robot.dims if split(name)[1] in ARM):
            yield from translation(robot, seen, arm)
            yield from angles(robot, seen, arm)
            yield from motion(robot, seen, arm)
            yield from gripper(declared, robot, seen, arm)
        yield from commands(robot, seen)
        yield from quaternions(robot, seen)
        yield from pictures(robot, seen)


def lengths(seen: Sequence[Seen]) -> Iterator[Claim]:
    """Episodes are sequences."""
    every = np.array([one.steps for one in seen])
    text = f"{every.min()} to {every.max()} steps, median {np.median(every):g}"
    yield Claim("an episode has several steps", text, OBJECTS if np.median(every) <= 1 else AGREES)


def flags(seen: Sequence[Seen]) -> Iterator[Claim]:
    """RLDS: is_first at the first step alone, is_last at the last alone, is_terminal at the last or nowhere."""
    words = {
        "is_first": "is_first marks the first step",
        "is_last": "is_last marks the last step",
        "is_terminal": "is_terminal is true at the last step at most",
    }
    for name in seen[0].flags:
        wanted = [np.arange(one.steps) == (0 if name == "is_first" else one.steps - 1) for one in seen]
        misplaced = sum(bool((one.flags[name] & ~where).any()) for one, where in zip(seen, wanted, strict=True))
        missing = sum(not one.flags[name][where].any() for one, where in zip(seen, wanted, strict=True))
        text = (
            f"elsewhere in {misplaced}"
            + (f", missing in {missing}" if name != "is_terminal" else "")
            + f" of {len(seen)} episodes"
        )
        if name == "is_last" and missing == len(seen) and not misplaced:
            # An excerpt, cut before the end of its episodes, looks like this.
            yield Claim(words[name], text, UNKNOWN)
            continue
        wrong = misplaced + (missing if name != "is_terminal" else 0)
        yield Claim(words[name], text, OBJECTS if 2 * wrong > len(seen) else UNKNOWN if wrong else AGREES)


def ends(robot: Robot, seen: Sequence[Seen]) -> Iterator[Claim]:
    """Episodes terminate by the declared rule, and not long before they end."""
    if robot.terminate == "none":
        return
    word = robot.terminate if isinstance(robot.terminate, str) else f"the rule on {robot.terminate.field}"
    late = sum(bool(one.ends.any()) and int(np.argmax(one.ends)) >= one.steps - max(3, one.steps // 5) for one in seen)
    early = sum(bool(one.ends.any()) for one in seen) - late
    never = len(seen) - late - early
    text = f"{late} of {len(seen)} episodes terminate at their end, {early} before, {never} never"
    last = any(one.flags["is_last"].any() for one in seen if "is_last" in one.flags)
    if 2 * early > len(seen) or (never == len(seen) and last):
        verdict = OBJECTS
    else:
        verdict = AGREES if 2 * late > len(seen) and 10 * early <= len(seen) else UNKNOWN
    yield Claim(f"terminate: {word}", text, verdict)


def instructions(robot: Robot, seen: Sequence[Seen]) -> Iterator[Claim]:
    """Instructions are there, and say something."""
    declared = robot.instruction
    if declared.text is not None or not declared.fields:
        return
    found = Counter(text for one in seen for text in {t for t in one.texts if t})
    without = sum(not any(one.texts) for one in seen)
    text = f"{len(found)} different in {len(seen)} episodes, {without} episodes without"
    if found:
        text += f'; most often "{found.most_common(1)[0][0][:40]}"'
    field = " or ".join(declared.fields)
    if without == len(seen):
        yield Claim(f"instruction: {field}", text, OBJECTS)
    elif len(found) == 1:
        only = next(iter(found)).strip().strip(".!").lower()
        empty = (
            len(only) < 3
            or only.isdigit()
            or only
            in ("none", "null", "dummy", "task", "instruction", "no instruction", "no task", "do something", "n/a")
        )
        yield Claim(f"instruction: {field}", text, OBJECTS if empty else UNKNOWN)
    else:
        yield Claim(f"instruction: {field}", text, AGREES if 2 * without <= len(seen) else UNKNOWN)


def numbers(robot: Robot, seen: Sequence[Seen]) -> Iterator[Claim]:
    """Actions are known and finite, and move."""
    every = np.concatenate([one.action for one in seen])
    known = np.concatenate([one.known for one in seen])
    bad = int((~np.isfinite(every).all(axis=1)).sum())
    text = f"{bad:,} of {len(every):,} are not finite, {int((~known).sum()):,} are not defined"
    share = (bad + int((~known).sum())) / len(every)
    yield Claim("the actions of most steps are numbers", text, OBJECTS if share > 0.5 else AGREES)
    used = every[known & np.isfinite(every).all(axis=1)]
    still = [
        name
        for i, name in enumerate(robot.dims)
        if len(used) > 1 and np.ptp(used[:, i]) == 0 and split(name)[1] != "gripper"
    ]
    if still:
        yield Claim(
            f"{', '.join(still)} {'is a dimension' if len(still) == 1 else 'are dimensions'} of the action",
            "the same value in every step",
            UNKNOWN,
        )


def _columns(robot: Robot, seen: Sequence[Seen], arm: str, which: Sequence[str]) -> tuple[list[int], Floats]:
    """Positions of an arm's dimensions in the action, and their values (n, k) where the action is known and finite."""
    at = [robot.dims.index(f"{arm}_{w}" if arm else w) for w in which if (f"{arm}_{w}" if arm else w) in robot.dims]
    rows = [one.action[one.known][:, at] for one in seen]
    values = np.concatenate(rows)
    return at, values[np.isfinite(values).all(axis=1)]


def translation(robot: Robot, seen: Sequence[Seen], arm: str) -> Iterator[Claim]:
    """The unit of a displacement, by the speed of the hand."""
    at, values = _columns(robot, seen, arm, TRANSLATION)
    if not at or not len(values) or robot.kind == "absolute":
        return
    claim = f"{_named(arm)}translation in metres"
    size = np.sqrt((values**2).sum(axis=1))
    top = float(np.quantile(size, 0.99))
    if "controller" in [robot.units[i] for i in at]:
        yield Claim(f"{_named(arm)}translation in units of a controller", f"99 % are below {top:.4g}", UNKNOWN)
        return
    hz = robot.control_hz
    low, high = (SLOWEST / hz, FASTEST / hz) if hz else (SMALLEST, LARGEST)
    text = f"99 % of the steps move less than {top:.4g} m" + (f", {top * hz:.3g} m/s" if hz else "")
    # Much data stands still; what moves slower than any hand is no data of metres.
    yield Claim(claim, text, OBJECTS if not low <= top <= high else AGREES)
    if robot.kind == "pose":
        places = [p for one in seen if (p := _positions(robot, one, robot.terms, arm)) is not None]
        where = np.concatenate(places) if places else np.empty((0, 3))
        where = where[np.isfinite(where).all(axis=1)]
        if len(where):
            far, spread = float(np.quantile(np.abs(where), 0.99)), float(np.ptp(where, axis=0).max())
            text = f"99 % of the targets within {far:.3g} m of the origin, over a range of {spread:.3g} m"
            yield Claim(
                f"{_named(arm)}target position in metres", text, OBJECTS if far > REACH or spread < 0.005 else AGREES
            )


def angles(robot: Robot, seen: Sequence[Seen], arm: str) -> Iterator[Claim]:
    """The unit of a rotation, by the size of the stored angles."""
    names = [f"{arm}_{w}" if arm else w for w in ROTATION]
    for term in robot.terms:
        turning = next((op.name for op in term.ops if op.rotation), "")
        mine = [i for i, name in enumerate(term.to) if name in names]
        if (
            not mine
            or robot.kind == "absolute"
            or turning not in ("", "axis_angle", "euler")
            or any(op.kinematics for op in term.ops)
        ):
            continue
        unit = robot.units[robot.dims.index(term.to[mine[0]])]
        values = np.concatenate([_stored(one, term)[one.known] for one in seen])[
            :, mine if not turning else slice(None)
        ]
        values = np.abs(values[np.isfinite(values).all(axis=1)])
        if not len(values) or unit == "controller":
            continue
        top, median = float(np.quantile(values, 0.99)), float(np.median(values))
        text = f"99 % of the stored angles are below {top:.4g}"
        if robot.kind == "pose":
            wrong = float(values.max()) > 2 * math.pi + 0.1 and float(np.quantile(values, 0.9)) > 2 * math.pi
        else:
            wrong = top > math.pi + 0.1 or (
                robot.control_hz is not None and top * robot.control_hz > TURN and median * robot.control_hz > 1.0
            )
        yield Claim(f"{_named(arm)}rotation in radians", text, OBJECTS if wrong else AGREES)


def _stored(one: Seen, term: Term) -> Floats:
    """The columns of a term, in the declared unit, after those of its operations that only scale."""
    with np.errstate(all="ignore"):
        table = one.read(term.field).reshape(one.steps, -1).astype(np.float64)
        values = table if term.columns is None else table[:, list(term.columns)]
        values = values * np.array(term.factors) if term.factors else values
        for op in term.ops:
            if op.name == "scale":
                values = values * np.array(op.numbers)
    return np.asarray(values)


def motion(robot: Robot, seen: Sequence[Seen], arm: str) -> Iterator[Claim]:
    """Scale, sign and frame of a displacement, against what the robot's own state did."""
    if robot.kind == "absolute" or (robot.kind == "pose" and robot.against == "next_target"):
        return  # no displacement; or one that the reached poses give themselves
    moves: dict[str, list[Readings]] = {"translation": [], "rotation": []}
    controller = {}
    for what, which in (("translation", TRANSLATION), ("rotation", ROTATION)):
        at, _ = _columns(robot, seen, arm, which)
        controller[what] = any(robot.units[i] == "controller" for i in at)
        for one in seen if len(at) == 3 else ():
            pose = _state(robot, one, arm)
            if pose is not None and one.steps > 2 and (what == "translation" or pose[1] is not None):
                moves[what].append(_readings(what, one, at, *pose))
    for what, found in moves.items():
        if sum(len(did) for reading in found for _, did in [reading["base"]]) > 20:
            yield from _compared(robot, f"{_named(arm)}{what}", found, controller[what])


# By frame in which the command is read: (command, what the state did), each (n, 3).
Readings = dict[str, tuple[Floats, Floats]]


def _readings(what: str, one: Seen, at: Sequence[int], where: Floats, turn: Floats | None) -> Readings:
    """The command and the change of the state of each step of an episode, read in either frame."""
    command = one.action[:-1][:, at]
    place = np.asarray(np.isfinite(where).all(axis=1))
    good = one.known[:-1] & np.isfinite(command).all(axis=1) & place[:-1] & place[1:]
    if turn is None:
        return {"base": (command[good], np.diff(where, axis=0)[good])}
    back = rotation.transpose(turn)
    if what == "translation":
        did = np.diff(where, axis=0)
        return {"base": (command[good], did[good]), "tool": (command[good], rotation.rotate(back[:-1], did)[good])}
    told = _vector(rotation.from_rpy(command))
    base, tool = rotation.product(turn[1:], back[:-1]), rotation.product(back[:-1], turn[1:])
    return {"base": (told[good], _vector(base)[good]), "tool": (told[good], _vector(tool)[good])}


def _compared(robot: Robot, what: str, found: Sequence[Readings], controller: bool) -> Iterator[Claim]:
    """Claims on scale and frame."""
    frames = [name for name in ("base", "tool") if all(name in one for one in found)]
    fits = {name: _fit(*(np.concatenate([one[name][i] for one in found]) for i in (0, 1))) for name in frames}
    frame = robot.frame if robot.frame in fits else "base"
    if not math.isfinite(fits[frame][0]):
        yield Claim(f"{what} is what the state does next", "the state stands still, or the action does", UNKNOWN)
        return
    correlation, slope = fits[frame]
    text = f"correlation {correlation:.2f}; per unit of the command the state moves {slope:.3g}"
    if correlation < -0.3:
        verdict = OBJECTS
    elif correlation < FOLLOWS:
        verdict = UNKNOWN
    elif controller or 0.25 <= slope <= 3:
        verdict = AGREES
    else:
        verdict = OBJECTS if not 0.1 <= slope <= 8 else UNKNOWN
    yield Claim(f"{what} is what the state does next", text, verdict)
    if len(fits) == 2 and robot.frame in fits:
        other = next(name for name in frames if name != robot.frame)
        mine, theirs = fits[robot.frame][0], fits[other][0]
        pairs = [(_fit(*one[robot.frame])[0], _fit(*one[other])[0]) for one in found]
        better, worse = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
        text = f"correlation {mine:.2f} in the {robot.frame} frame, {theirs:.2f} in the {other} frame; better in {better} of {better + worse} episodes"
        clear = (
            max(mine, theirs) >= FOLLOWS
            and abs(mine - theirs) > 0.01
            and _tail(max(better, worse), better + worse) < SIGNIFICANT
        )
        agree = (mine > theirs) == (better > worse)
        yield Claim(
            f"{what} in the {robot.frame} frame",
            text,
            UNKNOWN if not (clear and agree) else AGREES if mine > theirs else OBJECTS,
        )


def _named(arm: str) -> str:
    return f"{arm} " if arm else ""


def _fit(told: Floats, did: Floats) -> tuple[float, float]:
    """(correlation, slope), both through 0, of what was done on what was told, all axes together.

    The most extreme hundredth is left out: a jump of the state counts for more than the rest of the data else.
    """
    if not len(did):
        return math.nan, math.nan
    keep = (
        (np.abs(did) <= np.quantile(np.abs(did), 0.99)).all(axis=1) if len(did) > 100 else np.ones(len(did), np.bool_)
    )
    x, y = told[keep].ravel(), did[keep].ravel()
    if not len(x) or not (x @ x > 0 and y @ y > 0):
        return math.nan, math.nan
    return float((x @ y) / math.sqrt((x @ x) * (y @ y))), float((x @ y) / (x @ x))


def _state(robot: Robot, one: Seen, arm: str) -> tuple[Floats, Floats | None] | None:
    """Position (T, 3) and rotation (T, 3, 3) of an arm by its declared state, else by the proprioception's names."""
    names = [f"{arm}_{w}" if arm else w for w in (*TRANSLATION, *ROTATION)]
    if robot.kind == "pose" and robot.state:
        where = _positions(robot, one, robot.state, arm)
        _, turns = actions.evaluate(robot.state, one.read, one.steps, "", np.ones(one.steps, np.bool_))
        return None if where is None else (where, turns.get(arm, _rpy(robot, one, names[3:])))
    table = _proprio(robot, one)
    if not all(name in table for name in names[:3]):
        return None
    where = np.stack([table[name] for name in names[:3]], axis=1)
    quaternion = [f"{arm}_{w}" if arm else w for w in ("qx", "qy", "qz", "qw")]
    if all(name in table for name in quaternion):
        return where, rotation.matrices(np.stack([table[n] for n in quaternion], axis=1), "quaternion", "xyzw")[0]
    return where, _rpy(robot, one, names[3:])


def _rpy(robot: Robot, one: Seen, names: Sequence[str]) -> Floats | None:
    table = _proprio(robot, one)
    return (
        rotation.from_rpy(np.stack([table[name] for name in names], axis=1))
        if all(name in table for name in names)
        else None
    )


def _proprio(robot: Robot, one: Seen) -> dict[str, Floats]:
    """The proprioception by name, each (T,)."""
    out: dict[str, Floats] = {}
    for part in robot.proprio:
        table = one.read(part.field).reshape(one.steps, -1).astype(np.float64)
        columns = table if part.columns is None else table[:, list(part.columns)]
        out |= dict(zip(part.dims, columns.T, strict=True))
    return out


def _positions(robot: Robot, one: Seen, terms: Sequence[Term], arm: str) -> Floats | None:
    names = [f"{arm}_{w}" if arm else w for w in TRANSLATION]
    found, _ = actions.evaluate(terms, one.read, one.steps, "", np.ones(one.steps, np.bool_))
    return np.stack([found[name] for name in names], axis=1) if all(name in found for name in names) else None


def _vector(turn: Floats) -> Floats:
    """Rotation vectors (n, 3) of matrices (n, 3, 3), for angles below pi."""
    axis = np.stack(
        [turn[:, 2, 1] - turn[:, 1, 2], turn[:, 0, 2] - turn[:, 2, 0], turn[:, 1, 0] - turn[:, 0, 1]], axis=1
    )
    sine = np.sqrt((axis**2).sum(axis=1)) / 2
    angle = np.arctan2(sine, (turn[:, 0, 0] + turn[:, 1, 1] + turn[:, 2, 2] - 1) / 2)
    return axis * np.where(sine > 1e-9, angle / np.maximum(2 * sine, 1e-12), 0.5)[:, None]


def gripper(declared: Declaration, robot: Robot, seen: Sequence[Seen], arm: str) -> Iterator[Claim]:
    """The gripper's range and polarity: 1 is open, and a hand opens before it approaches and closes when it is there."""
    name = f"{arm}_gripper" if arm else "gripper"
    at, values = _columns(robot, seen, arm, ["gripper"])
    if not at or not len(values):
        return
    outside = float(((values < -0.01) | (values > 1.01)).mean())
    text = f"{values.min():.3g} to {values.max():.3g}; {100 * (values > 0.9).mean():.0f} % above 0.9, {100 * (values < 0.1).mean():.0f} % below 0.1"
    wide = float(np.ptp(values)) > 0.3
    yield Claim(
        f"{name} lies in [0, 1] and uses both ends", text, OBJECTS if outside > 0.01 else AGREES if wide else UNKNOWN
    )
    first, starts = [], []
    for one in seen:
        course = one.action[one.known, at[0]]
        course = course[np.isfinite(course)]
        if not len(course):
            continue
        low, high = float(np.quantile(values, 0.02)), float(np.quantile(values, 0.98))
        state = (course - low) / max(high - low, 1e-9)
        starts.append(state[0] > 0.5)
        moved = np.flatnonzero(np.abs(state - state[0]) > 0.5)
        if len(moved):
            first.append(state[0] > 0.5)
    closes, count = sum(first), len(first)
    text = (
        f"in {closes} of {count} episodes in which it moves, it closes first; {sum(starts)} of {len(starts)} begin open"
    )
    claim = f"{name}: 1 = open (stored: {declared.raw['action'].get('gripper', 'not said')})"
    if not wide or not count:
        yield Claim(claim, text if wide else "it never moves", UNKNOWN)
        return
    sure = _tail(max(closes, count - closes), count) < SIGNIFICANT
    yield Claim(claim, text, UNKNOWN if not sure else AGREES if 2 * closes > count else OBJECTS)


def _tail(hits: int, count: int) -> float:
    """The chance of at least `hits` heads in `count` throws."""
    return sum(math.comb(count, k) for k in range(hits, count + 1)) / 2.0**count


def commands(robot: Robot, seen: Sequence[Seen]) -> Iterator[Claim]:
    """Commanded joint angles: in radians, and near the angles that the joints reach."""
    if robot.kind != "absolute":
        return
    joints = [i for i, unit in enumerate(robot.units) if unit == "rad" and robot.dims[i] not in robot.rates]
    if not joints:
        return
    values = np.concatenate([one.action[one.known][:, joints] for one in seen])
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        return
    top = float(np.quantile(np.abs(values), 0.99))
    yield Claim("commands in radians", f"99 % are below {top:.3g}", OBJECTS if top > 2 * math.pi + 0.1 else AGREES)
    told, did = [], []
    for one in seen:
        table = _proprio(robot, one)
        for i in joints:
            if robot.dims[i] in table and one.steps > 2:
                good = one.known[:-1]
                told.append(one.action[:-1, i][good])
                did.append(table[robot.dims[i]][1:][good])
    if not told:
        return
    x, y = np.concatenate(told), np.concatenate(did)
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    if len(x) < 20 or np.ptp(y) == 0:
        return
    off, spread = float(np.median(np.abs(x - y))), float(np.std(y))
    text = f"median distance to the angle that is reached next {off:.3g} rad, spread of the angles {spread:.3g} rad"
    yield Claim(
        "commands are the angles that the joints reach",
        text,
        AGREES if off < 0.2 * spread else OBJECTS if off > 0.5 * spread else UNKNOWN,
    )


def quaternions(robot: Robot, seen: Sequence[Seen]) -> Iterator[Claim]:
    """Stored quaternions have length 1."""
    for term in (*robot.terms, *robot.state):
        if not any(op.name == "quaternion" for op in term.ops):
            continue
        values = np.concatenate([_stored(one, term) for one in seen])
        size = np.sqrt((values**2).sum(axis=1))
        size = size[np.isfinite(size) & (size > 0)]
        if len(size):
            off = float(np.quantile(np.abs(size - 1), 0.9))
            yield Claim(
                f"{term.field} holds quaternions",
                f"90 % of the lengths within {off:.2g} of 1",
                OBJECTS if off > 0.1 else AGREES,
            )


def pictures(robot: Robot, seen: Sequence[Seen]) -> Iterator[Claim]:
    """Cameras have pictures, padding has none. The colour order is reported, never judged."""
    for camera in robot.cameras:
        data = [picture for one in seen for picture in one.pictures[camera.name]]
        broken = flat = 0
        means: list[Any] = []
        for picture in data:
            try:
                pixels = np.asarray(images.decode(picture).convert("RGB"), np.float32)
            except images.ImageError:
                broken += 1
                continue
            constant = float(np.ptp(pixels)) < 8
            flat += constant
            if not constant:
                means.append(pixels.mean(axis=(0, 1)))
        if not data:
            yield Claim(f"camera {camera.name}", "no picture that the declaration calls valid", UNKNOWN)
            continue
        text = f"of {len(data)} pictures {flat} of one colour, {broken} broken"
        if camera.padding:
            yield Claim(f"camera {camera.name} is filling", text, OBJECTS if flat < len(data) // 2 else AGREES)
            continue
        verdict = (
            OBJECTS
            if 2 * broken > len(data) or flat == len(data)
            else AGREES
            if 10 * (flat + broken) <= 5 * len(data)
            else UNKNOWN
        )
        yield Claim(f"camera {camera.name} has pictures", text, verdict)
        if means:
            red, _, blue = np.mean(means, axis=0)
            if camera.colour == "bgr":
                red, blue = blue, red
            yield Claim(
                f"camera {camera.name} is {camera.colour}",
                f"mean red {red:.0f}, blue {blue:.0f} as declared; no data shows the order",
                UNKNOWN,
            )
