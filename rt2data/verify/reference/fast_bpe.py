"""The scheme ``fast-bpe`` (FAST+ and the like) once more, in plain Python: pieces of text, merges of bytes.

Written from the rule that `rt2data.tokenizer.schemes.fast_bytes` states, with none of its code: a scanner in place of a
regular expression, strings in place of numbers, one merge at a time.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from rt2data.verify.reference.dct import Dct

_ENDINGS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_WHITE = {0x20, 0x85, 0xA0, *range(0x09, 0x0E)}
# The characters below 4096 that became letters in Unicode 14 and in Unicode 17: the former are letters here.
_NEW_LETTERS = {*range(0x0870, 0x0888), *range(0x0889, 0x088F), 0x0C5D, 0x0CDD}
_TOO_NEW = {0x088F, 0x0C5C, 0x0CDC}


def _byte_characters() -> list[str]:
    """The character of each byte: Latin-1 where that prints, else the next one from 256 on."""
    characters, spare = [], 256
    for byte in range(256):
        prints = 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or byte >= 0xAE
        characters.append(chr(byte if prints else spare))
        spare += not prints
    return characters


_CHARACTER = _byte_characters()
_BYTE = {character: byte for byte, character in enumerate(_CHARACTER)}


class ByteDct(Dct):
    """Codes of chunks of one source, as characters of a text that byte-level BPE writes.

    Args:
        options: scale, min_code, alphabet, merges and template.
    """

    def __init__(self, dims: Sequence[Mapping[str, Any]], horizon: int, bins: int, options: Mapping[str, Any]) -> None:
        super().__init__(dims, horizon, bins, {**options, "merges": ()})
        self.strings: list[str] = list(options.get("alphabet", sorted(_CHARACTER)))
        self.id = {string: i for i, string in enumerate(self.strings)}
        self.order: dict[tuple[str, str], int] = {}
        for rank, (a, b) in enumerate(options.get("merges", ())):
            left, right = self.strings[a], self.strings[b]
            if left + right not in self.id:
                self.id[left + right] = len(self.strings)
                self.strings.append(left + right)
            self.order[left, right] = rank
        self.merged = True
        self.template: tuple[str, ...] = tuple(options.get("template", ()))
        self.written = [c for c in range(bins) if all(_CHARACTER[byte] in self.id for byte in chr(c).encode())]

    def encode(self, action: Sequence[float]) -> list[int]:
        """The codes, kept to those that the alphabet can write: of two that are as near, the lower one."""
        kept = super().encode(action)
        if len(self.written) == self.bins:
            return kept
        return [min(self.written, key=lambda c, code=code: (abs(c - code), c)) for code in kept]  # type: ignore[misc]

    def join(self, codes: Sequence[int]) -> list[int]:
        """The ids of some codes."""
        return [self.id[s] for piece in pieces("".join(map(chr, codes))) for s in self._strings(piece)]

    def split(self, ids: Sequence[int]) -> list[int]:
        """The codes of some ids.

        Raises:
            ValueError: bytes that are no UTF-8.
        """
        data = bytearray()
        for i in ids:
            string = self.strings[i]
            known = all(c in _BYTE for c in string)
            data += bytes(_BYTE[c] for c in string) if known else string.encode()
        return [ord(c) for c in data.decode()]

    def write(self, codes: Sequence[int]) -> str:
        if not self.template:
            return super().write(codes)
        before, token, behind = self.template
        return before + "".join(token.replace("{}", str(i)) for i in self.join(codes)) + behind

    def read(self, text: str) -> list[int]:
        if self.template:
            before, token, behind = self.template
            head, _, tail = token.partition("{}")
            number = f"{re.escape(head)}(?:0|[1-9][0-9]{{0,8}}){re.escape(tail)}"
            if not re.fullmatch(f"{re.escape(before)}(?:{number})*{re.escape(behind)}", text):
                raise ValueError(f"{text[:40]!a} is not the template's text")
            inside = text[len(before) : len(text) - len(behind)]
            text = " ".join(re.findall(f"{re.escape(head)}([0-9]+){re.escape(tail)}", inside))
        return super().read(text)

    @property
    def ids(self) -> int:
        return len(self.strings)

    @property
    def longest(self) -> int:
        return self.horizon * self.width * 4

    def _strings(self, piece: str) -> list[str]:
        """The tokens of a piece: the earliest merge there is, at its first place, until there is none."""
        parts = [_CHARACTER[byte] for byte in piece.encode()]
        while True:
            ways = [(self.order[pair], i) for i, pair in enumerate(pairwise(parts)) if pair in self.order]
            if not ways:
                return parts
            _, i = min(ways)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]


def pieces(text: str) -> Iterator[str]:
    """Cut a text as GPT-2 does: an ending such as ``'s``; a run of letters, of numbers or of other characters, with one
    space before it; white space, of which the last leaves a following run its space.
    """
    start = 0
    while start < len(text):
        end = start + _length(text, start)
        yield text[start:end]
        start = end


def _length(text: str, start: int) -> int:
    """The length of the piece that begins at `start`."""
    for ending in _ENDINGS:
        if text.startswith(ending, start):
            return len(ending)
    first = start
    if text[start] == " " and start + 1 < len(text) and _kind(text[start + 1]) != "white":
        first += 1
    end = first
    while end < len(text) and _kind(text[end]) == _kind(text[first]):
        end += 1
    if _kind(text[first]) == "white" and end < len(text) and end - start > 1:
        end -= 1
    return end - start


def _kind(character: str) -> str:
    code = ord(character)
    if code in _WHITE:
        return "white"
    if code in _NEW_LETTERS:
        return "letter"
    if code in _TOO_NEW:
        return "other"
    return {"L": "letter", "N": "number"}.get(unicodedata.category(character)[0], "other")
