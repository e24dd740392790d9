"""Automata over token ids whose every complete path is an action: they say which id may come next.

A state is a plain value. `allowed(state)` are the ids that still lead to a complete action, so there is no dead end.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Protocol

import numpy as np

from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.schemes.fast import Merges
from rt2data.tokenizer.text.action_string import Text, TokenText
from rt2data.tokenizer.vocabulary.trie import State, Trie
from rt2data.tokenizer.vocabulary.vocabulary import Ids, Vocabulary


class Automaton(Protocol):
    """What every automaton has.

    Attributes:
        start: the state before the first id.
        ids: every id that an action can hold.
    """

    start: State
    ids: frozenset[int]

    def step(self, state: State, token: int) -> State:
        """Return the state behind `token`, or None for an id that may not come."""
        ...

    def allowed(self, state: State) -> Ids:
        """Return the ids that may come, int64."""
        ...

    def complete(self, state: State) -> bool:
        """Return whether the ids so far are a whole action."""
        ...

    def state_after(self, text: str) -> State:
        """Return the state behind the text that begins an action, or None where no action begins so."""
        ...

    def kind(self, token: int) -> Hashable:
        """Return a value that ids of `ids` share only if they may come in the same states and lead to the same ones."""
        ...


class FixedIds:
    """One id per field. A state is the number of ids so far."""

    __slots__ = ("_allowed", "_distinct", "_sets", "ids", "start")

    def __init__(self, text: Text, table: Ids) -> None:
        self.start = 0
        kinds = {f.bins: np.sort(table[list(f.bins)]) for f in text.fields}
        sets = {bins: frozenset(ids.tolist()) for bins, ids in kinds.items()}
        self._allowed = [kinds[f.bins] for f in text.fields]
        self._sets = [sets[f.bins] for f in text.fields]
        self._distinct = list(sets.values())
        self.ids = frozenset().union(*self._distinct)

    def step(self, state: State, token: int) -> State:
        return state + 1 if state < len(self._sets) and token in self._sets[state] else None

    def allowed(self, state: State) -> Ids:
        return self._allowed[state] if state < len(self._allowed) else np.empty(0, np.int64)

    def complete(self, state: State) -> bool:
        return bool(state == len(self._allowed))

    def state_after(self, text: str) -> State:
        return None if text else self.start

    def kind(self, token: int) -> Hashable:
        return tuple(token in own for own in self._distinct)


class TokenIds:
    """One id per token of a text of tokens, its begin and its end included. A state is the number of ids so far."""

    __slots__ = ("_allowed", "_distinct", "_sets", "ids", "start")

    def __init__(self, text: TokenText, vocabulary: Vocabulary) -> None:
        self.start = 0
        numbers = list(dict.fromkeys(number for table in text.tables for number in table))
        around = [token for token in (text.begin, text.end) if token]
        pieces = [*around, *map(text.token, numbers)]
        ids = vocabulary.encode(pieces)
        several = [piece for piece, own in zip(pieces, ids, strict=True) if len(own) != 1]
        if several:
            fault = f"{several[0]} is not one of its ids, nor are {len(several) - 1} others"
            raise ActionError("vocabulary", fault, "one id for each", "Add these tokens to the model's tokenizer")
        begin, end = ([own] for own in ids[: len(around)]) if around else ([], [])
        id_of = dict(zip(numbers, (own[0] for own in ids[len(around) :]), strict=True))
        fields = [sorted(id_of[number] for number in table) for table in text.tables]
        self._allowed = [np.array(own, np.int64) for own in (*begin, *fields, *end)]
        self._sets = [frozenset(own.tolist()) for own in self._allowed]
        self._distinct = list(dict.fromkeys(self._sets))
        self.ids = frozenset(own[0] for own in ids)

    def step(self, state: State, token: int) -> State:
        return state + 1 if state < len(self._sets) and token in self._sets[state] else None

    def allowed(self, state: State) -> Ids:
        return self._allowed[state] if state < len(self._allowed) else np.empty(0, np.int64)

    def complete(self, state: State) -> bool:
        return bool(state == len(self._allowed))

    def state_after(self, text: str) -> State:
        return None if text.strip(" ") else self.start

    def kind(self, token: int) -> Hashable:
        return tuple(token in own for own in self._distinct)


class MergedIds:
    """As many ids as expand to the right number of codes. A state is the number of codes still to come."""

    __slots__ = ("_length", "_memo", "ids", "start")

    def __init__(self, merges: Merges, codes: int, table: Ids) -> None:
        self.start = codes
        self._length = {int(table[i]): len(e) for i, e in enumerate(merges.expansions)}
        self.ids = frozenset(self._length)
        self._memo: dict[int, Ids] = {}

    def step(self, state: State, token: int) -> State:
        length = self._length.get(token)
        return state - length if length is not None and length <= state else None

    def allowed(self, state: State) -> Ids:
        if state not in self._memo:
            self._memo[state] = np.array(sorted(i for i, n in self._length.items() if n <= state), np.int64)
        return self._memo[state]

    def complete(self, state: State) -> bool:
        return bool(state == 0)

    def state_after(self, text: str) -> State:
        return None if text else self.start

    def kind(self, token: int) -> Hashable:
        return self._length[token]


class SpelledText:
    """The ids of a model's own tokenizer whose texts spell an action. A state is (field, what is written of it).

    Of what may be written of a number, all that may go on alike have one stand-in: after 3 of 0..255 the same may come
    as after 12, so that a field has some six states. Before the first field one space may stand, since a prompt ends
    without one; where the text form has a space there, it must.
    """

    __slots__ = ("_complete", "_fields", "_lead", "_live", "_memo", "_pieces", "_prefixes", "_trie", "ids", "start")

    def __init__(self, text: Text, vocabulary: Vocabulary) -> None:
        self.start = (0, None)
        self._lead, self._fields = text.lead, text.fields
        kinds = {id(t): _stand_ins(t) for t in text.tables}
        self._complete = [kinds[id(t)][0] for t in text.tables]
        self._prefixes = [kinds[id(t)][1] for t in text.tables]
        letters = {c for t in text.tables for s in t for c in s} | {" "}
        self._pieces = {i: p for i, p in enumerate(vocabulary.pieces) if p and letters.issuperset(p)}
        self.ids = frozenset(self._pieces)
        self._trie = Trie(self._pieces)
        self._memo: dict[State, Ids] = {}
        self._live: set[State] = set()
        self._find_live()
        if not len(self.allowed(self.start)):
            raise ActionError(
                "vocabulary", "no sequence of its tokens spells an action", "tokens for digits and the space"
            )

    def step(self, state: State, token: int) -> State:
        return self._read(state, self._pieces.get(token, "?"))

    def state_after(self, text: str) -> State:
        return self._read(self.start, text)

    def allowed(self, state: State) -> Ids:
        if state not in self._memo:
            self._memo[state] = np.array(sorted(i for i, after in self._walk(state) if after in self._live), np.int64)
        return self._memo[state]

    def kind(self, token: int) -> Hashable:
        return token

    def complete(self, state: State) -> bool:
        field, written = state
        return field == len(self._fields) - 1 and written in self._complete[field]

    def _read(self, state: State, text: str) -> State:
        for char in text:
            state = self._char(state, char)
            if state is None:
                return None
        return state if state in self._live else None

    def _char(self, state: State, char: str) -> State:
        field, written = state
        if written is None:
            if char == " ":
                return (field, "")
            if self._lead:
                return None
            written = ""
        if char == " ":
            return (field + 1, "") if written in self._complete[field] and field + 1 < len(self._fields) else None
        stand_in = self._prefixes[field].get(written + char)
        return None if stand_in is None else (field, stand_in)

    def _walk(self, state: State) -> Iterator[tuple[int, State]]:
        """The ids that may be written in a state, with the states they lead to."""
        return self._trie.walk(state, self._char)

    def _find_live(self) -> None:
        """The states from which an action can be completed, from the last field backward, the least to come first."""
        for field in range(len(self._fields) - 1, -1, -1):
            stand_ins = list(dict.fromkeys(self._prefixes[field].values()))
            for written in [*stand_ins, "", *([None] if field == 0 else [])]:
                state = (field, written)
                if self.complete(state) or any(after in self._live for _, after in self._walk(state)):
                    self._live.add(state)


def _stand_ins(table: Iterable[str]) -> tuple[frozenset[str], dict[str, str]]:
    """What stands for the beginnings of the texts of a table: which of it are whole texts, and that of each beginning.

    Beginnings have one stand-in where the same rests may follow. They are in the order of the longest rest.
    """
    rests: dict[str, set[str]] = {}
    for text in table:
        for i in range(1, len(text) + 1):
            rests.setdefault(text[:i], set()).add(text[i:])
    first: dict[frozenset[str], str] = {}
    found = {}
    for beginning in sorted(rests, key=lambda one: max(map(len, rests[one]))):
        found[beginning] = first.setdefault(frozenset(rests[beginning]), beginning)
    return frozenset(one for rest, one in first.items() if "" in rest), found
