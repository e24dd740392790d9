"""Columns of JSON: pieces of the samples' JSON that many rows share, and where their images lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute

from rt2data import index
from rt2data.index import text_columns
from rt2data.index.text_columns import Texts
from rt2data.tokenizer import ActionTokenizer
from rt2data.turns.drawings import Drawing
from rt2data.turns.template import Picture

Column: TypeAlias = Texts | bytes


@dataclass(slots=True)
class Refs:
    """The images of a camera at a sample's own step or at another one (`picture`).

    `suffixes` the ends of member names (``jpg``, ``wrist.png``), `files` the distinct file names, and arrays (n,) of
    the suffix's position, the file's (-1: the sample has no image), offset, length and CRC32C. `turn` (n,) is the EXIF
    orientation of images that are to be turned, else 0; None where no image has one. `exists` (n,) says whether the
    episode has the step. `drawing` is what is drawn into them, `lines` (n,) the lines of each row as JSON, null where
    it has none.
    """

    picture: Picture
    suffixes: list[str]
    files: list[str]
    suffix: npt.NDArray[np.uint8]
    file: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    crc: npt.NDArray[np.uint32]
    exists: npt.NDArray[np.bool_]
    turn: npt.NDArray[np.uint8] | None = None
    drawing: Drawing | None = None
    lines: pa.Array | None = None

    @property
    def camera(self) -> str:
        """The camera that took them."""
        return self.picture.camera

    def take(self, rows: npt.NDArray[np.int64]) -> Refs:
        """The images of some rows."""
        turn = None if self.turn is None else self.turn[rows]
        return replace(
            self, suffix=self.suffix[rows], file=self.file[rows], offset=self.offset[rows], length=self.length[rows],
            crc=self.crc[rows], exists=self.exists[rows], turn=turn,
            lines=None if self.lines is None else self.lines.take(pa.array(rows)),
        )  # fmt: skip


def json_fragment(**fields: Any) -> bytes:
    """The fields as JSON without the braces, with a comma at the end."""
    return orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] + b","


def each(table: pa.Table, column: str, make: Callable[[Any], bytes]) -> Texts:
    """``make(value)`` for each row, called once per distinct value."""
    codes, values = coded(table, column)
    return text_columns.take([make(value) for value in values], codes)


def coded(table: pa.Table, column: str) -> tuple[npt.NDArray[np.int32], list[Any]]:
    """A column as (codes, distinct values); the value of a null is None."""
    encoded = table.column(column).combine_chunks().dictionary_encode(null_encoding="encode")
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return np.asarray(encoded.indices), encoded.dictionary.to_pylist()


def flags(table: pa.Table, name: str) -> npt.NDArray[np.bool_]:
    """A column with a flag, or a list of them, per row: (n, 1) or (n, horizon)."""
    several = pa.types.is_fixed_size_list(table.schema.field(name).type)
    return np.asarray(index.matrix(table.column(name)) if several else index.numbers(table, name)[:, None])


def chunk_bins(
    action: npt.NDArray[np.float32], ends: npt.NDArray[np.bool_], tokenizer: ActionTokenizer
) -> npt.NDArray[np.int32]:
    """The bins of the chunks of rows: of their first steps, as many as the tokenizer has.

    Args:
        action: (n, steps x D).
        ends: whether each step terminates, (n, steps).
        tokenizer: restricted to their source.
    """
    chunk, ends = first_steps(action, tokenizer), ends[:, : tokenizer.horizon]
    if tokenizer.horizon == 1:
        chunk, ends = chunk[:, 0], ends[:, 0]
    return np.asarray(tokenizer.encode(chunk, ends if tokenizer.terminate else None))


def first_steps(action: npt.NDArray[np.float32], tokenizer: ActionTokenizer) -> npt.NDArray[np.float32]:
    """The first steps of the chunks of rows, float32 (n, horizon of the tokenizer, D)."""
    return np.ascontiguousarray(action.reshape(len(action), -1, len(tokenizer.dims))[:, : tokenizer.horizon])


def rows_as_lists(values: npt.NDArray[Any]) -> Texts:
    """Each row of an (n, D) array as a JSON list with a comma behind it. Floats of 32 bits get the shortest decimal
    that gives them back.
    """
    text = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
    return text_columns.lists(text)
