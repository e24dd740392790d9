"""The turns of a sample, without a model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rt2data.collate.conversation import Span, turns_of, with_placeholders
from rt2data.errors import Rt2dataError


def sample(prompt: str, target: str, *images: str, kind: str = "vqa", plan: str | None = None, **more: Any) -> Any:
    json = {"kind": kind, "prompt": prompt, "target": target, "images": list(images), "plan": plan} | more
    return SimpleNamespace(key="k", json=json, members=dict.fromkeys(images, b""))


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("Which?", [("image", "jpg"), ("image", "i1.png"), ("text", "Which?")]),
        ("<image> or <image>?", [("image", "jpg"), ("text", " or "), ("image", "i1.png"), ("text", "?")]),
        ("One <image>?", [("image", "jpg"), ("image", "i1.png"), ("text", "One <image>?")]),
    ],
)
def test_images_where_the_text_says(prompt: str, parts: list[tuple[str, str]]) -> None:
    assert list(turns_of(sample(prompt, "yes", "jpg", "i1.png"))[0].parts) == parts
    asked = turns_of(sample(prompt, "yes", "jpg", "i1.png", kind="robot"))[0]
    assert asked.text == prompt


@pytest.mark.parametrize(
    ("target", "plan", "action"),
    [
        ("1 2 3", None, Span(0, 5)),
        ("Action: 1 2", None, Span(0, 11)),
        ("Plan: go. Action: 1 2 3", "go.", Span(18, 23)),
        ("Plan: go. Action:", "go.", None),
    ],
)
def test_where_the_action_stands(target: str, plan: str | None, action: Span | None) -> None:
    _, answer = turns_of(sample("Q", target, kind="robot", plan=plan))
    assert answer.learned == (Span(0, len(target)),)
    assert answer.actions == ((action,) if action else ())
    turns, ids = with_placeholders([answer], "<P>", lambda text: [len(text)], "k")
    if action:
        assert turns[0].text == target[: action.start] + "<P>"
        assert (turns[0].learned, turns[0].actions) == (
            (Span(0, action.start + 3),), (Span(action.start, action.start + 3),)
        )  # fmt: skip
        assert ids == [[action.end - action.start]]


def test_several_actions() -> None:
    """Each is replaced, and what is learned beside them stays what it is."""
    text = "a 11 b 222 c"
    spans = [(0, 2, "text"), (2, 4, "action"), (7, 10, "action"), (11, 12, "text")]
    message = {
        "role": "assistant", "content": [{"type": "text", "text": text}], "loss": "both", "end": True,
        "spans": [{"start": a, "end": b, "loss": loss} for a, b, loss in spans],
    }  # fmt: skip
    made = sample("", "", kind="robot", messages=[message])
    (turn,), ids = with_placeholders(turns_of(made), "<P>", lambda own: [int(own)], "k")
    assert turn.text == "a <P> b <P> c"
    assert [turn.text[a:b] for a, b in turn.learned] == ["a ", "<P>", "<P>", "c"]
    assert ids == [[11], [222]]


def test_what_is_not_there() -> None:
    """Nothing is said: a head is trained. An image that is named and missing is an error."""
    assert [turn.role for turn in turns_of(sample("Q", "", kind="robot"))] == ["user"]
    broken = sample("Q", "a", "jpg")
    broken.members.clear()
    with pytest.raises(Rt2dataError, match="k: no image jpg"):
        turns_of(broken)
