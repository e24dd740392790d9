"""Rows of a robot source that are in no step of an episode: they are counted, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rt2data import index
from rt2data.sources.robot.rlds_tfrecord import Rows


def append(table: pa.Table, rows: Rows, reasons: Sequence[Sequence[str]]) -> pa.Table:
    """The index of the episodes in `rows` with a further row for each of an episode's `reasons` (`index.REASONS`)."""
    which = np.repeat(np.arange(len(reasons)), [len(one) for one in reasons])
    if not len(which):
        return table
    steps = np.array(rows.columns["length"], np.int32)
    first = np.concatenate([[0], np.cumsum([len(one) for one in reasons])[:-1]])
    columns: dict[str, Any] = {
        "unit": pa.array([rows.columns["unit"][i] for i in which], pa.binary(10)),
        "split_hash": np.array(rows.columns["hash"], np.uint64)[which],
        "step": (steps[which] + np.arange(len(which)) - first[which]).astype(np.int32),
        "steps": steps[which],
        "episode": index.dictionary(which.astype(np.int32), rows.episodes),
        "reject": np.array([index.CODE[reason] for one in reasons for reason in one], np.uint8),
    }
    arrays = [columns[f.name] if f.name in columns else _nothing(f.type, len(which)) for f in table.schema]
    extra = pa.table(dict(zip(table.column_names, arrays, strict=True)))
    return pa.concat_tables([table, extra.cast(table.schema)]).combine_chunks()


def _nothing(kind: pa.DataType, count: int) -> Any:
    """A column without content: nulls of a dictionary, zeros of numbers."""
    if pa.types.is_dictionary(kind):
        return index.dictionary(np.full(count, -1, np.int32), [])
    if pa.types.is_fixed_size_list(kind):
        return index.fixed(np.zeros((count, kind.list_size), np.float32))
    return np.zeros(count, kind.to_pandas_dtype())
