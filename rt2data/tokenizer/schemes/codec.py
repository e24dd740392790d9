"""The codec of a specification: its rule from actions to bins and back."""

from __future__ import annotations

from rt2data.tokenizer.schemes.elementwise import Elementwise
from rt2data.tokenizer.schemes.fast import Dct
from rt2data.tokenizer.schemes.fast_bytes import ByteDct
from rt2data.tokenizer.spec import Spec

Codec = Elementwise | Dct


def make_codec(spec: Spec) -> Codec:
    """Make the codec of a specification, with its dimensions and bounds."""
    if spec.by_frequency:
        return ByteDct(spec) if spec.scheme == "fast-bpe" else Dct(spec)
    return Elementwise(spec)
