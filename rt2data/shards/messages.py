"""The conversation of many samples at once: `messages`, `prompt` and `target` of rows of one kind, as columns of JSON.

`rt2data.turns.conversation.fill_kind` says the same of one sample; a test holds them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from rt2data import index, prompts
from rt2data.index import keys as order
from rt2data.index import text_columns
from rt2data.index.text_columns import Texts
from rt2data.plain_text import lines
from rt2data.recipes.checks import describe_action_space
from rt2data.recipes.recipe import Recipe, RecipeSource
from rt2data.samples import kinds
from rt2data.shards.columns import Refs, json_fragment
from rt2data.tokenizer import ActionTokenizer
from rt2data.turns.conversation import fill_kind, learned_as
from rt2data.turns.kinds import Each, Kind, Part, Turn
from rt2data.turns.template import Slot, Template

Bools = npt.NDArray[np.bool_]
_NONE = pa.scalar(None, text_columns.TYPE)


class KindOfRows(NamedTuple):
    """The name of the kind that rows are of, and the kind whose turns they have: another where something is missing."""

    name: str
    turns: Kind


class Spoken(NamedTuple):
    """What rows say: the elements of `messages`, and the fields `prompt` and `target`, each column with its comma."""

    messages: Texts
    prompt: Texts
    target: Texts


@dataclass(slots=True)
class Piece:
    """A text of each row: escaped for JSON, how many characters it has, and whether it is there."""

    json: Texts
    length: npt.NDArray[np.int64]
    there: Bools


def kind_messages(
    table: pa.Table,
    recipe: Recipe,
    source: RecipeSource,
    kind: KindOfRows,
    refs: list[Refs],
    actions: Mapping[str, Texts],
    proprio: ActionTokenizer | None,
) -> Spoken:
    """Return the conversation of rows of one kind.

    Args:
        table: the rows, with the columns that `rt2data.samples.kinds.value_columns` makes.
        recipe, source: whose they are.
        kind: of the rows.
        refs: their images.
        actions: their action strings, by the key of the placeholder: ``action``, ``action:NAME``.
        proprio: that of its proprioception, where a kind says it.
    """
    rows = _Rows(table, recipe, source, kind, refs, proprio)
    rows.values |= {key: text.cast(pa.large_string()).cast(pa.string()) for key, text in actions.items()}
    if any(isinstance(turn, Each) for turn in kind.turns.turns):
        return rows.one_by_one()
    turns = [turn for turn in kind.turns.turns if isinstance(turn, Turn)]
    filled = [rows.turn(turn, number) for number, turn in enumerate(turns)]
    every = join_list([(message, there) for message, _, there in filled])
    roles = [turn.role for turn in turns]
    if roles != ["user", "assistant"]:
        nothing = np.zeros(len(table), np.bool_)
        return Spoken(every, _field("prompt", filled[0][1], nothing), _field("target", filled[-1][1], nothing))
    both = filled[0][2] & filled[1][2]
    return Spoken(every, _field("prompt", filled[0][1], both), _field("target", filled[1][1], both))


def _field(name: str, json: Texts, there: Bools) -> Texts:
    """A field of JSON with a text of each row, or null."""
    begin = f'"{name}":'.encode()
    text = text_columns.join(begin, b'"', json, b'",')
    return pc.if_else(pa.array(there), text, pa.scalar(begin + b"null,", text_columns.TYPE))


def join_list(elements: list[tuple[Texts, Bools]]) -> Texts:
    """Join elements of each row's list by commas; those that are not there are left out."""
    before = np.zeros(len(elements[0][1]), np.bool_)
    columns: list[Texts | bytes] = [text_columns.take([b""], np.zeros(len(before), np.int8))]
    for text, there in elements:
        comma = text_columns.take([b"", b","], (before & there).astype(np.int8))
        columns += [comma, pc.if_else(pa.array(there), text, pa.scalar(b"", text_columns.TYPE))]
        before = before | there
    return text_columns.join(*columns)


class _Rows:
    """The rows of one kind, and the values that their texts use."""

    def __init__(
        self,
        table: pa.Table,
        recipe: Recipe,
        source: RecipeSource,
        kind: KindOfRows,
        refs: list[Refs],
        proprio: ActionTokenizer | None,
    ) -> None:
        self.table, self.seed, self.source, self.refs = table, recipe.seed, source, refs
        self.name, self.kind = kind
        self.proprio = proprio
        self.values: dict[str, pa.Array] = {}

    def hashes(self, tag: str) -> order.U64:
        """The hash of each row's key for a purpose."""
        step, variant, copy = (index.numbers(self.table, name) for name in ("step", "variant", "copy"))
        units = index.units(self.table).tobytes()
        return order.hashes(tag, self.seed, self.source.id, units, step, variant, copy, self.name)

    def picked(self, number: int, size: int) -> npt.NDArray[np.int64]:
        """Which text of the pool of turn `number` each row has."""
        if self.kind.every_text and self.kind.name == self.name:
            return index.numbers(self.table, "variant").astype(np.int64) // self.kind.stride(number) % size
        return (self.hashes(f"pool {number}") % np.uint64(size)).astype(np.int64)

    def dropped(self, part: Part) -> Bools:
        """Whether each row lacks a part."""
        if not part.drop:
            return np.zeros(len(self.table), np.bool_)
        if part.drop >= 1:
            return np.ones(len(self.table), np.bool_)
        return np.asarray(self.hashes(f"drop {part.name}") < np.uint64(round(part.drop * 2.0**64)))

    def value(self, slot: Slot) -> pa.Array:
        """The value of a placeholder in each row: strings, or lists of strings; null where it is missing."""
        if slot.key not in self.values:
            self.values[slot.key] = self._value(slot)
        return self.values[slot.key]

    def _value(self, slot: Slot) -> pa.Array:
        name = kinds.VALUE + slot.key
        if name in self.table.column_names:
            column = self.table.column(name).combine_chunks()
            return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if slot.name in ("instruction", "task"):
            return _combined(self.table.column("instruction"))
        if slot.name in ("step", "steps"):
            return pa.array(index.numbers(self.table, slot.name)).cast(pa.string())
        if slot.name == "state" and self.proprio is not None:
            held = index.matrix(self.table.column("proprio"))
            known = np.isfinite(held).all(axis=1)
            texts = self.proprio.format(self.proprio.encode(np.where(known[:, None], held, np.float32(0))))
            return pa.array(texts, pa.string(), mask=~known)
        robot = self.source.declaration.robot
        if robot is None:
            raise ValueError(self.source.name)
        text = kinds.always(self.source, robot, describe_action_space(robot))[slot.name]
        return pa.array([text], pa.string()).take(pa.array(np.zeros(len(self.table), np.int8)))

    def slot(self, slot: Slot) -> Piece:
        """The text of a placeholder in each row."""
        value = self.value(slot)
        there = np.asarray(pc.is_valid(value)) | slot.has_fallback
        if slot.is_list and not slot.form:
            missing = slot.edit(None) if slot.has_fallback else None
            texts = [missing if one is None else slot.edit([lines(text) for text in one]) for one in value.to_pylist()]
            return _piece(pa.array(texts, pa.string()), there)
        if slot.has_fallback:
            value = value.fill_null("")
        if slot.name in ("action", "state", "step", "steps") and not slot.edits:
            return Piece(_filled(value), np.asarray(pc.utf8_length(value).fill_null(0), np.int64), there)
        encoded = value.dictionary_encode()
        edited = [slot.edit(lines(text)) for text in encoded.dictionary.to_pylist()]
        return _piece(pa.array(edited, pa.string()).take(encoded.indices), there)

    def part(self, part: Part, missing: str) -> Piece:
        """The text of a part in each row: empty where it is dropped, or left out because a value is missing."""
        pieces = [self.piece(piece) for piece in part.template]
        there = np.ones(len(self.table), np.bool_)
        for piece in pieces:
            there &= piece.there
        kept = ~self.dropped(part)
        if (part.missing or missing) == "skip":
            kept &= there
        length = np.sum([piece.length for piece in pieces], axis=0) if pieces else np.zeros(len(kept), np.int64)
        text = text_columns.join(*[piece.json for piece in pieces]) if pieces else _empty(len(kept))
        instead = pa.scalar(orjson.dumps(part.otherwise)[1:-1], text_columns.TYPE)
        shown = pc.if_else(pa.array(kept), text, instead)
        length = np.where(kept, length, len(part.otherwise))
        # A part that says itself what to do is never missing.
        return Piece(shown, length, there | bool(part.missing) | self.dropped(part))

    def piece(self, piece: str | Slot, missing: str = "") -> Piece:
        """The text of a literal or a placeholder in each row."""
        if isinstance(piece, Slot):
            part = self.kind.part(piece)
            return self.part(part, missing) if part else self.slot(piece)
        n = len(self.table)
        escaped = orjson.dumps(piece)[1:-1]
        ones = np.ones(n, np.bool_)
        return Piece(text_columns.take([escaped], np.zeros(n, np.int8)), np.full(n, len(piece), np.int64), ones)

    def turn(self, turn: Turn, number: int) -> tuple[Texts, Texts, Bools]:
        """A turn of each row: its JSON, its text escaped for JSON, and whether it is there."""
        if len(turn.pool) == 1:
            return self.template(turn, turn.pool[0])
        picked = self.picked(number, len(turn.pool))
        rows = [np.flatnonzero(picked == n) for n in range(len(turn.pool))]
        filled = [self.take(own).template(turn, text) for own, text in zip(rows, turn.pool, strict=True) if len(own)]
        back = pa.array(np.argsort(np.concatenate(rows), kind="stable"))
        messages, texts = (pa.concat_arrays([one[n] for one in filled]).take(back) for n in (0, 1))
        return messages, texts, np.concatenate([one[2] for one in filled])[np.asarray(back)]

    def take(self, rows: npt.NDArray[np.int64]) -> _Rows:
        """Some of the rows."""
        refs = [
            Refs(r.camera, r.back, r.suffixes, r.files, r.suffix[rows], r.file[rows], r.offset[rows], r.length[rows],
                 r.crc[rows])
            for r in self.refs
        ]  # fmt: skip
        own = _Rows.__new__(_Rows)
        own.table, own.seed, own.source, own.refs = self.table.take(rows), self.seed, self.source, refs
        own.name, own.kind, own.proprio = self.name, self.kind, self.proprio
        own.values = {key: value.take(pa.array(rows)) for key, value in self.values.items()}
        return own

    def template(self, turn: Turn, template: Template) -> tuple[Texts, Texts, Bools]:
        """A turn of each row, filled from one template."""
        n = len(self.table)
        there, place = np.ones(n, np.bool_), np.zeros(n, np.int64)
        content: list[tuple[Texts, Bools]] = []
        open_text: list[Piece] = []
        every: list[Texts | bytes] = [_empty(n)]
        spans: list[tuple[tuple[str, str], npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []

        def close() -> None:
            if open_text:
                length = np.sum([piece.length for piece in open_text], axis=0)
                text = text_columns.join(*[piece.json for piece in open_text])
                content.append((text_columns.join(b'{"type":"text","text":"', text, b'"}'), length > 0))
                open_text.clear()

        for piece in template:
            if isinstance(piece, Slot) and piece.is_image:
                close()
                content += self.images(piece)
                continue
            text = self.piece(piece, turn.missing)
            if turn.missing == "skip":
                there &= text.there
            open_text.append(text)
            every.append(text.json)
            learned = learned_as(piece)
            if turn.loss in (learned[0], "both"):
                if spans and spans[-1][0] == learned and (spans[-1][2] == place).all():
                    spans[-1] = (learned, spans[-1][1], place + text.length)
                else:
                    spans.append((learned, place, place + text.length))
            place = place + text.length
        close()
        shown = join_list(content) if content else _empty(n)
        learned_json = join_list([(_span(*span), span[2] > span[1]) for span in spans]) if spans else _empty(n)
        tail = json_fragment(loss=turn.loss, end=turn.end)
        head = b'{"role":"' + turn.role.encode() + b'","content":['
        message = text_columns.join(head, shown, b"]," + tail + b'"spans":[', learned_json, b"]}")
        return message, text_columns.join(*every), there

    def images(self, slot: Slot) -> list[tuple[Texts, Bools]]:
        """The elements of `content` that stand for an image slot."""
        shown = []
        for refs in self.refs:
            if slot.name == "images" or refs.camera == slot.argument:
                names = [json_fragment(type="image", image=suffix)[:-1] for suffix in refs.suffixes]
                code = np.where(refs.file >= 0, refs.suffix, 0)
                shown.append((text_columns.take([b"{" + name + b"}" for name in names], code), refs.file >= 0))
        return shown

    def one_by_one(self) -> Spoken:
        """The conversations of rows whose turns repeat."""
        used = self.kind.values()
        values = {key: self.value(slot).to_pylist() for key, slot in used.items()}
        pools = [len(turn.pool) for turn, _ in self.kind.flat()]
        picks = {number: self.picked(number, size) for number, size in enumerate(pools) if size > 1}
        drops = {part.name: self.dropped(part) for part in self.kind.parts}
        texts = []
        for row in range(len(self.table)):
            own = {key: _plain(column[row]) for key, column in values.items()}

            def show(slot: Slot, row: int = row) -> list[str]:
                taken = [r for r in self.refs if slot.name == "images" or r.camera == slot.argument]
                return [r.suffixes[r.suffix[row]] for r in taken if r.file[row] >= 0]

            drawn = {number: int(picked[row]) for number, picked in picks.items()}
            gone = frozenset(name for name, mask in drops.items() if mask[row])
            texts.append(orjson.dumps(fill_kind(self.kind, own, show, drawn, gone))[1:-1])
        nothing = np.zeros(len(self.table), np.bool_)
        none = _empty(len(self.table))
        return Spoken(text_columns.of(texts), _field("prompt", none, nothing), _field("target", none, nothing))


def _plain(value: Any) -> Any:
    return [lines(text) for text in value] if isinstance(value, list) else value if value is None else lines(value)


def _combined(column: pa.ChunkedArray) -> pa.Array:
    one = column.combine_chunks()
    return one.combine_chunks() if isinstance(one, pa.ChunkedArray) else one


def _filled(texts: pa.Array) -> Texts:
    return texts.fill_null("").cast(pa.large_string()).cast(text_columns.TYPE)


def _empty(n: int) -> Texts:
    return text_columns.take([b""], np.zeros(n, np.int8))


def _piece(texts: pa.Array, there: Bools) -> Piece:
    encoded = texts.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    escaped = text_columns.of([orjson.dumps(text)[1:-1] for text in values] or [b""])
    sizes = np.array([*(len(text) for text in values), 0], np.int64)
    codes = np.asarray(encoded.indices.fill_null(len(values) if values else 0))
    padded = pa.concat_arrays([escaped, text_columns.of([b""])]) if values else escaped
    return Piece(padded.take(pa.array(codes)), sizes[codes], there)


def _span(learned: tuple[str, str], start: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> Texts:
    loss, tokenizer = learned
    named = f',"tokenizer":"{tokenizer}"'.encode() if tokenizer else b""
    return text_columns.join(
        b'{"start":',
        text_columns.digits(start),
        b',"end":',
        text_columns.digits(end),
        b',"loss":"' + loss.encode() + b'"' + named + b"}",
    )


def plain_messages(kind: str, prompt: Texts | bytes, target: Texts | bytes, refs: list[Refs], n: int) -> Spoken:
    """The conversation of rows of a source without kinds: the prompt behind the images, and the target."""
    asked, said = (_texts(column, n) for column in (prompt, target))
    out = []
    for row, (question, answer) in enumerate(zip(asked, said, strict=True)):
        images = [r.suffixes[r.suffix[row]] for r in refs if r.file[row] >= 0]
        content = [{"type": "image", "image": name} for name in images] + [{"type": "text", "text": question}]
        words = len(answer)
        if kind == "robot":
            marked = answer.find(prompts.MARKER)
            words = marked + len(prompts.MARKER) + 1 if marked >= 0 else 0
        spans = [
            {"start": start, "end": end, "loss": loss}
            for start, end, loss in ((0, words, "text"), (words, len(answer), "action"))
            if end > start
        ]
        loss = "text" if kind != "robot" else "both" if words else "action"
        out.append(
            orjson.dumps(
                [
                    {"role": "user", "content": content, "loss": "none", "end": False, "spans": []},
                    {"role": "assistant", "content": [{"type": "text", "text": answer}] if answer else [],
                     "loss": loss, "end": True, "spans": spans},
                ]
            )[1:-1]
        )  # fmt: skip
    same = np.zeros(n, np.int8)  # a caption's prompt is the same in every row
    both = [text_columns.take([one], same) if isinstance(one, bytes) else one for one in (prompt, target)]
    return Spoken(text_columns.of(out), *both)


def _texts(column: Texts | bytes, n: int) -> list[str]:
    """The text of a field of JSON, ``"NAME":"TEXT",``, of each row."""
    values = [column] * n if isinstance(column, bytes) else column.to_pylist()
    return [next(iter(orjson.loads(b"{" + value[:-1] + b"}").values())) for value in values]
