"""The constraint as transformers takes it: a logits processor, and a function of the ids so far."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rt2data.serving.constraint import ReplyConstraint
from rt2data.serving.tables import REFUSED
from rt2data.tokenizer import ActionError

if TYPE_CHECKING:
    import numpy.typing as npt


class ActionLogitsProcessor:
    """A constraint for `generate(logits_processor=[...])` of transformers.

    Logits of ids that may not come become -inf. Among the others NaN and infinities become the lowest or highest finite
    number, so that there is always an id to choose. One object serves one `generate` after another, and beam search.

    For torch the constraint is a table on the device, made by the first call, and ids are looked up in it: on a GPU
    nothing is copied to the host. A constraint that is too large for tables (see `ReplyConstraint.tables`) is followed
    on the host, as for numpy.

    Args:
        constraint: what may be written.
        prompt_length: how many ids come before the reply; by default what the first call of a `generate` shows (with a
            decoder of its own, such as T5's, its start id).
        check: whether ids that the constraint does not allow are an error. By default they are on the CPU. On a GPU to
            look for them costs a copy to the host; unchecked, such a row may only end, so that it parses as no action.
    """

    def __init__(
        self, constraint: ReplyConstraint, prompt_length: int | None = None, *, check: bool | None = None
    ) -> None:
        self.constraint, self._given, self._check = constraint, prompt_length, check
        self._prompt, self._width = 0, -1
        self._states: dict[tuple[int, ...], Any] = {}

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Constrain scores.

        Args:
            input_ids: int (batch, length), torch or numpy.
            scores: float (batch, vocabulary), of the same library.

        Returns:
            New scores, of the shape, dtype and device of `scores`.

        Raises:
            ActionError: fewer scores than the vocabulary has ids.
            ActionParseError: ids that the constraint does not allow, where they are checked.
        """
        width = int(input_ids.shape[1])
        if self._given is not None:
            self._prompt = self._given
        elif width != self._width + 1:
            self._prompt, self._states = width, {}
        self._width = width
        reply = input_ids[:, self._prompt :]
        tables = self.constraint.tables(scores.device) if hasattr(scores, "new_full") else None
        if tables is None:
            return self._on_host(reply.tolist(), scores)
        _check_width(scores, tables.last)
        states = tables.states(reply)
        check = scores.device.type == "cpu" if self._check is None else self._check
        if check and bool((states == REFUSED).any()):
            for row in reply.tolist():
                self.constraint.state(row)
        return tables.keep(scores, states)

    def _on_host(self, reply: Sequence[Sequence[int]], scores: Any) -> Any:
        """Follow each row by the state that was kept for all its ids but the last."""
        rows = [tuple(row) for row in reply]
        states = {}
        for row in rows:
            before = self._states.get(row[:-1]) if row else None
            after = None if before is None else self.constraint.step(before, row[-1])
            states[row] = self.constraint.state(row) if after is None else after
        self._states = states
        allowed = [self.constraint.allowed(states[row]) for row in rows]
        _check_width(scores, max(int(ids.max()) for ids in allowed))
        return _keep_torch(scores, allowed) if hasattr(scores, "new_full") else _keep(scores, allowed)


def _check_width(scores: Any, highest: int) -> None:
    if highest >= scores.shape[1]:
        raise ActionError(
            "scores", f"{scores.shape[1]} logits", f"one for each id of the vocabulary, {highest} included"
        )


def _keep(scores: npt.NDArray[np.floating[Any]], allowed: Sequence[npt.NDArray[np.int64]]) -> Any:
    out = np.full_like(scores, -np.inf)
    limit = np.finfo(scores.dtype)
    least, most = float(limit.min), float(limit.max)
    for row, ids in enumerate(allowed):
        out[row, ids] = np.nan_to_num(np.asarray(scores[row, ids]), nan=least, posinf=most, neginf=least)
    return out


def _keep_torch(scores: Any, allowed: Sequence[npt.NDArray[np.int64]]) -> Any:
    torch = sys.modules["torch"]
    limit = torch.finfo(scores.dtype)
    out = torch.full_like(scores, -torch.inf)
    for row, ids in enumerate(allowed):
        index = torch.as_tensor(ids, device=scores.device)
        out[row, index] = torch.nan_to_num(scores[row, index], nan=limit.min, posinf=limit.max, neginf=limit.min)
    return out


def prefix_allowed_tokens_fn(constraint: ReplyConstraint, prompt_length: int) -> Callable[[int, Any], list[int]]:
    """Make a constraint for `generate(prefix_allowed_tokens_fn=...)` of transformers.

    Args:
        constraint: what may be written.
        prompt_length: how many ids come before the reply.

    Returns:
        A function of (batch index, ids so far) that returns the ids that may follow.
    """

    def allowed(batch_id: int, input_ids: Any) -> list[int]:
        del batch_id
        ids: list[int] = constraint.allowed(constraint.state(input_ids[prompt_length:].tolist())).tolist()
        return ids

    return allowed
