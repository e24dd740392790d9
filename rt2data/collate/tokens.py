"""Token ids of a text as a model's processor makes them, with the characters of each: what a loss mask is made from.

A processor replaces the placeholder of an image by as many image tokens as the image takes, and hands the text to its
tokenizer. There we listen: we get that text and the tokenizer's offsets in it, whatever the processor and its version.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rt2data.collate.conversation import Ids, Span
from rt2data.errors import Rt2dataError

IGNORED = -100  # the label of a token that is not learned, as the losses of PyTorch and transformers have it

Bools = npt.NDArray[np.bool_]


class _Listening:
    """A tokenizer that keeps the text it was last given and the offsets of its tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.text = ""
        self.offsets: npt.NDArray[np.int64] = np.empty((0, 2), np.int64)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def __call__(self, text: Any, *args: Any, **options: Any) -> Any:
        encoded = self.tokenizer(text, *args, **options | {"return_offsets_mapping": True})
        self.text = text if isinstance(text, str) else text[0]
        self.offsets = np.asarray(encoded.pop("offset_mapping"), np.int64).reshape(-1, 2)
        return encoded


class Encoder:
    """Processes one conversation at a time by a processor.

    Attributes:
        processor: of transformers.
        tokenizer: its tokenizer.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.tokenizer: Any = getattr(processor, "tokenizer", None)
        if self.tokenizer is None:
            raise Rt2dataError(
                "processor", f"a {type(processor).__name__} without a tokenizer", "one of a model of text"
            )
        if not getattr(self.tokenizer, "is_fast", False):
            repair = "Load the processor with use_fast=True"
            raise Rt2dataError("processor", "a tokenizer without offsets of its tokens", "a fast one", repair)
        self._listening = _Listening(self.tokenizer)
        self._copy = copy.copy(processor)
        self._copy.tokenizer = self._listening

    def __getstate__(self) -> Any:
        return self.processor

    def __setstate__(self, processor: Any) -> None:
        Encoder.__init__(self, processor)

    def encode(self, text: str, images: Sequence[Any], **options: Any) -> dict[str, Any]:
        """The processor's tensors for a text and its images, one row."""
        shown = {"images": list(images)} if images else {}
        return dict(self._copy(text=[text], **shown, return_tensors="pt", **options))

    def encode_text(self, text: str, **options: Any) -> dict[str, Any]:
        """The tokenizer's tensors for a text, one row."""
        return dict(self._listening([text], return_tensors="pt", **options))

    @property
    def special_tokens(self) -> list[str]:
        """The tokenizer's special tokens, those without a name of their own too (Gemma's end of a turn)."""
        added = (str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special)
        return list(dict.fromkeys([*self.tokenizer.all_special_tokens, *added]))

    @property
    def text(self) -> str:
        """The text that the tokenizer was last given."""
        return self._listening.text

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """The characters of each token of what the tokenizer was last given, (tokens, 2)."""
        return self._listening.offsets

    def image_token(self, text: str, images: int) -> str:
        """The placeholder that stands in a text for each of its images.

        Raises:
            Rt2dataError: as many placeholders as images are not there.
        """
        given = [getattr(self.processor, name, None) for name in ("image_token", "boi_token")]
        tokens = [str(getattr(token, "content", token)) for token in given if token is not None]
        for token in tokens:
            if text.count(token) == images:
                return token
        found = ", ".join(f"{text.count(token)} of {token}" for token in tokens) or "no image token"
        raise Rt2dataError(
            "chat template", found, f"{images}, one for each image", "Pass the model's own chat_template"
        )


def find_learned(offsets: npt.NDArray[np.int64], spans: Sequence[Span]) -> Bools:
    """Which tokens hold a character that is learned. A token of no width counts as the character that it stands before.

    Args:
        offsets: first and last (exclusive) character of each token, (tokens, 2).
        spans: characters that are learned.
    """
    begins = offsets[:, 0]
    ends = np.maximum(offsets[:, 1], begins + 1)
    learned = np.zeros(len(offsets), bool)
    for start, end in spans:
        learned |= (begins < end) & (ends > start)
    return learned


def find_expanded(text: str, token: str, expanded: str, spans: Sequence[Span], where: str) -> list[Span]:
    """Find spans of a text in what the processor made of it, where each placeholder of an image is longer.

    Args:
        text, token: the text before, with its placeholders.
        expanded: the text that the tokenizer was given.
        spans: of `text`, none of which holds a placeholder.
        where: the sample's key, for errors.

    Raises:
        Rt2dataError: a processor that changes the text beside the placeholders, or a place that is not certain.
    """
    pieces = text.split(token) if token else [text]
    first: list[int] = []
    last: list[int] = []
    at = 0
    for piece in pieces:
        at = expanded.find(piece, at)
        first.append(at)
        if at < 0:
            break
        at += len(piece)
    at = len(expanded)
    for piece in reversed(pieces):
        at = expanded.rfind(piece, 0, at)
        last.insert(0, at)
    if len(first) < len(pieces) or first[0] != 0 or last[-1] + len(pieces[-1]) != len(expanded):
        raise Rt2dataError(where, "a text that the processor changes", "one that it takes as it is beside its images")
    first[-1] = last[-1]
    if len(pieces) > 1:
        last[0] = first[0]
    begin, number, out = 0, 0, []
    for span in spans:
        while span.start >= begin + len(pieces[number]) + len(token) and number + 1 < len(pieces):
            begin += len(pieces[number]) + len(token)
            number += 1
        if first[number] != last[number]:
            raise Rt2dataError(where, "learned text between images whose place is not certain", "text that occurs once")
        out.append(Span(span.start - begin + first[number], span.end - begin + first[number]))
    return out


def place_actions(
    ids: npt.NDArray[np.int64], placeholder: int, actions: Sequence[Ids], where: str
) -> npt.NDArray[np.int64]:
    """Where each token comes from once each placeholder has become its action: the number of its token in `ids`.

    Raises:
        Rt2dataError: another number of placeholders than of actions.
    """
    found = int((ids == placeholder).sum())
    if found != len(actions):
        fault = f"{found} placeholders among the token ids for {len(actions)} actions"
        raise Rt2dataError(where, fault, "a special token of the model's tokenizer that no text holds")
    counts = np.ones(len(ids), np.int64)
    counts[ids == placeholder] = [len(action) for action in actions]
    return np.repeat(np.arange(len(ids)), counts)
