"""A tokenizer bound to a language model's vocabulary: bins to token ids and back, and the ids that may come next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rt2data.tokenizer import arrays
from rt2data.tokenizer.arrays import Array, Namespace
from rt2data.tokenizer.errors import ActionError, ActionParseError
from rt2data.tokenizer.spec import Spec, no_bins
from rt2data.tokenizer.text.action_string import MergedText, NoText, Text, TokenText
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

    __slots__ = ("_automaton", "_fixed", "_model", "_placement", "_spec", "_text", "numbers")

    def __init__(self, spec: Spec, text: Text | MergedText, model: Vocabulary | None) -> None:
        if isinstance(text, NoText):
            raise no_bins(spec)
        self._spec, self._text, self._model = spec, text, model
        merged = isinstance(text, MergedText)
        self.numbers = text.merges.count if isinstance(text, MergedText) else max(f.bins[-1] for f in text.fields) + 1
        # Whether every field has one id at a fixed place, so that arrays stay arrays.
        self._fixed = spec.vocabulary["place"] != "text" and not merged
        self._placement: Placement | None = None
        self._automaton: Automaton | None = None

    def token_ids(self, bins: Array) -> Array:
        xp = arrays.namespace(bins)
        bins = np.asarray(bins) if xp is np else bins
        check_bins(self._spec, self._text, xp, bins)
        if self._fixed:
            return self._place().ids(xp, bins)
        host = arrays.to_numpy(bins)
        rows = host.reshape(-1, host.shape[-1])
        if isinstance(self._text, MergedText):
            table = self._place().table
            ids = [table[self._text.merges.join(row)] for row in rows.tolist()]
        else:
            ids = [
                np.array(row, np.int64) for row in self._tokenizer().encode([self._text.format(row) for row in rows])
            ]
        if len({len(row) for row in ids}) > 1:
            return [arrays.constant(xp, row, bins) for row in ids]
        return arrays.constant(xp, np.stack(ids).reshape(*host.shape[:-1], -1), bins)

    def from_token_ids(self, ids: Array, validate: bool) -> Array:
        if not self._fixed:
            single = not len(ids) or np.ndim(arrays.to_numpy(ids[0])) == 0
            bins = [self._from_row(row) for row in as_rows([ids] if single else ids)]
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
            raise ActionError("vocabulary", "merges in a text placement", 'a placement by ids, such as "tail"')
        return check_text(self._text, self._tokenizer(), prompt, self._spec.vocabulary.get("ids_per_action"))

    def automaton(self) -> Automaton:
        from rt2data.tokenizer.vocabulary import automata

        if self._automaton is None:
            if isinstance(self._text, MergedText):
                self._automaton = automata.MergedIds(self._text.merges, len(self._text.fields), self._place().table)
            elif self._fixed:
                self._automaton = automata.FixedIds(self._text, self._place().table)
            elif isinstance(self._text, TokenText):
                self._automaton = automata.TokenIds(self._text, self._tokenizer())
            else:
                self._automaton = automata.SpelledText(self._text, self._tokenizer())
        return self._automaton

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
            self._placement = Placement(self._spec.vocabulary, self.numbers)
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

    def _from_row(self, ids: list[int]) -> list[int]:
        if isinstance(self._text, MergedText):
            merged = self._place().bins(np, np.array(ids, np.int64), validate=True).tolist()
            columns = np.cumsum([0, *(len(str(i)) + 1 for i in merged)]).tolist()
            return self._text.merges.split(merged, len(self._text.fields), " ".join(map(str, merged)), columns)
        string = self._tokenizer().decode_after([ids])[0]
        return self._text.parse(string if self._text.lead else string.removeprefix(" "))


def _error_at(numbers: Sequence[Any], index: int, reason: str) -> ActionParseError:
    """Return the error at number `index` of a row of ids or bins."""
    before = " ".join(map(str, numbers[:index]))
    return ActionParseError(" ".join(map(str, numbers)), index + 1, len(before) + (index > 0), reason)
