"""``fast-bpe``: FAST with the byte-level BPE of its published processor, as in FAST+ and any FAST directory.

Rule: codes as in ``fast`` (schemes/fast.py); code c is the character chr(c), and a chunk is the text of its codes. That
text is cut into pieces by the regular expression of GPT-2; each piece is written in UTF-8, each byte as one character
of the alphabet; in a piece the merge listed first is made first, from left to right. Decoding joins the tokens, reads
their characters as bytes and the bytes as UTF-8. Source: FAST (arXiv 2501.09747), its published processor and
tokenizer.json (copied in baaivision/UniVLA@fbde41b, pretrain/fast); huggingface/tokenizers (models/bpe, ByteLevel).

Equal to the original: every id, but where a coefficient is within rounding of a half. Such ties are common for a
dimension that is 0 or 1 (or -1 and 1 at 64 steps); there the original follows the rounding of its FFT, and here the
exact matrix decides, so that a code may differ by one.

What differs, because the original fails there: it does not clamp above, so that codes 0xD800..0xDFFF crash; here codes
clamp at bins - 1 (4095 for a FAST directory: a coefficient of 374 at scale 10). It drops a code with a byte that its
alphabet lacks, and the chunk decodes to zeros; here such a code becomes the nearest that can be written. Both are
reported as clipped. Ids that are not a chunk raise; the originals' ways to decode them are there by name (`LENIENT`).
"""

from __future__ import annotations

import codecs
import heapq
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from rt2data.tokenizer import arrays
from rt2data.tokenizer.arrays import Array, Namespace
from rt2data.tokenizer.errors import ActionError, ActionParseError
from rt2data.tokenizer.schemes.fast import MAX_EXPANSION, MAX_EXPANSIONS, Dct
from rt2data.tokenizer.spec_fields import BYTE_CHARACTERS, MAX_CHARACTERS

if TYPE_CHECKING:
    import numpy.typing as npt

# How originals decode ids that are no chunk.
#   published  any wrong number of codes gives zero coefficients (the published processor, MolmoAct2)
#   relaxed    cut on the right, padded with zero coefficients (LeRobot's pi0_fast, UniVLA)
#   starvla    ids that are not FAST's are left out wherever they stand, then as published (starVLA)
# In all, ids above FAST's are left out, one below 0 gives zeros, and bytes that are no UTF-8 become U+FFFD, which is
# code 65533: beyond all bins, and a coefficient of 6517.9 in FAST+.
LENIENT = ("published", "relaxed", "starvla")

MAX_PIECES = 1 << 16  # kept with their ids

_SPACES = frozenset("\t\n\v\f\r \x85\xa0")
# Letters of Unicode 14, which Python 3.10 does not know yet, and those of Unicode 17, which the tokenizers do not.
_LETTERS = frozenset(map(chr, [*range(0x870, 0x888), *range(0x889, 0x88F), 0xC5D, 0xCDD]))
_LATER = frozenset(map(chr, [0x88F, 0xC5C, 0xCDC]))


class ByteDct(Dct):
    """The rule of `Dct`, whose codes are kept to those that the alphabet can write."""

    __slots__ = ()

    faults = (
        *Dct.faults,
        "order-dependent: a code has other ids beside other codes, as merges take them in",
        "several sequences of ids decode to one chunk; format and token_ids give one of them",
    )

    def encode(self, xp: Namespace, x: Array) -> Array:
        codes = super().encode(xp, x)
        if _all_written(self._spec.options["alphabet"]):
            return codes
        return xp.reshape(xp.take(self._tables.get(xp, "nearest", x), xp.reshape(codes, (-1,)), axis=0), codes.shape)

    def clipped(self, xp: Namespace, x: Array) -> Array:
        codes = self._codes(xp, x)
        kept = arrays.cast(xp, self.encode(xp, x), arrays.dtype_name(codes))
        return arrays.cast(xp, codes > kept, "int8") - arrays.cast(xp, codes < kept, "int8")

    def _table(self, name: str) -> npt.NDArray[Any]:
        if name != "nearest":
            return super()._table(name)
        known = set(self._spec.options["alphabet"])
        written = np.array([c for c in range(self._spec.bins) if _characters(chr(c)) <= known])
        if not len(written):
            raise ActionError("alphabet", "no code that it can write", "the characters of bytes, as GPT-2 has them")
        codes = np.arange(self._spec.bins)
        after = np.minimum(np.searchsorted(written, codes), len(written) - 1)
        before = np.maximum(after - 1, 0)
        lower = codes - written[before] <= np.abs(written[after] - codes)
        return np.where(lower & (written[before] <= codes), written[before], written[after]).astype(np.int32)


class ByteMerges:
    """Byte-level BPE over codes. Ids are first the strings of the alphabet, then one for every merge of two ids.

    A merge whose string exists already makes no new id. Not every sequence of ids is codes: its bytes must be UTF-8.

    Attributes:
        bins: the number of codes.
        bytes: the bytes of each id.
        width: the most ids that one code takes.
    """

    __slots__ = ("_by_byte", "_made", "_pieces", "_ranks", "bins", "bytes", "where", "width")

    def __init__(self, bins: int, alphabet: Sequence[str], merges: Sequence[tuple[int, int]], where: str) -> None:
        self.bins, self.where, self.width = bins, where, len(chr(bins - 1).encode())
        strings = list(alphabet)
        known = {s: i for i, s in enumerate(strings)}
        self._ranks: dict[int, int] = {}
        self._made: list[int] = []
        total = sum(map(len, strings))
        for rank, (a, b) in enumerate(merges):
            here = f"{where}: merges[{rank}]"
            if max(a, b) >= len(strings):
                raise ActionError(here, f"[{a}, {b}]", f"ids below {len(strings)}")
            string = strings[a] + strings[b]
            total += len(string)
            if len(string) > MAX_EXPANSION or total > MAX_EXPANSIONS:
                raise ActionError(here, "a merge that expands too far", f"at most {MAX_EXPANSION} bytes")
            if string not in known:
                known[string] = len(strings)
                strings.append(string)
            self._ranks[a << 17 | b] = rank
            self._made.append(known[string])
        self.bytes = [token_bytes(s) for s in strings]
        self._by_byte = {byte: known[c] for c, byte in BYTES.items() if c in known}
        self._pieces: dict[str, tuple[int, ...]] = {}

    @property
    def count(self) -> int:
        """The number of ids."""
        return len(self.bytes)

    def join(self, codes: Sequence[int]) -> list[int]:
        """Codes to ids.

        Raises:
            ActionError: a code with a byte that the alphabet has no character for.
        """
        out: list[int] = []
        for piece in _pattern().findall("".join(map(chr, codes))):
            ids = self._pieces.get(piece)
            if ids is None:
                if len(self._pieces) >= MAX_PIECES:
                    self._pieces.clear()
                ids = self._pieces[piece] = self._merged(piece)
            out += ids
        return out

    def split(self, ids: Sequence[int], count: int, text: str, columns: Sequence[int]) -> list[int]:
        """Ids to exactly `count` codes; ActionParseError for any other number, and for bytes that are no codes. `text`
        and `columns` are for the error.
        """
        codes: list[int] = []
        rest: bytes | None = b""
        for field, i in enumerate(ids):
            more, rest = self.advance(rest or b"", self.bytes[i])
            if rest is None:
                raise ActionParseError(text, field + 1, columns[field], f"id {i} writes no code below {self.bins}")
            codes += more
            if len(codes) > count:
                raise ActionParseError(text, field + 1, columns[field], f"more than {count} codes")
        if rest:
            raise ActionParseError(text, len(ids) + 1, len(text), "the last code is cut off")
        if len(codes) < count:
            raise ActionParseError(text, len(ids) + 1, len(text), f"{len(codes)} codes; expected {count}")
        return codes

    def split_leniently(self, ids: Sequence[int], count: int, rule: str, zero: int) -> list[int]:
        """Ids, any integers, to `count` codes as an original reads them: see `LENIENT`. `zero` is the code of 0."""
        if rule == "starvla":
            ids = [i for i in ids if 0 <= i < self.count]
        if any(i < 0 for i in ids):
            return [zero] * count
        data = b"".join(self.bytes[i] for i in ids if i < self.count)
        codes = list(map(ord, data.decode("utf-8", "replace")))
        if rule == "relaxed":
            return (codes + [zero] * count)[:count]
        return codes if len(codes) == count else [zero] * count

    def advance(self, begun: bytes, more: bytes) -> tuple[list[int], bytes | None]:
        """Read `more` bytes behind those of a code that is `begun`.

        Returns:
            The codes that are complete, and the bytes of the one that is begun then; None for that where no code is
            written so.
        """
        data = begun + more
        try:
            text, used = codecs.utf_8_decode(data, "strict", False)
            rest = data[used:]
            codes = list(map(ord, text))
            if max(codes, default=0) < self.bins and (not rest or _least(rest) < self.bins):
                return codes, rest
        except UnicodeDecodeError:
            pass
        return [], None

    def _merged(self, piece: str) -> tuple[int, ...]:
        """The ids of one piece. A heap holds the merges that can be made, by rank and place; those whose pair has
        changed since are passed over.
        """
        ids = [self._by_byte.get(byte, -1) for byte in piece.encode()]
        if -1 in ids:
            code = next(c for c in piece if any(byte not in self._by_byte for byte in c.encode()))
            raise ActionError(f"{self.where}: code", str(ord(code)), "one that its alphabet can write")
        size, ranks, made = len(ids), self._ranks, self._made
        after, before = list(range(1, size + 1)), list(range(-1, size - 1))
        # Pairs and entries of the heap are single integers, which hash and compare faster: first << 17 | second, and
        # rank << 20 | place.
        first = (ranks.get(a << 17 | b, -1) for a, b in pairwise(ids))
        heap = [rank << 20 | i for i, rank in enumerate(first) if rank >= 0]
        heapq.heapify(heap)
        while heap:
            entry = heapq.heappop(heap)
            i = entry & 0xFFFFF
            j = after[i]
            if j >= size or ids[i] < 0:
                continue
            merged, rank = made[entry >> 20], ranks.get(ids[i] << 17 | ids[j], -1)
            if rank < 0 or made[rank] != merged:
                continue
            ids[i], ids[j] = merged, -1  # absorbed
            k = after[i] = after[j]
            h = before[i]
            if k < size:
                before[k] = i
                if (rank := ranks.get(merged << 17 | ids[k], -1)) >= 0:
                    heapq.heappush(heap, rank << 20 | i)
            if h >= 0 and (rank := ranks.get(ids[h] << 17 | merged, -1)) >= 0:
                heapq.heappush(heap, rank << 20 | h)
        return tuple(i for i in ids if i >= 0)


# The byte of each character: those that print stand for themselves, the others for the bytes that are left, in order.
BYTES = {c: ord(c) for c in BYTE_CHARACTERS if ord(c) < 256}
BYTES |= dict(
    zip((c for c in BYTE_CHARACTERS if ord(c) > 255), sorted(set(range(256)) - set(BYTES.values())), strict=True)
)
_CHARACTERS = {byte: c for c, byte in BYTES.items()}


def token_bytes(string: str) -> bytes:
    """Return the bytes of a token. One with a character that is no byte stands for its own UTF-8."""
    values = [BYTES.get(c) for c in string]
    return string.encode() if None in values else bytes(v for v in values if v is not None)


def byte_string(text: str) -> str:
    """Return a text in UTF-8, each byte as its character."""
    return "".join(_CHARACTERS[byte] for byte in text.encode())


def _characters(text: str) -> set[str]:
    return set(byte_string(text))


def _all_written(alphabet: Sequence[str]) -> bool:
    return set(BYTE_CHARACTERS) <= set(alphabet)


def _least(begun: bytes) -> int:
    """The smallest code whose UTF-8 begins so."""
    lead = begun[0]
    size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    least = {0xE0: b"\xa0", 0xF0: b"\x90"}.get(lead, b"\x80")
    full = begun + (least if len(begun) == 1 else b"")
    return ord((full + b"\x80" * (size - len(full))).decode())


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    """GPT-2's pieces, over the characters below MAX_CHARACTERS; the same for every version of Python."""
    classes = {"L": "", "N": "", "S": ""}
    for kind, run in groupby(map(chr, range(MAX_CHARACTERS)), _class):
        characters = list(run)
        if kind in classes:
            classes[kind] += f"{re.escape(characters[0])}-{re.escape(characters[-1])}"
    letter, number, space = classes["L"], classes["N"], classes["S"]
    return re.compile(
        f"'s|'t|'re|'ve|'m|'ll|'d| ?[{letter}]+| ?[{number}]+| ?[^{space}{letter}{number}]+"
        f"|[{space}]+(?![^{space}])|[{space}]+"
    )


def _class(c: str) -> str:
    """L for a letter, N for a number, S for white space, else nothing."""
    if c in _SPACES:
        return "S"
    kind = "L" if c in _LETTERS else "" if c in _LATER else unicodedata.category(c)[0]
    return kind if kind in "LN" else ""
