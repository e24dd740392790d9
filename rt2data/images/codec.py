"""Encoded images: which format, how large, whether complete; decoding and re-encoding where a recipe asks for it.

`check_header` reads the first and the last bytes only; `headers` does the same for every image of an index. It proves
that an image has a known format, a size and an end, not that its pixels decode; that is what `decode` is for.

Sources of the layouts: ITU-T T.81 annex B (JPEG), W3C PNG third edition sections 5 and 11, RFC 9649 (WebP).
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("jpg", "png", "webp")
"""The formats that samples may hold, by their file name extension; the true one, found from the content."""

REASONS = ("", "empty_image", "unknown_format", "truncated_image", "damaged_image", "image_too_large")
"""What `headers.check_images` states per image, by position; 0 is a good one."""

MAX_PIXELS = 1 << 26
"""The largest picture that is decoded: 67 million pixels, 200 MB as RGB."""

MAX_SIDE = 65535
"""The longest side in pixels, JPEG's own limit."""

Bytes: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.uint8]

_PIL_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"\x00\x00\x00\x00IEND\xaeB`\x82"
# Frame headers are C0 to CF but for DHT, JPG and DAC; no length follows RSTn, SOI, EOI, TEM.
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_SCAN, JPEG_BARE = 0xDA, frozenset(range(0xD0, 0xDA)) | {0x00, 0x01}
# Photographs have 5 to 30 segments, some hundred with large colour profiles: more is an attempt to keep us busy.
_JPEG_MAX_SEGMENTS = 4096

_marker_at = struct.Struct(">BBH").unpack_from
_frame_size_at = struct.Struct(">HH").unpack_from  # height, width
_png_header_at = struct.Struct(">I4sII").unpack_from
_riff_at = struct.Struct("<4xI4x4s4x").unpack_from  # size, first chunk
_vp8_at = struct.Struct("<3x3sHH").unpack_from
_vp8l_at = struct.Struct("<BI").unpack_from


class ImageError(ValueError):
    """Image bytes that cannot be used. `reason` is one of REASONS; the text says what is wrong with them."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(reason, text)
        self.reason = reason
        self.text = text

    def __str__(self) -> str:
        return f"{self.reason}: {self.text}"


class ImageInfo(NamedTuple):
    """What the header says: `format` is one of FORMATS; `width` and `height` are pixels, at least 1."""

    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """How to re-encode.

    Attributes:
        format: one of FORMATS; None keeps the format of the input, and lossless stays lossless.
        quality: of jpg and of webp, 1 to 100.
        size: (width, height) in pixels; None keeps it.
        swap_bgr: the stored channels are blue, green, red; they become red, green, blue.
    """

    format: str | None = None
    quality: int = 95
    size: tuple[int, int] | None = None
    swap_bgr: bool = False

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise ValueError(f"image format {self.format!r} is not one of {', '.join(FORMATS)}")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"image quality {self.quality} is not in 1..100")
        if self.size is not None and not (min(self.size) >= 1 and self.size[0] * self.size[1] <= MAX_PIXELS):
            raise ValueError(f"image size {self.size} is not of 1 to {MAX_PIXELS} pixels")


def check_header(data: Bytes) -> ImageInfo:
    """Format and size of an encoded image, from its first and last bytes.

    Bytes after the end marker are allowed (cameras append padding and second pictures); an image without one is not.

    Raises:
        ImageError: `empty_image`, `unknown_format`, `truncated_image`, `damaged_image` (a header that contradicts
            itself) or `image_too_large` (more than MAX_PIXELS or MAX_SIDE). Nothing else, whatever the bytes.
    """
    view = data.data if isinstance(data, np.ndarray) else memoryview(data)
    start = bytes(view[:12])
    try:
        if start[:3] == _JPEG_START:
            width, height, header = _jpeg(view)
            info, end = ImageInfo("jpg", width, height), _JPEG_END
        elif start[:8] == PNG_START[:8]:
            width, height, header = _png(view)
            info, end = ImageInfo("png", width, height), PNG_END
        elif start[:4] == b"RIFF" and start[8:] == b"WEBP":
            width, height, header = _webp(view)
            info, end = ImageInfo("webp", width, height), b""
        elif not start:
            raise ImageError("empty_image", "0 bytes")
        else:
            raise ImageError("unknown_format", f"the bytes begin with {start.hex(' ')}: not JPEG, PNG or WebP")
    except struct.error:
        raise ImageError("truncated_image", f"{len(view)} bytes end inside the header") from None
    if not (width and height):
        raise ImageError("damaged_image", f"the {info.format} header says {width} x {height} pixels")
    _limit(*info)
    if view[len(view) - len(end) :] != end and bytes(view[header:]).rfind(end) < 0:
        raise ImageError("truncated_image", f"{info.format} of {len(view)} bytes without an end marker")
    return info


def decode(data: Bytes) -> Image:
    """The decoded picture, in its own mode (RGB, L, P, RGBA, I;16 ...), every pixel read.

    Only the three FORMATS reach Pillow, and only pictures within MAX_PIXELS and MAX_SIDE.

    Raises:
        ImageError: as `check_header` does, and `damaged_image` where the pixels do not decode.
    """
    import PIL.Image

    info = check_header(data)
    name = _PIL_FORMATS[info.format]
    try:
        image = PIL.Image.open(io.BytesIO(bytes(data)), formats=(name,))
        _limit(name, *image.size)  # a hostile file can show Pillow another header than ours
        image.load()
    except ImageError:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error and more for bad bytes
        raise ImageError("damaged_image", f"{name} of {len(data)} bytes does not decode: {error}") from error
    return image


def reencode(data: Bytes, spec: ImageSpec) -> bytes:
    """The picture encoded anew as `spec` says: 8-bit RGB, upright, without metadata or transparency.

    One Pillow version gives the same bytes on every machine. JPEG has 4:2:0 chroma, as TensorFlow's encoder has and so
    most published robot data; resizing is Lanczos with antialiasing. An EXIF orientation is applied, because the tag
    is lost.

    Raises:
        ImageError: the image does not decode, or has 16 bits or more per channel (`unknown_format`).
    """
    import PIL.Image
    import PIL.ImageOps

    image = decode(data)
    if image.mode.startswith(("I", "F")):
        raise ImageError("unknown_format", f"pixels of mode {image.mode} do not fit the 8 bits of a picture")
    kept = check_header(data).format
    lossless = bytes(data[12:16]) == b"VP8L"
    image = PIL.ImageOps.exif_transpose(image).convert("RGB")
    if spec.swap_bgr:
        image = PIL.Image.merge("RGB", image.split()[::-1])
    if spec.size is not None and image.size != spec.size:
        image = image.resize(spec.size, PIL.Image.Resampling.LANCZOS)
    image.info.clear()  # else Pillow carries comments and colour profiles over
    out = io.BytesIO()
    match spec.format or kept:
        case "png":
            image.save(out, "PNG", compress_level=6)
        case "webp":
            image.save(out, "WEBP", quality=spec.quality, lossless=lossless and spec.format is None, method=4)
        case _:
            return encode_jpeg(image, spec.quality)
    return out.getvalue()


def encode_jpeg(image: Image, quality: int) -> bytes:
    """An RGB picture as JPEG of `quality` (1 to 100), with 4:2:0 chroma."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, subsampling="4:2:0")
    return out.getvalue()


def measure_look(data: Bytes) -> tuple[int, int]:
    """Brightness and contrast of a picture, both 0 to 255.

    Brightness is the luma of the k-th brightest of n pixels, k = ceil(n / 50): what 2 % of the pixels reach, so that
    neither noise nor a lamp makes a black picture bright. Contrast is the largest difference within one of red, green,
    blue: 0 where all pixels have one colour. Luma is (19595 R + 38470 G + 7471 B + 32768) >> 16, ITU-R 601-2; of 16
    bits per channel the upper 8 count.

    Raises:
        ImageError: the image does not decode.
    """
    import PIL.Image

    image = decode(data)
    if image.mode.startswith(("I", "F")):
        wide = np.clip(np.asarray(image, np.int64), 0, 65535)
        image = PIL.Image.fromarray((wide >> 8).astype(np.uint8))
    image = image.convert("RGB")
    ranges: Any = image.getextrema()
    contrast = max(high - low for low, high in ranges)
    from_the_top = np.cumsum(image.convert("L").histogram()[::-1])
    brightness = 255 - int(np.searchsorted(from_the_top, -(-image.width * image.height // 50)))
    return brightness, contrast


def is_constant(data: Bytes) -> bool:
    """Whether all pixels have one colour: padding instead of a picture.

    Raises:
        ImageError: the image does not decode.
    """
    image = decode(data)
    if not image.mode.startswith(("I", "F")):
        image = image.convert("RGB")  # palettes may hold one colour twice
    return all(low == high for low, high in (band.getextrema() for band in image.split()))


def _limit(name: str, width: int, height: int) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        limit = f"{MAX_PIXELS} pixels or {MAX_SIDE} on a side"
        raise ImageError("image_too_large", f"{name} of {width} x {height} pixels, more than {limit}")


def _jpeg(view: memoryview) -> tuple[int, int, int]:
    """Width, height and the position after the header of the first scan."""
    width = height = 0
    at = 2
    for _ in range(_JPEG_MAX_SEGMENTS):
        lead, marker, length = _marker_at(view, at)
        if lead != 0xFF or marker in JPEG_BARE:
            raise ImageError("damaged_image", f"JPEG without a marker segment at byte {at}")
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in JPEG_FRAMES:
            height, width = _frame_size_at(view, at + 5)
        at += 2 + length
        if marker == JPEG_SCAN:
            return width, height, at
    raise ImageError("damaged_image", f"JPEG with more than {_JPEG_MAX_SEGMENTS} segments before its picture")


def _png(view: memoryview) -> tuple[int, int, int]:
    length, chunk, width, height = _png_header_at(view, 8)
    if chunk != b"IHDR" or length != 13:
        raise ImageError("damaged_image", "PNG that does not begin with an IHDR chunk")
    return width, height, 33


def _webp(view: memoryview) -> tuple[int, int, int]:
    size, chunk = _riff_at(view, 0)
    if len(view) < size + 8:
        raise ImageError("truncated_image", f"webp of {size + 8} bytes, of which {len(view)} are there")
    if chunk == b"VP8 ":
        code, width, height = _vp8_at(view, 20)
        if code == b"\x9d\x01\x2a":
            return width & 0x3FFF, height & 0x3FFF, 30
    elif chunk == b"VP8L":
        code, bits = _vp8l_at(view, 20)
        if code == 0x2F:
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 25
    elif chunk == b"VP8X" and len(view) >= 30:
        return int.from_bytes(view[24:27], "little") + 1, int.from_bytes(view[27:30], "little") + 1, 30
    raise ImageError("damaged_image", f"webp without a picture header in its first chunk {chunk!r}")


def encode_image(picture: Image, kind: str) -> bytes:
    """A picture as the bytes of a JPEG or PNG file."""
    out = io.BytesIO()
    if kind == "jpeg":
        picture.save(out, "JPEG", quality=88)
    else:
        # Runs only: quick, and the matches that other strategies find differ between builds of zlib.
        picture.save(out, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return out.getvalue()
