"""Images of a sample, decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rt2data.collate.conversation import Sample
from rt2data.errors import Rt2dataError
from rt2data.images import codec

if TYPE_CHECKING:
    from PIL.Image import Image


def open_image(sample: Sample, member: str) -> Image:
    """Decode an image member as 8-bit RGB: of 16 bits per channel the upper 8, transparent pixels on white.

    Raises:
        Rt2dataError: a member that does not decode.
    """
    try:
        return codec.convert_to_rgb(codec.decode(sample.members[member]))
    except codec.ImageError as error:
        fault = f"the image {member} does not decode ({error})"
        raise Rt2dataError(sample.key, fault, "the images of a built mixture", "Run `rt2data verify`") from None
