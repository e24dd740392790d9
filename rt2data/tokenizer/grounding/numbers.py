"""The numbers of a grounding form: from a coordinate in pixels to the number in the text, and back."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rt2data.errors import near
from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.grounding.values import MAX_SIDE
from rt2data.tokenizer.json_checks import as_integer, check_keys

# The values of each key, the default first.
CHOICES = {
    "rule": ("share", "bin_width", "ratio"),
    "rounding": ("half_even", "floor", "exact", "cells"),
    "highest": ("scale", "below"),
    "edge": ("size", "last_pixel"),
    "back": ("edge", "middle"),
    "precision": ("float64", "float32"),
}

_SMALLEST = 1e-4  # exact numbers below it would be written with an exponent
_STEP = 0.001  # of exact numbers: what `below` takes off the scale


@dataclass(frozen=True, slots=True)
class Numbers:
    """How coordinates become numbers.

    A coordinate c of an image with the side `size` becomes ``round(c / size * scale)``, limited to 0 and `highest`.

    Attributes:
        scale: the number of the far edge; None: the side of the (resized) image, so that numbers are its pixels.
        rule: the order of the floating-point operations, which decides ties: ``share`` c / size * scale, ``bin_width``
            c / (size / scale), ``ratio`` c * (scale / size).
        rounding: ``half_even``; ``floor`` (of what is inside the image, also truncation); ``exact`` (none: up to 20
            decimals); ``cells`` (of a grid: floor for the upper left corner, ceil(c - 1) for the lower right one).
        highest: ``scale`` or the number ``below`` it.
        edge: where the scale ends: at the ``size``, or at the ``last_pixel``, size - 1.
        back: a number stands for the ``edge`` of its bin (the inverse of the rule) or for the ``middle``.
        decimals: of the written number, 0 or 1.
        offset: is added to the written number.
        precision: of the arithmetic.
    """

    scale: int | None
    rule: str = "share"
    rounding: str = "half_even"
    highest: str = "scale"
    edge: str = "size"
    back: str = "edge"
    precision: str = "float64"
    decimals: int = 0
    offset: int = 0

    @classmethod
    def from_dict(cls, raw: Any, where: str) -> Numbers:
        """Read and check the JSON form.

        Raises:
            ActionError: naming the key at fault.
        """
        check_keys(raw, where, {"scale"}, {*CHOICES, "decimals", "offset"})
        for key, values in CHOICES.items():
            value = raw.get(key, values[0])
            if not isinstance(value, str) or value not in values:
                fault, repair = repr(value)[:60], near(str(value)[:60], values)
                raise ActionError(f"{where}: {key}", fault, f"one of {', '.join(values)}", repair)
        scale = raw["scale"]
        numbers = cls(
            scale=None if scale == "pixels" else as_integer(scale, f"{where}: scale", 1, MAX_SIDE),
            decimals=as_integer(raw.get("decimals", 0), f"{where}: decimals", 0, 1),
            offset=as_integer(raw.get("offset", 0), f"{where}: offset", 0, 1 << 20),
            **{key: raw.get(key, values[0]) for key, values in CHOICES.items()},
        )
        plain = numbers.decimals == 0 and numbers.offset == 0
        if numbers.rounding in ("exact", "cells") and not (plain and numbers.scale is not None):
            raise ActionError(where, f"{numbers.rounding} numbers", "a scale, no decimals and no offset with them")
        return numbers

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, with every key that differs from its default."""
        out: dict[str, Any] = {"scale": "pixels" if self.scale is None else self.scale}
        defaults: dict[str, Any] = {key: values[0] for key, values in CHOICES.items()} | {"decimals": 0, "offset": 0}
        return out | {k: getattr(self, k) for k, default in defaults.items() if getattr(self, k) != default}

    def limit(self, size: int) -> float:
        """Return the highest number of an image with the side `size` (resized, where the form counts its pixels)."""
        scale = size if self.scale is None else self.scale
        if self.highest == "scale":
            return scale
        return scale - _STEP if self.rounding == "exact" else (scale * 10**self.decimals - 1) / 10**self.decimals

    def encoder(self, size: int, resized: int) -> Callable[[float], float]:
        """Return the function from a coordinate to its number, along an axis.

        Args:
            size: the side of the image that coordinates are in.
            resized: the side of the image whose pixels the form counts.
        """
        scale = resized if self.scale is None else self.scale
        extent, most = size - (self.edge == "last_pixel"), self.limit(resized)
        if extent == 0:
            return lambda _: 0
        to_scale: Callable[[float], float]
        if self.precision == "float32":
            wide, share, thin = np.float32(scale), np.float32, np.float32(extent / scale)
            if self.rule == "share":
                to_scale = lambda c: float(share(c / extent) * wide)  # noqa: E731
            elif self.rule == "bin_width":
                to_scale = lambda c: float(share(c) / thin)  # noqa: E731
            else:
                to_scale = lambda c: float(share(c) * np.float32(scale / extent))  # noqa: E731
        elif self.rule == "share":
            to_scale = lambda c: c / extent * scale  # noqa: E731
        elif self.rule == "bin_width":
            bin_width = extent / scale
            to_scale = lambda c: c / bin_width  # noqa: E731
        else:
            ratio = scale / extent
            to_scale = lambda c: c * ratio  # noqa: E731
        if self.rounding == "exact":
            tiny = extent * _SMALLEST / scale
            return lambda c: 0 if c < tiny else min(most, to_scale(c))
        integer: Callable[[float], int] = math.floor if self.rounding == "floor" else round
        if self.decimals:
            return lambda c: max(0.0, min(most, integer(to_scale(c) * 10) / 10))
        return lambda c: max(0, min(int(most), integer(to_scale(c))))

    def decoder(self, size: int, resized: int) -> Callable[[float], float]:
        """Return the function from a number to its coordinate, along an axis; arguments as for `encoder`."""
        scale, extent = resized if self.scale is None else self.scale, size - (self.edge == "last_pixel")
        if self.back == "middle":
            half, bin_width = 0.5 / 10**self.decimals, extent / scale
            return lambda n: (n + half) * bin_width
        if self.precision == "float32":
            return lambda n: float(np.float32(n) / np.float32(scale)) * extent
        return lambda n: n / scale * extent

    def cells(self, box: tuple[float, ...], width: int, height: int) -> tuple[int, ...]:
        """Return the cells of a grid that hold a box's corners: column and row, twice.

        Source: transformers 5.24.0, models/kosmos2/processing_kosmos2.py, coordinate_to_patch_index.
        """
        side = self.scale or 1
        first = (math.floor(c / size * side) for c, size in zip(box[:2], (width, height), strict=True))
        last = (math.ceil(c / size * side - 1) for c, size in zip(box[2:], (width, height), strict=True))
        return tuple(max(0, min(side - 1, n)) for n in (*first, *last))

    def uncells(self, cells: tuple[float, ...], width: int, height: int) -> tuple[float, ...]:
        """Return the box of two cells: from middle to middle; outside edges where both share a column or a row.

        Source: as `cells`, patch_index_to_coordinate.
        """
        x1, y1, x2, y2 = cells
        low, high = (0.0, 1.0) if x1 == x2 or y1 == y2 else (0.5, 0.5)
        wide, tall = width / (self.scale or 1), height / (self.scale or 1)
        return ((x1 + low) * wide, (y1 + low) * tall, (x2 + high) * wide, (y2 + high) * tall)


@dataclass(frozen=True, slots=True)
class NumberText:
    """How a number is written: at least `digits` digits, between `before` and `after`."""

    before: str = ""
    digits: int = 1
    after: str = ""

    @classmethod
    def from_dict(cls, raw: Any, where: str) -> NumberText:
        """Read and check the JSON form.

        Raises:
            ActionError: naming the key at fault.
        """
        check_keys(raw, where, set(), {"before", "digits", "after"})
        for key in ("before", "after"):
            if not isinstance(raw.get(key, ""), str) or len(raw.get(key, "")) > 100:
                raise ActionError(f"{where}: {key}", repr(raw[key])[:60], "a text of at most 100 characters")
        digits = as_integer(raw.get("digits", 1), f"{where}: digits", 1, 8)
        return cls(raw.get("before", ""), digits, raw.get("after", ""))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {k: v for k, v in (("before", self.before), ("digits", self.digits), ("after", self.after)) if v != ""}

    def write(self, numbers: Numbers, number: float) -> str:
        """Return the text of a number."""
        if numbers.rounding == "exact":
            digits = "0" if number < _SMALLEST else repr(float(number))  # no exponents
        elif numbers.decimals:
            digits = f"{number:.1f}"
        else:
            digits = f"{int(number) + numbers.offset:0{self.digits}d}"
        return f"{self.before}{digits}{self.after}"

    def loose(self, numbers: Numbers, group: str) -> str:
        """Return a pattern of what a number might be, its digits in a group that begins with `group`: "(" or "(?:"."""
        fraction = r"(?:\.[0-9]+)?" if numbers.rounding == "exact" or numbers.decimals else ""
        return f"{re.escape(self.before)}{group}-?[0-9]+{fraction}){re.escape(self.after)}"

    def read(self, numbers: Numbers, digits: str, index: bool) -> float:
        """Return the number of a text that `loose` found.

        Args:
            numbers: the rule.
            digits: the text of the number alone.
            index: whether it is the index of a grid's cell.

        Raises:
            ValueError: saying what is wrong with it.
        """
        if len(digits) > 24:
            raise ValueError("a number of more than 24 characters")
        if numbers.rounding == "exact":
            number, low, high = float(digits), 0.0, float(numbers.scale or 1)
            if not re.fullmatch(r"(0|[1-9][0-9]*)(\.[0-9]{1,20})?", digits):
                raise ValueError(f"{digits} is not the canonical form of a number")
            if not 0 <= number < high:
                raise ValueError(f"{digits} is not in 0..{high:g}")
            return number
        ten = 10**numbers.decimals
        low, high = numbers.offset, self.last(numbers, index) / ten + numbers.offset
        number = float(digits) if numbers.decimals else int(digits)
        if not low <= number <= high:
            raise ValueError(f"{digits} is not in {low}..{high:g}")
        if f"{self.before}{digits}{self.after}" != self.write(numbers, number - numbers.offset):
            raise ValueError(f"{digits} is not the canonical form of a number")
        return number - numbers.offset

    def last(self, numbers: Numbers, index: bool, size: int | None = None) -> int:
        """Return the highest number in steps (tenths where there is a decimal), of an axis `size` pixels long."""
        if numbers.rounding == "cells":
            side = numbers.scale or 1
            return side * side - 1 if index else side - 1
        return round(numbers.limit(MAX_SIDE if size is None else size) * (10 if numbers.decimals else 1))
