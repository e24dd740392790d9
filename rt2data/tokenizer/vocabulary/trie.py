"""Token ids by the characters of their texts: which of them may be written where only some characters may come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

State = Any


class Trie:
    """A tree of the texts of token ids, a character a branch.

    Args:
        pieces: the text of each id, none of them empty.
    """

    __slots__ = ("_root",)

    def __init__(self, pieces: Mapping[int, str]) -> None:
        self._root: dict[str, Any] = {}
        for token, piece in pieces.items():
            node = self._root
            for char in piece:
                node = node.setdefault(char, {})
            node.setdefault("ids", []).append(token)

    def walk(self, state: State, step: Callable[[State, str], State]) -> Iterator[tuple[int, State]]:
        """Yield the ids that may be written in a state, with the states they lead to.

        Args:
            state: of an automaton of characters.
            step: gives the state behind a character; None where that may not come.
        """
        stack = [(self._root, state)]
        while stack:
            node, here = stack.pop()
            for key, value in node.items():
                if key == "ids":
                    for token in value:
                        yield token, here
                elif (after := step(here, key)) is not None:
                    stack.append((value, after))
