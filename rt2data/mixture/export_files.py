"""The files of an export: JSON Lines, a JSON list, Parquet with images in its rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Add = Callable[[Json], object]

GROUP_BYTES = 1 << 26  # images of one row group: a reader of Parquet holds a row group


@contextmanager
def json_lines(path: Path) -> Iterator[Add]:
    """A row a line."""
    with path.open("w", encoding="utf-8") as file:
        yield lambda item: file.write(json.dumps(item, ensure_ascii=False) + "\n")


@contextmanager
def json_list(path: Path) -> Iterator[Add]:
    """A list, one item a line: LLaVA reads no JSON lines."""
    before = "[\n"

    def add(item: Json) -> None:
        nonlocal before
        file.write(before + json.dumps(item, ensure_ascii=False))
        before = ",\n"

    with path.open("w", encoding="utf-8") as file:
        yield add
        file.write("\n]\n" if before == ",\n" else "[]\n")


@contextmanager
def parquet(path: Path) -> Iterator[Add]:
    """Rows with the images in them, as `datasets` writes them: its Image feature decodes them."""
    import pyarrow as pa
    import pyarrow.parquet

    text: Any = {"dtype": "string", "_type": "Value"}
    features = {"id": text, "messages": [{"role": text, "content": text}], "images": [{"_type": "Image"}]}
    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("id", pa.string()), ("messages", pa.list_(message)), ("images", pa.list_(image))],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    rows: list[Json] = []
    size = 0

    def flush() -> None:
        nonlocal size
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
        rows.clear()
        size = 0

    def add(item: Json) -> None:
        nonlocal size
        rows.append(item)
        size += sum(len(image["bytes"]) for image in item["images"])
        if size >= GROUP_BYTES:
            flush()

    opened: AbstractContextManager[Any] = pa.parquet.ParquetWriter(path, schema)
    with opened as writer:
        yield add
        flush()
