"""A model's reply in text, parsed: the reasoning, where there is one, and the action."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rt2data.tokenizer import ActionTokenizer

if TYPE_CHECKING:
    import numpy.typing as npt


MARKER = "Action:"


class Reply(NamedTuple):
    """What a model wrote: the plan (None where there is none) and the bins of the action, int32 (fields,)."""

    plan: str | None
    bins: npt.NDArray[np.int32]


def parse_reply(tokenizer: ActionTokenizer, text: str) -> Reply:
    """The plan and the action of a reply in text: ``1 128 91 ...`` or ``Plan: pick the can. Action: 1 128 91 ...``.

    One space before the action is accepted; the action itself is held to `tokenizer.parse`.

    Raises:
        ActionParseError: for a reply that is not an action, with the place counted in the action's part of the text.
    """
    before, marker, action = text.partition(MARKER)
    if not marker:
        before, action = "", text
    bins = tokenizer.parse(action if tokenizer.spec.lead else action.removeprefix(" "))
    return Reply(before.strip().removeprefix("Plan:").strip() if marker else None, bins)
