"""FAST's byte-level BPE in plain Python: what rt2data's is tested against. Slow, and nothing of the package in it.

Strings throughout: a code is a character, a byte is a character, a token is a string of those.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import Any


def byte_characters() -> dict[int, str]:
    """GPT-2's character of each byte: those that print stand for themselves, the others for 256, 257, ..."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + n) for n, byte in enumerate(rest)}


CHARACTERS = byte_characters()
BYTES = {c: byte for byte, c in CHARACTERS.items()}


def kind(c: str) -> str:
    """One letter for the class of a character: S white space, L letter, N number, O other."""
    if c in "\t\n\v\f\r \x85\xa0":
        return "S"
    major = unicodedata.category(c)[0]
    return major if major in ("L", "N") else "O"


def pieces(text: str) -> list[str]:
    """Cut a text by GPT-2's rule, matched on its classes, of which each character is one letter."""
    out = []
    while text:
        ending = re.match("'s|'t|'re|'ve|'m|'ll|'d", text)
        classes = "".join("_" if c == " " else kind(c) for c in text)
        found = ending or re.match(r"_?L+|_?N+|_?O+|[S_]+(?![LNO])|[S_]+", classes)
        assert found is not None
        out.append(text[: found.end()])
        text = text[found.end() :]
    return out


class Bpe:
    """The JSON of a tokenizer.json."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.id: dict[str, int] = raw["model"]["vocab"]
        self.token = {i: t for t, i in self.id.items()}
        merges = [m.split(" ") if isinstance(m, str) else m for m in raw["model"]["merges"]]
        self.rank = {(a, b): rank for rank, (a, b) in enumerate(merges)}

    def encode(self, codes: list[int]) -> list[int]:
        out = []
        for piece in pieces("".join(map(chr, codes))):
            parts = [CHARACTERS[byte] for byte in piece.encode()]
            while True:
                ranks = [self.rank.get((a, b), 1 << 30) for a, b in pairwise(parts)]
                if not ranks or min(ranks) == 1 << 30:
                    break
                at = ranks.index(min(ranks))
                parts[at : at + 2] = ["".join(parts[at : at + 2])]
            out += [self.id[part] for part in parts]
        return out

    def decode(self, ids: list[int]) -> list[int]:
        """The codes, 65533 for bytes that are no UTF-8; ids that are not there are left out."""
        data = b""
        for token in (self.token[i] for i in ids if i in self.token):
            data += bytes(map(BYTES.__getitem__, token)) if all(c in BYTES for c in token) else token.encode()
        return [ord(c) for c in data.decode("utf-8", "replace")]
