"""The EXIF orientation of an encoded image: cameras store what the sensor saw, and a tag that says how to turn it.

Readers disagree on it: `datasets` and browsers turn an image, Pillow and webdataset show the stored pixels. An image
without the tag looks the same to all of them.

Source of the values: Exif 2.32 (CIPA DC-008), 4.6.4 A. What counts as an orientation is what Pillow finds.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rt2data.images import codec

if TYPE_CHECKING:
    from PIL.Image import Transpose

TAG = 0x0112
SIDEWAYS = (5, 6, 7, 8)
"""Orientations that exchange width and height."""

HEAD = 1 << 18  # bytes of a JPEG in which its metadata begin


def read_orientation(data: bytes) -> int:
    """Return the orientation 2 to 8 of an image whose header is good; 0 where it is shown as it is stored."""
    if not _may_have_tag(data):
        return 0
    import PIL.Image

    try:
        with PIL.Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP", "TIFF", "GIF")) as image:
            turn = image.getexif().get(TAG, 1)
    except Exception:  # noqa: BLE001 - Pillow raises nearly everything on damaged data; decoding will say so
        return 0
    return turn if isinstance(turn, int) and 2 <= turn <= 8 else 0


def _may_have_tag(data: bytes) -> bool:
    """Whether an image has metadata that could hold the tag: cheap, since nearly all images have none."""
    if data[:2] == b"\xff\xd8":
        return data.find(b"Exif\0", 0, HEAD) >= 0 or data.find(b"tiff:Orientation", 0, HEAD) >= 0
    if data[:4] == b"RIFF":
        return data[12:16] == b"VP8X" and bool(data[20] & 0x0C)  # flags of EXIF and XMP
    if data[:2] in (b"II", b"MM"):
        return True  # every TIFF is made of tags
    return any(
        word in data
        for word in (
            b"tiff:Orientation" if data[:4] == b"GIF8" else b"eXIf",
            b"profile type exif",
            b"XML:com.adobe.xmp",
        )
    )


def turn_upright(data: bytes, turn: int, quality: int = 95) -> bytes:
    """Turn an image by its orientation `turn` (2 to 8) and encode it anew in its format, without the tag.

    PNG and lossless WebP lose nothing; JPEG has `quality` (1 to 100). Of metadata only the colour profile stays.

    Raises:
        ImageError: the image does not decode.
    """
    image = codec.decode(data)
    kind, profile = codec.check_header(data).format, image.info.get("icc_profile")
    image = image.transpose(_methods()[turn])
    out = io.BytesIO()
    if kind == "png":
        image.save(out, "PNG", compress_level=6, icc_profile=profile)
    elif kind == "webp":
        image.save(out, "WEBP", quality=quality, lossless=b"VP8L" in data, method=4, icc_profile=profile, exif=b"")
    else:
        if image.mode not in ("L", "RGB"):
            image, profile = image.convert("RGB"), None
        image.info.clear()
        image.save(out, "JPEG", quality=quality, subsampling="4:2:0", icc_profile=profile)
    return out.getvalue()


def _methods() -> dict[int, Transpose]:
    from PIL.Image import Transpose

    return {
        2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
    }  # fmt: skip
