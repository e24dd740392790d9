"""What holds for the texts of a grounding form, and what does not."""

from __future__ import annotations

from dataclasses import dataclass

from rt2data.tokenizer.grounding.form import Form

_SIZES = (224, 333, 480, 640)  # in pixels; the sides for which `properties` tries every number


@dataclass(frozen=True, slots=True)
class GroundingProperties:
    """What holds for the texts of a grounding tokenizer.

    Attributes:
        idempotent: formatting what was decoded gives the same numbers, for each number of images of 224, 333, 480 and
            640 pixels.
        injective: no two texts decode to the same objects.
        order_dependent: the same objects in another order have another text.
        half_bin: every coordinate inside the image is decoded to within half a bin of itself.
        faults: what is lost or bent by the form's definition, in words.
    """

    idempotent: bool
    injective: bool
    order_dependent: bool
    half_bin: bool
    faults: tuple[str, ...]


def label_rule(form: Form) -> str:
    """Return whether objects have a label: "required", "optional" or "none"."""
    return "none" if form.labelled is None else "required" if form.bare is None else "optional"


def properties(form: Form) -> GroundingProperties:
    """Return what holds for the texts of a form."""
    numbers = form.numbers
    faults = []
    half_bin = numbers.rounding != "cells" and (numbers.rounding == "floor") == (numbers.back == "middle")
    if numbers.rounding == "cells":
        faults.append("corners that share a column or a row of cells are decoded up to one cell further apart")
    elif not half_bin and numbers.rounding != "exact":
        faults.append("a coordinate is cut off to its bin's edge: decoding can only lower it, by up to one bin")
    if numbers.highest == "below" and numbers.rounding == "half_even":
        half_bin = False
        faults.append("the highest number is one below the far edge: what lies there comes back up to one bin lower")
    if numbers.edge == "last_pixel":
        half_bin = False
        faults.append("the scale ends at the last pixel's index: what lies behind it comes back up to one pixel lower")
    idempotent = _idempotent(form)
    if not idempotent:
        faults.append("some numbers change when they are decoded and formatted again")
    if form.resize is not None:
        faults.append("numbers are pixels of the resized image: other bounds of the resizing give them other meanings")
    elif numbers.scale is None:
        faults.append("numbers are pixels of the stored image: an image of another size gives them other meanings")
    if not form.ordered:
        faults.append("points are sorted by x, then y: their order is lost")
    if form.several is not None:
        faults.append("objects of one label can stand together or apart")
    if form.labels.lower:
        faults.append("labels are written in lower case")
    if form.labelled is None:
        faults.append("objects have no label")
    if form.none is None:
        faults.append("there is no text for no objects")
    return GroundingProperties(idempotent, form.several is None, form.ordered, half_bin, tuple(faults))


def _idempotent(form: Form) -> bool:
    numbers = form.numbers
    if numbers.rounding == "cells":
        return True
    for size in _SIZES:
        resized = form.resized(size, size)[0]
        encode, decode = numbers.encoder(size, resized), numbers.decoder(size, resized)
        # Of numbers that are not rounded, thirds.
        steps = 3 if numbers.rounding == "exact" else 10**numbers.decimals
        if any(encode(decode(n / steps)) != n / steps for n in range(int(numbers.limit(resized) * steps) + 1)):
            return False
    return True
