"""Parse what a model wrote: the reasoning, where there is any, and the action; one reply, or a batch row by row.

A reply may end as replies do: with a newline, the text (or id) that ends a sequence, or both, in either order. Nothing
else around an action is taken. Targets that are stored have no such end, and `parse_target` takes none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rt2data.prompts import MARKER, REASONING_MARKER
from rt2data.tokenizer import ActionError, ActionParseError, ActionTokenizer, Decoded
from rt2data.tokenizer.arrays import to_numpy

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


@dataclass(frozen=True, eq=False)
class Replies:
    """A batch of replies, read row by row: a row that is no action holds its error and spoils no other.

    Attributes:
        tokenizer: what read them.
        rows: for each reply what it says, or why it is no action.
    """

    tokenizer: ActionTokenizer
    rows: tuple[Reply | ActionParseError, ...]

    @property
    def good(self) -> npt.NDArray[np.bool_]:
        """Which rows are actions, bool (n,)."""
        return np.array([isinstance(row, Reply) for row in self.rows], np.bool_)

    @property
    def bins(self) -> npt.NDArray[np.int32]:
        """The bins, int32 (n, fields); -1, which is no bin, in rows that are no action."""
        none = np.full(self.tokenizer.fields, -1, np.int32)
        bins = [row.bins if isinstance(row, Reply) else none for row in self.rows]
        return np.array(bins, np.int32).reshape(len(self.rows), self.tokenizer.fields)

    def decode(self, *, dtype: Any = "float32", state: Any = None) -> Decoded:
        """Decode the rows that are actions, as `ActionTokenizer.decode` does.

        Args:
            dtype: "float32" or "float64".
            state: (n, D), those at the chunks' starts, which make relative actions absolute.

        Returns:
            Actions (n, D) or (n, horizon, D), NaN in rows that are no action, and terminate, False there.
        """
        good = self.good
        chosen = None if state is None else to_numpy(state)[good]
        actions, terminate = self.tokenizer.decode(self.bins[good], dtype=dtype, state=chosen)
        whole = np.full((len(good), *actions.shape[1:]), np.nan, actions.dtype)
        whole[good] = actions
        if terminate is None:
            return Decoded(whole, None)
        flags = np.zeros((len(good), *terminate.shape[1:]), np.bool_)
        flags[good] = terminate
        return Decoded(whole, flags)


def parse_target(tokenizer: ActionTokenizer, text: str) -> Reply:
    """Parse a target as samples store it: ``1 128 91 ...``, or with reasoning ``Plan: pick it. Action: 1 128 91 ...``.

    One space before the action is accepted; the action itself must be as `tokenizer.parse` takes it.

    Raises:
        ActionParseError: the text is no action, or the text behind ``Action:``, in which the place is counted, is none.
    """
    before, marker, action = text.partition(MARKER)
    if not marker:
        before, action = "", text
    bins = tokenizer.parse(action if tokenizer.spec.lead else action.removeprefix(" "))
    return Reply(strip_reasoning(before) if marker else None, bins)


def parse_reply(tokenizer: ActionTokenizer, reply: Any, *, end: str | int | None = None) -> Reply:
    """Parse a reply: ``1 128 91 ...``, or with reasoning ``Plan: pick the can. Action: 1 128 91 ...``.

    One space before the action is accepted, and behind it one newline and one end of a sequence, in either order; the
    action itself must be as `tokenizer.parse` takes it.

    Args:
        tokenizer: of one source, or of several with one layout.
        reply: a text; or the token ids of a reply, a list or an array of any library, of which those behind the end of
            the sequence are padding.
        end: what ends a sequence: its text (``</s>``), for ids its id. By default that of the vocabulary, where there
            is one and it says so.

    Raises:
        ActionParseError: the text is no action, or the text behind ``Action:``, in which the place is counted, is none;
            or ids that are none.
    """
    model = tokenizer.vocabulary
    if isinstance(reply, str):
        known = model.end if model is not None and end is None else end
        return parse_target(tokenizer, strip_end(reply, known if isinstance(known, str) else ""))
    given = to_numpy(reply)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        found = f"a {type(reply).__name__} of shape {given.shape} and dtype {given.dtype}"
        raise ActionError("reply", found, "a string, or the token ids of one reply")
    ids = given.tolist()
    last = model.eos if model is not None and end is None else end
    ids = ids[: ids.index(last)] if last in ids else ids
    if model is None or tokenizer.spec.vocabulary["place"] != "text":
        return Reply(None, np.asarray(tokenizer.from_token_ids(np.array(ids, np.int64)), np.int32))
    return parse_target(tokenizer, strip_end(model.decode_after([ids])[0], ""))


def parse_replies(tokenizer: ActionTokenizer, replies: Any, *, end: str | int | None = None) -> Replies:
    """Parse a batch of replies, each as `parse_reply` does: rows that are no action hold their error.

    Args:
        tokenizer: as in `parse_reply`.
        replies: texts, or rows of token ids (a list, or an array (n, length)).
        end: as in `parse_reply`.

    Raises:
        ActionError: one text in place of a batch, or a tokenizer that lacks what ids need.
    """
    if isinstance(replies, str):
        raise ActionError("replies", "a string", "a list of strings, or of rows of ids", "parse_reply takes one")
    rows = replies if isinstance(replies, (list, tuple)) else to_numpy(replies)
    return collect(tokenizer, [partial(parse_reply, tokenizer, row, end=end) for row in rows])


def collect(tokenizer: ActionTokenizer, parsers: Sequence[Callable[[], Reply]]) -> Replies:
    """Make a batch of what each of some functions without arguments returns, or of the error that it raises."""
    rows: list[Reply | ActionParseError] = []
    for parse in parsers:
        try:
            rows.append(parse())
        except ActionParseError as error:
            rows.append(error.with_traceback(None))  # whose frames would keep the batch alive
    return Replies(tokenizer, tuple(rows))


def strip_end(text: str, end: str) -> str:
    """Strip one newline, one `end` of a sequence, or one of both, in either order, from the end of a reply."""
    tails = (f"\n{end}", f"{end}\n", end, "\n") if end else ("\n",)
    return text.removesuffix(next((tail for tail in tails if text.endswith(tail)), ""))


def strip_reasoning(text: str) -> str:
    """Strip spaces and ``Plan:`` from the text before ``Action:``."""
    return text.strip().removeprefix(REASONING_MARKER).strip()
