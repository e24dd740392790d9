"""Questions and conversations that name no image: which are samples of text alone, and what their split is made by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import small_corpora
from support.web_corpus import declared, opened, reasons, table, write, write_tar

from rt2data import index
from rt2data.declarations import declaration
from rt2data.errors import Rt2dataError

JPG = small_corpora.picture(1)
CHAT: dict[str, Any] = {
    "kind": "vqa",
    "fields": {"id": "id", "image": "image", "conversation": "conversations"},
    "images": ["{image}"],
    "max_images": 2,
}
QUESTIONS: dict[str, Any] = {
    "kind": "vqa",
    "fields": {"id": "id", "image": "image", "question": "question", "answers": "answer"},
    "images": ["{image}"],
}


def say(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]


def corpus(folder: Path, records: list[dict[str, Any]], **fields: Any) -> Any:
    """The index of a corpus of these records, beside the image ``a.jpg``."""
    write(folder / "data" / "train.json", records)
    write(folder / "data" / "a.jpg", JPG)
    return table(folder, declared(folder, **fields))


def outcomes(found: Any) -> dict[str, str]:
    """The reason of each example, "" where it is a sample."""
    return {
        row["episode"]: index.REASONS[row["reject"] or row["image.state"]]
        for row in found.select(["episode", "reject", "image.state"]).to_pylist()
    }


def test_conversations_without_an_image_are_samples(tmp_path: Path) -> None:
    found = corpus(
        tmp_path,
        [
            {"id": "shown", "image": "a.jpg", "conversations": say("<image>What?", "A cup.")},
            {"id": "absent", "conversations": say("What is 2 + 2?", "4", "And 3 + 3?", "6")},
            {"id": "null", "image": None, "conversations": say("Hello", "Hi")},
            {"id": "empty", "image": "", "conversations": say("Hello", "Hi")},
            {"id": "list", "image": [], "conversations": say("Hello", "Hi")},
            {"id": "object", "image": {"bytes": None, "path": None}, "conversations": say("Hello", "Hi")},
            {"id": "gone", "image": "gone.jpg", "conversations": say("What?", "A cup.")},
            {"id": "mark", "conversations": say("<image>What?", "A cup.")},
            {"id": "late", "image": "a.jpg", "conversations": say("Hello", "Hi", "<image>What?", "A cup.")},
            {"id": "silent", "conversations": say("Hello", " ")},
        ],
        **CHAT,
    )
    assert outcomes(found) == {
        "shown": "", "absent": "", "absent/1": "", "null": "", "empty": "", "list": "", "object": "",
        "gone": "missing_image", "mark": "other_image_count",
        "late": "no_image", "late/1": "",  # its record names an image, which is not shown yet
        "silent": "no_answer",
    }  # fmt: skip
    row = {row["episode"]: row for row in found.to_pylist()}["absent/1"]
    assert (row["question"], row["answers"], row["turns"]) == ("And 3 + 3?", ["6"], ["What is 2 + 2?", "4"])
    assert [row[f"{camera}.file"] for camera in ("image", "i1")] == [None, None]


def test_a_url_or_an_id_names_an_image(tmp_path: Path) -> None:
    records = [
        {"id": "url", "link": "http://x/1.jpg", "conversations": say("What?", "A cup.")},
        {"id": "none", "conversations": say("Hello", "Hi")},
        {"id": "shown", "image": "a.jpg", "conversations": say("What?", "A cup.")},
    ]
    url = CHAT | {"fields": CHAT["fields"] | {"url": "link"}}
    assert outcomes(corpus(tmp_path, records, **url)) == {"url": "no_image", "none": "", "shown": ""}
    by_id = CHAT | {"fields": {"id": "id", "conversation": "conversations"}, "images": ["{image}"]}
    found = outcomes(corpus(tmp_path, records, **by_id))  # each record has an image, at a name made of its fields
    assert found == {"url": "missing_image", "none": "missing_image", "shown": ""}


def test_questions_only_where_the_declaration_says_so(tmp_path: Path) -> None:
    records = [
        {"id": "shown", "image": "a.jpg", "question": "What?", "answer": "A cup."},
        {"id": "none", "image": None, "question": "What is 2 + 2?", "answer": "4"},
        {"id": "mark", "question": "<image> What?", "answer": "A cup."},
    ]
    found = outcomes(corpus(tmp_path, records, **QUESTIONS))
    assert found == {"shown": "", "none": "no_image", "mark": "other_image_count"}
    found = outcomes(corpus(tmp_path, records, **QUESTIONS, text_only=True))
    assert found == {"shown": "", "none": "", "mark": "other_image_count"}
    said = [
        {"id": "x", "conversations": say("Hello", "Hi")},
        {"id": "y", "image": "a.jpg", "conversations": say("a", "b")},
    ]
    assert outcomes(corpus(tmp_path, said, **CHAT, text_only=False)) == {"x": "no_image", "y": ""}


def test_a_corpus_without_images(tmp_path: Path) -> None:
    """No image is declared, or no record has one: only with `text_only: true`, else a name may be misspelt."""
    records = [{"id": str(n), "conversations": say(f"What is {n} + {n}?", str(2 * n))} for n in range(3)]
    plain = {"kind": "vqa", "fields": {"id": "id", "conversation": "conversations"}}
    with pytest.raises(Rt2dataError, match='the file has no "images"'):
        corpus(tmp_path, records, **plain)
    assert reasons(corpus(tmp_path, records, **plain, text_only=True)) == {"": 3}
    with pytest.raises(Rt2dataError, match=r'no key "image", which the declaration names'):
        corpus(tmp_path, records, **CHAT)
    assert reasons(corpus(tmp_path, records, **CHAT, text_only=True)) == {"": 3}


@pytest.mark.parametrize(
    "fields",
    [
        {"fields": {"id": "id", "image": "image", "captions": "text"}, "kind": "caption"},
        {
            "fields": {"id": "id", "image": "image", "boxes": "b", "question": "q"},
            "boxes": {"form": "xywh"},
            "kind": "vqa",
        },
    ],
)
def test_captions_and_boxes_are_of_an_image(tmp_path: Path, fields: dict[str, Any]) -> None:
    path = declared(tmp_path, images=["{image}"], **fields, text_only=True)
    with pytest.raises(
        Rt2dataError, match=r"text_only where texts are of an image; expected the field question or conv"
    ):
        declaration.read_declarations(path)


def test_tars(tmp_path: Path) -> None:
    def member(key: str, *texts: str) -> tuple[str, bytes]:
        return f"{key}.json", json.dumps({"conversations": say(*texts)}).encode()

    fields = {"id": "$key", "image": "image", "conversation": "json.conversations"}
    path = declared(
        tmp_path, kind="vqa", format="webdataset", fields=fields, splits={"train": {"annotations": ["*.tar"]}}
    )
    shown = [("a.jpg", JPG), member("a", "<image>What?", "A cup.")]
    write_tar(tmp_path / "data" / "0.tar", [*shown, member("b", "Hello", "Hi"), member("c", "<image>What?", "A cup.")])
    assert outcomes(table(tmp_path, path)) == {"0/a": "", "0/b": "", "0/c": "other_image_count"}


def test_the_split_goes_by_the_first_question(tmp_path: Path) -> None:
    records = [
        {"id": "a", "conversations": say("Count to 3.", "1 2 3", "Go on.", "4")},
        {"id": "b", "conversations": say("Count to 3.", "One, two, three.")},
        {"id": "c", "conversations": say("Go on.", "Where?")},
        {"id": "d", "conversations": say("\ufb01ne?", "Yes.")},  # the ligature fi, which NFKC takes apart
        {"id": "e", "conversations": say(" ", "Hi", "Fine?", "Yes.")},
        {"id": "f", "image": "a.jpg", "conversations": say("Count to 3.", "1 2 3")},
    ]
    for namespace in (None, "coco"):
        found = corpus(tmp_path, records, **CHAT, image_namespace=namespace)
        split = {row["episode"]: row["split_hash"] for row in found.to_pylist()}
        assert outcomes(found)["e"] == "no_question"
        assert split["a"] == split["a/1"] == split["b"] == index.split_hash("", "Count to 3.")
        assert split["c"] == index.split_hash("", "Go on.")
        assert split["d"] == index.split_hash("", "fine?")
        assert split["e/1"] == index.split_hash("", "Fine?")
        assert split["f"] not in {one for name, one in split.items() if name != "f"}


def test_examples_kept_on_disk_are_the_same(tmp_path: Path) -> None:
    records = [
        {"id": "a", "conversations": say("Hello", "Hi")},
        {"id": "b", "image": "a.jpg", "conversations": say("a", "b")},
    ]
    plain = corpus(tmp_path, records, **CHAT)
    source = opened(tmp_path, tmp_path / "toy.yaml")
    source.example_folder = tmp_path / "kept"
    source.example_folder.mkdir()
    (part,) = source.parts("train")
    assert source.index(part, check="header").equals(plain)
