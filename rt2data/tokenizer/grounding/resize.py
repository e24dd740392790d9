"""The resizing by which a model's processor changes an image, for forms that count its pixels.

Source of the rules: transformers 5.24.0, models/qwen2_vl/image_processing_qwen2_vl.py; QwenLM/Qwen3-VL@9658872,
qwen-vl-utils/src/qwen_vl_utils/vision_process.py and qwen-vl-finetune/tools/process_bbox.ipynb; for `longest`
X-Square-Robot/wall-x@17335bc, wall_x/data/load_lerobot_dataset.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rt2data.errors import near
from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.grounding.values import MAX_SIDE
from rt2data.tokenizer.json_checks import as_integer, check_keys

RULES = ("transformers", "qwen-vl-utils", "process-bbox")

MAX_RATIO = 200
MAX_PIXELS = 1 << 32


@dataclass(frozen=True, slots=True)
class Resize:
    """Qwen's ``smart_resize``: sides that are multiples of a factor, and a number of pixels between two bounds.

    Both sides are rounded to multiples of `factor` (half to even). Beyond a bound they are scaled alike to it, and
    rounded toward the inside.

    Attributes:
        rule: which implementation. They differ for images with a side below a factor or two: ``transformers`` may round
            a side to 0, which counts as too few pixels, and keeps sides at one factor at the upper bound;
            ``qwen-vl-utils`` has at least one factor from the beginning, and not at the upper bound; ``process-bbox``
            (Qwen's notebook for training data) refuses a side below the factor.
        factor: 28 in Qwen2-VL and Qwen2.5-VL (patches of 14, merged 2 x 2), 32 in Qwen3-VL.
        min_pixels: the least width * height.
        max_pixels: the most.
        longest: the longer side that the image gets first, the other one cut off to an integer; None: it stays.
    """

    rule: str
    factor: int
    min_pixels: int
    max_pixels: int
    longest: int | None = None

    @classmethod
    def from_dict(cls, raw: Any, where: str) -> Resize:
        """Read and check the JSON form.

        Raises:
            ActionError: naming the key at fault.
        """
        check_keys(raw, where, {"rule", "factor", "min_pixels", "max_pixels"}, {"longest"})
        rule = raw["rule"]
        if not isinstance(rule, str) or rule not in RULES:
            raise ActionError(
                f"{where}: rule", repr(rule)[:60], f"one of {', '.join(RULES)}", near(str(rule)[:60], RULES)
            )
        least = as_integer(raw["min_pixels"], f"{where}: min_pixels", 1, MAX_PIXELS)
        longest = raw.get("longest")
        return cls(
            rule=rule,
            factor=as_integer(raw["factor"], f"{where}: factor", 1, 1024),
            min_pixels=least,
            max_pixels=as_integer(raw["max_pixels"], f"{where}: max_pixels", least, MAX_PIXELS),
            longest=None if longest is None else as_integer(longest, f"{where}: longest", 1, MAX_SIDE),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        out: dict[str, Any] = {key: getattr(self, key) for key in ("rule", "factor", "min_pixels", "max_pixels")}
        return out if self.longest is None else out | {"longest": self.longest}

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height that an image of `width` x `height` pixels gets.

        Raises:
            ActionError: an image that the processor refuses: one side over 200 times the other, for ``process-bbox``
                a side below the factor, or one that would have a side of no pixel.
        """
        where = f"an image of {width} x {height} pixels"
        if self.longest is not None:
            if width > height:
                width, height = self.longest, int(self.longest * height / width)
            else:
                width, height = int(self.longest * width / height), self.longest
        if self.rule == "process-bbox" and min(width, height) < self.factor:
            raise ActionError(where, f"a side below the factor {self.factor}", "an image that smart_resize takes")
        if min(width, height) < 1 or max(width, height) / min(width, height) > MAX_RATIO:
            raise ActionError(where, f"one side over {MAX_RATIO} times the other", "an image that smart_resize takes")
        factor, least = self.factor, self.factor if self.rule == "qwen-vl-utils" else 0
        wide, high = max(least, round(width / factor) * factor), max(least, round(height / factor) * factor)
        if wide * high > self.max_pixels:
            shrink, least = math.sqrt(height * width / self.max_pixels), factor if self.rule == "transformers" else 0
            wide = max(least, math.floor(width / shrink / factor) * factor)
            high = max(least, math.floor(height / shrink / factor) * factor)
        elif wide * high < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (height * width))
            wide, high = math.ceil(width * grow / factor) * factor, math.ceil(height * grow / factor) * factor
        if not min(wide, high):
            raise ActionError(where, f"resized to {wide} x {high} pixels", "an image that smart_resize takes")
        return wide, high
