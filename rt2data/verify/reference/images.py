"""Images decoded with Pillow: their format, their size, and what the filters ask of their pixels."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

MAX_PIXELS = 1 << 26
"""The largest image that is decoded, by docs/format.md: 67 million pixels, 200 MB as RGB."""

# MPO: a JPEG with further images behind its end.
_EXTENSIONS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image shows.

    Attributes:
        format: its true format as a file name extension.
        width: in pixels.
        height: in pixels.
        constant: whether all pixels have one colour, as padding has.
        brightness: 0 to 255, as docs/format.md defines it; 0 where it was not asked for.
        contrast: 0 to 255, likewise.
        turn: its EXIF orientation where that is not 1; 0 where readers show it as it is stored.
    """

    format: str
    width: int
    height: int
    constant: bool
    brightness: int = 0
    contrast: int = 0
    turn: int = 0


def read_image(data: bytes, *, pixels: bool) -> ImageFacts:
    """Decode an encoded image; with `pixels` also measure brightness and contrast.

    Raises:
        ValueError: bytes that do not decode as a JPEG, PNG or WebP of at most `MAX_PIXELS`.
    """
    image = decode(data)
    tag = image.getexif().get(274, 1)
    extension = _EXTENSIONS.get(image.format or "", str(image.format))
    measured = _brightness_contrast(image) if pixels else (0, 0)
    return ImageFacts(extension, *image.size, _is_constant(image), *measured, tag if tag in range(2, 9) else 0)


def decode(data: bytes) -> Image.Image:
    """Decode an encoded image. Raises ValueError as `read_image`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's own pixel limit: ours is lower
            image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP"))
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, above {MAX_PIXELS}")
            image.load()
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise nearly everything on damaged data
        raise ValueError(str(error).replace("\n", " ") or type(error).__name__) from None
    return image


def _has_wide_pixels(image: Image.Image) -> bool:
    """Whether a pixel is one number of more than 8 bits, which Pillow would clip to 255."""
    return image.mode.startswith(("I", "F"))


def _brightness_contrast(image: Image.Image) -> tuple[int, int]:
    if _has_wide_pixels(image):
        wide = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        image = Image.fromarray((wide >> 8).astype(np.uint8))
    image = image.convert("RGB")
    ranges: Any = image.getextrema()
    left = -(-image.width * image.height // 50)
    brightness = 255
    for level, pixels in reversed(list(enumerate(image.convert("L").histogram()))):
        brightness, left = level, left - pixels
        if left <= 0:
            break
    return brightness, max(high - low for low, high in ranges)


def _is_constant(image: Image.Image) -> bool:
    ranges: Any = [image.getextrema()] if _has_wide_pixels(image) else image.convert("RGB").getextrema()
    return all(low == high for low, high in ranges)
