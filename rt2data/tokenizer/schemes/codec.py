"""The codec of a specification: its rule from actions to bins and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rt2data.tokenizer.schemes.elementwise import Elementwise
from rt2data.tokenizer.schemes.fast import Dct
from rt2data.tokenizer.schemes.fast_bytes import ByteDct
from rt2data.tokenizer.spec import Spec

if TYPE_CHECKING:
    from typing import TypeAlias

    from rt2data.tokenizer.schemes.floats import NoBins
    from rt2data.tokenizer.schemes.learned import LearnedIds
    from rt2data.tokenizer.schemes.spatialvla import SpatialVla
    from rt2data.tokenizer.schemes.splines import Splines

    Codec: TypeAlias = Elementwise | Dct | LearnedIds | NoBins | SpatialVla | Splines


def make_codec(spec: Spec) -> Codec:
    """Make the codec of a specification, with its dimensions and bounds."""
    if spec.by_frequency:
        return ByteDct(spec) if spec.scheme == "fast-bpe" else Dct(spec)
    if spec.scheme == "float":
        from rt2data.tokenizer.schemes.floats import NoBins  # the rules of all stacks, which others need not import

        return NoBins(spec)
    if spec.scheme == "spatialvla":
        from rt2data.tokenizer.schemes.spatialvla import SpatialVla

        return SpatialVla(spec)
    if spec.scheme == "learned":
        from rt2data.tokenizer.schemes.learned import LearnedIds

        return LearnedIds(spec)
    if spec.scheme == "beast":
        from rt2data.tokenizer.schemes.splines import Splines

        return Splines(spec)
    return Elementwise(spec)
