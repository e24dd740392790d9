"""Batches for the vision-language models of transformers, by their processors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rt2data.collate.batch import join_rows, pad_rows
from rt2data.collate.chat import ChatEncoder
from rt2data.collate.conversation import Sample, Turn, images_of, turns_of, with_placeholders
from rt2data.collate.paligemma import PaliGemmaEncoder
from rt2data.collate.tokens import IGNORED, Encoder, place_actions
from rt2data.errors import Rt2dataError
from rt2data.loader.decoding import open_image
from rt2data.tokenizer import ActionTokenizer

Padding = Literal["longest", "max_length"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A sample as the model reads it.

    Attributes:
        key: of the sample.
        tokens: arrays of one value per token, (n,): ``input_ids``, ``attention_mask``, ``labels`` and what else the
            processor makes; labels are -100 where a token is not learned.
        images: the processor's arrays of the sample's images, along their first axis.
    """

    key: str
    tokens: dict[str, Any]
    images: dict[str, Any]

    def __len__(self) -> int:
        """How many tokens, those of images included."""
        return len(self.tokens["input_ids"])


def for_processor(
    processor: Any,
    *,
    action_tokenizer: ActionTokenizer | str | Path | None = None,
    max_length: int | None = None,
    padding: Padding = "longest",
    padding_side: Literal["left", "right"] | None = None,
    pad_to_multiple_of: int = 1,
    chat_template: str | None = None,
    template_options: Mapping[str, Any] | None = None,
) -> ProcessorCollate:
    """Make the function that turns samples of a mixture into a batch of a model.

    Args:
        processor: of the model that is trained, of transformers. PaliGemma's takes a question and an answer; any other
            needs a chat template.
        action_tokenizer: that of the mixture, or the mixture's folder, where its scheme says which token ids stand for
            bins (`vocabulary.place`: all but ``text``). Those ids then stand in the place of an action's text.
        max_length: most tokens of a sample, those of images included. A longer one is an error.
        padding: to the longest sample of a batch, or always to `max_length`.
        padding_side: by default the side of the processor's tokenizer.
        pad_to_multiple_of: lengths of batches are multiples of this.
        chat_template: in place of the processor's own.
        template_options: further variables of the chat template.

    Raises:
        Rt2dataError: a processor without a chat template or without a fast tokenizer, or without a padding token.

    Example::

        collate = for_processor(AutoProcessor.from_pretrained("Qwen/Qwen2.5-VL-3B-Instruct"), max_length=2048)
        batch = collate([next(samples) for _ in range(8)])
        loss = model(**batch.to(model.device)).loss
    """
    encoder = Encoder(processor)
    return ProcessorCollate(
        PaliGemmaEncoder(encoder)
        if type(processor).__name__ == "PaliGemmaProcessor" and chat_template is None
        else ChatEncoder(encoder, chat_template, template_options or {}),
        _tokenizer(action_tokenizer),
        max_length,
        padding,
        padding_side or encoder.tokenizer.padding_side,
        pad_to_multiple_of,
    )


class ProcessorCollate:
    """Turns samples into a batch: what `for_processor` returns.

    Can be pickled for the workers of a DataLoader. One thread may use it at a time.
    """

    def __init__(
        self,
        encoder: ChatEncoder | PaliGemmaEncoder,
        action_tokenizer: ActionTokenizer | None,
        max_length: int | None,
        padding: Padding,
        padding_side: str,
        pad_to_multiple_of: int,
    ) -> None:
        if padding not in ("longest", "max_length") or (padding == "max_length" and max_length is None):
            raise Rt2dataError("padding", f"{padding!r}", '"longest", or "max_length" with a max_length')
        if padding_side not in ("left", "right"):
            raise Rt2dataError("padding_side", repr(padding_side), '"left" or "right"')
        self.encoder = encoder
        self.tokenizer = encoder.encoder.tokenizer
        if self.tokenizer.pad_token_id is None:
            repair = "Set tokenizer.pad_token, for instance to tokenizer.eos_token"
            raise Rt2dataError("processor", "a tokenizer without a padding token", "one with it", repair)
        self.action_tokenizer, self._bound, self.placeholder = action_tokenizer, None, ""
        if action_tokenizer is not None and action_tokenizer.to_dict()["vocabulary"]["place"] != "text":
            self._bound = action_tokenizer.with_vocabulary(self.tokenizer)
            self.placeholder = self._placeholder()
        self.max_length, self.padding, self.padding_side = max_length, padding, padding_side
        self.pad_to_multiple_of = pad_to_multiple_of

    def __call__(self, samples: Iterable[Sample]) -> Any:
        """Make a batch.

        Args:
            samples: at least one, of `rt2data.Loader`.

        Returns:
            A `transformers.BatchFeature` of tensors, the arguments of the model's forward: ``input_ids``,
            ``attention_mask`` and ``labels`` int64 (batch, length), and the processor's arrays of images, those of all
            samples one after the other. A batch without images has none of these.

        Raises:
            Rt2dataError: samples longer than `max_length`, with their number; a text that holds an image token.
        """
        from transformers import BatchFeature

        encoded = [self.encode(sample) for sample in samples]
        if not encoded:
            raise Rt2dataError("batch", "no samples", "at least one")
        longest = max(len(one) for one in encoded)
        if self.max_length is not None and longest > self.max_length:
            over = [one for one in encoded if len(one) > self.max_length]
            most = max(over, key=len)
            fault = (
                f"{len(over)} of {len(encoded)} samples have more than {self.max_length} tokens, {most.key} {longest}"
            )
            repair = "Raise max_length, or see rt2data.collate.token_lengths for what fits"
            raise Rt2dataError("max_length", fault, "samples that fit", repair)
        length = self.max_length if self.padding == "max_length" and self.max_length is not None else longest
        length += -length % self.pad_to_multiple_of
        filler = {"input_ids": self.tokenizer.pad_token_id, "labels": IGNORED}
        batch = pad_rows([one.tokens for one in encoded], length, filler, self.padding_side)
        return BatchFeature(batch | join_rows([one.images for one in encoded]))

    def pack(self, encoded: Sequence[Encoded]) -> Any:
        """Make a batch of one row of several samples, one behind the other, without padding.

        ``position_ids`` count anew in each sample. By these, and as there is no attention mask, transformers 5 (and
        FlashAttention in 4) keeps samples apart. No sample learns to follow another.

        Args:
            encoded: what `encode` returns; see `rt2data.collate.packs`.

        Raises:
            Rt2dataError: a model that counts positions or attends by more than the order of tokens, as PaliGemma and
                Qwen-VL do.
        """
        import torch
        from transformers import BatchFeature

        others = {name for one in encoded for name in one.tokens} - {"input_ids", "attention_mask", "labels"}
        if others:
            fault = f"a processor with {', '.join(sorted(others))}"
            raise Rt2dataError("pack", fault, "a model whose attention is causal and whose positions are one number")
        labels = [one.tokens["labels"].clone() for one in encoded]
        for own in labels:
            own[:1] = IGNORED
        row = {
            "input_ids": torch.cat([one.tokens["input_ids"] for one in encoded]),
            "labels": torch.cat(labels),
            "position_ids": torch.cat([torch.arange(len(one)) for one in encoded]),
        }
        batch = {name: values[None] for name, values in row.items()}
        return BatchFeature(batch | join_rows([one.images for one in encoded]))

    def encode(self, sample: Sample) -> Encoded:
        """Encode one sample, without padding.

        Raises:
            Rt2dataError: as for a batch, but of any length.
        """
        turns = turns_of(sample)
        images = [open_image(sample, name) for name in images_of(turns)]
        self._check_texts(turns, sample.key)
        actions: list[list[int]] = []
        if self._bound is not None:
            own = self._bound.for_source(sample.json["source"]) if self._robot(sample) else self._bound
            turns, actions = with_placeholders(turns, self.placeholder, lambda text: _ids(own, text), sample.key)
        arrays, learned = self.encoder(turns, images, sample.key)
        count = arrays["input_ids"].shape[1]
        tokens = {name: value[0] for name, value in arrays.items() if tuple(value.shape) == (1, count)}
        others = {name: value for name, value in arrays.items() if name not in tokens}
        tokens["labels"] = tokens["input_ids"].clone()
        tokens["labels"][~learned] = IGNORED
        if actions:
            tokens = self._with_actions(tokens, actions, sample.key)
        return Encoded(sample.key, tokens, others)

    def _robot(self, sample: Sample) -> bool:
        """Whether it is a robot's, written by this tokenizer, which has bounds per source."""
        if sample.json["kind"] != "robot" or self.action_tokenizer is None:
            return False
        self.action_tokenizer.check_sample(sample.json)
        return bool(self.action_tokenizer.sources)

    def _with_actions(self, tokens: dict[str, Any], actions: Sequence[list[int]], key: str) -> dict[str, Any]:
        import torch

        placeholder = self.tokenizer.convert_tokens_to_ids(self.placeholder)
        ids = tokens["input_ids"].numpy()
        taken = torch.from_numpy(place_actions(ids, placeholder, actions, key))
        out = {name: value[taken] for name, value in tokens.items()}
        placed = out["input_ids"] == placeholder
        out["input_ids"][placed] = torch.from_numpy(np.concatenate([np.asarray(one, np.int64) for one in actions]))
        out["labels"] = torch.where(out["labels"] != IGNORED, out["input_ids"], out["labels"])
        return out

    def _placeholder(self) -> str:
        """A special token that stands for an action until its ids are put there."""
        own = self.tokenizer
        added = {str(token): token for token in own.added_tokens_decoder.values()}
        named = {own.bos_token, own.eos_token, own.unk_token, *_image_tokens(self.encoder.encoder.processor)}
        for token in [own.pad_token, *self.encoder.encoder.special_tokens]:
            flags = added.get(token)
            if token not in named and not getattr(flags, "lstrip", False) and not getattr(flags, "rstrip", False):
                return str(token)
        repair = 'Add one: tokenizer.add_special_tokens({"additional_special_tokens": ["<action>"]})'
        raise Rt2dataError(
            "processor", "no special token to stand for an action", "a padding token, or another", repair
        )

    def _check_texts(self, turns: Sequence[Turn], key: str) -> None:
        """Text is data: what reads as an image in it would be one."""
        for token in sorted({self.placeholder, *_image_tokens(self.encoder.encoder.processor)} - {""}):
            if any(token in turn.text for turn in turns):
                repair = "Filter such samples in the recipe"
                raise Rt2dataError(key, f"a text with the model's token {token}", "text without it", repair)


def _image_tokens(processor: Any) -> set[str]:
    names = ("image_token", "boi_token", "video_token", "audio_token")
    tokens = [getattr(processor, name, None) for name in names]
    return {str(getattr(token, "content", token)) for token in tokens if token is not None}


def _tokenizer(given: ActionTokenizer | str | Path | None) -> ActionTokenizer | None:
    return given if given is None or isinstance(given, ActionTokenizer) else ActionTokenizer.from_pretrained(given)


def _ids(tokenizer: ActionTokenizer, text: str) -> list[int]:
    return [int(one) for one in np.asarray(tokenizer.token_ids(tokenizer.parse(text))).reshape(-1)]
