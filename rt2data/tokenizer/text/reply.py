"""Parse a model's reply in text: the reasoning, where there is any, and the action."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rt2data.prompts import MARKER, REASONING_MARKER
from rt2data.tokenizer import ActionTokenizer

if TYPE_CHECKING:
    import numpy.typing as npt


class Reply(NamedTuple):
    """What a model wrote.

    Attributes:
        plan: the reasoning before the action; None where there is none.
        bins: the bins of the action, int32 (fields,).
    """

    plan: str | None
    bins: npt.NDArray[np.int32]


def parse_reply(tokenizer: ActionTokenizer, text: str) -> Reply:
    """Parse a reply: ``1 128 91 ...``, or with reasoning ``Plan: pick the can. Action: 1 128 91 ...``.

    One space before the action is accepted; the action itself must be as `tokenizer.parse` takes it.

    Raises:
        ActionParseError: the text is no action, or the text behind ``Action:``, in which the place is counted, is none.
    """
    before, marker, action = text.partition(MARKER)
    if not marker:
        before, action = "", text
    bins = tokenizer.parse(action if tokenizer.spec.lead else action.removeprefix(" "))
    return Reply(strip_reasoning(before) if marker else None, bins)


def strip_reasoning(text: str) -> str:
    """Strip spaces and ``Plan:`` from the text before ``Action:``."""
    return text.strip().removeprefix(REASONING_MARKER).strip()
