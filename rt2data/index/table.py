"""The index: per part, one row per step or example, with references to image bytes instead of the bytes.

An index file is an Arrow IPC file, read by mapping it into memory. Its columns:

=================== ======================= ==================================================================
A part is identified by a digest of its content that needs no reading of the content, and an index by (digests of its
parts: small ones share an index; declaration digest, level of checking, VERSION).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc

from rt2data.errors import Rt2dataError
from rt2data.storage import atomic

VERSION = 5


COLUMN = "column."  # begins the name of a declared column


BATCH = 65536  # rows a record batch: a reader that walks the index needs memory for one


def dictionary(codes: npt.NDArray[np.int32], values: Sequence[str | None]) -> pa.DictionaryArray:
    """A dictionary column: row i holds ``values[codes[i]]``; a negative code is null."""
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(values, pa.string()))


def fixed(values: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    """An (n, D) array as a column of lists of D."""
    width = values.shape[1]
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), width)


def matrix(column: pa.ChunkedArray | pa.Array) -> npt.NDArray[Any]:
    """The (n, D) array of a column of lists of D; a view where the column is one chunk."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    width = column.type.list_size
    parts = [np.asarray(c.flatten()).reshape(-1, width) for c in chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty((0, width), np.float32)


def numbers(table: pa.Table, name: str) -> npt.NDArray[Any]:
    """A numeric or bool column as a numpy array."""
    return np.asarray(table.column(name).to_numpy(zero_copy_only=False))


def codes(table: pa.Table, name: str) -> tuple[npt.NDArray[np.int32], list[str | None]]:
    """A dictionary column as (codes, values); a null has code -1."""
    column = table.column(name).combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # pyarrow gives a chunked array back where there is no chunk
        return np.empty(0, np.int32), []
    indices = column.indices.fill_null(-1) if column.null_count else column.indices
    return np.asarray(indices), column.dictionary.to_pylist()


def units(table: pa.Table) -> npt.NDArray[Any]:
    """The column ``unit``, S10 (rows,): a view where the table is one chunk."""
    chunks = [c for c in table.column("unit").chunks if len(c)]
    raw = [memoryview(c.buffers()[1])[10 * c.offset : 10 * (c.offset + len(c))] for c in chunks]
    parts = [np.frombuffer(one, "S10") for one in raw] or [np.empty(0, "S10")]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def replaced(table: pa.Table, name: str, column: Any) -> pa.Table:
    """`table` with another column under a name that it has."""
    return table.set_column(table.column_names.index(name), name, column)


def write(path: Path, table: pa.Table, meta: dict[str, str]) -> None:
    """Write an index file."""
    table = table.replace_schema_metadata(meta).unify_dictionaries().combine_chunks()
    with (
        atomic.replacing(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=BATCH)


def read(path: Path) -> pa.Table:
    """Map an index file into memory; no column is read until it is used."""
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise Rt2dataError(
            str(path), str(error).splitlines()[0], "an index file", "Delete it; it will be made anew"
        ) from None


def meta(table: pa.Table) -> dict[str, str]:
    """The metadata of an index: source, dataset, split, members, units, blobs, read, check
    (`rt2data.pipeline.indexing`).
    """
    return {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
