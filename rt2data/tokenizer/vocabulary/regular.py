"""An automaton over the token ids whose texts a regular expression describes.

The expressions are those of `grounding.language`: characters, classes, groups, alternatives and the signs ? * +.
Characters are read by the sets of places of the expression where the text so far may stand; ids by the characters of
their texts. From every place the end can be reached, so where the vocabulary can write each character alone there is no
dead end; where it cannot, what leads to one is found and closed beforehand.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import numpy as np

from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.vocabulary.trie import State, Trie
from rt2data.tokenizer.vocabulary.vocabulary import Ids, Vocabulary

_MAX_STATES = 20_000  # that are looked at for dead ends
_ESCAPES = {"n": "\n", "t": "\t"}


class Characters:
    """What one place of an expression takes: the characters of `ranges`, or all others."""

    __slots__ = ("negated", "ranges")

    def __init__(self, ranges: tuple[tuple[str, str], ...], *, negated: bool = False) -> None:
        self.ranges, self.negated = ranges, negated

    def takes(self, char: str) -> bool:
        return any(low <= char <= high for low, high in self.ranges) != self.negated


class Expression:
    """A regular expression as a graph (Thompson's): numbered places, steps between them by a character or by none.

    Attributes:
        characters: by place what a character there must be, and the place behind it.
        free: by place the places that are reached without a character.
        start, end: the first and the last place.
        literals: the runs of plain characters in it.
    """

    def __init__(self, pattern: str) -> None:
        self.characters: dict[int, tuple[Characters, int]] = {}
        self.free: list[list[int]] = []
        self.literals: list[str] = [""]
        self._pattern, self._at = pattern, 0
        self.start, self.end = self._choice()
        if self._at != len(pattern):
            raise ValueError(f"an expression that ends at {self._at}")

    def closure(self, places: frozenset[int]) -> frozenset[int]:
        """Return the places with all that are reached from them without a character."""
        seen, waiting = set(places), list(places)
        while waiting:
            for place in self.free[waiting.pop()]:
                if place not in seen:
                    seen.add(place)
                    waiting.append(place)
        return frozenset(seen)

    def _place(self) -> int:
        self.free.append([])
        return len(self.free) - 1

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _choice(self) -> tuple[int, int]:
        start, end = self._place(), self._place()
        while True:
            first, last = self._sequence()
            self.free[start].append(first)
            self.free[last].append(end)
            if self._peek() != "|":
                return start, end
            self._at += 1

    def _sequence(self) -> tuple[int, int]:
        start = end = self._place()
        self.literals.append("")
        while self._peek() not in ("", "|", ")"):
            first, last = self._repeated()
            self.free[end].append(first)
            end = last
        self.literals.append("")
        return start, end

    def _repeated(self) -> tuple[int, int]:
        first, last = self._one()
        sign = self._peek()
        if sign and sign in "?*+":
            self._at += 1
            start, end = self._place(), self._place()
            self.free[start].append(first)
            self.free[last].append(end)
            if sign != "+":
                self.free[start].append(end)
            if sign != "?":
                self.free[last].append(first)
            return start, end
        return first, last

    def _one(self) -> tuple[int, int]:
        char = self._pattern[self._at]
        if char == "(":
            self._at += 1
            inside = self._choice()
            self._at += 1  # its ")"
            return inside
        if char == "[":
            taken = self._class()
            self.literals.append("")
        else:
            char = self._character()
            taken = Characters(((char, char),))
            self.literals[-1] += char
        start, end = self._place(), self._place()
        self.characters[start] = taken, end
        return start, end

    def _character(self) -> str:
        """Read one character, which may be escaped."""
        char = self._pattern[self._at]
        self._at += 1
        if char != "\\":
            return char
        char = self._pattern[self._at]
        self._at += 1
        if char == "x":
            self._at += 2
            return chr(int(self._pattern[self._at - 2 : self._at], 16))
        return _ESCAPES.get(char, char)

    def _class(self) -> Characters:
        self._at += 1
        negated = self._peek() == "^"
        self._at += negated
        ranges = []
        while self._peek() != "]":
            low = high = self._character()
            if self._peek() == "-" and self._pattern[self._at + 1] != "]":
                self._at += 1
                high = self._character()
            ranges.append((low, high))
        self._at += 1
        return Characters(tuple(ranges), negated=negated)


class RegularText:
    """The ids of a model's tokenizer whose texts together match an expression. A state is a set of its places.

    Args:
        pattern: the expression.
        vocabulary: the model's tokenizer.

    Raises:
        ActionError: a vocabulary that cannot write any such text.
    """

    def __init__(self, pattern: str, vocabulary: Vocabulary) -> None:
        self._graph = graph = Expression(pattern)
        self._steps: dict[tuple[State, str], State] = {}
        self._memo: dict[State, Ids] = {}
        self.start: State = graph.closure(frozenset([graph.start]))
        self.pieces = _usable(vocabulary, graph)
        self.ids = frozenset(self.pieces)
        self._trie = Trie(self.pieces)
        self._live: frozenset[State] | None = None
        if not self._spells_all():
            self._live = self._find_live()
        if not len(self.allowed(self.start)):
            raise ActionError("vocabulary", "no sequence of its tokens writes such a text", "tokens for its characters")

    def step(self, state: State, token: int) -> State:
        return self._read(state, self.pieces[token]) if token in self.pieces else None

    def state_after(self, text: str) -> State:
        return self._read(self.start, text)

    def allowed(self, state: State) -> Ids:
        if state not in self._memo:
            self._memo[state] = np.array(sorted(i for i, after in self._walk(state) if self._is_live(after)), np.int64)
        return self._memo[state]

    def kind(self, token: int) -> Hashable:
        return token

    def complete(self, state: State) -> bool:
        return self._graph.end in state

    def _is_live(self, state: State) -> bool:
        return self._live is None or state in self._live

    def _read(self, state: State, text: str) -> State:
        for char in text:
            state = self._char(state, char)
            if state is None:
                return None
        return state if self._is_live(state) else None

    def _char(self, state: State, char: str) -> State:
        """The state behind one character; None where it may not come."""
        found = self._steps.get((state, char), ())
        if found == ():
            steps = (self._graph.characters[place] for place in state if place in self._graph.characters)
            after = frozenset(place for taken, place in steps if taken.takes(char))
            found = self._steps[state, char] = self._graph.closure(after) if after else None
        return found

    def _walk(self, state: State) -> Iterator[tuple[int, State]]:
        """The ids that may be written in a state, with the states they lead to."""
        return self._trie.walk(state, self._char)

    def _spells_all(self) -> bool:
        """Whether every place of the expression can be left by an id of one character."""
        single = {piece for piece in self.pieces.values() if len(piece) == 1}
        return all(any(map(taken.takes, single)) for taken, _ in self._graph.characters.values())

    def _find_live(self) -> frozenset[State]:
        """The states from which a text can be completed."""
        before: dict[State, set[State]] = {self.start: set()}
        waiting = [self.start]
        while waiting:
            state = waiting.pop()
            for after in {after for _, after in self._walk(state)}:
                if after not in before:
                    before[after] = set()
                    waiting.append(after)
                    if len(before) > _MAX_STATES:
                        raise ActionError(
                            "vocabulary", "tokens that cannot write each character alone", "some that can"
                        )
                before[after].add(state)
        live = {state for state in before if self.complete(state)}
        waiting = list(live)
        while waiting:
            new = before[waiting.pop()] - live
            live |= new
            waiting += new
        return frozenset(live)


def _usable(vocabulary: Vocabulary, graph: Expression) -> dict[int, str]:
    """The text of each id that is text, and of special ids that the expression itself spells (``<|box_start|>``)."""
    out = {i: piece for i, piece in enumerate(vocabulary.pieces) if piece and "\ufffd" not in piece}
    special = sorted(vocabulary.special)
    written = "\n".join(graph.literals)
    texts = zip(special, vocabulary.decode([[i] for i in special]), strict=True)
    return out | {token: text for token, text in texts if len(text) > 1 and text in written}
