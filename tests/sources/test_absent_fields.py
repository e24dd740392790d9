"""A declared field that a file does not have at all is an error, not a text that every row lacks."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from support import small_corpora
from support.web_corpus import declared, opened, reasons, table, write, write_tar

from rt2data.errors import Rt2dataError

JPG = small_corpora.picture(1)
ROWS = [{"key": str(n), "file": "a.jpg", "captions_en": f"text {n}", "score": n} for n in range(3)]
FIELDS = {"id": "key", "image": "file", "captions": "captions_en"}


def write_rows(folder: Path, form: str, rows: list[dict[str, Any]], name: str = "a") -> str:
    path = folder / "data" / f"{name}.{form}"
    write(folder / "data" / "a.jpg", JPG)
    text = io.StringIO()
    match form:
        case "parquet":
            pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
        case "arrow":
            batch = pa.Table.from_pylist(rows)
            with pa.ipc.new_file(str(path), batch.schema) as writer:
                writer.write_table(batch)
        case "csv" | "tsv":
            writer_of_text = csv.DictWriter(text, list(rows[0]), delimiter="," if form == "csv" else "\t")
            writer_of_text.writeheader()
            writer_of_text.writerows(rows)
            write(path, text.getvalue().encode())
        case "json_columns":
            write(path, {key: [row[key] for row in rows] for key in rows[0]})
        case "jsonl":
            write(path, b"\n".join(json.dumps(row).encode() for row in rows))
        case _:
            write(path, rows)
    return path.name


def corpus(folder: Path, form: str, rows: list[dict[str, Any]], **raw: Any) -> Path:
    name = write_rows(folder, form, rows)
    parts = {"splits": {"train": {"annotations": [name]}}, "images": ["{image}"], "fields": FIELDS}
    return declared(folder, **(parts | {"format": form} | raw))


TABLES = ["csv", "tsv", "json_columns", "parquet", "arrow"]


@pytest.mark.parametrize("form", [*TABLES, "json", "jsonl"])
@pytest.mark.parametrize("field", ["id", "image", "captions"])
def test_a_field_that_is_misspelt(tmp_path: Path, form: str, field: str) -> None:
    right = FIELDS[field]
    path = corpus(tmp_path, form, ROWS, fields=FIELDS | {field: f"{right}s"})
    word = "column" if form in TABLES else "key"
    message = (
        f'/data/a.{form}: no {word} "{right}s", which the declaration names (fields: {field}); expected one of key, '
    )
    with pytest.raises(Rt2dataError, match=re.escape(message)) as caught:
        table(tmp_path, path)
    assert str(caught.value).endswith(f'Did you mean "{right}"?')


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_columns_conditions_and_patterns(tmp_path: Path, form: str) -> None:
    path = corpus(tmp_path, form, ROWS, columns={"quality": "scor"})
    with pytest.raises(Rt2dataError, match=r'"scor", which the declaration names \(columns: quality\).*"score"\?'):
        table(tmp_path, path)
    split = {"train": {"annotations": [f"a.{form}"], "where": {"scores": "1"}}}
    with pytest.raises(Rt2dataError, match=r'"scores", which the declaration names \(where: scores\)'):
        table(tmp_path, corpus(tmp_path, form, ROWS, splits=split))
    fields = {name: path for name, path in FIELDS.items() if name != "image"}
    with pytest.raises(Rt2dataError, match=r'"files", which the declaration names \(images\).*"file"\?'):
        table(tmp_path, corpus(tmp_path, form, ROWS, fields=fields, images=["x/{files}", "{files|name}"]))
    good = corpus(tmp_path, form, ROWS, fields=fields, images=["{nothing}", "{file|name}"])
    assert reasons(table(tmp_path, good)) == {"": 3}


@pytest.mark.parametrize("form", ["parquet", "jsonl", "json"])
def test_fields_inside_others(tmp_path: Path, form: str) -> None:
    rows = [{"id": "1", "qa": {"question": "what?", "answers": [{"text": "a"}]}, "file": "a.jpg"}]
    fields = {"id": "id", "image": "file", "question": "qa.question", "answers": "qa.answers.*.text"}
    assert reasons(table(tmp_path, corpus(tmp_path, form, rows, kind="vqa", fields=fields))) == {"": 1}
    for name, wrong in (("question", "qa.questions"), ("answers", "qa.answers.*.texts"), ("answers", "answers")):
        path = corpus(tmp_path, form, rows, kind="vqa", fields=fields | {name: wrong})
        with pytest.raises(Rt2dataError, match=re.escape(f'"{wrong}", which the declaration names (fields: {name})')):
            table(tmp_path, path)


@pytest.mark.parametrize("form", ["parquet", "jsonl", "json"])
def test_what_some_rows_have_is_counted(tmp_path: Path, form: str) -> None:
    rows: list[dict[str, Any]] = [dict(row) for row in ROWS]
    rows[0]["captions_en"] = rows[2]["captions_en"] = None
    assert reasons(table(tmp_path, corpus(tmp_path, form, rows))) == {"": 1, "no_caption": 2}
    if form != "parquet":
        del rows[0]["captions_en"]
        assert reasons(table(tmp_path, corpus(tmp_path, form, rows))) == {"": 1, "no_caption": 2}


def test_what_a_record_need_not_have(tmp_path: Path) -> None:
    fields = FIELDS | {"language": "tag", "url": "link"}
    assert reasons(table(tmp_path, corpus(tmp_path, "jsonl", ROWS, fields=fields))) == {"": 3}


@pytest.mark.parametrize("form", ["csv", "jsonl", "json"])
def test_a_test_split_without_texts(tmp_path: Path, form: str) -> None:
    bare = [{key: value for key, value in row.items() if key != "captions_en"} for row in ROWS]
    names = {"train": write_rows(tmp_path, form, ROWS), "test": write_rows(tmp_path, form, bare, "b")}
    splits = {split: {"annotations": [name]} for split, name in names.items()}
    path = declared(tmp_path, format=form, splits=splits, images=["{image}"], fields=FIELDS)
    assert opened(tmp_path, path).splits() == {"train": 3, "test": 3}
    assert reasons(table(tmp_path, path, split="test")) == {"no_caption": 3}


def test_an_empty_table(tmp_path: Path) -> None:
    path = corpus(tmp_path, "csv", ROWS)
    write(tmp_path / "data" / "a.csv", b"key,file\n")
    assert table(tmp_path, path).num_rows == 0


def test_files_that_are_a_record_each(tmp_path: Path) -> None:
    write(tmp_path / "data" / "a.json", {"row": {"key": "1", "file": "a.jpg"}})
    write(tmp_path / "data" / "a.jpg", JPG)
    split = {"train": {"annotations": ["a.json"]}}
    path = declared(tmp_path, format="json", records="row", splits=split, images=["{image}"], fields=FIELDS)
    assert reasons(table(tmp_path, path)) == {"no_caption": 1}


def test_a_member_that_no_sample_of_a_tar_has(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "img2dataset" / "0.tar",
        [(f"{n}.{e}", b) for n in range(3) for e, b in (("jpg", JPG), ("caption", b"x"))],
    )
    with pytest.raises(
        Rt2dataError, match=r'0\.tar: no member "txt", which the declaration names \(fields: captions\)'
    ):
        table(tmp_path, "img2dataset")
