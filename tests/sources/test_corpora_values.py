"""Values of records as texts: numbers, points, several questions, several image fields, parts of messages."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from support import small_corpora
from support.web_corpus import declared, reasons, table, write, write_tar

from rt2data.errors import Rt2dataError
from rt2data.sources.web import conversation
from rt2data.sources.web.field_path import lookup, lookup_each, points_text, strings

VQA = {"id": "id", "image": "image", "question": "q", "answers": "a"}


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        (2, ["2"]),
        (0, ["0"]),
        (-3, ["-3"]),
        (2.5, ["2.5"]),
        (2.0, ["2"]),  # as a table stores a whole number where another row is null
        (-0.0, ["0"]),
        (1e-7, ["1e-07"]),
        (0.1, ["0.1"]),
        (float(np.float32(0.1)), ["0.1"]),  # a column of 32 bits
        (0.1 + 0.2, ["0.30000000000000004"]),
        (1e300, ["1e+300"]),
        (Decimal("2.50"), ["2.5"]),
        (Decimal("3.00"), ["3"]),
        (Decimal(1200), ["1200"]),
        (True, ["yes"]),
        (False, ["no"]),
        ([2, "3", None, 2.5, True], ["2", "3", "2.5", "yes"]),
        ({"answer": 4}, ["4"]),
        ([{"answer": 4}, {"answer": "five"}], ["4", "five"]),
        ([[1.5, 2], [3, 4.25]], ["[[1.5, 2], [3, 4.25]]"]),
        ({"x": 1.5, "y": 2.0}, ['{"x": 1.5, "y": 2}']),
        ([{"x": 1, "y": 2}, {"x": 3, "y": 4}], ['[{"x": 1, "y": 2}, {"x": 3, "y": 4}]']),
        (None, []),
        ("", []),
        (" ", []),
        ([], []),
        ({}, []),
        ([[]], []),
        (float("nan"), []),
        (float("inf"), []),
        (Decimal("NaN"), []),
        ([[1, None]], []),
        ([["a", "b"]], []),
        ({"url": "x"}, []),
    ],
)
def test_the_text_of_a_value(stored: Any, wanted: list[str]) -> None:
    assert strings(stored) == wanted


def test_numbers_in_paths_and_templates() -> None:
    record = {"n": 3, "f": 2.0, "list": [1, 2], "point": [120, 340], "place": 1.0, "words": ["red", "blue"]}
    assert lookup(record, "{n} of {f}: {list}") == "3 of 2: 1, 2"
    assert lookup(record, "point|text") == "[120, 340]"
    assert lookup(record, "words|at(place)") == "blue"
    assert lookup(record, "words|text") == '["red", "blue"]'
    assert lookup({"a": [{"box": [1, 2.0], "name": 'a "b"', "no": None, "ok": True}]}, "a|text") == (
        '[{"box": [1, 2], "name": "a \\"b\\"", "no": null, "ok": true}]'
    )
    assert lookup({"a": []}, "a|text") is None
    assert lookup_each(record, "Is it {words}?") == ["Is it red?", "Is it blue?"]
    assert lookup_each(record, "{n} {missing}") == []
    assert lookup_each(record, "{list}: {words}") == ["1: red", "2: blue"]
    assert lookup_each({"a": [1, 2], "b": [1, 2, 3]}, "{a} {b}") == []
    assert points_text("as it is") == "as it is"


def _corpus(folder: Path, form: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Write records in a format; what its declaration says of it."""
    data = folder / "data"
    for n in (1, 2):
        write(data / f"{n}.jpg", small_corpora.picture(n))
    if form == "json":
        write(data / "train.json", rows)
        return {"splits": {"train": {"annotations": ["train.json"]}}}
    if form == "jsonl":
        import json

        write(data / "train.jsonl", "\n".join(map(json.dumps, rows)).encode())
        return {"splits": {"train": {"annotations": ["train.jsonl"]}}}
    if form == "csv":
        lines = ["id,image,q,a"] + [f"{r['id']},{r['image']},{r['q']},{r['a']}" for r in rows]
        write(data / "train.csv", "\n".join(lines).encode())
        return {"splits": {"train": {"annotations": ["train.csv"]}}}
    pa.parquet.write_table(pa.Table.from_pylist(rows), data / "train.parquet")
    return {"splits": {"train": {"annotations": ["train.parquet"]}}}


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "parquet"])
def test_numbers_as_answers_in_every_format(tmp_path: Path, form: str) -> None:
    rows = [{"id": n, "image": "1.jpg", "q": "How many?", "a": n * 2} for n in (1, 2, 3)]
    how = _corpus(tmp_path, form, rows)
    found = table(tmp_path, declared(tmp_path, kind="vqa", format=form, fields=VQA, images=["{image}"], **how))
    assert found.column("answers").to_pylist() == [["2"], ["4"], ["6"]]
    assert found.column("episode").to_pylist() == ["1", "2", "3"]
    assert reasons(found) == {"": 3}


@pytest.mark.parametrize(
    ("kind", "values", "wanted"),
    [
        (pa.float32(), [0.1, 2.0, None], [["0.1"], ["2"], []]),
        (pa.float16(), np.array([0.5, 2.0, 3.25], np.float16), [["0.5"], ["2"], ["3.25"]]),
        (pa.float64(), [0.1, 2.0, float("nan")], [["0.1"], ["2"], []]),
        (pa.int64(), [0, 2, None], [["0"], ["2"], []]),
        (pa.bool_(), [True, False, None], [["yes"], ["no"], []]),
        (pa.decimal128(9, 2), [Decimal("1.50"), Decimal("2.00"), None], [["1.5"], ["2"], []]),
        (pa.list_(pa.int32()), [[1, 2], [], None], [["1", "2"], [], []]),
        (
            pa.list_(pa.struct({"x": pa.float64(), "y": pa.float64()})),
            [[{"x": 1.5, "y": 2.0}], [], None],
            [['[{"x": 1.5, "y": 2}]'], [], []],
        ),
    ],
)
def test_columns_of_numbers(tmp_path: Path, kind: Any, values: Any, wanted: Any) -> None:
    how = _corpus(tmp_path, "parquet", [{"id": 1}])
    columns = {"id": ["a", "b", "c"], "image": ["1.jpg"] * 3, "q": ["?"] * 3, "a": pa.array(values, kind)}
    pa.parquet.write_table(pa.table(columns), tmp_path / "data" / "train.parquet")
    found = table(tmp_path, declared(tmp_path, kind="vqa", format="parquet", fields=VQA, images=["{image}"], **how))
    assert found.column("answers").to_pylist() == wanted
    assert reasons(found)["no_answer"] == wanted.count([])


def test_numbers_in_a_tar(tmp_path: Path) -> None:
    members = [("1.jpg", small_corpora.picture(1)), ("1.json", b'{"q": "How many?", "a": 3}')]
    write_tar(tmp_path / "data" / "train.tar", members)
    fields = {"id": "$key", "image": "image", "question": "json.q", "answers": "json.a"}
    splits = {"train": {"annotations": ["*.tar"]}}
    found = table(tmp_path, declared(tmp_path, kind="vqa", format="webdataset", fields=fields, splits=splits))
    assert found.column("answers").to_pylist() == [["3"]]


def test_numbers_in_formats_with_fixed_fields(tmp_path: Path) -> None:
    """Answers of VQA v2.0's layout, captions and names of categories of COCO's."""
    data = tmp_path / "data"
    write(data / "1.jpg", small_corpora.picture(1))
    write(data / "q.json", {"questions": [{"question_id": 1, "image_id": 1, "question": "How many?"}]})
    write(data / "a.json", {"annotations": [{"question_id": 1, "answers": [{"answer": 3}, {"answer": 3.0}]}]})
    splits = {"train": {"questions": ["q.json"], "annotations": ["a.json"]}}
    plain = {"kind": "vqa", "images": ["{image_id}.jpg"]}
    found = table(tmp_path, declared(tmp_path, format="vqa_json", splits=splits, **plain))
    assert found.column("answers").to_pylist() == [["3", "3"]]
    images = [{"id": 1, "file_name": "1.jpg", "width": 16.0, "height": "12"}]
    write(data / "train.json", {"images": images, "annotations": [{"image_id": 1, "caption": 12}]})
    found = table(tmp_path, declared(tmp_path, format="coco_captions", images=["{file_name}"]))
    assert found.column("captions").to_pylist() == [["12"]]
    boxes = [{"image_id": 1, "category_id": 2.0, "bbox": [8, 6, 4, 3]}]
    write(data / "train.json", {"images": images, "categories": [{"id": 2, "name": 7}], "annotations": boxes})
    rule = {"question": "Where?"}
    path = declared(tmp_path, kind="vqa", format="coco_instances", boxes=rule, images=["{file_name}"])
    assert table(tmp_path, path).column("answers").to_pylist() == [["500 500 750 750 7"]]


def test_numbers_as_ids_questions_captions_and_image_ids(tmp_path: Path) -> None:
    """An id that one file stores as 3 and another as 3.0 is one id, else one image is in train and in val."""
    rows = [{"id": 3.0, "image_id": 7.0, "caption": 12}, {"id": 4, "image_id": 7, "caption": 2.5}]
    how = _corpus(tmp_path, "json", rows)
    write(tmp_path / "data" / "7.jpg", small_corpora.picture(7))
    fields = {"id": "id", "image_id": "image_id", "captions": "caption"}
    path = declared(tmp_path, fields=fields, images=["{image_id}.jpg"], image_namespace="toy", **how)
    found = table(tmp_path, path)
    assert found.column("episode").to_pylist() == ["3", "4"]
    assert found.column("captions").to_pylist() == [["12"], ["2.5"]]
    assert len(set(found.column("split_hash").to_pylist())) == 1
    assert reasons(found) == {"": 2}


def test_a_literal_video_in_a_question_leaves_it_out(tmp_path: Path) -> None:
    rows = [
        {"id": n, "image": "1.jpg", "q": q, "a": "yes"}
        for n, q in enumerate(["<video>\nWhat?", "<image>\nWhat?", "What?", "<image><image> What?", "<image>"])
    ]
    how = _corpus(tmp_path, "json", rows)
    found = table(tmp_path, declared(tmp_path, kind="vqa", fields=VQA, images=["{image}"], **how))
    assert reasons(found) == {"": 2, "video_or_audio": 1, "other_image_count": 1, "no_question": 1}
    assert found.column("question").to_pylist()[1:3] == ["What?", "What?"]


def _said(*contents: Any) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[n % 2], "content": content} for n, content in enumerate(contents)]


SHOWN = {"type": "image", "image": "1.jpg"}


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ([SHOWN, {"type": "text", "text": "What?"}], "What?"),
        ([{"type": "image", "value": "1.jpg"}, {"type": "text", "value": "What?"}], "What?"),
        ([{"type": "image_url", "image_url": {"url": "1.jpg"}}, {"type": "text", "text": "What?"}], "What?"),
        ([{"type": "input_image", "image_url": "1.jpg"}, {"type": "input_text", "text": "What?"}], "What?"),
        ([{"image": "1.jpg"}, {"text": "What?"}], "What?"),
        ([{"image": "1.jpg", "text": None}, {"image": None, "text": "What?"}], "What?"),
        ([{"image": "1.jpg", "text": "What?"}], "What?"),
        ([{"type": "image", "image": ["1.jpg"]}, {"type": "text", "text": "What?"}], "What?"),
        ([SHOWN, "What?"], "What?"),
        ([SHOWN, {"type": "text", "text": 12}], "12"),
        (12, "12"),
        ([SHOWN, {"type": "video", "video": "v.mp4"}, {"type": "text", "text": "What?"}], "video_or_audio"),
        ([SHOWN, {"type": "video_url", "video_url": {"url": "v.mp4"}}], "video_or_audio"),
        ([SHOWN, {"type": "input_audio", "input_audio": {}}, {"type": "text", "text": "?"}], "video_or_audio"),
        ([SHOWN, {"video": "v.mp4"}, {"text": "What?"}], "video_or_audio"),
        ([SHOWN, {"type": "file", "file": "a.pdf"}, {"type": "text", "text": "What?"}], "bad_conversation"),
        ("<video>\nWhat?", "video_or_audio"),
        ("What is in <audio>?", "video_or_audio"),
        ("<|video_pad|>What?", "video_or_audio"),
        ("Which videos <show> it?", "Which videos <show> it?"),
    ],
)
def test_parts_of_messages(content: Any, wanted: str) -> None:
    turns = conversation.read(_said(content, "A lamp, <video> is a tag."), 1)
    assert (turns if isinstance(turns, str) else turns[0].question) == wanted


def test_a_video_in_a_later_turn_or_a_system_message_leaves_a_conversation_out() -> None:
    assert conversation.read(_said("What?", "A cup.", "<video> And here?", "A dog."), 1) == "video_or_audio"
    system = [{"role": "system", "content": "Look at <video>."}]
    assert conversation.read(system + _said("What?", "A cup."), 1) == "video_or_audio"
    assert conversation.read(_said("Draw it.", [SHOWN]), 1) == "bad_conversation"


def test_videos_in_a_field_beside_the_messages_leave_a_conversation_out(tmp_path: Path) -> None:
    """As LLaMA-Factory and ms-swift have them; the latter also without a placeholder."""
    rows = [{"images": ["1.jpg"], "messages": _said("<image>What?", "A cup."), **more} for more in (
        {"videos": ["v.mp4"]}, {"audios": ["a.wav"]}, {"videos": []}, {"videos": None, "audios": [None]}, {},
    )]  # fmt: skip
    how = _corpus(tmp_path, "json", rows)
    fields = {"id": "$row", "image": "images", "conversation": "messages"}
    found = table(tmp_path, declared(tmp_path, kind="vqa", fields=fields, images=["{image}"], **how))
    assert reasons(found) == {"video_or_audio": 2, "": 3}


def test_questions_and_answers_in_pairs() -> None:
    """The Cauldron's texts."""
    stored = [{"user": "What?", "assistant": "A cup.", "source": "x"}, {"user": "How many?", "assistant": 2}]
    turns = conversation.read(stored, 1)
    assert [
        (turn.question, turn.answer, len(turn.before)) for turn in turns if isinstance(turn, conversation.Turn)
    ] == [
        ("What?", "A cup.", 0),
        ("How many?", "2", 2),
    ]


def test_images_in_the_parts_of_messages(tmp_path: Path) -> None:
    both = [{"type": "image", "value": "1.jpg"}, {"type": "text", "value": "and"}, {"type": "image", "value": "2.jpg"}]
    url = {"type": "image_url", "image_url": {"url": "https://example.com/images/2.jpg"}}
    rows = [
        {"m": [{"from": "human", "value": both}, {"from": "gpt", "value": "Two."}]},
        {"m": _said([url, {"type": "text", "text": "What?"}], "A cup.")},
        {"m": _said("What?", "A cup.")},
        {"m": _said([{"type": "image", "image": ["1.jpg", "2.jpg"]}, {"type": "text", "text": "Same?"}], "No.")},
        {"m": _said([{"image": "2.jpg", "text": "See"}, {"image": "1.jpg", "text": "What?"}], "A cup.")},
    ]
    how = _corpus(tmp_path, "json", rows)
    fields = {"id": "$row", "image": "$conversation", "conversation": "m"}
    path = declared(tmp_path, kind="vqa", fields=fields, images=["{image|name}"], max_images=4, **how)
    found = table(tmp_path, path)
    assert [row["image.file"] for row in found.to_pylist()] == ["1.jpg", "2.jpg", None, "1.jpg", "2.jpg"]
    assert [row["i1.file"] for row in found.to_pylist()] == ["2.jpg", None, None, "2.jpg", "1.jpg"]
    assert found["question"].to_pylist()[3:] == ["Same?", "<image>\nSee<image>\nWhat?"]
    assert reasons(found) == {"": 5}  # the third is a sample of text alone
    assert (
        reasons(
            table(tmp_path, declared(tmp_path, kind="vqa", fields=fields, images=["{image}"], max_images=4, **how))
        )["url_without_file"]
        == 1
    )
    without = declared(tmp_path, kind="vqa", fields=fields, max_images=4, **how)
    assert reasons(table(tmp_path, without))["url_without_file"] == 1


def test_images_in_fields_of_their_own(tmp_path: Path) -> None:
    """NLVR2's pairs, MMMU's image_1 to image_7, of which most are absent."""
    rows = [
        {"id": "two", "a1": "1.jpg", "a2": "2.jpg", "a3": None},
        {"id": "one", "a1": "2.jpg", "a2": ""},
        {"id": "last", "a3": "2.jpg"},
        {"id": "list", "a1": ["1.jpg", "2.jpg"], "a2": "1.jpg"},
        {"id": "none"},
    ]
    how = _corpus(tmp_path, "json", [row | {"q": "Same?", "a": "no"} for row in rows])
    fields = VQA | {"image": ["a1", "a2", "a3"]}
    found = table(tmp_path, declared(tmp_path, kind="vqa", fields=fields, images=["{image}"], **how)).to_pylist()
    shown = [[row[f"{camera}.file"] for camera in ("image", "i1", "i2")] for row in found]
    assert shown == [
        ["1.jpg", "2.jpg", None],
        ["2.jpg", None, None],
        ["2.jpg", None, None],
        ["1.jpg", "2.jpg", "1.jpg"],
        [None, None, None],
    ]
    template = VQA | {"image": ["{id}-l.jpg", "{id}-r.jpg"]}
    for side in "lr":
        write(tmp_path / "data" / f"two-{side}.jpg", small_corpora.picture(3))
    found = table(tmp_path, declared(tmp_path, kind="vqa", fields=template, **how)).to_pylist()
    assert (found[0]["image.file"], found[0]["i1.file"]) == ("two-l.jpg", "two-r.jpg")


BOXES = {"id": "id", "image": "image", "boxes": "box", "question": "Where is {said}?"}


def _boxed(tmp_path: Path, rows: list[dict[str, Any]], fields: dict[str, str], **rule: Any) -> Any:
    how = _corpus(tmp_path, "json", [{"id": n, "image": "1.jpg"} | row for n, row in enumerate(rows)])
    return table(tmp_path, declared(tmp_path, kind="vqa", fields=fields, boxes=rule, images=["{image}"], **how))


def test_referring_expressions(tmp_path: Path) -> None:
    """The image has 16 x 12 pixels."""
    rows = [
        {"said": "the cup", "box": [8, 6, 4, 3]},
        {"said": ["left one", "cup"], "box": [0, 0, 8, 6]},
        {"said": None, "box": [8, 6, 4, 3]},
        {"said": "all", "box": [[8, 6, 4, 3], [0, 0, 8, 6]]},
    ]
    found = _boxed(tmp_path, rows, BOXES, form="xywh", order="stored")
    assert list(zip(found.column("question").to_pylist(), found.column("answers").to_pylist(), strict=True)) == [
        ("Where is the cup?", ["500 500 750 750"]),
        ("Where is left one?", ["0 0 500 500"]),
        ("Where is cup?", ["0 0 500 500"]),
        (None, []),
        ("Where is all?", ["500 500 750 750; 0 0 500 500"]),
    ]
    assert found.column("episode").to_pylist() == ["0", "1", "1/1", "2", "3"]
    assert reasons(found) == {"": 4, "no_question": 1}
    labelled = _boxed(tmp_path, rows, BOXES | {"label": "said"}, form="xywh", order="stored")
    assert labelled.column("answers").to_pylist()[:3] == [
        ["500 500 750 750 the cup"],
        ["0 0 500 500 left one"],
        ["0 0 500 500 cup"],
    ]


def test_an_empty_referring_expression_is_counted_and_moves_no_label(tmp_path: Path) -> None:
    rows = [{"said": ["cup", "", "left one"], "box": [0, 0, 8, 6]}, {"said": ["cup", "mug"], "box": None}]
    for label in ({}, {"label": "said"}):
        found = _boxed(tmp_path, rows, BOXES | label, form="xywh")
        words = [" cup", None, " left one", None, None] if label else ["", None, "", None, None]
        assert found.column("episode").to_pylist() == ["0", "0/1", "0/2", "1", "1/1"]
        assert found.column("answers").to_pylist() == [[] if word is None else [f"0 0 500 500{word}"] for word in words]
        assert reasons(found) == {"": 2, "no_question": 1, "no_answer": 2}


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ({"box": [[8, 6, 4, 3], [0, 0, 8, 6]]}, "box"),
        ({"things": [{"box": [8, 6, 4, 3]}, {"box": [0, 0, 8, 6]}]}, "things.*.box"),
        ({"things": {"box": [[8, 6, 4, 3], [0, 0, 8, 6]]}}, "things.box"),
        ({"things": [{"x": 8, "y": 6, "w": 4, "h": 3}, {"x": 0, "y": 0, "w": 8, "h": 6}]}, "things"),
        ({"box": ["8 6 4 3", "0 0 8 6"]}, "box"),
        ({"box": "[[8, 6, 4, 3], [0, 0, 8, 6]]"}, "box|json"),
    ],
)
def test_ways_in_which_boxes_are_listed(tmp_path: Path, row: dict[str, Any], path: str) -> None:
    fields = {"id": "id", "image": "image", "boxes": path, "label": "label"}
    found = _boxed(tmp_path, [row | {"label": ["cup", "dog"]}], fields, question="?", order="stored")
    assert found.column("answers").to_pylist() == [["500 500 750 750 cup; 0 0 500 500 dog"]]


def test_a_quadrangle_is_no_pair_of_boxes(tmp_path: Path) -> None:
    fields = {"id": "id", "image": "image", "boxes": "box"}
    found = _boxed(tmp_path, [{"box": [1, 1, 4, 1, 4, 3, 1, 3]}], fields, question="?")
    assert reasons(found) == {"bad_box": 1}


def test_boxes_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    rows = [
        {"box": [[8, 6, 4, 3], [1, 1, 0, 3]], "label": ["cup", "line"]},
        {"box": [[8, 6, 4, 3], [1, 1, 2, 3]], "label": [7, None]},
        {"box": [[8, 6, 12, 3]], "label": ["clipped"]},
        {"box": [[0.1, 0.1, 0.5, 0.5]], "label": ["fractions"]},
        {"box": [[100, 100, 500, 500]], "label": ["thousandths"]},
        {"box": [[8, 6, -4, 3]], "label": ["negative"]},
        {"box": [[8, 6, 4, 3]], "label": ["one", "too many"]},
        {"box": None, "label": None},
    ]
    fields = {"id": "id", "image": "image", "boxes": "box", "label": "label"}
    found = _boxed(tmp_path, rows, fields, question="Where?", form="xywh")
    assert reasons(found) == {"": 3, "box_units": 1, "box_outside": 1, "bad_box": 2, "no_answer": 1}
    assert found.column("answers").to_pylist()[:3] == [
        ["500 500 750 750 cup"],
        ["500 500 750 750 7"],
        ["500 500 750 999 clipped"],
    ]
    assert found.column("boxes.skipped").to_pylist()[:3] == [1, 1, 0]
    assert found.column("boxes.clipped").to_pylist()[:3] == [0, 0, 1]


@pytest.mark.parametrize(
    ("fields", "rule", "message"),
    [
        ({"conversation": "m", "question": "q"}, None, '"question" beside "conversation"'),
        ({"boxes": "b", "question": "q", "answers": "a"}, {}, '"answers" beside "boxes"'),
        ({"answers": "a", "question": "q", "label": "l"}, None, '"label" without "boxes"'),
        ({"boxes": "b"}, {"form": "xyxy"}, "boxes without a question"),
        ({"answers": "a", "question": "q", "image": "$conversation"}, None, '"\\$conversation" without'),
    ],
)
def test_fields_that_would_be_ignored_are_refused(tmp_path: Path, fields: Any, rule: Any, message: str) -> None:
    raw = {"fields": {"id": "id"} | fields, "images": ["{image}"]} | ({"boxes": rule} if rule is not None else {})
    with pytest.raises(Rt2dataError, match=message):
        table(tmp_path, declared(tmp_path, kind="vqa", **raw))
