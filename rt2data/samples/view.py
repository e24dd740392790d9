"""The index of a part as a recipe takes it."""

from __future__ import annotations

import unicodedata
from typing import Any

import pyarrow as pa

from rt2data import index


def normalised(table: pa.Table, form: str | None) -> pa.Table:
    """An index whose texts are in a Unicode normal form, ``nfc`` or ``nfkc``; as they are where it is None."""
    for name in ("question", "answers", "captions", "turns") if form else ():
        if name not in table.column_names:
            continue
        chunks = []
        for chunk in table.column(name).chunks:
            several = pa.types.is_list(chunk.type)
            stored = (chunk.values if several else chunk).to_pylist()
            # Arrow's own utf8_normalize leaves texts as they are (seen with 25.0.1).
            unicode: Any = str(form).upper()
            texts = pa.array([t if t is None else unicodedata.normalize(unicode, t) for t in stored], pa.string())
            chunks.append(pa.ListArray.from_arrays(chunk.offsets, texts, mask=chunk.is_null()) if several else texts)
        column = pa.chunked_array(chunks, table.schema.field(name).type)
        table = index.replaced(table, name, column)
    return table
