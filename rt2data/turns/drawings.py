"""Drawings: what a recipe says under ``draw:``, parsed. A drawing is the objects of a track in a colour and a width."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rt2data.errors import Rt2dataError
from rt2data.turns.template import Slot, parse_slot

DEFAULTS: Mapping[str, Any] = {"color": [0, 255, 255], "width": 2, "antialiased": True}
_RESERVED = re.compile("[hf][0-9]+")  # how members of other steps are named


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is drawn into an image.

    Attributes:
        slot: the placeholder of a track of boxes, points or traces; with a form, they are drawn where its text says.
        color: red, green, blue, 0 to 255.
        width: of the lines, in pixels of the image that the sample stores.
        antialiased: whether edges are soft.
    """

    name: str
    slot: Slot
    color: tuple[int, int, int]
    width: int
    antialiased: bool


def parse_drawings(raw: Mapping[str, Any], at: Callable[[str], str]) -> dict[str, Drawing]:
    """Parse the field ``draw`` of a recipe, which fits the schema.

    Args:
        raw: by name, the fields of each drawing.
        at: gives the place of a drawing.

    Raises:
        Rt2dataError: a name that is reserved, or no placeholder of a track.
    """
    drawings = {}
    for name, fields in raw.items():
        if _RESERVED.fullmatch(name):
            raise Rt2dataError(at(name), f'a drawing called "{name}"', "another: h1 and f1 are images one step away")
        slot = parse_slot(fields["track"], at(name))
        if slot.is_image or slot.edits or slot.step:
            expected = "a track with functions that select its rows: trace, box|all, trace|form(molmoact-trace)"
            raise Rt2dataError(at(name), f'track: "{fields["track"]}"', expected)
        red, green, blue = fields.get("color", DEFAULTS["color"])
        width, soft = (fields.get(key, DEFAULTS[key]) for key in ("width", "antialiased"))
        drawings[name] = Drawing(name, slot, (red, green, blue), width, soft)
    return drawings
