r"""Texts of datasets as plain text: bytes decoded, padding, control characters and line breaks taken out.

Datasets store texts as bytes that need not be UTF-8, in fields of fixed length that are padded with NUL, and with line
breaks from a text editor. A prompt shows none of it.

>>> one_line("pick up\r\nthe cup\0\0")
'pick up the cup'
>>> decode(b"pon el caf\xe9")
('pon el café', True)
"""

from __future__ import annotations

import re

_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
_BREAK = re.compile(rf"[{_CONTROL}]")
_BLANK = re.compile(rf"[\s{_CONTROL}]+")
_OTHERS = re.compile(r" ?[\x00-\x08\x0b-\x1f\x7f-\x9f]+ ?")  # control characters but tab and line feed
_LONE = re.compile(r"[\ud800-\udfff]")  # halves of a character of UTF-16, which no UTF-8 can hold

# Of Windows-1252 beside letters what stands in sentences: quotes, dashes, currencies, degrees, fractions.
_SIGNS = frozenset(
    b"\x80\x82\x84\x85\x8b\x91\x92\x93\x94\x95\x96\x97\x9b\xa0\xa1\xa3\xa7\xab\xb0\xb2\xb3\xb4\xb7\xbb\xbc\xbd\xbe\xbf\xd7".decode(
        "cp1252"
    )
)


def decode(raw: bytes) -> tuple[str | None, bool]:
    """Decode a text that should be UTF-8.

    Returns:
        The text, without a byte order mark and the NULs that pad it, and whether it was Windows-1252 (Latin-1 and a few
        signs), in which every byte stands for a character. Bytes are taken for that where they are no UTF-8, and the
        characters are those of a sentence in a Western language; else the text is None.
    """
    raw = raw.strip(b"\0")
    try:
        return strip_padding(raw.decode()), False
    except UnicodeDecodeError:
        pass
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        return None, False
    return (text, True) if _is_western(text) else (None, False)


def _is_western(text: str) -> bool:
    """Whether characters beside ASCII stand as in sentences: at most two together, no capital inside a word.

    So it is not damaged UTF-8 ("cafÃ©"), nor an East Asian encoding ("Äã°Ñ").
    """
    run, before = 0, ""
    for c in text:
        run = run + 1 if c > "\x7f" and c != "\xa0" else 0
        known = c <= "\x7f" or c in _SIGNS or c.isalpha()
        if run > 2 or not known or (run and c.isupper() and before.islower()):
            return False
        before = c
    return True


def strip_padding(text: str) -> str:
    """Remove a byte order mark and the NULs at both ends; half a character becomes U+FFFD."""
    return _LONE.sub("\ufffd", text.strip("\0").removeprefix("\ufeff"))


def one_line(text: str) -> str:
    """Return a text in one line.

    A stretch of white space in which a line break or another control character stands becomes a space, and nothing at
    the ends of the text. Other white space stays as it is.
    """
    if text.isprintable():
        return text

    def blank(found: re.Match[str]) -> str:
        inside = found.start() > 0 and found.end() < len(text)
        return found[0] if not _BREAK.search(found[0]) else " " if inside else ""

    return _BLANK.sub(blank, text)


def lines(text: str) -> str:
    """Return a text of one or more lines, which end with a line feed, without other control characters.

    NULs at the ends are padding and go; a tab stays; a run of others becomes a space.
    """
    if text.isprintable():
        return text
    text = strip_padding(text).replace("\r\n", "\n").replace("\r", "\n")
    return _OTHERS.sub(" ", text)


def printable(text: str) -> str:
    """Return a name from a file as it may be printed: control characters and the like as Python escapes them."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
