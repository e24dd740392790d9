"""A second computation of canonical actions: the declared map, step by step from the YAML, in plain Python with `math`.

It shares no code with rt2data and uses other formulas where there are others. Input: `declaration.raw`, and the values
of each field as a list with, per step, the flat list of its numbers.
"""

from __future__ import annotations

import cmath
import math
import struct
from typing import Any

Vector = list[float]
Matrix = list[Vector]
Values = dict[str, list[Vector]]

ARM = ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]


def actions(raw: dict[str, Any], values: Values, steps: int) -> tuple[list[Vector], list[bool], list[bool]]:
    """Per step: the action (at rest where it is undefined), whether it is defined, whether the episode ends."""
    if "first_scale" in raw["action"] and steps > 1:  # of the dataset's own steps, whatever is read of them
        rule = raw["action"]["first_scale"]
        plain = {**raw, "action": {name: value for name, value in raw["action"].items() if name != "first_scale"}}
        rows, ok, ends = actions(plain, values, steps)
        factor = math.dist(values[rule["length"]][0], [0.0] * len(raw["action"]["dims"])) / math.dist(
            *values[rule["change"]][:2]
        )
        return [[factor * number for number in row] for row in rows], ok, ends
    every = raw.get("every", 1)
    if every > 1:  # as if the steps between were not there; they have no action
        some = {path: rows[::every] if len(rows) == steps else rows for path, rows in values.items()}
        found = actions({**raw, "every": 1}, some, len(range(0, steps, every)))
        empty = ([0.0] * len(raw["action"]["dims"]), False, False)
        whole = [tuple(part[t // every] for part in found) if t % every == 0 else empty for t in range(steps)]
        return [t[0] for t in whole], [t[1] for t in whole], [t[2] for t in whole]
    block = raw["action"]
    rows: list[dict[str, float] | None] = []
    targets = [pose(block["terms"], raw, values, t, steps) for t in range(steps)]
    for t in range(steps):
        if block["kind"] != "pose":
            rows.append(angles(in_base(targets[t], block, raw, values, t, steps)))
            continue
        against = block.get("against", "state")
        if against == "state":
            start, goal = pose(block["state"], raw, values, t, steps), targets[t]
        elif against == "previous_target":
            start, goal = targets[t - 1] if t else None, targets[t]
        else:
            start, goal = targets[t], targets[t + 1] if t + 1 < steps else None
        rows.append(angles(displacement(start, goal, block["frame"], extras=targets[t])))
    if block.get("missing") == "rest":
        held = [term for term in block["terms"] if is_held(term, block)]
        for t, row in enumerate(rows):
            if row is None:
                still = pose(held, raw, values, t, steps)
                assert still is not None
                rows[t] = {name: still.get(name, 0.0) for name in block["dims"]}
    ok = [row is not None and valid(raw, values, t, steps) for t, row in enumerate(rows)]
    ends = [terminate(raw, values, t, steps) for t in range(steps)]
    resting = rested(block, rows, ok)
    told = {t: grip for t in range(steps) if not ok[t] and (grip := commanded(raw, values, t, steps))}
    held = [name for term in block["terms"] if is_held(term, block) for name in term["to"]]
    if "standardisation" not in raw and (any(ok) or all(name.endswith("gripper") for name in held)):
        for t, grip in told.items():
            rows[t] = dict(zip(block["dims"], resting[t], strict=True)) | grip
            ok[t] = True
    return rested(block, rows, ok), ok, ends


def commanded(raw: dict[str, Any], values: Values, t: int, steps: int) -> dict[str, float] | None:
    """The openness of each gripper at a step that commands one of them; None at another step."""
    out, told = {}, False
    for term in raw["action"]["terms"]:
        for name in [name for name in term["to"] if name.split("_")[-1] == "gripper"]:
            now, before = ((pose([term], raw, values, s, steps) or {}).get(name) for s in (t, max(t - 1, 0)))
            if now is None or not math.isfinite(now):
                continue
            out[name] = now
            ops = term.get("ops", [])
            if "relative_to_absolute" in ops:
                short = {**term, "ops": ops[: ops.index("relative_to_absolute")]}
                (stored,) = history(short, raw, values, steps)[t]
                told |= above(abs(stored), 0.1) and (valid(raw, values, t, steps) or trusts(raw, None))
            elif before is not None and math.isfinite(before) and before != now:
                told |= valid(raw, values, t, steps) or trusts(raw, term)
    return out if told else None


def trusts(raw: dict[str, Any], term: dict[str, Any] | None) -> bool:
    """Whether a step that `valid_action` rejects may still command: by a trigger (None), by the openness of `term`."""
    word = raw["valid_action"]
    if not isinstance(word, dict) or word["field"] in ("steps/is_first", "steps/is_last", "steps/is_terminal"):
        return False
    looked_at = reads(
        {"field": word["field"], "columns": [word["column"]] if "column" in word else word.get("columns")}
    )
    moving = [reads(one) for one in raw["action"]["terms"] if any(n.split("_")[-1] != "gripper" for n in one["to"])]
    meets = [one for one in moving if one & looked_at]
    return term is None or (bool(meets) and not reads(term) & looked_at)


def reads(term: dict[str, Any]) -> set[tuple[str, int]]:
    """Each column that is read; of a field that is read whole the first hundred."""
    out = set()
    others = [next(iter(op.values())) for op in term.get("ops", []) if isinstance(op, dict)]
    refs = [one if isinstance(one, dict) else {"field": one} for one in others if isinstance(one, (str, dict))]
    for ref in ([term] if "field" in term else []) + [ref for ref in refs if "/" in ref["field"]]:
        columns = ref.get("columns")
        out |= {(ref["field"], column) for column in picked(list(range(100)), columns)}  # type: ignore[arg-type]
    return out


def pose(terms: list[dict[str, Any]], raw: dict[str, Any], values: Values, t: int, steps: int) -> dict[str, Any] | None:
    """Dimension -> number, and arm -> rotation matrix where a term has one; None where data are missing."""
    out: dict[str, Any] = {}
    for term in terms:
        if "pad" in term:
            out |= dict.fromkeys(term["to"], term["pad"])
            continue
        now = apply(term, raw, values, t)
        for index, op in enumerate(term.get("ops", ())):
            name, argument = (op, None) if isinstance(op, str) else next(iter(op.items()))
            before = {**term, "ops": term["ops"][:index]}
            if name == "euler_difference":
                if t + 1 == steps:
                    return None
                rows = history(before, raw, values, steps)
                now = [after - value for value, after in zip(rows[t], rows[t + 1], strict=True)]
            elif name == "next":
                now = history(before, raw, values, steps)[min(t + 1, steps - 1)]
            elif name == "binarize":
                now = [binarized([row[0] for row in history(before, raw, values, steps)], t)]
            elif name == "relative_to_absolute":
                now = [opened([row[0] for row in history(before, raw, values, steps)], t)]
            elif name in ROTATIONS:
                if name in ("quaternion", "rotation_6d", "matrix") and all(v == 0 for v in now):
                    return None
                out[arm_of(term["to"][0])] = ROTATIONS[name](now, argument)
                now = []
            elif name == "forward_kinematics":
                place, turn = franka(now, argument)
                out |= zip(term["to"][:3], place, strict=True)
                out[arm_of(term["to"][3])] = turn
                now = []
            else:
                now = simple(name, argument, now, values, t)
        if now:
            out |= zip(term["to"], now, strict=True)
    return out


def in_base(found: Any, block: dict[str, Any], raw: dict[str, Any], values: Values, t: int, steps: int) -> Any:
    """A displacement whose rotation is in the tool's frame, with the rotation put into the base frame."""
    if "rotation_frame" not in block or found is None:
        return found
    here = pose(block["state"], raw, values, t, steps)
    if here is None:
        return None
    out = dict(found)
    for arm in {key[1] for key in here if not isinstance(key, str)} | {
        k[: -len(k.split("_")[-1])] for k in here if isinstance(k, str)
    }:
        now = turn_of(arm, here)
        out["rotation", arm] = times(now, times(turn_of(arm, found), flipped(now)))
    return out


def is_held(term: dict[str, Any], block: dict[str, Any]) -> bool:
    return not any(name.split("_")[-1] in ARM[:6] or name in block.get("rates", ()) for name in term["to"])


def history(term: dict[str, Any], raw: dict[str, Any], values: Values, steps: int) -> list[Vector]:
    """The term's columns at every step, after its operations."""
    names = term["to"]
    rows = []
    for s in range(steps):
        found = pose([term], raw, values, s, steps)
        assert found is not None
        rows.append([found[name] for name in names])
    return rows


def apply(term: dict[str, Any], raw: dict[str, Any], values: Values, t: int) -> Vector:
    """The term's columns at one step, in metres and radians, before its operations."""
    block = raw["action"]
    row = picked(values[term["field"]][t], term.get("columns"))
    out = []
    for index, value in enumerate(row):
        which = (term["to"][index] if len(row) == len(term["to"]) else term["to"][0]).split("_")[-1]
        if block.get("unit") == "m_rad_per_s" and which in ARM[:6]:
            value = value * (1.0 / raw["control_hz"])
        if block.get("unit") == "controller" and which in ARM[:6]:
            value = value * block.get("scale", {}).get("translation" if which in ARM[:3] else "rotation", 1.0)
        out.append(value)
    return out


def picked(row: Vector, columns: Any) -> Vector:
    if columns is None:
        return list(row)
    if isinstance(columns, str):
        first, last = columns.split(":")
        return list(row[int(first) : int(last)])
    return [row[c] for c in columns]


def simple(name: str, argument: Any, row: Vector, values: Values, t: int) -> Vector:
    numbers = argument if isinstance(argument, list) else [argument] * len(row)
    if name == "scale":
        return [v * k for v, k in zip(row, numbers if len(numbers) == len(row) else numbers * len(row), strict=True)]
    if name == "offset":
        return [v + k for v, k in zip(row, numbers if len(numbers) == len(row) else numbers * len(row), strict=True)]
    if name == "clip":
        return [argument[0] if v < argument[0] else min(v, argument[1]) for v in row]
    if name == "invert":
        return [1 - v for v in row]
    if name == "negate":
        return [-v for v in row]
    if name == "wrap":
        return [v - 2 * math.pi * math.floor((v + math.pi) / (2 * math.pi)) for v in row]
    if name == "threshold":
        return [1.0 if above(v, argument) else 0.0 for v in row]
    if name in ("add", "subtract"):
        field, columns = (argument, None) if isinstance(argument, str) else (argument["field"], argument.get("columns"))
        other = picked(values[field][t], columns)
        return [v + o if name == "add" else v - o for v, o in zip(row, other, strict=True)]
    if name == "turn_back":  # a product of complex numbers
        turned = complex(*row) * cmath.exp(-1j * values[argument][t][0])
        return [turned.real, turned.imag]
    raise AssertionError(f"no scalar form of {name}")


def single(x: float) -> float:
    """The float32 nearest to `x`."""
    return float(struct.unpack("<f", struct.pack("<f", x))[0])


def limit(bound: float, value: float) -> float:
    """`bound` in the type of `value`: in float32 if that holds the value, as it hardly ever does of a float64."""
    return single(bound) if math.isfinite(value) and abs(value) < 3e38 and single(value) == value else bound


def above(value: float, bound: float) -> bool:
    return value > limit(bound, value)


def binarized(column: Vector, t: int) -> float:
    for value in column[t:]:
        if above(value, 0.95):
            return 1.0
        if above(-value, -0.05):
            return 0.0
    return column[-1]


def opened(column: Vector, t: int) -> float:
    state = None
    for value in column[: t + 1]:
        if above(value, 0.1):
            state = 0.0
        elif above(-value, 0.1):
            state = 1.0
    if state is not None:
        return state
    later = [value for value in column if above(abs(value), 0.1)]
    return 1.0 if not later or later[0] > 0 else 0.0


# Franka's modified Denavit-Hartenberg table: a, d in metres, alpha in quarter turns.
FRANKA = [(0, 0.333, 0), (0, 0, -1), (0, 0.316, 1), (0.0825, 0, 1), (-0.0825, 0.384, -1), (0, 0, 1), (0.088, 0, 1)]
TOOLS = {"franka": (0.107, 0.0), "franka_hand": (0.107 + 0.1034, -math.pi / 4)}


def franka(joints: Vector, tool: str) -> tuple[Vector, Matrix]:
    """Position and rotation of the tool: a product of 4x4 matrices."""
    far, turned = TOOLS[tool]
    total = [[float(i == j) for j in range(4)] for i in range(4)]
    for (a, d, alpha), theta in zip([*FRANKA, (0, far, 0)], [*joints, turned], strict=True):
        c, s, ca, sa = math.cos(theta), math.sin(theta), math.cos(alpha * math.pi / 2), math.sin(alpha * math.pi / 2)
        step = [[c, -s, 0, a], [s * ca, c * ca, -sa, -d * sa], [s * sa, c * sa, ca, d * ca], [0, 0, 0, 1]]
        total = [[math.fsum(total[i][k] * step[k][j] for k in range(4)) for j in range(4)] for i in range(4)]
    return [total[i][3] for i in range(3)], [row[:3] for row in total[:3]]


def cross(a: Vector, b: Vector) -> Vector:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def about(axis: Vector, angle: float, v: Vector) -> Vector:
    """Rodrigues: `v` turned about a unit `axis`."""
    c, s = math.cos(angle), math.sin(angle)
    across, along = cross(axis, v), dot(axis, v)
    return [v[i] * c + across[i] * s + axis[i] * along * (1 - c) for i in range(3)]


BASIS = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


def from_columns(columns: list[Vector]) -> Matrix:
    return [[columns[j][i] for j in range(3)] for i in range(3)]


def quaternion(q: Vector, order: str) -> Matrix:
    length = math.sqrt(math.fsum(v * v for v in q))
    x, y, z, w = (q[order.index(letter)] / length for letter in "xyzw")
    columns = []
    for e in BASIS:  # v + 2 w (u x v) + 2 u x (u x v)
        once = cross([x, y, z], e)
        twice = cross([x, y, z], once)
        columns.append([e[i] + 2 * w * once[i] + 2 * twice[i] for i in range(3)])
    return from_columns(columns)


def axis_angle(v: Vector, _: Any) -> Matrix:
    angle = math.sqrt(dot(v, v))
    if angle == 0:
        return [list(row) for row in BASIS]
    return from_columns([about([c / angle for c in v], angle, e) for e in BASIS])


def euler(angles_: Vector, order: str) -> Matrix:
    turns = [(BASIS["xyz".index(letter.lower())], angle) for letter, angle in zip(order, angles_, strict=True)]
    if order.isupper():  # moving axes: the same turns about fixed axes in the opposite order
        turns.reverse()
    columns = []
    for e in BASIS:
        v = e
        for axis, angle in turns:
            v = about(axis, angle, v)
        columns.append(v)
    return from_columns(columns)


def rotation_6d(v: Vector, layout: str) -> Matrix:
    a, b = v[:3], v[3:]
    a = [c / math.sqrt(dot(a, a)) for c in a]
    b = [b[i] - dot(a, b) * a[i] for i in range(3)]
    b = [c / math.sqrt(dot(b, b)) for c in b]
    rows = [a, b, cross(a, b)]
    return rows if layout == "rows" else from_columns(rows)


def matrix(v: Vector, _: Any) -> Matrix:
    return [v[:3], v[3:6], v[6:]]


ROTATIONS: dict[str, Any] = {
    "quaternion": quaternion, "axis_angle": axis_angle, "euler": euler, "rotation_6d": rotation_6d, "matrix": matrix,
}  # fmt: skip


def arm_of(name: str) -> tuple[str, str]:
    """The key of an arm's rotation matrix in a pose."""
    return ("rotation", name[: -len(name.rsplit("_", maxsplit=1)[-1])])


def times(a: Matrix, b: Matrix) -> Matrix:
    return [[sum(a[i][k] * b[k][j] for k in range(3)) for j in range(3)] for i in range(3)]


def flipped(a: Matrix) -> Matrix:
    return [[a[j][i] for j in range(3)] for i in range(3)]


def rpy(a: Matrix) -> Vector:
    flat = math.sqrt(a[0][0] * a[0][0] + a[1][0] * a[1][0])
    pitch = math.atan2(-a[2][0], flat)
    if flat < 1e-8:
        return [0.0, pitch, math.atan2(-a[0][1], a[1][1])]
    return [math.atan2(a[2][1], a[2][2]), pitch, math.atan2(a[1][0], a[0][0])]


def angles(found: dict[Any, Any] | None) -> dict[str, float] | None:
    """Rotation matrices of a pose as roll, pitch, yaw."""
    if found is None:
        return None
    out = {key: value for key, value in found.items() if isinstance(key, str)}
    for key, turn in found.items():
        if not isinstance(key, str):
            out |= {key[1] + name: angle for name, angle in zip(ARM[3:6], rpy(turn), strict=True)}
    return out


def displacement(start: Any, goal: Any, frame: str, extras: Any) -> dict[Any, Any] | None:
    if start is None or goal is None or extras is None:
        return None
    out = dict(extras)
    arms = {key[1] for key in goal if not isinstance(key, str)}
    arms |= {key[: -len(key.split("_")[-1])] for key in goal if isinstance(key, str) and key.split("_")[-1] in ARM[:6]}
    for arm in arms:
        there, here = turn_of(arm, goal), turn_of(arm, start)
        moved = [goal.get(arm + name, 0.0) - start.get(arm + name, 0.0) for name in ARM[:3]]
        back = flipped(here)
        if frame == "tool":
            moved = [sum(back[i][k] * moved[k] for k in range(3)) for i in range(3)]
        out |= {arm + name: value for name, value in zip(ARM[:3], moved, strict=True)}
        out["rotation", arm] = times(back, there) if frame == "tool" else times(there, back)
    return out


def turn_of(arm: str, found: dict[Any, Any]) -> Matrix:
    if ("rotation", arm) in found:
        turn: Matrix = found["rotation", arm]
        return turn
    return euler([found.get(arm + name, 0.0) for name in ARM[3:6]], "xyz")


def rule(raw: Any, values: Values, t: int) -> bool:
    columns = [raw["column"]] if "column" in raw else raw.get("columns")
    row = picked(values[raw["field"]][t], columns)
    if "nonzero" in raw:
        return any(v != 0 for v in row)
    return above(-row[0], -raw["below"]) if "below" in raw else above(row[0], raw.get("above", 0.5))


def terminate(raw: dict[str, Any], values: Values, t: int, steps: int) -> bool:
    word = raw["terminate"]
    if isinstance(word, dict):
        return rule(word, values, t)
    return (word == "last_step" and t == steps - 1) or (word.startswith("is_") and values[f"steps/{word}"][t][0] != 0)


def valid(raw: dict[str, Any], values: Values, t: int, steps: int) -> bool:
    word = raw["valid_action"]
    if isinstance(word, dict):
        return rule(word, values, t)
    return word == "all" or values["steps/is_last"][t][0] == 0


def rested(block: dict[str, Any], rows: list[dict[str, float] | None], ok: list[bool]) -> list[Vector]:
    """Undefined actions at rest: no movement; what is held is that of the last defined step, else that of the first."""
    out = []
    first = next((t for t, fine in enumerate(ok) if fine), None)
    last = None
    for t, fine in enumerate(ok):
        if fine:
            last = t
        row = rows[last if last is not None else first] if first is not None else None
        current = []
        for name in block["dims"]:
            moves = name in block.get("rates", ()) or (block["kind"] != "absolute" and name.split("_")[-1] in ARM[:6])
            current.append(row[name] if row is not None and (fine or not moves) else 0.0)
        out.append(current)
    return out
