"""The index: per part, one row per step or example, with references to image bytes in place of the bytes.

`table` reads and writes index files (its docstring lists the columns), `text_columns` joins columns of text, `keys` has
the keys and hashes of samples, `blobs` pictures that no file of a dataset holds as bytes.

May import: `images`, `storage`, `errors`.
"""

from __future__ import annotations

from rt2data.index.hashing import digest, split_hash
from rt2data.index.reasons import CODE, IMAGE_STATE, LEVELS, REASONS, VERDICTS, decode_state
from rt2data.index.table import (
    BATCH,
    COLUMN,
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
    "CODE",
    "COLUMN",
    "IMAGE_STATE",
    "LEVELS",
    "REASONS",
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
