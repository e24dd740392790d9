"""A second implementation of the grounding forms: one object at a time, in plain Python, a function for each form.

Written from the originals' rules and shared with nothing of rt2data. Coordinates are pixels, sizes (width, height);
a text is written for a list of (kind, numbers, label).
"""

from __future__ import annotations

import json
import math
import struct
from fractions import Fraction
from typing import Any

Item = tuple[str, tuple[float, ...], str]


def single(value: float) -> float:
    """The nearest number of 32 bits."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def half_even(value: float) -> int:
    """The nearest integer, of two the even one, from the exact value."""
    exact = Fraction(value)
    low = math.floor(exact)
    rest = exact - low
    return low + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and low % 2 == 1))


def limited(value: float, high: float) -> float:
    return 0 if value < 0 else min(value, high)


def smart_resize(width: int, height: int, factor: int, least: int, most: int, rule: str) -> tuple[int, int]:
    """Qwen's, as (width, height); `rule` is one of transformers, qwen-vl-utils, process-bbox."""
    sides = [half_even(side / factor) * factor for side in (width, height)]
    if rule == "qwen-vl-utils":
        sides = [side or factor for side in sides]
    area = sides[0] * sides[1]
    if area > most:
        beta = math.sqrt((height * width) / most)
        sides = [int(side / beta / factor) * factor for side in (width, height)]
        if rule == "transformers":
            sides = [side or factor for side in sides]
    elif area < least:
        beta = math.sqrt(least / (height * width))
        sides = [-int(-(side * beta / factor) // 1) * factor for side in (width, height)]
    return sides[0], sides[1]


def pix2seq(c: float, size: int) -> int:
    return int(limited(half_even(single(single(c / size) * 999)), 999))


def per_mille(c: float, size: int) -> int:
    return int(limited(half_even(c / size * 1000), 1000))


def loc(c: float, size: int) -> int:
    return int(limited(half_even(c / size * 1023), 1023))


def pixel(c: float, size: int, resized: int) -> int:
    return int(limited(half_even(c * (resized / size)), resized - 1))


def per_cent(c: float, size: int) -> float:
    return limited(half_even(c / (size / 100) * 10) / 10, 100.0)


def up_to_255(c: float, size: int) -> int:
    return int(limited(half_even(c / (size - 1) * 255), 255)) if size > 1 else 0


def florence(c: float, size: int) -> int:
    return int(limited(math.floor(single(single(c) / single(size / 1000))), 999))


def florence_back(n: int, size: int) -> float:
    return (n + 0.5) * (size / 1000)


def kosmos(box: tuple[float, ...], size: tuple[int, int]) -> tuple[int, int]:
    """The indices of the two cells."""
    x1, y1, x2, y2 = (c / size[i % 2] for i, c in enumerate(box))
    first = limited(math.floor(y1 * 32), 31) * 32 + limited(math.floor(x1 * 32), 31)
    last = limited(math.ceil(y2 * 32 - 1), 31) * 32 + limited(math.ceil(x2 * 32 - 1), 31)
    return int(first), int(last)


def kosmos_back(first: int, last: int, size: tuple[int, int]) -> tuple[float, ...]:
    r1, c1, r2, c2 = first // 32, first % 32, last // 32, last % 32
    inside = 0 if r1 == r2 or c1 == c2 else 0.5
    corners = (c1 + inside, r1 + inside, c2 + 1 - inside, r2 + 1 - inside)
    return tuple(c * size[i % 2] / 32 for i, c in enumerate(corners))


def write(form: str, items: list[Item], size: tuple[int, int]) -> str:
    """The text of objects in a form."""
    return _FORMS[form](items, size)


def _numbers(rule: Any, numbers: tuple[float, ...], size: tuple[int, int]) -> list[Any]:
    return [rule(c, size[i % 2]) for i, c in enumerate(numbers)]


def _pix2seq(items: list[Item], size: tuple[int, int]) -> str:
    tokens = []
    for _, box, label in items:
        x1, y1, x2, y2 = _numbers(pix2seq, box, size)
        tokens += [y1 + 1000, x1 + 1000, y2 + 1000, x2 + 1000, int(label) + 100]
    return " ".join(map(str, tokens))


def _paligemma(items: list[Item], size: tuple[int, int], *, first: bool = False) -> str:
    texts = []
    for kind, numbers, label in items:
        n = _numbers(loc, numbers, size)
        n = [n[1], n[0], n[3], n[2]] if kind == "box" else [n[1], n[0]]
        tokens = "".join("<loc" + str(i).rjust(4, "0") + ">" for i in n)
        texts.append((label + " " + tokens if first else tokens + " " + label).strip())
    return " ; ".join(texts)


def _qwen(items: list[Item], size: tuple[int, int], ref: tuple[str, str], box: tuple[str, str]) -> str:
    out = ""
    for _, numbers, label in items:
        n = _numbers(per_mille, numbers, size)
        pairs = ",".join(f"({n[i]},{n[i + 1]})" for i in range(0, len(n), 2))
        out += (ref[0] + label + ref[1] if label else "") + box[0] + pairs + box[1]
    return out


def _json(items: list[Item], numbers: list[list[Any]], names: tuple[str, str], *, swap: bool = False) -> str:
    rows = []
    for (kind, _, label), n in zip(items, numbers, strict=True):
        n = [n[i ^ 1] for i in range(len(n))] if swap else n
        rows.append({names[kind == "point"]: n} | ({"label": label} if label else {}))
    return json.dumps(rows, ensure_ascii=False)


def _per_mille_json(items: list[Item], size: tuple[int, int], names: tuple[str, str], *, swap: bool = False) -> str:
    return _json(items, [_numbers(per_mille, numbers, size) for _, numbers, _ in items], names, swap=swap)


def _resized(items: list[Item], size: tuple[int, int], least: int, most: int, rule: str) -> list[list[int]]:
    new = smart_resize(*size, 28, least, most, rule)
    return [[pixel(c, size[i % 2], new[i % 2]) for i, c in enumerate(numbers)] for _, numbers, _ in items]


def _eo1(items: list[Item], size: tuple[int, int]) -> str:
    numbers = _resized(items, size, 50176, 100352, "transformers")
    rows = [_json([item], [n], ("bbox_2d", "point_2d"))[1:-1] for item, n in zip(items, numbers, strict=True)]
    return "```json\n[\n    " + ",\n    ".join(rows) + "\n]\n```" if rows else "```json\n[]\n```"


def _molmo(items: list[Item], size: tuple[int, int]) -> str:
    if not items:
        return "There are none."
    out = []
    for label in dict.fromkeys(label for _, _, label in items):
        points = sorted(_numbers(per_cent, numbers, size) for _, numbers, own in items if own == label)
        text = label.lower()
        if len(points) == 1:
            out.append(f'<point x="{points[0][0]:.1f}" y="{points[0][1]:.1f}" alt="{text}">{text}</point>')
        else:
            own = " ".join(f'x{i}="{x:.1f}" y{i}="{y:.1f}"' for i, (x, y) in enumerate(points, 1))
            out.append(f'<points {own} alt="{text}">{text}</points>')
    return " ".join(out)


def _pairs(numbers: list[Any]) -> list[list[Any]]:
    return [[numbers[i], numbers[i + 1]] for i in range(0, len(numbers), 2)]


def _molmoact(items: list[Item], size: tuple[int, int]) -> str:
    return str(_pairs(_numbers(up_to_255, items[0][1], size))) if items else "[]"


def _gemini_trace(items: list[Item], size: tuple[int, int]) -> str:
    pairs = _pairs(_numbers(per_mille, items[0][1], size)) if items else []
    return json.dumps([{"point": [y, x], "label": str(i)} for i, (x, y) in enumerate(pairs)])


def _runs(items: list[Item]) -> list[list[Item]]:
    runs: list[list[Item]] = []
    for item in items:
        if runs and (runs[-1][0][0], runs[-1][0][2]) == (item[0], item[2]):
            runs[-1].append(item)
        else:
            runs.append([item])
    return runs


def _internvl(items: list[Item], size: tuple[int, int]) -> str:
    out = ""
    for run in _runs(items):
        ref = f"<ref>{run[0][2]}</ref>" if run[0][2] else ""
        out += f"{ref}<box>{[_numbers(per_mille, numbers, size) for _, numbers, _ in run]}</box>"
    return out


def _florence2(items: list[Item], size: tuple[int, int]) -> str:
    return "".join(label + "".join(f"<loc_{n}>" for n in _numbers(florence, box, size)) for _, box, label in items)


def _kosmos2(items: list[Item], size: tuple[int, int], space: str = "") -> str:
    out = ""
    for run in _runs(items):
        boxes = [space.join(f"<patch_index_{n:04}>" for n in kosmos(box, size)) for _, box, _ in run]
        joined = f"{space}</delimiter_of_multi_objects/>{space}".join(boxes)
        phrase = f"<phrase> {run[0][2]}</phrase>" if run[0][2] else ""
        out += f"{phrase}<object>{space}{joined}{space}</object>"
    return out


def _wall(items: list[Item], size: tuple[int, int]) -> str:
    return "".join(f"<point>{n}</point>" for n in _resized(items, size, 3136, 12845056, "qwen-vl-utils"))


def _wall_qwen2(items: list[Item], size: tuple[int, int]) -> str:
    def rule(c: float, side: int) -> float:
        n = max(0, min(999.999, c / side * 1000))
        return n if n >= 1e-4 else 0  # no exponents

    rows = [_numbers(rule, numbers, size) for _, numbers, _ in items]
    return "".join(f"<point>{row}</point>" for row in rows)


def _ecot(items: list[Item], size: tuple[int, int]) -> str:
    rule = lambda c, side: int(limited(half_even(c), side))  # noqa: E731
    return ", ".join(f"{label} {_numbers(rule, numbers, size)}".strip() for _, numbers, label in items)


def _robointer(items: list[Item], size: tuple[int, int]) -> str:
    new = smart_resize(*size, 28, 3136, 1003520, "transformers")
    (kind, numbers, _) = items[0]
    n = [int(limited(c * (new[i % 2] / size[i % 2]), new[i % 2])) for i, c in enumerate(numbers)]
    return json.dumps({"gripper_det_bbox" if kind == "box" else "future_traj": _pairs(n)})


_QWEN2 = (("<|object_ref_start|>", "<|object_ref_end|>"), ("<|box_start|>", "<|box_end|>"))
_FORMS: dict[str, Any] = {
    "pix2seq": _pix2seq,
    "paligemma": _paligemma,
    "paligemma-label-first": lambda items, size: _paligemma(items, size, first=True),
    "qwen-vl": lambda items, size: _qwen(items, size, ("<ref>", "</ref>"), ("<box>", "</box>")),
    "qwen2-vl": lambda items, size: _qwen(items, size, *_QWEN2),
    "qwen2.5-vl": lambda items, size: _json(
        items, _resized(items, size, 3136, 1003520, "transformers"), ("bbox_2d", "point_2d")
    ),
    "eo-1": _eo1,
    "qwen3-vl": lambda items, size: _per_mille_json(items, size, ("bbox_2d", "point_2d")),
    "gemini": lambda items, size: _per_mille_json(items, size, ("box_2d", "point"), swap=True),
    "gemini-trace": _gemini_trace,
    "molmo": _molmo,
    "molmoact-trace": _molmoact,
    "internvl": _internvl,
    "florence2": _florence2,
    "kosmos2": _kosmos2,
    "kosmos2-spaced": lambda items, size: _kosmos2(items, size, " "),
    "wall-oss": _wall,
    "wall-oss-qwen2": _wall_qwen2,
    "ecot": _ecot,
    "ecot-trace": _ecot,
    "robointer": _robointer,
}
NAMES = tuple(_FORMS)
