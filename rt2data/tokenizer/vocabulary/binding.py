"""A tokenizer bound to a language model's vocabulary: bins to token ids and back, and the ids that may come next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rt2data.tokenizer import arrays
from rt2data.tokenizer.arrays import Array, Namespace
from rt2data.tokenizer.errors import ActionError, ActionParseError
from rt2data.tokenizer.schemes.fast_bytes import LENIENT, ByteMerges
from rt2data.tokenizer.spec import Spec, no_bins
from rt2data.tokenizer.text.action_string import MergedText, NoText, TemplateText, Text, TokenText
from rt2data.tokenizer.text.fields import check_bins
from rt2data.tokenizer.vocabulary.vocabulary import Ids, Placement, Vocabulary, as_rows, missing_vocabulary

if TYPE_CHECKING:
    from rt2data.tokenizer.vocabulary.automata import Automaton
    from rt2data.tokenizer.vocabulary.check import VocabularyCheck


class Binding:
    """What ActionTokenizer's methods on token ids do; they are documented there.

    Attributes:
        numbers: how many different bins (or merged ids) have to be placed in the vocabulary.
    """

    __slots__ = ("_automaton", "_fixed", "_frame", "_model", "_placement", "_spec", "_text", "numbers")

    def __init__(self, spec: Spec, text: Text | MergedText, model: Vocabulary | None) -> None:
        if isinstance(text, NoText):
            raise no_bins(spec)
        self._spec, self._text, self._model = spec, text, model
        merged = isinstance(text, MergedText)
        self.numbers = text.merges.count if isinstance(text, MergedText) else max(f.bins[-1] for f in text.fields) + 1
        # Whether every field has one id at a fixed place, so that arrays stay arrays.
        self._fixed = spec.vocabulary["place"] != "text" and not merged
        self._placement: Placement | None = None
        # The ids of the text before and behind an action's own, where that is text of a model's tokenizer.
        self._frame: tuple[list[int], list[int]] = [], []
        self._automaton: Automaton | None = None

    def token_ids(self, bins: Array, validate: bool) -> Array:
        xp = arrays.namespace(bins)
        bins = np.asarray(bins) if xp is np else bins
        if validate or not self._fixed:
            check_bins(self._spec, self._text, xp, bins)
        if self._fixed:
            return self._place().ids(xp, bins)
        host = arrays.to_numpy(bins)
        rows = host.reshape(-1, host.shape[-1])
        if isinstance(self._text, MergedText):
            table, (before, behind) = self._place().table, self._frame
            ids = [np.array([*before, *table[self._text.merges.join(row)], *behind]) for row in rows.tolist()]
        else:
            ids = [
                np.array(row, np.int64) for row in self._tokenizer().encode([self._text.format(row) for row in rows])
            ]
        if len({len(row) for row in ids}) > 1:
            return [arrays.constant(xp, row, bins) for row in ids]
        return arrays.constant(xp, np.stack(ids).reshape(*host.shape[:-1], -1), bins)

    def from_token_ids(self, ids: Array, validate: bool, lenient: str) -> Array:
        if not self._fixed or lenient:
            single = not len(ids) or np.ndim(arrays.to_numpy(ids[0])) == 0
            rows = as_rows([ids] if single else ids)
            bins = [self._from_row_leniently(row, lenient) if lenient else self._from_row(row) for row in rows]
            parsed = np.array(bins, np.int32).reshape(len(bins), len(self._text.fields))
            return parsed[0] if single else parsed
        xp = arrays.namespace(ids)
        ids = np.asarray(ids) if xp is np else ids
        fields = len(self._text.fields)
        if len(ids.shape) == 0 or ids.shape[-1] != fields:
            shown = " ".join(map(str, arrays.to_numpy(ids).reshape(-1)[:32].tolist()))
            raise ActionParseError(shown, None, 0, f"shape {tuple(ids.shape)}; expected (..., {fields})")
        bins = self._place().bins(xp, ids, validate)
        return self._checked(xp, bins) if validate else bins

    def check(self, prompt: str) -> VocabularyCheck:
        from rt2data.tokenizer.vocabulary.check import check_ids, check_text

        if self._spec.vocabulary["place"] != "text":
            return check_ids(self._text, self._tokenizer(), self._place().table)
        if isinstance(self._text, MergedText):
            return check_ids(self._text, self._tokenizer(), self._place().table)
        return check_text(self._text, self._tokenizer(), prompt, self._spec.vocabulary.get("ids_per_action"))

    def automaton(self) -> Automaton:
        from rt2data.tokenizer.vocabulary import automata

        if self._automaton is None:
            if isinstance(self._text, MergedText):
                self._automaton = self._merged_automaton(self._text)
            elif self._fixed:
                self._automaton = automata.FixedIds(self._text, self._place().table)
            elif isinstance(self._text, TokenText):
                self._automaton = automata.TokenIds(self._text, self._tokenizer())
            else:
                self._automaton = automata.SpelledText(self._text, self._tokenizer())
        return self._automaton

    def _merged_automaton(self, text: MergedText) -> Automaton:
        from rt2data.tokenizer.vocabulary import automata, byte_ids

        table, merges = self._place().table, text.merges
        if not isinstance(merges, ByteMerges):
            return automata.MergedIds(merges, len(text.fields), table)
        plain = byte_ids.ByteIds(merges, len(text.fields), table)
        return byte_ids.Framed(plain, *self._frame) if any(self._frame) else plain

    def allowed(self, prefix_ids: Array) -> Ids:
        automaton = self.automaton()
        state, prefix = automaton.start, as_rows([prefix_ids])[0]
        for index, token in enumerate(prefix):
            state = automaton.step(state, token)
            if state is None:
                raise _error_at(prefix, index, f"id {token} cannot stand here")
        allowed = automaton.allowed(state)
        eos = None if self._model is None else self._model.eos
        return np.append(allowed, eos) if eos is not None and automaton.complete(state) else allowed

    def _place(self) -> Placement:
        if self._placement is None:
            place = self._spec.vocabulary
            if place["place"] == "text":  # asked for merged ids only: of other text there is no table
                if not isinstance(self._text, TemplateText):
                    raise ActionError("vocabulary", "merges in a text placement", 'a placement by ids, such as "tail"')
                table, self._frame = token_table(self._text, self._tokenizer())
                place = {"place": "ids", "ids": table}
            self._placement = Placement(place, self.numbers)
        return self._placement

    def _tokenizer(self) -> Vocabulary:
        if self._model is None:
            raise missing_vocabulary(self._spec.vocabulary["place"])
        return self._model

    def _checked(self, xp: Namespace, bins: Array) -> Array:
        """Bins that came from ids, or the error for the first field that cannot hold its bin."""
        try:
            check_bins(self._spec, self._text, xp, bins)
        except ActionError as e:
            fields = self._text.fields
            rows = arrays.to_numpy(bins).reshape(-1, len(fields)).tolist()
            row, index = next((row, i) for row in rows for i, field in enumerate(fields) if row[i] not in field.bins)
            raise _error_at(row, index, f"bin {row[index]} cannot stand in field {fields[index].name}") from e
        return bins

    def _inside(self, ids: list[int]) -> list[int]:
        """The ids between those of the text before and behind an action."""
        self._place()
        before, behind = self._frame
        if ids[: len(before)] != before:
            raise _error_at(ids, 0, "the ids before an action's own are missing")
        end = len(ids) - len(behind)
        if end < len(before) or ids[end:] != behind:
            raise _error_at(ids, len(ids), "the ids behind an action's own are missing")
        return ids[len(before) : end]

    def _from_row_leniently(self, ids: list[int], rule: str) -> list[int]:
        merges = self._text.merges if isinstance(self._text, MergedText) else None
        if not isinstance(merges, ByteMerges) or rule not in LENIENT:
            raise ActionError("lenient", repr(rule), f'one of {", ".join(LENIENT)}, of the "fast-bpe" scheme')
        own = self._place().numbers(ids)
        return merges.split_leniently(own, len(self._text.fields), rule, -int(self._spec.options["min_code"]))

    def _from_row(self, ids: list[int]) -> list[int]:
        if isinstance(self._text, MergedText):
            ids = self._inside(ids)
            merged = self._place().bins(np, np.array(ids, np.int64), validate=True).tolist()
            columns = np.cumsum([0, *(len(str(i)) + 1 for i in merged)]).tolist()
            return self._text.merges.split(merged, len(self._text.fields), " ".join(map(str, merged)), columns)
        string = self._tokenizer().decode_after([ids])[0]
        return self._text.parse(string if self._text.lead else string.removeprefix(" "))


def token_table(text: TemplateText, model: Vocabulary) -> tuple[tuple[int, ...], tuple[list[int], list[int]]]:
    """Return the model's id of each token, and its ids of the text before and behind an action.

    Raises:
        ActionError: a token that is no single id of the model.
    """
    tokens = [text.token(number) for number in range(text.merges.count)]
    rows = model.encode([*tokens, text.template[0], text.template[2]])
    for token, ids, back in zip(tokens, rows, model.decode(rows[:-2]), strict=False):
        if len(ids) != 1 or back != token:  # an unknown token may have one id, which reads otherwise
            fault = f"the ids {ids} for {token}"
            raise ActionError("vocabulary", fault, "one of its own", "Add these tokens to the model's tokenizer")
    return tuple(row[0] for row in rows[:-2]), (rows[-2], rows[-1])


def _error_at(numbers: Sequence[Any], index: int, reason: str) -> ActionParseError:
    """Return the error at number `index` of a row of ids or bins."""
    before = " ".join(map(str, numbers[:index]))
    return ActionParseError(" ".join(map(str, numbers)), index + 1, len(before) + (index > 0), reason)
