"""PaliGemma: all images, the question, a line break, and the answer; attention is causal in the answer alone.

The form is the one of the processor: its `text` is the question, its `suffix` the answer. A conversation begins to be
answered at its first turn of which something is learned; turns are joined by line breaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rt2data.collate.conversation import Span, Turn
from rt2data.collate.tokens import Bools, Encoder, find_learned


class PaliGemmaEncoder:
    """Encodes conversations as questions and answers of PaliGemma."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def __call__(self, turns: Sequence[Turn], images: Sequence[Any], where: str) -> tuple[dict[str, Any], Bools]:
        """Encode a conversation; see `rt2data.collate.chat.ChatEncoder`."""
        tokenizer = self.encoder.tokenizer
        first = next((number for number, turn in enumerate(turns) if turn.learned), len(turns))
        question = "\n".join(turn.text for turn in turns[:first])
        answer, spans = "", []
        for turn in turns[first:]:
            begin = len(answer) + bool(answer)
            answer += "\n" * bool(answer) + turn.text
            spans += [Span(begin + start, begin + end) for start, end in turn.learned]
        if turns[first:] and turns[-1].end:
            spans.append(Span(len(answer), len(answer) + len(tokenizer.eos_token)))
        if images:
            options = {"suffix": [answer]} if turns[first:] else {}
            text = self.encoder.processor.image_token * len(images) + question
            encoded = self.encoder.encode(text, images, **options)
        else:  # which its processor does not take: the same text without images
            options = {"text_pair": [answer + tokenizer.eos_token]} if turns[first:] else {}
            text = f"{tokenizer.bos_token}{question}\n"
            encoded = self.encoder.encode_text(text, return_token_type_ids=True, **options)
        learned = find_learned(self.encoder.offsets, spans) & (encoded["token_type_ids"][0].numpy() == 1)
        encoded.pop("labels", None)
        return encoded, learned
