"""Bins among the token ids of a language model: where they lie, and whether the model's tokenizer keeps them apart.

Placements (`vocabulary.place` of a specification):
    text        the ids of the text, as the model's own tokenizer cuts it (RT-2 on PaLI-X: one id per integer)
    tail        bin n is id size - 1 - skip - n (OpenVLA: skip 0; openpi's FAST: skip 128)
    from        bin n is id first + n (Gato: 32000; models with ids of their own: 0)
    least_used  the ids least used in the model's training text, found by `with_vocabulary`, which turns it into `ids`
    ids         bin n is ids[n] (RT-2 on PaLM-E)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rt2data.tokenizer import arrays
from rt2data.tokenizer.arrays import Array
from rt2data.tokenizer.errors import ActionError, ActionParseError

Ids = np.ndarray[Any, np.dtype[np.int64]]


class Vocabulary:
    """A language model's tokenizer (of transformers, tokenizers or sentencepiece) behind one small interface.

    Attributes:
        size: the number of ids without those that were added later (OpenVLA counts so: 32000 for Llama 2).
        total: the number of all ids.
        special: ids that are no text: beginning and end of a sequence, padding and the like.
        eos: the id that ends a sequence, or None where the tokenizer does not say.
    """

    __slots__ = ("_pieces", "eos", "kind", "size", "special", "tokenizer", "total")

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._pieces: list[str] | None = None
        self.eos: int | None = None
        if hasattr(tokenizer, "convert_ids_to_tokens"):
            self.kind, self.size, self.total = "transformers", int(tokenizer.vocab_size), len(tokenizer)
            self.special, self.eos = frozenset(tokenizer.all_special_ids), tokenizer.eos_token_id
        elif hasattr(tokenizer, "get_added_tokens_decoder"):
            self.kind = "tokenizers"
            self.size, self.total = tokenizer.get_vocab_size(False), tokenizer.get_vocab_size(True)
            self.special = frozenset(i for i, t in tokenizer.get_added_tokens_decoder().items() if t.special)
        elif hasattr(tokenizer, "id_to_piece"):
            self.kind = "sentencepiece"
            self.size = self.total = int(tokenizer.get_piece_size())
            self.special = frozenset(i for i in range(self.size) if tokenizer.is_control(i) or tokenizer.is_unknown(i))
            self.eos = tokenizer.eos_id() if tokenizer.eos_id() >= 0 else None
        else:
            raise ActionError(
                "vocabulary",
                f"a {type(tokenizer).__name__}",
                "a tokenizer of transformers, tokenizers or sentencepiece",
            )

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode each text as ids, without special tokens."""
        if not texts:
            return []
        if self.kind == "transformers":
            return [list(ids) for ids in self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
        if self.kind == "tokenizers":
            return [e.ids for e in self.tokenizer.encode_batch(list(texts), add_special_tokens=False)]
        return [list(ids) for ids in self.tokenizer.encode(list(texts))]

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Decode each row of ids, special tokens included, nothing cleaned up."""
        if not rows:
            return []
        if self.kind == "transformers":
            out = self.tokenizer.batch_decode(
                [list(r) for r in rows], skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        elif self.kind == "tokenizers":
            out = self.tokenizer.decode_batch([list(r) for r in rows], skip_special_tokens=False)
        else:
            out = self.tokenizer.decode([list(r) for r in rows])
        return [str(text) for text in out]

    def decode_after(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Decode each row of ids as it reads behind other text, where a first token keeps its space."""
        anchor = (self.encode(["0"])[0] or [0])[-1:]
        before = self.decode([anchor])[0]
        texts = self.decode([[*anchor, *row] for row in rows])
        return [text[len(before) :] if text.startswith(before) else "\ufffd" + text for text in texts]

    @property
    def pieces(self) -> list[str]:
        """The text of each id, as it stands behind other text; "" for special ids."""
        if self._pieces is None:
            texts = self.decode_after([[i] for i in range(self.total)])
            self._pieces = ["" if i in self.special else text for i, text in enumerate(texts)]
        return self._pieces

    @property
    def end(self) -> str:
        """The text of the id that ends a sequence; "" where the tokenizer does not say."""
        if self.eos is None:
            return ""
        if self.kind == "sentencepiece":  # which decodes it to nothing
            return str(self.tokenizer.id_to_piece(self.eos))
        return self.decode([[self.eos]])[0]

    def least_used(self, count: int) -> list[int]:
        """Return the `count` ids that were rarest when the tokenizer was trained, ascending.

        These are the lowest scores of a Unigram model, else the highest ids, which a trainer gives last. Special and
        later added ids do not count.
        """
        scores = self._scores()
        free = [i for i in range(self.size) if i not in self.special]
        return sorted(sorted(free, key=lambda i: (scores[i] if scores else 0.0, -i))[:count])

    def _scores(self) -> list[float] | None:
        if self.kind == "sentencepiece":
            return [float(self.tokenizer.get_score(i)) for i in range(self.size)]
        backend = getattr(self.tokenizer, "backend_tokenizer", self.tokenizer)
        model = json.loads(backend.to_str())["model"] if hasattr(backend, "to_str") else {}
        return [score for _, score in model["vocab"]] if model.get("type") == "Unigram" else None


def bind_placement(place: Mapping[str, Any], numbers: int, given: Any) -> tuple[dict[str, Any], Vocabulary | None]:
    """Bind a placement to a vocabulary.

    Args:
        place: `vocabulary` of a specification.
        numbers: how many different bins have to be placed.
        given: a tokenizer; the number of ids; or, for "least_used", how often each id is used: a sequence, or a
            mapping of the ids that may be taken.

    Returns:
        The placement with its size or ids, and the vocabulary where a tokenizer was given.

    Raises:
        ActionError: the bins do not fit in, or the placement needs something else.
    """
    kind, out = place["place"], dict(place)
    counts = (
        isinstance(given, (Mapping, Sequence, np.ndarray))
        and not isinstance(given, str)
        and not hasattr(given, "encode")
    )
    if counts:
        if kind not in ("least_used", "ids"):
            raise ActionError("vocabulary", "counts of ids", f'a tokenizer or a size, for the placement "{kind}"')
        pairs = given.items() if isinstance(given, Mapping) else enumerate(np.asarray(given).tolist())
        ids = sorted(i for _, i in sorted((c, int(i)) for i, c in pairs)[:numbers])
        return _checked({"place": "ids", "ids": tuple(ids)}, numbers), None
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        if kind in ("least_used", "text"):
            needed = "counts of its ids, or the tokenizer itself" if kind == "least_used" else "the tokenizer itself"
            raise ActionError("vocabulary", f"a size ({given})", f'{needed}, for the placement "{kind}"')
        return _checked(out | {"size": int(given)}, numbers), None
    vocabulary = Vocabulary(given)
    if kind == "text":
        return out, vocabulary
    if kind == "least_used":
        return _checked({"place": "ids", "ids": tuple(vocabulary.least_used(numbers))}, numbers), vocabulary
    return _checked(
        out | {"size": vocabulary.total if kind in ("ids", "from") else vocabulary.size}, numbers
    ), vocabulary


def _checked(place: dict[str, Any], numbers: int) -> dict[str, Any]:
    table = id_table(place, numbers)
    if len(table) < numbers or (len(table) and (table.min() < 0 or table.max() >= place.get("size", 1 << 31))):
        few = len(table) < numbers
        fault = (
            f"{len(table)} ids" if few else f"ids {table.min()}..{table.max()} in a vocabulary of {place.get('size')}"
        )
        raise ActionError("vocabulary", fault, f"room for {numbers} bins")
    return place


def id_table(place: Mapping[str, Any], numbers: int) -> Ids:
    """Return the id of each bin 0..numbers-1.

    Raises:
        ActionError: when the placement has no vocabulary yet, saying how to give one.
    """
    kind, n = place["place"], np.arange(numbers, dtype=np.int64)
    if kind == "ids":
        return np.array(place["ids"][:numbers], np.int64)
    if kind not in ("tail", "from") or "size" not in place:
        raise missing_vocabulary(kind)
    last = int(place["size"]) - 1 - int(place.get("skip", 0))
    ids: Ids = last - n if kind == "tail" else int(place.get("first", 0)) + n
    return ids


def missing_vocabulary(kind: str) -> ActionError:
    """Return the error for a placement without its vocabulary, which says how to give one."""
    how = {
        "text": "tokenizer.with_vocabulary(hf_tokenizer)",
        "least_used": "tokenizer.with_vocabulary(hf_tokenizer), or with counts of its ids",
    }.get(kind, "tokenizer.with_vocabulary(hf_tokenizer), or with the number of its ids")
    return ActionError("token ids", "no vocabulary", "the vocabulary of a language model", f"Give one: {how}")


class Placement:
    """Bins to ids and back by a table; both ways for arrays of any library."""

    __slots__ = ("_order", "_place", "_sorted", "table")

    def __init__(self, place: Mapping[str, Any], numbers: int) -> None:
        self._place = place
        self.table = id_table(place, numbers)
        self._order = np.argsort(self.table)
        self._sorted = self.table[self._order]

    def ids(self, xp: Any, bins: Array) -> Array:
        """Return the id of each bin, int64 (int32 in JAX without x64)."""
        table = arrays.constant(xp, self.table, bins)
        return xp.reshape(xp.take(table, xp.reshape(bins, (-1,)), axis=0), bins.shape)

    def bins(self, xp: Any, ids: Array, validate: bool) -> Array:
        """Return the bin of each id, int32; of an unchecked id that of the nearest one, as OpenVLA's decoder does."""
        table, order = arrays.constant(xp, self._sorted, ids), arrays.constant(xp, self._order.astype(np.int32), ids)
        flat = xp.reshape(ids, (-1,))
        ranks = xp.clip(xp.searchsorted(table, arrays.cast(xp, flat, arrays.dtype_name(table))), 0, len(self.table) - 1)
        if validate and not bool(xp.all(xp.take(table, ranks, axis=0) == flat)):
            self._refuse(arrays.to_numpy(ids))
        return xp.reshape(xp.take(order, ranks, axis=0), ids.shape)

    def numbers(self, ids: Sequence[int]) -> list[int]:
        """Return the bin of each id as arithmetic gives it, also beyond the bins: below 0, or as many as there are or
        more; ids outside of a table are that.
        """
        kind, first, count = self._place["place"], int(self.table[0]), len(self.table)
        if kind in ("tail", "from"):
            return [first - i if kind == "tail" else i - first for i in ids]
        known = {int(i): n for n, i in enumerate(self.table)}
        return [known.get(i, count) for i in ids]

    def _refuse(self, ids: Ids) -> None:
        rows = ids.reshape(-1, ids.shape[-1]) if ids.ndim else ids.reshape(1, 1)
        row, index = np.argwhere(~np.isin(rows, self.table))[0].tolist()
        numbers = [str(i) for i in rows[row].tolist()]
        column = len(" ".join(numbers[:index])) + (index > 0)
        raise ActionParseError(" ".join(numbers), index + 1, column, f"id {numbers[index]} is not an action token")


def as_rows(ids: Iterable[Any]) -> list[list[int]]:
    """Return rows of ids, of any lengths, as lists of int."""
    return [arrays.to_numpy(row).astype(np.int64).tolist() for row in ids]
