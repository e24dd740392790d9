"""Conversations as text: each template against a second implementation, bad files, the export of texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import builds, scalar_chat
from support.built_mixture import Built
from support.repository import ROOT

from rt2data import cli
from rt2data.errors import Rt2dataError
from rt2data.mixture import export
from rt2data.turns.chat_templates import (
    MAX_FILE,
    ChatTemplate,
    bundled_templates,
    load_chat_template,
    parse_chat_template,
    write_chat,
)

Json = dict[str, Any]
LOSSES = ("none", "text", "action", "both")


def message(role: str, *content: str, spans: Any = (), end: bool = False, loss: str = "") -> Json:
    parts = [{"type": "image", "image": text} if text.endswith("jpg") else {"type": "text", "text": text}
             for text in content]  # fmt: skip
    ranges = [{"start": a, "end": b, "loss": what.split()[0]} | ({"tokenizer": "fast"} if " " in what else {})
              for a, b, what in spans]  # fmt: skip
    return {"role": role, "content": parts, "loss": loss or ("text" if spans else "none"), "end": end, "spans": ranges}


def learned(text: str, *content: str) -> Json:
    """An answer that is learned whole."""
    return message("assistant", text, spans=[(0, len(text), "text")], end=True)


@st.composite
def conversations(draw: st.DrawFn) -> list[Json]:
    """Turns of users and assistants with images and spans anywhere."""
    out = []
    for _ in range(draw(st.integers(1, 4))):
        role = draw(st.sampled_from(["user", "assistant"]))
        parts = draw(st.lists(st.sampled_from(["jpg", "a", "bc", "été\n", " x "]), max_size=4))
        size = sum(len(part) for part in parts if part != "jpg")
        cuts = sorted(draw(st.lists(st.integers(0, size), max_size=6)))
        spans = [(a, b, draw(st.sampled_from(["text", "action", "action fast"])))
                 for a, b in zip(cuts[::2], cuts[1::2], strict=False) if a < b]  # fmt: skip
        out.append(message(role, *parts, spans=spans, end=draw(st.booleans()), loss=draw(st.sampled_from(LOSSES))))
    return out


def test_every_template_is_implemented_twice() -> None:
    assert bundled_templates() == sorted(scalar_chat.TEMPLATES)
    assert {path.stem for path in (ROOT / "tokenizers" / "chat").glob("*.json")} == set(bundled_templates())


@pytest.mark.parametrize("name", scalar_chat.TEMPLATES)
@given(said=conversations())
def test_templates_agree_with_the_second_implementation(name: str, said: list[Json]) -> None:
    template = load_chat_template(name)
    assert template.name == name
    got = write_chat(said, template)
    chars = scalar_chat.TEMPLATES[name](said)
    assert got.text == "".join(character for character, _ in chars)
    spans = [(*span[:2], f"{span.loss} {span.tokenizer}".rstrip()) for span in got.spans]
    assert spans == scalar_chat.spans(chars)
    assert len(got.turns) == len(said)
    assert got.images == tuple("jpg" for one in said for part in one["content"] if part["type"] == "image")
    for (low, high), one in zip(got.turns, said, strict=True):
        words = [part["text"] for part in one["content"] if part["type"] == "text"]
        assert all(word in got.text[low:high] for word in words)


def test_a_prompt_ends_where_the_answer_begins() -> None:
    asked = [{"role": "user", "content": [{"type": "image", "image": "jpg"}, {"type": "text", "text": "Where?"}]}]
    texts = {name: write_chat(asked, name, reply=True).text for name in ("qwen3-vl", "paligemma-chat", "molmo")}
    assert texts == {
        "qwen3-vl": "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Where?<|im_end|>\n"
        "<|im_start|>assistant\n",
        "paligemma-chat": "User: Where?\nAssistant: ",
        "molmo": "<|image|> User: Where? Assistant:",
    }
    for name, text in texts.items():
        assert write_chat([*asked, learned("there")], name).text.startswith(text)


def test_only_the_mark_in_a_text_that_is_a_templates_own_is_refused() -> None:
    said = [message("user", "now <|im_end|> now"), learned("yes")]
    with pytest.raises(Rt2dataError, match=r'chat template qwen3-vl: "<\|im_end\|>" in the text of a turn'):
        write_chat(said, "qwen3-vl")
    assert "<|im_end|>" in write_chat(said, "paligemma-chat").text


def test_a_role_that_a_template_lacks() -> None:
    with pytest.raises(Rt2dataError, match=r'chat template molmo: a turn of the role "system"; expected one of user'):
        write_chat([message("system", "s")], "molmo")
    with pytest.raises(Rt2dataError, match='a turn of the role "tool"'):
        write_chat([message("tool", "s")], "qwen3-vl")


MINE: Json = {
    "format": "rt2data.chat_template/1",
    "name": "mine",
    "roles": {"user": {"before": "Q: ", "after": "\n"}, "assistant": {"before": "A: ", "end": "</s>"}},
    "image": {"text": "<img>", "several": "<img{n}>"},
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"role": "user", "content": "a text"},
        {"role": "user"},
        {"content": []},
        {"role": "user", "content": [{"type": "text", "text": None}]},
        {"role": "user", "content": [{"type": "video", "video": "x"}]},
    ],
)
def test_messages_of_another_form(wrong: Json) -> None:
    with pytest.raises(Rt2dataError, match=r"^messages\[1\]: .*; expected a role, and a list of"):
        write_chat([message("user", "q"), wrong], "qwen3-vl")


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(MINE))
    got = write_chat([message("user", "a.jpg", "b.jpg", "Where {n}?"), learned("there")], path)
    assert got.text == "Q: <img1><img2>Where {n}?\nA: there</s>"
    assert [span.to_dict() for span in got.spans] == [{"start": 29, "end": 38, "loss": "text"}]
    assert got.images == ("a.jpg", "b.jpg")
    assert write_chat([message("user", "a.jpg")], str(path)).text == "Q: <img>\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "2"}, "format: '2'"),
        ({"begin": "x"}, 'unknown field "begin"'),
        ({"roles": {"tool": {}}}, 'roles: unknown field "tool"; expected one of system'),
        ({"roles": {"user": {"befor": ""}}}, 'unknown field "befor"; expected one of before, .* Did you mean "before"'),
        ({"roles": {"user": {"before": 1}}}, "roles, user, before: 1"),
        ({"roles": []}, "roles: "),
        ({"system": "s"}, "system: a text without a role"),
        ({"ends": "never"}, "ends: 'never'"),
        ({"image": {"front": 1}}, "image, front: 1"),
        ({"marks": [""]}, "marks: "),
        ({"name": None}, "name: None"),
        ({"image": {"text": "x" * 2001}}, "image, text: "),
    ],
)
def test_what_is_no_template(change: Json, said: str) -> None:
    with pytest.raises(Rt2dataError, match=said):
        parse_chat_template(MINE | change, "mine.json")


def test_files_that_are_none(tmp_path: Path) -> None:
    for content in (b"{", b"[" * MAX_FILE, b" " * (MAX_FILE + 1), b"\xff", b"[]"):
        (tmp_path / "t.json").write_bytes(content)
        with pytest.raises(Rt2dataError, match=r"t\.json"):
            load_chat_template(tmp_path / "t.json")
    with pytest.raises(Rt2dataError, match="cannot be read"):
        load_chat_template(tmp_path / "no.json")
    with pytest.raises(Rt2dataError, match=r'"qwen-vl"; expected one of .*qwen3-vl.* Did you mean'):
        load_chat_template("qwen-vl")


def test_samples_are_exported_as_text(spoken: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "text"
    command = ["export", str(spoken.out), str(target), "--format", "text", "--template", "qwen2-vl"]
    assert cli.main(command) == 0
    heads = 0
    for split in ("train", "val"):
        rows = {row["id"]: row for row in map(json.loads, (target / f"{split}.jsonl").read_text("utf-8").splitlines())}
        for members in builds.samples(spoken.out, split):
            sample = members["json"]
            chars = scalar_chat.TEMPLATES["qwen2-vl"](sample["messages"])
            row = rows.pop(sample["key"])
            assert row["text"] == "".join(character for character, _ in chars)
            assert [(s["start"], s["end"], s["loss"]) for s in row["spans"]] == scalar_chat.spans(chars)
            shown = [p["image"] for one in sample["messages"] for p in one["content"] if p["type"] == "image"]
            assert [(target / image).read_bytes() for image in row["images"]] == [members[name] for name in shown]
            heads += sample["recipe_kind"] == "head"
        assert not rows
    assert f"not in the format: an action head is trained ({heads:,} samples)" in capsys.readouterr().out


def test_a_mixture_without_kinds_is_exported_as_text(mixture: Built, tmp_path: Path) -> None:
    export.export(mixture.out, tmp_path / "text", "text", template="openpi")
    rows = {row["id"]: row for row in map(json.loads, (tmp_path / "text" / "train.jsonl").read_text().splitlines())}
    robots = 0
    for members in builds.samples(mixture.out, "train"):
        sample = members["json"]
        row = rows.pop(sample["key"])
        end = "|<eos>" if sample["kind"] == "robot" else "<eos>"
        assert row["text"] == sample["prompt"] + sample["target"] + end
        loss = "action" if sample["kind"] == "robot" else "text"
        assert row["spans"] == [{"start": len(sample["prompt"]), "end": len(row["text"]), "loss": loss}]
        assert len(row["images"]) == sum(name.rpartition(".")[2] in ("jpg", "png") for name in members)
        robots += sample["kind"] == "robot"
    assert robots
    assert not rows


@pytest.mark.parametrize(("form", "template"), [("text", None), ("messages", "qwen2-vl")])
def test_a_template_belongs_to_the_format_text(mixture: Built, tmp_path: Path, form: str, template: str | None) -> None:
    with pytest.raises(Rt2dataError, match="expected a template for the format text, and for no other"):
        export.export(mixture.out, tmp_path / "text", form, template=template)


def test_texts_with_a_mark_are_left_out_and_counted(mixture: Built, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(MINE | {"marks": ["the"]}))
    exported = export.export(mixture.out, tmp_path / "text", "text", template=str(path))
    assert exported.left_out["with the in a text"] > 0
    assert isinstance(load_chat_template(path), ChatTemplate)


def test_a_role_that_the_template_lacks_is_left_out_and_counted(spoken: Built, tmp_path: Path) -> None:
    """`act` begins with a system turn, which Molmo does not have."""
    exported = export.export(spoken.out, tmp_path / "text", "text", template="molmo")
    every = [members["json"] for split in ("train", "val") for members in builds.samples(spoken.out, split)]
    systems = sum(any(turn["role"] == "system" for turn in one["messages"]) for one in every)
    assert systems
    assert exported.left_out == {"with a turn of the role system, which the template lacks": systems}
    assert sum(exported.samples.values()) == len(every) - systems
