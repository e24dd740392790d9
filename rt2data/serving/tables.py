"""A constraint as tables of numbers, so that constrained decoding runs where the scores are, without the host.

Ids are sorted into kinds: those of one kind may come in the same states and lead to the same ones (the 256 ids of bins
are two or three kinds, a vocabulary's words are one). A table says which state follows on each state and kind, another
which kinds may come; a step of decoding is a few look-ups, whatever the size of the vocabulary.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from rt2data.serving.constraint import ReplyConstraint

REFUSED = 0  # the state behind an id that may not come; only the end of the sequence may follow, and the state stays
MAX_CELLS = 1 << 23  # states times kinds: 72 MB on the device
MAX_KINDS = 1 << 14  # of ids: expressions over a whole vocabulary have more
MAX_MOVES = 1 << 20  # pairs of a state and a kind that are looked at: some seconds


@dataclass(frozen=True, slots=True)
class Tables:
    """The automaton of a constraint as arrays.

    Attributes:
        kinds: the kind of each id, int64 (ids + 1,); 0 of those that never may come, and of the last, which stands for
            all ids beyond.
        after: the state behind an id of a kind, int64 (states, kinds).
        allowed: whether it may come, bool (states, kinds).
        start: the state before the first id.
    """

    kinds: npt.NDArray[np.int64]
    after: npt.NDArray[np.int64]
    allowed: npt.NDArray[np.bool_]
    start: int


def make_tables(constraint: ReplyConstraint) -> Tables | None:
    """Make the tables of a constraint; None where they would be larger than the limits."""
    by_kind: dict[Hashable, list[int]] = {None: []}
    for token in constraint.known_ids():
        by_kind.setdefault(constraint.kind(token), []).append(token)
        if len(by_kind) > MAX_KINDS:
            return None
    kinds = np.zeros(max(map(max, filter(None, by_kind.values()))) + 2, np.int64)
    for number, ids in enumerate(by_kind.values()):
        kinds[ids] = number
    one_of = [ids[0] if ids else -1 for ids in by_kind.values()]
    told = [kind[1] if isinstance(kind, tuple) else kind for kind in by_kind]
    end = int(kinds[constraint.eos])

    number_of: dict[Any, int] = {constraint.start: REFUSED + 1}
    waiting: list[Any] = [constraint.start]
    after = [np.zeros(len(one_of), np.int64)]
    allowed = [np.arange(len(one_of)) == end]
    seen: dict[int, tuple[npt.NDArray[np.int64], list[int]]] = {}  # by array, which is kept: its address is the key
    moves = 0
    for state in waiting:
        may = constraint.allowed(state)
        if id(may) not in seen:
            seen[id(may)] = may, np.unique(kinds[may]).tolist()
        here = seen[id(may)][1]
        if (len(after) + 1) * len(one_of) > MAX_CELLS or moves > MAX_MOVES:
            return None
        ended = state[0] == "end"  # where anything that comes is padding
        row = np.full(len(one_of), number_of[state] if ended else REFUSED, np.int64)
        following: dict[Hashable, int] = {}
        for kind in here:
            alike = told[kind] if state[0] == "reasoning" else kind
            if alike not in following:
                behind = constraint.step(state, one_of[kind])
                if behind not in number_of:
                    number_of[behind] = len(number_of) + 1
                    waiting.append(behind)
                following[alike] = number_of[behind]
            row[kind] = following[alike]
        moves += len(following)
        after.append(row)
        flags = np.zeros(len(one_of), np.bool_)
        flags[here] = True
        allowed.append(flags)
    return Tables(kinds, np.stack(after), np.stack(allowed), REFUSED + 1)


class DeviceTables:
    """Tables as torch tensors on a device.

    Attributes:
        columns: the ids that may ever come, int64 (K,), ascending.
        last: the highest of them.
    """

    def __init__(self, tables: Tables, device: Any) -> None:
        torch: Any = sys.modules["torch"]
        self._torch = torch
        columns = np.flatnonzero(tables.kinds)
        self._kinds = torch.as_tensor(tables.kinds, device=device)
        # A state is where its row of the flat table begins: one sum and one look-up give the next one.
        self._after = torch.as_tensor((tables.after * tables.after.shape[1]).reshape(-1), device=device)
        self._allowed = torch.as_tensor(tables.allowed, device=device)
        self._start, self._width = tables.start * tables.after.shape[1], tables.after.shape[1]
        self._beyond = len(tables.kinds) - 1
        self.columns, self.last = torch.as_tensor(columns, device=device), int(columns[-1])
        self._kinds_of_columns = torch.as_tensor(tables.kinds[columns], device=device)

    def states(self, ids: Any) -> Any:
        """Return the state behind each row of ids (rows, length), int64 (rows,)."""
        torch = self._torch
        kinds = self._kinds[ids.masked_fill(ids < 0, self._beyond).clamp(max=self._beyond)]
        state = torch.full((ids.shape[0],), self._start, dtype=torch.int64, device=ids.device)
        for column in kinds.unbind(1):
            state = self._after.take(state + column)
        return state.div(self._width, rounding_mode="floor")

    def allowed(self, states: Any) -> Any:
        """Return which of the ids `columns` may come in each state, bool (rows, K)."""
        return self._allowed.index_select(0, states).index_select(1, self._kinds_of_columns)

    def keep(self, scores: Any, states: Any) -> Any:
        """Return scores (rows, ids) with -inf for each id that may not come, and finite numbers for the others."""
        torch = self._torch
        limit = torch.finfo(scores.dtype)
        chosen = torch.nan_to_num(
            scores.index_select(1, self.columns), nan=limit.min, posinf=limit.max, neginf=limit.min
        )
        chosen = chosen.masked_fill(~self.allowed(states), -torch.inf)
        return torch.full_like(scores, -torch.inf).index_copy_(1, self.columns, chosen)

    def mask(self, states: Any, size: int) -> Any:
        """Return which of `size` ids may come in each state, bool (rows, size)."""
        out = self._torch.zeros((states.shape[0], size), dtype=self._torch.bool, device=states.device)
        return out.index_copy_(1, self.columns, self.allowed(states))
