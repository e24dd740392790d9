"""Whether the scans of a JPEG hold all their data.

A decoder paints grey what a scan lacks, and says nothing where an end marker follows. Three things tell:

- bytes behind a complete scan mean nothing, so a complete JPEG shows the same with further bytes there (`with_filler`),
  while in an incomplete one they become pixels;
- a scan with restart markers has one between any two of its intervals;
- each component has a scan, and what the scans of a progressive JPEG leave to later ones comes.

Source of the layout: ITU-T T.81 annexes B, E.1.4 and G.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_MARKER = re.compile(rb"\xff+[^\x00\xff]", re.DOTALL)
_FRAMES = {0xC0, 0xC1, 0xC2}  # of Huffman codes; arithmetic codes may end before their last zeros
_PROGRESSIVE, _SCAN, _END, _INTERVAL = 0xC2, 0xDA, 0xD9, 0xDD
# Without 0xff; and it does not begin as what a decoder makes up for missing bits does, with zeros.
_FILLER = bytes.fromhex("a55ac33c96692dd2b44be11e8778f00f") * 4


@dataclass(slots=True)
class _Frame:
    """A JPEG's frame: its marker, pixels, and each component's sampling factors (horizontal, vertical) by its id."""

    marker: int
    width: int
    height: int
    sampling: dict[int, tuple[int, int]]

    def units(self, components: bytes) -> int:
        """Count what a scan codes one after the other: blocks of one component, or interleaved ones of several."""
        most_h, most_v = max(h for h, _ in self.sampling.values()), max(v for _, v in self.sampling.values())
        if len(components) > 1:
            return -(-self.width // (8 * most_h)) * -(-self.height // (8 * most_v))
        h, v = self.sampling[components[0]]
        return -(-self.width * h // most_h // 8) * -(-self.height * v // most_v // 8)


def lacks_scans(data: bytes) -> bool:
    """Return whether a JPEG, whose header is good, lacks scans or intervals of them.

    False where its segments are of no known form.
    """
    try:
        return _lacks_scans(data)
    except (LookupError, ValueError, ArithmeticError):
        return False


def _lacks_scans(data: bytes) -> bool:
    frame, interval, wanted, restarts = None, 0, 0, 0
    seen: set[int] = set()
    left: dict[tuple[int, int], int] = {}  # per component and coefficient, the bits that are still to come
    for marker, _, body in _markers(data):
        if 0xD0 <= marker <= 0xD7:
            restarts += 1
            continue
        if restarts < wanted:
            return True
        wanted = restarts = 0
        if marker in _FRAMES:
            parts = [body[at : at + 3] for at in range(6, 6 + 3 * body[5], 3)]
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            frame = _Frame(marker, width, height, {part[0]: (part[1] >> 4, part[1] & 15) for part in parts})
        elif marker == _INTERVAL:
            interval = int.from_bytes(body[:2], "big")
        elif marker == _SCAN and frame is not None:
            components = body[1 : 1 + 2 * body[0] : 2]
            first, last, bits = body[1 + 2 * body[0] : 4 + 2 * body[0]]
            seen.update(components)
            left |= {(name, k): bits & 15 for name in components for k in range(first, min(last, 63) + 1)}
            wanted = -(-frame.units(components) // interval) - 1 if interval else 0
    if frame is None:
        return False
    return not seen.issuperset(frame.sampling) or (frame.marker == _PROGRESSIVE and any(left.values()))


def with_filler(data: bytes) -> bytes:
    """Return a JPEG with further bytes behind each of its scans and restart intervals.

    Returns it as it is where its codes are others than Huffman's.
    """
    pieces, last, inside = list[bytes](), 0, False
    for marker, at, _ in _markers(data):
        if 0xC0 <= marker <= 0xCF and marker not in _FRAMES | {0xC4, 0xC8, 0xCC}:
            return data
        if inside:
            pieces += [data[last:at], _FILLER]
            last = at
        inside = marker == _SCAN or 0xD0 <= marker <= 0xD7
    return b"".join([*pieces, data[last:]])


def _markers(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield each marker behind the first, where it begins, and its segment's content, up to the end marker."""
    at = 2
    while match := _MARKER.search(data, at):
        marker, at = data[match.end() - 1], match.end()
        body = b""
        if marker != _END and not 0xD0 <= marker <= 0xD7:
            length = int.from_bytes(data[at : at + 2], "big")
            body, at = data[at + 2 : at + length], at + length
        yield marker, match.start(), body
        if marker == _END:
            return
