"""Conversations by the chat template of a processor: Qwen2.5-VL, Qwen3-VL, LLaVA, Idefics3, SmolVLM and others.

The template is rendered twice, the second time with one private character in the place of each text. What it writes
between them is the template's own, so that the place of every text is known whatever the text says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from rt2data.collate.conversation import Span, Turn
from rt2data.collate.tokens import Bools, Encoder, find_expanded, find_learned
from rt2data.errors import Rt2dataError

_FIRST = 0xF0000  # of a plane of private characters


class ChatEncoder:
    """Encodes conversations by a processor's chat template.

    Args:
        encoder: of the processor.
        chat_template: in place of the processor's own.
        options: further variables of the template.
    """

    def __init__(self, encoder: Encoder, chat_template: str | None, options: Mapping[str, Any]) -> None:
        if chat_template is None and getattr(encoder.processor, "chat_template", None) is None:
            name = type(encoder.processor).__name__
            repair = "Pass chat_template, that of the model's instruction-tuned version"
            raise Rt2dataError("processor", f"a {name} without a chat template", "a processor with one", repair)
        self.encoder = encoder
        self.chat_template, self.options = chat_template, dict(options)
        images = {getattr(encoder.processor, name, None) for name in ("image_token", "boi_token", "video_token")}
        self._special = [token for token in encoder.special_tokens if token not in images]

    def __call__(self, turns: Sequence[Turn], images: Sequence[Any], where: str) -> tuple[dict[str, Any], Bools]:
        """Encode a conversation.

        Args:
            turns: with their texts as the model shall read them.
            images: as the processor takes them, in the order in which the conversation shows them.
            where: the sample's key, for errors.

        Returns:
            The processor's tensors, one row, and which of its tokens are learned.
        """
        text, spans = self.render(turns, where)
        token = self.encoder.image_token(text, len(images)) if images else ""
        bos = self.encoder.tokenizer.bos_token
        # As apply_chat_template does: a template that writes the first token does not get it twice.
        options = {"add_special_tokens": False} if bos is not None and text.startswith(bos) else {}
        encoded = self.encoder.encode(text, images, **options)
        spans = find_expanded(text, token, self.encoder.text, spans, where)
        return encoded, find_learned(self.encoder.offsets, spans)

    def render(self, turns: Sequence[Turn], where: str) -> tuple[str, list[Span]]:
        """The text of a conversation, with one placeholder for each image, and the spans of it that are learned.

        The end of a turn is the special token that the template writes behind the turn's text. Where it writes none,
        the last turn ends with the tokenizer's end of sequence, and no end of an earlier turn is learned.

        Raises:
            Rt2dataError: a template that writes something else than the texts, or that refuses the conversation.
        """
        texts = [value for turn in turns for kind, value in turn.parts if kind == "text"]
        marks = _marks(len(texts), texts)
        numbers = iter(marks)
        marked = [[(kind, next(numbers) if kind == "text" else value) for kind, value in turn.parts] for turn in turns]
        template = self._apply([turn.role for turn in turns], marked, where)
        written = self._apply([turn.role for turn in turns], [turn.parts for turn in turns], where)
        text, at = _fill(template, written, marks, texts)
        if text != written:
            fault = "a chat template that writes a text otherwise than it is"
            raise Rt2dataError(where, fault, "one that writes texts as they are, or without white space around them")
        return self._learned(turns, text, at)

    def _learned(self, turns: Sequence[Turn], text: str, at: Sequence[tuple[int, int, int]]) -> tuple[str, list[Span]]:
        """The text with the end that a last turn lacks, and what is learned.

        Args:
            turns: the conversation.
            text: as the template writes it.
            at: of each text where it begins, how many of its characters the template leaves out before, and where it
                ends.
        """
        spans, places = [], iter(at)
        last_end = at[-1][2] if at else 0
        for turn in turns:
            own = [next(places) for kind, _ in turn.parts if kind == "text"]
            lengths = [len(value) for kind, value in turn.parts if kind == "text"]
            for (begin, left_out, stop), first in zip(own, accumulate([0, *lengths]), strict=False):
                for start, end in turn.learned:
                    low = max(begin, begin + start - first - left_out)
                    high = min(stop, begin + end - first - left_out)
                    if low < high:
                        spans.append(Span(low, high))
            if not own or not turn.end:
                continue
            stop = own[-1][2]
            behind = text[stop:]
            space = len(behind) - len(behind.lstrip())
            token = max((t for t in self._special if behind.startswith(t, space)), key=len, default="")
            if token:
                spans.append(Span(stop, stop + space + len(token)))
            elif turn is turns[-1] and stop == last_end and not behind.strip():
                eos = self.encoder.tokenizer.eos_token
                text = text[:stop] + eos
                spans.append(Span(stop, len(text)))
        return text, spans

    def _apply(self, roles: Sequence[str], parts: Sequence[Sequence[tuple[str, str]]], where: str) -> str:
        messages = [
            {
                "role": role,
                "content": [{"type": kind, "text": value} if kind == "text" else {"type": kind} for kind, value in own],
            }
            for role, own in zip(roles, parts, strict=True)
        ]
        import jinja2

        chosen = {} if self.chat_template is None else {"chat_template": self.chat_template}
        try:
            return str(self.encoder.processor.apply_chat_template(messages, tokenize=False, **chosen, **self.options))
        except jinja2.TemplateError as error:
            order = ", ".join(roles)
            fault = f"a chat template that refuses turns of {order}: {error.message}"
            raise Rt2dataError(where, fault, "one that takes the recipe's turns") from None


def _marks(count: int, texts: Sequence[str]) -> list[str]:
    """Characters that no text holds."""
    used = {character for text in texts for character in text if ord(character) >= _FIRST}
    return [chr(number) for number in range(_FIRST, _FIRST + count + len(used)) if chr(number) not in used][:count]


def _fill(
    template: str, written: str, marks: Sequence[str], texts: Sequence[str]
) -> tuple[str, list[tuple[int, int, int]]]:
    """Put texts in the place of marks, with or without white space around them, as the written text has it.

    Returns:
        The text, and of each text where it begins, the characters left out before it, and where it ends.
    """
    out, places, rest = "", [], template
    for number, (mark, text) in enumerate(zip(marks, texts, strict=True)):
        before, _, rest = rest.partition(mark)
        out += before
        following = rest[: rest.find(marks[number + 1])] if number + 1 < len(marks) else rest
        for own in (text, text.strip(), text.rstrip(), text.lstrip()):
            if written.startswith(own + following, len(out)):
                break
        left_out = text.find(own) if own else 0
        places.append((len(out), left_out, len(out) + len(own)))
        out += own
    return out + rest, places
