"""Automata of ``fast-bpe``: ids whose bytes are UTF-8 of the right number of codes, and ids of a text around them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.schemes.fast_bytes import ByteMerges
from rt2data.tokenizer.vocabulary.automata import Automaton
from rt2data.tokenizer.vocabulary.trie import State
from rt2data.tokenizer.vocabulary.vocabulary import Ids


class ByteIds:
    """Ids of byte-level merges. A state is the number of codes still to come, and the bytes of a code that is begun."""

    __slots__ = ("_live", "_memo", "_moves", "ids", "start")

    def __init__(self, merges: ByteMerges, codes: int, table: Ids) -> None:
        self.start = (codes, b"")
        self.ids = frozenset(table.tolist())
        # Per bytes of a begun code, and id that may follow: how many codes it completes, and what it begins.
        self._moves: dict[bytes, dict[int, tuple[int, bytes]]] = {}
        begun = [b""]
        while begun:
            here = begun.pop()
            if here not in self._moves:
                read = ((int(i), merges.advance(here, more)) for i, more in zip(table, merges.bytes, strict=True))
                self._moves[here] = {i: (len(done), rest) for i, (done, rest) in read if rest is not None}
                begun += {rest for _, rest in self._moves[here].values()}
        self._live = self._find_live(codes)
        self._memo: dict[State, Ids] = {}
        if self.start not in self._live:
            raise ActionError("vocabulary", f"no sequence of its ids writes {codes} codes", "an id for each byte")

    def step(self, state: State, token: int) -> State:
        left, begun = state
        done, rest = self._moves[begun].get(token, (left + 1, b""))
        return (left - done, rest) if (left - done, rest) in self._live else None

    def allowed(self, state: State) -> Ids:
        if state not in self._memo:
            left, begun = state
            moves = self._moves[begun].items()
            ids = sorted(i for i, (done, rest) in moves if (left - done, rest) in self._live)
            self._memo[state] = np.array(ids, np.int64)
        return self._memo[state]

    def complete(self, state: State) -> bool:
        return bool(state == (0, b""))

    def state_after(self, text: str) -> State:
        return None if text else self.start

    def kind(self, token: int) -> Hashable:
        return tuple(moves.get(token) for moves in self._moves.values())

    def _find_live(self, codes: int) -> set[tuple[int, bytes]]:
        """The states from which an action can be completed, from no code left upward, the longest beginning first."""
        ways = {begun: sorted(set(moves.values())) for begun, moves in self._moves.items()}
        order = sorted(ways, key=len, reverse=True)
        live = {(0, b"")}
        for left in range(1, codes + 1):
            for begun in order:
                if any((left - done, rest) in live for done, rest in ways[begun]):
                    live.add((left, begun))
        return live


class Framed:
    """An action with fixed ids before and behind it. A state is the part and its state, of fixed ids a count."""

    __slots__ = ("_before", "_behind", "_inner", "ids", "start")

    def __init__(self, inner: Automaton, before: Sequence[int], behind: Sequence[int]) -> None:
        self._inner, self._before, self._behind = inner, before, behind
        self.ids = inner.ids.union(before, behind)
        self.start = self._settled("before", 0)

    def step(self, state: State, token: int) -> State:
        part, inner = state
        if part == "action":
            after = self._inner.step(inner, token)
            return None if after is None else self._settled(part, after)
        return self._settled(part, inner + 1) if token in self.allowed(state) else None

    def allowed(self, state: State) -> Ids:
        part, inner = state
        if part == "action":
            return self._inner.allowed(inner)
        fixed = self._before if part == "before" else self._behind
        return np.array(fixed[inner : inner + 1], np.int64)

    def complete(self, state: State) -> bool:
        return bool(state == ("behind", len(self._behind)))

    def state_after(self, text: str) -> State:
        return None if text else self.start

    def kind(self, token: int) -> Hashable:
        framing = token in self._before or token in self._behind
        return token if framing else ("action", self._inner.kind(token))

    def _settled(self, part: str, inner: State) -> State:
        """The state, or that of the next part where this one is at its end."""
        if part == "before" and inner == len(self._before):
            part, inner = "action", self._inner.start
        if part == "action" and self._inner.complete(inner):
            part, inner = "behind", 0
        return part, inner
