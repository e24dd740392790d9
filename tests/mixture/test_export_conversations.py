"""A conversation is exported as one record a copy: each answer counts as often as the mixture holds its sample."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import small_corpora

from rt2data import cli, load_manifest
from rt2data.mixture import reader
from rt2data.mixture.conversations import Conversations
from rt2data.mixture.export import export

IMAGES = {0: 1, 2: 2}  # new images of a turn of `conversations`


def turn(source: str, example: str, number: int, images: int, copy: int = 0) -> dict[str, Any]:
    """The JSON of a sample as far as it matters here."""
    key = f"{source}-{'c' * 20}-0" + (f"-c{copy}" if copy else "")
    turns = ["q", "a"] * number or None
    return {
        "kind": "vqa", "key": key, "source": source, "turns": turns, "images": [f"i{n}.jpg" for n in range(images)],
        "example": f"{example}/{number}" if number else example,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("gaps", "held", "last", "trained", "shown"),
    [
        (False, {0: 1, 1: 1, 2: 3}, 2, (True, True, True), (1, 0, 2)),
        (False, {0: 1, 2: 3}, 0, (True,), (1,)),  # a record ends before a turn that the split lacks
        (False, {1: 1, 2: 3}, -1, (), ()),
        (True, {0: 1, 2: 3}, 2, (True, False, True), (1, 2, 0)),
        (True, {1: 1}, 1, (False, True), (1, 0)),
        (True, {3: 3}, 3, (False, False, False, True), (3, 0, 0, 0)),
    ],
)
def test_the_record_of_a_copy(
    *, gaps: bool, held: dict[int, int], last: int, trained: tuple[bool, ...], shown: tuple[int, ...]
) -> None:
    metas = [turn("a", "x", n, images) for n, images in held.items()]
    others = [turn("a", "x", 1, 1, copy=1), turn("b", "x", 1, 1), turn("a", "x/1", 1, 1)]  # of other conversations
    found = Conversations([*others, *metas], gaps=gaps)
    for meta in metas:
        assert found.record(meta) == (len(meta["turns"] or ()) // 2, (last, trained, shown))
    assert found.record({"kind": "robot"}) is None
    found.close()


def test_answers_of_a_question_are_no_turns() -> None:
    """`answers: all` gives several samples of one example."""
    metas = [turn("a", "x", 0, 1), turn("a", "x", 0, 1)]
    found = Conversations(metas, gaps=False)
    assert found.record(metas[0]) is None


@pytest.fixture
def conversations(build: Callable[..., Any], tmp_path: Path) -> Path:
    """20 conversations of four answers, pictures at the first and third, drawn one and a half times."""
    records = []
    for n in range(20):
        asked = ["<image>What is it?", "Which colour?", "<image>And these?<image>", "How many?"]
        said = [(who, text) for t, q in enumerate(asked) for who, text in (("human", q), ("gpt", f"{n} {t}"))]
        records.append(
            {
                "id": str(n),
                "image": ["0.jpg", "1.jpg", "2.jpg"],
                "conversations": [{"from": who, "value": text} for who, text in said],
            }
        )
    small_corpora.write_json(tmp_path / "data" / "chat" / "chat.json", records)
    for n in range(3):
        (tmp_path / "data" / "chat" / f"{n}.jpg").write_bytes(small_corpora.picture(n))
    (tmp_path / "chat.yaml").write_text(
        "name: chat\nid: chat\nkind: vqa\nformat: json\nlicence: not stated\nlanguage: en\n"
        'splits: {train: {annotations: [chat.json]}}\nrecords: "*"\nmax_images: 4\n'
        'fields: {id: id, image: image, conversation: conversations}\nimages: ["{image}"]\n'
    )
    sources = [{"source": "chat.yaml", "samples": 120}]
    recipe = small_corpora.write_recipe(tmp_path / "r.yaml", sources=sources, splits=None, cameras=None)
    build(recipe, tmp_path / "out", data_root=tmp_path / "data")
    return tmp_path / "out"


def targets(out: Path) -> Counter[str]:
    """How often each answer is a sample's target."""
    shards = reader.shards(load_manifest(out), "train")
    return Counter(sample.meta["target"] for shard in shards for sample in reader.samples(out / shard["name"]))


def read_messages(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_swift_marks_what_is_not_to_be_learned(conversations: Path, tmp_path: Path) -> None:
    wanted = targets(conversations)
    assert sum(wanted.values()) == 120
    exported = export(conversations, tmp_path / "chat", "swift")
    rows = read_messages(tmp_path / "chat" / "train.jsonl")
    said = [message for row in rows for message in row["messages"] if message["role"] == "assistant"]
    assert Counter(message["content"] for message in said if message["loss"]) == wanted
    assert any(not message["loss"] for message in said)  # else there was nothing to mark
    assert (exported.samples, exported.records, exported.left_out) == ({"train": 120}, {"train": len(rows)}, {})
    for row in rows:
        assert len(row["images"]) == sum(message["content"].count("<image>") for message in row["messages"])


@pytest.mark.parametrize("form", ["messages", "llava"])
def test_a_record_ends_where_the_form_cannot_mark(conversations: Path, tmp_path: Path, form: str) -> None:
    wanted = targets(conversations)
    exported = export(conversations, tmp_path / "chat", form)
    if form == "messages":
        rows = read_messages(tmp_path / "chat" / "train.jsonl")
        talks = [[(m["role"] == "assistant", m["content"]) for m in row["messages"]] for row in rows]
    else:
        rows = json.loads((tmp_path / "chat" / "train.json").read_text(encoding="utf-8"))
        talks = [[(m["from"] == "gpt", m["value"]) for m in row["conversations"]] for row in rows]
    learned = Counter(text for talk in talks for answer, text in talk if answer)
    assert not learned - wanted  # no answer more often than the mixture holds it
    beyond = exported.left_out["after a turn that is not in this split"]
    assert (learned.total(), beyond) == (exported.samples["train"], 120 - learned.total())
    assert sum(learned[f"{n} {t}"] for n in range(20) for t in range(4)) == learned.total()
    for talk in talks:
        shown = [text.count("<image>") for answer, text in talk if not answer]
        assert shown == [IMAGES.get(t, 0) for t in range(len(shown))]


def test_whole_conversations_lose_nothing(
    build: Callable[..., Any], conversations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [{"source": str(tmp_path / "chat.yaml"), "repeat": 2}]
    recipe = small_corpora.write_recipe(tmp_path / "two.yaml", sources=sources, splits=None, cameras=None)
    build(recipe, tmp_path / "two", data_root=conversations.parent / "data")
    assert cli.main(["export", str(tmp_path / "two"), str(tmp_path / "chat"), "--format", "messages"]) == 0
    assert "160 samples in train (40 records)" in capsys.readouterr().out
    rows = read_messages(tmp_path / "chat" / "train.jsonl")
    learned = Counter(m["content"] for row in rows for m in row["messages"] if m["role"] == "assistant")
    assert learned == dict.fromkeys((f"{n} {t}" for n in range(20) for t in range(4)), 2)
    assert len({row["id"] for row in rows}) == 40


def test_placeholders_amid_a_text_stay_there(build: Callable[..., Any], tmp_path: Path) -> None:
    said = [("human", "Is <image> brighter than <image>?"), ("gpt", "Yes."), ("human", "Sure?"), ("gpt", "Sure.")]
    talk = [{"from": who, "value": text} for who, text in said]
    small_corpora.write_json(
        tmp_path / "data" / "llava" / "llava_instruct_150k.json",
        [{"id": "1", "image": ["a.jpg", "b.jpg"], "conversations": talk}],
    )
    for n, name in enumerate("ab"):
        (tmp_path / "data" / "llava" / f"{name}.jpg").write_bytes(small_corpora.picture(n))
    declared = (Path(__file__).parents[2] / "builders" / "web" / "llava_instruct.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(declared + "\nmax_images: 2\n" if "max_images" not in declared else declared)
    recipe = small_corpora.write_recipe(
        tmp_path / "r.yaml", sources=[{"source": "mine.yaml"}], splits=None, cameras=None
    )
    build(recipe, tmp_path / "out", data_root=tmp_path / "data")
    export(tmp_path / "out", tmp_path / "chat", "messages")
    (row,) = read_messages(tmp_path / "chat" / "train.jsonl")
    assert [m["content"] for m in row["messages"]] == [
        "Q: Is <image> brighter than <image>? A:", "Yes.", "Q: Sure? A:", "Sure.",
    ]  # fmt: skip
    assert len(row["images"]) == 2
