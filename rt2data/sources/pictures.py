"""Images of web corpora: where each lies, and what its bytes are."""

from __future__ import annotations

import hashlib
import mmap
import os
from typing import NamedTuple

import google_crc32c

from rt2data import index, storage
from rt2data.images import codec, orientation
from rt2data.storage import reading
from rt2data.storage.places import Place

MAX_BYTES = 1 << 28  # of an image: an annotation may name anything below the folder, and an image is read whole


class Picture(NamedTuple):
    """Bytes `offset` to `offset + length` of a file below the dataset's folder; a length of -1 is the whole file."""

    file: str
    offset: int = 0
    length: int = -1


class Names(NamedTuple):
    """File names below the dataset's folder at which an image may be, in the order of preference.

    `reason` is that of an image at none of them.
    """

    tried: tuple[str, ...]
    reason: str = "missing_image"


class Fact(NamedTuple):
    """What an image is: where it lies, its size in bytes, CRC32C, format, state, pixels, and digest of its content.

    `turn` is its EXIF orientation (`rt2data.images.orientation`); width and height are those of the upright image.
    """

    picture: Picture | None
    size: int = 0
    crc: int = 0
    format: int = 0
    state: int = 0
    width: int = 0
    height: int = 0
    content: str = ""
    turn: int = 0


class PictureReader:
    """Reads images. The last file of many images stays mapped."""

    def __init__(self, root: Place) -> None:
        self.root, self._name = root, ""
        self._map: mmap.mmap | None = None

    def read(self, picture: Picture) -> bytes:
        """Read the bytes of an image; MAX_BYTES at most, and one more where there are more."""
        if picture.length < 0:
            with storage.open_file(self.root / picture.file) as file:
                return file.read(min(MAX_BYTES, os.fstat(file.fileno()).st_size) + 1)
        if picture.file != self._name or self._map is None:
            self.close()
            whole = reading.map_whole(storage.local_path(self.root / picture.file))
            if whole is None:
                return b""
            self._map, self._name = whole, picture.file
        return self._map[picture.offset : picture.offset + min(picture.length, MAX_BYTES + 1)]

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None


def read_fact(picture: Picture, reader: PictureReader, check: str, *, content: bool) -> Fact:
    """Read an image from its file and describe it; `missing_image` where there is no such file.

    Raises:
        Rt2dataError: the file is there and the system refuses to read it.
    """
    try:
        data = reader.read(picture)
    except FileNotFoundError:
        return Fact(picture, state=index.CODE["missing_image"])
    return describe(picture, data, check, content=content)


def describe(picture: Picture, data: bytes, check: str, *, content: bool) -> Fact:
    """Describe an image with the bytes `data`; with a digest of them where `content` is true."""
    if len(data) > MAX_BYTES:
        return Fact(picture, MAX_BYTES, state=index.CODE["image_too_large"])
    crc = google_crc32c.value(data)
    digest = hashlib.blake2b(data, digest_size=20).hexdigest() if content else ""
    try:
        info, reason = codec.inspect(data)
    except codec.ImageError as error:
        return Fact(picture, len(data), crc, state=index.CODE[error.reason], content=digest)
    state = index.CODE[reason]
    state = index.decode_state(data, state) if check == "decode" else state
    form, turn = codec.READ_FORMATS.index(info.format), orientation.read_orientation(data)
    sideways = turn in orientation.SIDEWAYS and info.format != "tiff"  # which was turned as it was decoded
    sides = (info.height, info.width) if sideways else (info.width, info.height)
    return Fact(picture, len(data), crc, form, state, *sides, digest, turn)
