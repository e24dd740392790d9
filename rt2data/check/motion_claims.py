"""Claims on how a robot moves: units, scale, sign and frame, against the robot's own state.

The thresholds are wide on purpose: a claim is contradicted where it is off by a factor, a sign or a frame, not by a
percentage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from rt2data.check.evidence import (
    AGREES,
    OBJECTS,
    SIGNIFICANT,
    UNKNOWN,
    Claim,
    EpisodeEvidence,
    Floats,
    action_columns,
    arm_prefix,
    chance,
    compute_pose,
    compute_positions,
    read_proprio,
    read_stored,
)
from rt2data.robot import rotation
from rt2data.robot.fields import ROTATION, TRANSLATION, RobotFields

FASTEST, SLOWEST = 3.0, 0.004  # metres per second of a hand that works: the 99th percentile lies between them
LARGEST, SMALLEST = 0.7, 0.0004  # metres per step, where the rate is not declared

REACH = 3.0  # metres from the base of an arm, or from the origin of its room
TURN = 12.0  # radians per second; more than pi in a step is no displacement
STILL, ASIDE = 0.02, 0.2  # radians: a joint that moves less stands still; a command farther off is another angle
FOLLOWS = 0.5  # correlation from which a robot counts as doing what it is told


def check_translation(robot: RobotFields, episodes: Sequence[EpisodeEvidence], arm: str) -> Iterator[Claim]:
    """Test the unit of a displacement, by the speed of the end effector."""
    at, values = action_columns(robot, episodes, arm, TRANSLATION)
    if not at or not len(values) or robot.kind == "absolute":
        return
    claim = f"{arm_prefix(arm)}translation in metres"
    size = np.sqrt((values**2).sum(axis=1))
    top = float(np.quantile(size, 0.99))
    if "controller" in [robot.units[i] for i in at]:
        yield Claim(f"{arm_prefix(arm)}translation in units of a controller", f"99 % are below {top:.4g}", UNKNOWN)
        return
    hz = robot.control_hz
    low, high = (SLOWEST / hz, FASTEST / hz) if hz else (SMALLEST, LARGEST)
    text = f"99 % of the steps move less than {top:.4g} m" + (f", {top * hz:.3g} m/s" if hz else "")
    # Much data stands still; what moves slower than any hand is no data of metres.
    yield Claim(claim, text, OBJECTS if not low <= top <= high else AGREES)
    if robot.kind == "pose":
        places = [p for episode in episodes if (p := compute_positions(episode, robot.terms, arm)) is not None]
        where = np.concatenate(places) if places else np.empty((0, 3))
        where = where[np.isfinite(where).all(axis=1)]
        if len(where):
            far, spread = float(np.quantile(np.abs(where), 0.99)), float(np.ptp(where, axis=0).max())
            text = f"99 % of the targets within {far:.3g} m of the origin, over a range of {spread:.3g} m"
            yield Claim(
                f"{arm_prefix(arm)}target position in metres",
                text,
                OBJECTS if far > REACH or spread < 0.005 else AGREES,
            )


def check_rotation_unit(robot: RobotFields, episodes: Sequence[EpisodeEvidence], arm: str) -> Iterator[Claim]:
    """Test the unit of a rotation, by the size of the stored angles."""
    names = [f"{arm}_{w}" if arm else w for w in ROTATION]
    for term in robot.terms:
        turning = next((op.name for op in term.ops if op.rotation), "")
        own = [i for i, name in enumerate(term.to) if name in names]
        if (
            not own
            or robot.kind == "absolute"
            or turning not in ("", "axis_angle", "euler")
            or any(op.kinematics for op in term.ops)
        ):
            continue
        unit = robot.units[robot.dims.index(term.to[own[0]])]
        values = np.concatenate([read_stored(episode, term)[episode.known] for episode in episodes])[
            :, own if not turning else slice(None)
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
        yield Claim(f"{arm_prefix(arm)}rotation in radians", text, OBJECTS if wrong else AGREES)


def check_motion(robot: RobotFields, episodes: Sequence[EpisodeEvidence], arm: str) -> Iterator[Claim]:
    """Test scale, sign and frame of a displacement against what the robot's state does next."""
    if robot.kind == "absolute" or (robot.kind == "pose" and robot.against == "next_target"):
        return  # no displacement; or one that the reached poses give themselves
    moves: dict[str, list[Readings]] = {"translation": [], "rotation": []}
    controller = {}
    for what, which in (("translation", TRANSLATION), ("rotation", ROTATION)):
        at, _ = action_columns(robot, episodes, arm, which)
        controller[what] = any(robot.units[i] == "controller" for i in at)
        for episode in episodes if len(at) == 3 else ():
            pose = compute_pose(robot, episode, arm)
            if pose is not None and episode.steps > 2 and (what == "translation" or pose[1] is not None):
                moves[what].append(_readings(what, episode, at, *pose))
    for what, readings in moves.items():
        if sum(len(did) for reading in readings for _, did in [reading["base"]]) > 20:
            yield from _compared(robot, f"{arm_prefix(arm)}{what}", readings, controller[what])


# By frame in which the command is read: (command, what the state did), each (n, 3).
Readings = dict[str, tuple[Floats, Floats]]


def _readings(what: str, episode: EpisodeEvidence, at: Sequence[int], where: Floats, turn: Floats | None) -> Readings:
    """Compute the command and the change of the state of each step of an episode, in either frame."""
    command = episode.action[:-1][:, at]
    place = np.asarray(np.isfinite(where).all(axis=1))
    good = episode.known[:-1] & np.isfinite(command).all(axis=1) & place[:-1] & place[1:]
    if turn is None:
        return {"base": (command[good], np.diff(where, axis=0)[good])}
    back = rotation.transpose(turn)
    if what == "translation":
        did = np.diff(where, axis=0)
        return {"base": (command[good], did[good]), "tool": (command[good], rotation.rotate(back[:-1], did)[good])}
    told = _vector(rotation.from_rpy(command))
    base, tool = rotation.product(turn[1:], back[:-1]), rotation.product(back[:-1], turn[1:])
    return {"base": (told[good], _vector(base)[good]), "tool": (told[good], _vector(tool)[good])}


def _compared(robot: RobotFields, what: str, readings: Sequence[Readings], controller: bool) -> Iterator[Claim]:
    """Judge scale and frame."""
    frames = [name for name in ("base", "tool") if all(name in reading for reading in readings)]
    fits = {
        name: _fit(*(np.concatenate([reading[name][i] for reading in readings]) for i in (0, 1))) for name in frames
    }
    frame = robot.frame if robot.frame in fits else "base"
    if not math.isfinite(fits[frame][0]):
        yield Claim(f"{what} is what the state does next", "the state stands still, or the action does", UNKNOWN)
        return
    correlation, slope = fits[frame]
    text = f"correlation {correlation:.2f}; per unit of the command the state moves {slope:.3g}"
    told, did = (np.concatenate([np.abs(reading[frame][i]).max(axis=1) for reading in readings]) for i in (0, 1))
    far = float(np.median(told)) > 10 * max(float(np.median(did)), 1e-4)  # a place taken for a displacement is far away
    if correlation < -0.3 or (correlation < FOLLOWS and far and not controller):
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
        pairs = [(_fit(*reading[robot.frame])[0], _fit(*reading[other])[0]) for reading in readings]
        better, worse = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
        text = f"correlation {mine:.2f} in the {robot.frame} frame, {theirs:.2f} in the {other} frame; "
        text += f"better in {better} of {better + worse} episodes"
        clear = (
            max(mine, theirs) >= FOLLOWS
            and abs(mine - theirs) > 0.01
            and chance(max(better, worse), better + worse) < SIGNIFICANT
        )
        agree = (mine > theirs) == (better > worse)
        yield Claim(
            f"{what} in the {robot.frame} frame",
            text,
            UNKNOWN if not (clear and agree) else AGREES if mine > theirs else OBJECTS,
        )


def _fit(told: Floats, did: Floats) -> tuple[float, float]:
    """Fit what was done to what was commanded, all axes together: (correlation, slope), both through 0.

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


def _vector(turn: Floats) -> Floats:
    """Convert matrices (n, 3, 3) to rotation vectors (n, 3), for angles below pi."""
    axis = np.stack(
        [turn[:, 2, 1] - turn[:, 1, 2], turn[:, 0, 2] - turn[:, 2, 0], turn[:, 1, 0] - turn[:, 0, 1]], axis=1
    )
    sine = np.sqrt((axis**2).sum(axis=1)) / 2
    angle = np.arctan2(sine, (turn[:, 0, 0] + turn[:, 1, 1] + turn[:, 2, 2] - 1) / 2)
    return axis * np.where(sine > 1e-9, angle / np.maximum(2 * sine, 1e-12), 0.5)[:, None]


def check_commands(robot: RobotFields, episodes: Sequence[EpisodeEvidence]) -> Iterator[Claim]:
    """Test that commanded joint angles are radians, and near the angles that the joints reach."""
    if robot.kind != "absolute":
        return
    joints = [i for i, unit in enumerate(robot.units) if unit == "rad" and robot.dims[i] not in robot.rates]
    if not joints:
        return
    values = np.concatenate([episode.action[episode.known][:, joints] for episode in episodes])
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        return
    top = float(np.quantile(np.abs(values), 0.99))
    yield Claim("commands in radians", f"99 % are below {top:.3g}", OBJECTS if top > 2 * math.pi + 0.1 else AGREES)
    off, named_joint = -1.0, ""
    worst = 0.0
    for i in joints:
        pairs = [
            (episode.action[:-1, i], table[robot.dims[i]][1:])
            for episode in episodes
            if robot.dims[i] in (table := read_proprio(robot, episode))
        ]
        if not pairs:
            continue
        told, did = (np.concatenate([pair[k] for pair in pairs]) for k in (0, 1))
        finite = np.isfinite(told) & np.isfinite(did)
        if finite.sum() < 20:
            continue
        distance, spread = float(np.median(np.abs(told - did)[finite])), float(np.std(did[finite]))
        if distance > off:
            off, worst, named_joint = distance, distance / max(spread, STILL), robot.dims[i]
    if off >= 0:
        text = f"median distance to the angle reached next {off:.3g} rad in {named_joint}, {worst:.2g} times its spread"
        verdict = OBJECTS if off > ASIDE and worst > 2 else AGREES if worst < 1 else UNKNOWN
        yield Claim("commands are the angles that the joints reach", text, verdict)


def check_quaternions(robot: RobotFields, episodes: Sequence[EpisodeEvidence]) -> Iterator[Claim]:
    """Test that stored quaternions have length 1."""
    for term in (*robot.terms, *robot.state):
        if not any(op.name == "quaternion" for op in term.ops):
            continue
        values = np.concatenate([read_stored(episode, term) for episode in episodes])
        size = np.sqrt((values**2).sum(axis=1))
        size = size[np.isfinite(size) & (size > 0)]
        if len(size):
            off = float(np.quantile(np.abs(size - 1), 0.9))
            yield Claim(
                f"{term.field} holds quaternions",
                f"90 % of the lengths within {off:.2g} of 1",
                OBJECTS if off > 0.1 else AGREES,
            )
