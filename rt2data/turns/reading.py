"""Read a reply by the template of its turn: where its action stands, and what its placeholders say.

A template is a chain of pieces, of which parts may be absent. The places that each piece can begin and end at are found
from both ends of the text, so every reading is known without trying each: a text that can be read in two ways is
ambiguous, and nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from rt2data.turns.kinds import Kind, Turn
from rt2data.turns.template import Slot, Template

MAX_REPLY = 20_000  # characters
MAX_PLACES = 200_000  # pairs of places between which an action is looked for

Places = list[set[int]]


class Piece(NamedTuple):
    """A piece between two states of the chain: a literal, or a placeholder, which may stand for no character.

    `skip` are the states around the part that it belongs to, where a sample may lack that part, and what is there then.
    """

    what: str | Slot
    empty: bool
    skip: tuple[int, int, str] | None


class Reading(NamedTuple):
    """A reply read by a template: where its action stands, if it has one, and each value that can be but one text."""

    action: tuple[int, int] | None
    values: dict[str, str]


def read_reply(kind: Kind, turn: Turn, text: str, action: Callable[[str], object] | None) -> list[Reading]:
    """Return every reading of a reply by the texts of a turn's pool that differs in where the action stands.

    Args:
        kind: of the turn.
        turn: that was to be written.
        text: the reply.
        action: says whether a text is an action string; needed where the turn has one.
    """
    found: dict[tuple[int, int] | None, Reading] = {}
    for template in turn.pool:
        pieces = _pieces(kind, turn, template)
        spans: list[tuple[int, int] | None] = [None]
        if any(map(_is_action, pieces)):
            spans = [span for span in candidates(pieces, text) if action and action(text[slice(*span)])]
        for span in spans:
            begins, ends = _walk(pieces, text, span)
            if len(text) not in begins[-1]:
                continue
            values = _values(pieces, text, begins, ends)
            if span in found:  # by another text of the pool: what both say
                before = found[span].values
                values = {key: value for key, value in values.items() if before.get(key, value) == value}
            found[span] = Reading(span, values)
    return list(found.values())


def action_places(kind: Kind, turn: Turn, text: str) -> list[str]:
    """The texts that stand where a reply must have its action."""
    every = [_pieces(kind, turn, template) for template in turn.pool]
    return [text[begin:end] for pieces in every for begin, end in candidates(pieces, text)]


def candidates(pieces: list[Piece], text: str) -> list[tuple[int, int]]:
    """The ranges of a text that can hold its action, as far as the other pieces say."""
    begins, ends = _walk(pieces, text, None)
    found: list[tuple[int, int]] = []
    for number, piece in enumerate(pieces):
        if _is_action(piece):
            if len(begins[number]) * len(ends[number + 1]) > MAX_PLACES:
                return []
            found += [(b, e) for b in sorted(begins[number]) for e in sorted(ends[number + 1]) if b < e]
    return found


def _is_action(piece: Piece) -> bool:
    return isinstance(piece.what, Slot) and piece.what.name == "action"


def _pieces(kind: Kind, turn: Turn, template: Template) -> list[Piece]:
    pieces: list[Piece] = []
    for what in template:
        if isinstance(what, Slot) and what.is_image:
            continue
        part = kind.part(what) if isinstance(what, Slot) else None
        if part is None:
            pieces.append(Piece(what, turn.missing == "empty" or _can_be_empty(what), None))
            continue
        missing = part.missing or turn.missing
        around = (len(pieces), len(pieces) + len(part.template), part.otherwise)
        absent = around if part.drop or part.missing == "skip" else None
        pieces += [Piece(inner, missing == "empty" or _can_be_empty(inner), absent) for inner in part.template]
    return pieces


def _can_be_empty(what: str | Slot) -> bool:
    return isinstance(what, Slot) and what.has_fallback


def _walk(pieces: list[Piece], text: str, action: tuple[int, int] | None) -> tuple[Places, Places]:
    """The places of a text that each state is reached at from its beginning, and those that its end is reached from."""
    last = len(pieces)
    begins: Places = [set() for _ in range(last + 1)]
    ends: Places = [set() for _ in range(last + 1)]
    begins[0], ends[last] = {0}, {len(text)}
    skips = dict.fromkeys(piece.skip for piece in pieces if piece.skip)
    for number, piece in enumerate(pieces):
        begins[number + 1] |= set(_after(piece, text, begins[number], action))
        for first, behind, instead in skips:
            if behind == number + 1:
                begins[behind] |= {p + len(instead) for p in begins[first] if text.startswith(instead, p)}
    for number in range(last - 1, -1, -1):
        ends[number] |= set(_before(pieces[number], text, ends[number + 1], action))
        for first, behind, instead in skips:
            if first == number:
                size = len(instead)
                ends[first] |= {p - size for p in ends[behind] if p >= size and text.startswith(instead, p - size)}
    return begins, ends


def _after(piece: Piece, text: str, places: set[int], action: tuple[int, int] | None) -> Iterator[int]:
    """Where a piece can end that begins at one of some places."""
    if isinstance(piece.what, str):
        yield from (p + len(piece.what) for p in places if text.startswith(piece.what, p))
    elif action and _is_action(piece):
        yield from [action[1]] if action[0] in places else []
    elif places:
        yield from range(min(places) + (not piece.empty), len(text) + 1)


def _before(piece: Piece, text: str, places: set[int], action: tuple[int, int] | None) -> Iterator[int]:
    """Where a piece can begin that ends at one of some places."""
    if isinstance(piece.what, str):
        size = len(piece.what)
        yield from (p - size for p in places if p >= size and text.startswith(piece.what, p - size))
    elif action and _is_action(piece):
        yield from [action[0]] if action[1] in places else []
    elif places:
        yield from range(max(places) + piece.empty)


def _absent(skip: tuple[int, int, str], text: str, begins: Places, ends: Places) -> bool:
    """Whether the text can be read without a part."""
    first, behind, instead = skip
    return any(text.startswith(instead, p) and p + len(instead) in ends[behind] for p in begins[first])


def _values(pieces: list[Piece], text: str, begins: Places, ends: Places) -> dict[str, str]:
    """What placeholders say, but for those that can be several texts."""
    found: dict[str, set[str]] = {}
    for number, piece in enumerate(pieces):
        if isinstance(piece.what, str) or _is_action(piece):
            continue
        least, most = min(begins[number], default=len(text)), max(ends[number + 1], default=0)
        first = {p for p in begins[number] if p <= most - (not piece.empty)}
        last = {p for p in ends[number + 1] if p >= least + (not piece.empty)}
        absent = piece.skip and _absent(piece.skip, text, begins, ends)
        if absent and not first:
            continue
        one = len(first) == len(last) == 1 and not absent
        said = {text[min(first) : min(last)]} if one else {"", "?"}  # two texts: none is given
        found.setdefault(piece.what.key, set()).update(said)
    return {key: next(iter(texts)) for key, texts in found.items() if len(texts) == 1}
