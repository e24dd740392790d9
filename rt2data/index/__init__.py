"""The index: per part, one row per step or example, with references to image bytes in place of the bytes.

`table` documents its columns, reads and writes it. `reasons` lists why rows are left out, `keys` makes keys and hashes
of samples, `hashing` the digests of units, `blobs` keeps images that no file holds as bytes, `text_columns` joins
texts.

May import: `images`, `storage`, `errors`.
"""

from __future__ import annotations

from rt2data.index.hashing import digest, split_hash
from rt2data.index.reasons import CODE, IMAGE_STATE, LEVELS, REASONS, VERDICTS, decode_state
from rt2data.index.table import (
    BATCH,
    BOXES,
    COLUMN,
    TRIED,
    VERSION,
    codes,
    dictionary,
    fixed,
    matrix,
    meta,
    numbers,
    read,
    replaced,
    units,
    write,
)

__all__ = [
    "BATCH",
    "BOXES",
    "CODE",
    "COLUMN",
    "IMAGE_STATE",
    "LEVELS",
    "REASONS",
    "TRIED",
    "VERDICTS",
    "VERSION",
    "codes",
    "decode_state",
    "dictionary",
    "digest",
    "fixed",
    "matrix",
    "meta",
    "numbers",
    "read",
    "replaced",
    "split_hash",
    "units",
    "write",
]
