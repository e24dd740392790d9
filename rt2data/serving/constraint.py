"""The constraint on a reply: which token ids may come next, and what a complete reply says."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rt2data.prompts import MARKER
from rt2data.serving.tables import DeviceTables, Tables, make_tables
from rt2data.tokenizer import ActionError, ActionParseError, ActionTokenizer, GroundingTokenizer, Parsed
from rt2data.tokenizer.arrays import to_numpy
from rt2data.tokenizer.text.reply import Replies, Reply, collect, parse_target, strip_reasoning
from rt2data.tokenizer.vocabulary.automata import Automaton
from rt2data.tokenizer.vocabulary.regular import RegularText
from rt2data.tokenizer.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy.typing as npt


class ReplyConstraint:
    """The token ids that may come next in a reply: those of an automaton, then the end of the sequence.

    `start`, `step` and `allowed` make an automaton without dead ends. A state is a plain value.

    Args:
        automaton: of what is to be written.
        eos: the id that ends a sequence.
    """

    def __init__(self, automaton: Automaton, eos: int) -> None:
        self.eos, self._action = int(eos), automaton
        if self.eos in automaton.ids:
            raise ActionError("eos_token_id", f"{self.eos}, which is an action token", "an id that no bin has")
        self._ending: dict[Any, npt.NDArray[np.int64]] = {}
        self._reasoning: _FreeText | None = None
        self._tables: Tables | Literal[False] | None = False  # not made yet
        self._on_device: dict[str, DeviceTables] = {}

    @property
    def start(self) -> Any:
        """The state before the first id."""
        return ("action", self._action.start) if self._reasoning is None else self._reasoning.start

    def step(self, state: Any, token: int) -> Any:
        """Return the state behind `token`, or None for an id that may not come. Behind the end any id is padding."""
        kind, inner = state
        if kind == "end":
            return state
        if kind != "action":
            return self._reasoning.step(state, token) if self._reasoning else None
        if token == self.eos and self._action.complete(inner):
            return ("end", None)
        after = self._action.step(inner, token)
        return None if after is None else ("action", after)

    def allowed(self, state: Any) -> npt.NDArray[np.int64]:
        """Return the ids that may come, int64. Behind the end of the sequence that is its own id."""
        kind, inner = state
        if kind == "end":
            return np.array([self.eos])
        if kind != "action":
            return self._reasoning.allowed(state) if self._reasoning else np.empty(0, np.int64)
        if not self._action.complete(inner):
            return self._action.allowed(inner)
        if inner not in self._ending:
            self._ending[inner] = np.append(self._action.allowed(inner), self.eos)
        return self._ending[inner]

    def state(self, ids: Sequence[int]) -> Any:
        """Return the state behind `ids`, the ids of the reply so far.

        Raises:
            ActionParseError: for ids that cannot have been written under the constraint.
        """
        state = self.start
        for index, token in enumerate(ids):
            state = self.step(state, int(token))
            if state is None:
                raise _error(ids, index, f"id {int(token)} cannot stand here")
        return state

    def known_ids(self) -> Iterable[int]:
        """Return every id that may come in some state, and perhaps others."""
        text = () if self._reasoning is None else range(self._reasoning.total)
        return sorted(self._action.ids.union(text, (self.eos,)))

    def kind(self, token: int) -> Hashable:
        """Return a value that ids share only if they may come in the same states and lead to the same ones.

        None of an id that never may come.
        """
        if token == self.eos:
            return "end"
        acting = self._action.kind(token) if token in self._action.ids else None
        told = None if self._reasoning is None else self._reasoning.kind(token)
        return None if acting is told is None else (acting, told)

    def tables(self, device: Any) -> DeviceTables | None:
        """Return the constraint as tables on a torch device, kept from the first call on; None where it is too large.

        Too large are the regular expressions of `GroundingConstraint` with labels of any text, and chunks of hundreds
        of numbers that are spelled by ids of several digits.
        """
        if self._tables is False:
            self._tables = make_tables(self)
        if self._tables is None:
            return None
        if str(device) not in self._on_device:
            self._on_device[str(device)] = DeviceTables(self._tables, device)
        return self._on_device[str(device)]

    def mask(self, ids: Any, size: int) -> Any:
        """Return which of `size` ids may follow `ids`.

        Args:
            ids: the ids of a reply so far, a list or numpy (length,); or of many replies, torch (rows, length).
            size: of the vocabulary.

        Returns:
            numpy bool (size,); of a torch tensor torch bool (rows, size), on its device and without a copy to the host.
            There a row with an id that may not come is followed by the end of the sequence alone.

        Raises:
            ActionParseError: of a list, for ids that cannot have been written under the constraint.
            ActionError: of a tensor, where the constraint is too large for tables; an id of it beyond `size`.
        """
        if not hasattr(ids, "new_full"):
            mask = np.zeros(size, bool)
            mask[self.allowed(self.state(ids))] = True
            return mask
        tables = self.tables(ids.device)
        if tables is None:
            raise ActionError("mask", "a constraint that is too large for tables", "lists of ids, one at a time")
        if tables.last >= size:
            raise ActionError("mask", f"a size of {size}", f"one id more than {tables.last}, which may come")
        return tables.mask(tables.states(ids), size)


class GroundingConstraint(ReplyConstraint):
    """The token ids that may come next in an answer of objects; from every state an answer can be completed.

    Args:
        tokenizer: a grounding tokenizer.
        vocabulary: the model's tokenizer (of transformers, tokenizers or sentencepiece).
        eos_token_id: the id that ends a sequence; by default the vocabulary's.
        options: labels, kinds, size, count and most, as for `GroundingTokenizer.regex`.

    Raises:
        ActionError: no end-of-sequence id, a vocabulary that cannot write the form, or options that it does not have.
    """

    def __init__(
        self, tokenizer: GroundingTokenizer, vocabulary: Any, *, eos_token_id: int | None = None, **options: Any
    ) -> None:
        self.tokenizer, model = tokenizer, Vocabulary(vocabulary)
        eos = model.eos if eos_token_id is None else eos_token_id
        if eos is None:
            raise ActionError("eos_token_id", "neither given nor known", "the id that ends a sequence")
        self._text = RegularText(tokenizer.regex(**options), model)
        super().__init__(self._text, eos)

    def parse(self, ids: Sequence[int]) -> list[Parsed]:
        """Parse the ids of a complete answer into objects. Ids behind the end of the sequence are ignored.

        Raises:
            ActionParseError: for any other ids, such as an answer that a limit of length cut off.
        """
        written = list(map(int, ids))
        written = written[: written.index(self.eos)] if self.eos in written else written
        if not self._text.complete(self.state(written)[1]):
            raise _error(ids, len(written), "the answer ends before its objects do")
        return self.tokenizer.parse("".join(self._text.pieces[token] for token in written))


class Constraint(ReplyConstraint):
    """The token ids that may come next in a reply, and what a complete reply says.

    `start`, `step` and `allowed` make an automaton without dead ends: from every state that it reaches, an action
    can be completed and the sequence ended. A state is a plain value.

    Args:
        tokenizer: an action tokenizer with a vocabulary.
        plan: whether the reply begins with reasoning (RT-2's chain of thought): free text up to ``Action:``. Needs the
            model's own tokenizer in `with_vocabulary`.
        max_plan_tokens: the longest reasoning in ids; behind it ``Action:`` is written for the model.
        eos_token_id: the id that ends a sequence; by default the vocabulary's.

    Raises:
        ActionError: no vocabulary, no end-of-sequence id, or a vocabulary that cannot write ``Action:``.
    """

    def __init__(
        self,
        tokenizer: ActionTokenizer,
        *,
        plan: bool = False,
        max_plan_tokens: int = 256,
        eos_token_id: int | None = None,
    ) -> None:
        model = tokenizer.vocabulary
        eos = eos_token_id if eos_token_id is not None or model is None else model.eos
        if eos is None:
            raise ActionError("eos_token_id", "neither given nor known", "the id that ends a sequence")
        super().__init__(tokenizer.automaton(), eos)
        self.tokenizer = tokenizer
        if plan:
            if model is None:
                raise ActionError("plan", "a tokenizer without the model's own", "with_vocabulary(hf_tokenizer)")
            self._reasoning = _FreeText(model, self._action, max_plan_tokens, self.eos)

    def parse(self, ids: Sequence[int]) -> Reply:
        """Parse the ids of a complete reply into reasoning and bins. Ids behind the end of the sequence are ignored.

        Raises:
            ActionParseError: for any other ids, such as a reply that a limit of length cut off.
        """
        state, begin, written = self.start, 0, list[int]()
        for index, token in enumerate(map(int, ids)):
            if state[0] == "end":
                break
            after = self.step(state, token)
            if after is None:
                raise _error(ids, index, f"id {token} cannot stand here")
            if after[0] != "end":
                written.append(token)
            if state[0] in ("reasoning", "marker"):
                begin = index + 1
            state = after
        if state[0] != "end" and not (state[0] == "action" and self._action.complete(state[1])):
            raise _error(ids, len(written), "the reply ends before its action does")
        if self._reasoning is not None and self.tokenizer.spec.vocabulary["place"] == "text":
            # The id that ends the marker may hold the beginning of the action.
            return parse_target(self.tokenizer, self._reasoning.text(written))
        bins = np.asarray(self.tokenizer.from_token_ids(np.array(written[begin:])), np.int32)
        return Reply(self._reasoning.reasoning(written[:begin]) if self._reasoning else None, bins)

    def parse_replies(self, rows: Any) -> Replies:
        """Parse a batch of replies in ids, (n, length) or rows of any lengths, each as `parse` does.

        Rows that are no action, such as those that a limit of length cut off, hold their error.
        """
        every = rows if isinstance(rows, (list, tuple)) else to_numpy(rows)
        return collect(self.tokenizer, [partial(self.parse, to_numpy(row).tolist()) for row in every])


class _FreeText:
    """The automaton of free text up to the marker.

    States: ("reasoning", (the beginning of the marker that the text ends with, ids so far)), and from the limit on
    ("marker", ids of the marker that are written).
    """

    def __init__(self, model: Vocabulary, action: Automaton, limit: int, eos: int) -> None:
        self._model, self._action, self._limit = model, action, limit
        closed = model.special | {eos}
        free = [i for i, piece in enumerate(model.pieces) if piece and i not in closed]
        self._forced = model.encode([" " + MARKER])[0]
        if limit < 1 or not "".join(model.pieces[i] for i in self._forced).endswith(MARKER):
            fault = f'ids {self._forced} for "{MARKER}", a limit of {limit}'
            raise ActionError("plan", fault, "a vocabulary that can write it, a limit above 0")
        # Per beginning of the marker that the text may end with: the ids that may follow. Excluded are those that
        # finish the marker and go on into something that begins no action.
        self._open: dict[str, npt.NDArray[np.int64]] = {}
        self._masks: dict[str, npt.NDArray[np.bool_]] = {}
        for head in (MARKER[:k] for k in range(len(MARKER))):
            ids = [i for i in free if MARKER not in head + model.pieces[i] or self._state_after(head + model.pieces[i])]
            self._open[head], self._masks[head] = np.array(ids, np.int64), np.zeros(model.total, bool)
            self._masks[head][ids] = True
        self.start = ("reasoning", ("", 0))

    @property
    def total(self) -> int:
        """The number of ids of the vocabulary."""
        return self._model.total

    def kind(self, token: int) -> Hashable:
        """The same for ids that may come alike; None for those that never may. Most words are of one kind."""
        piece = self._model.pieces[token]
        free = bool(self._masks[""][token] or any(mask[token] for mask in self._masks.values()))
        if token in self._forced:
            return token
        if not free:
            return None
        if ":" not in piece and piece not in MARKER and not piece.endswith(_BEGUN):
            return ""  # neither goes on with the marker, whatever stands before it, nor begins it
        return tuple(self._behind(head, token) for head in self._masks)

    def _behind(self, head: str, token: int) -> Hashable:
        """What an id makes of a text that ends with the beginning `head` of the marker."""
        if not self._masks[head][token]:
            return None
        text = head + self._model.pieces[token]
        return self._state_after(text) if MARKER in text else _begun(text)

    def step(self, state: Any, token: int) -> Any:
        kind, inner = state
        if kind == "marker":
            if token != self._forced[inner]:
                return None
            return ("marker", inner + 1) if inner + 1 < len(self._forced) else ("action", self._action.start)
        head, count = inner
        if not 0 <= token < self._model.total or not self._masks[head][token]:
            return None
        text = head + self._model.pieces[token]
        if MARKER in text:
            return self._state_after(text)
        return ("reasoning", (_begun(text), count + 1)) if count + 1 < self._limit else ("marker", 0)

    def allowed(self, state: Any) -> npt.NDArray[np.int64]:
        kind, inner = state
        return np.array([self._forced[inner]]) if kind == "marker" else self._open[inner[0]]

    def text(self, ids: Sequence[int]) -> str:
        return self._model.decode_after([ids])[0]

    def reasoning(self, ids: Sequence[int]) -> str:
        """Decode the reasoning in the ids up to the marker."""
        return strip_reasoning(self.text(ids).partition(MARKER)[0])

    def _state_after(self, text: str) -> Any:
        """Return the state behind text with the marker in it; None where what follows the marker begins no action."""
        inner = self._action.state_after(text.partition(MARKER)[2])
        return None if inner is None else ("action", inner)


_BEGUN = tuple(MARKER[:k] for k in range(1, len(MARKER)))


def _begun(text: str) -> str:
    """Return the longest beginning of the marker that `text` ends with."""
    return next((MARKER[:k] for k in range(len(MARKER) - 1, 0, -1) if text.endswith(MARKER[:k])), "")


def _error(ids: Sequence[int], index: int, reason: str) -> ActionParseError:
    numbers = [str(int(i)) for i in ids]
    return ActionParseError(" ".join(numbers), index + 1, len(" ".join(numbers[:index])) + (index > 0), reason)
