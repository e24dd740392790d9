"""The action tokenizer: actions to bins, bins to text or token ids, and back, exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import numpy as np

from rt2data.tokenizer import arrays
from rt2data.tokenizer.arrays import Array
from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.schemes.elementwise import Elementwise
from rt2data.tokenizer.schemes.fast import Dct
from rt2data.tokenizer.spec import Dim, Spec, Terminate
from rt2data.tokenizer.text import fields as layout
from rt2data.tokenizer.text import grammar as grammars
from rt2data.tokenizer.text.action_string import MergedText, Text
from rt2data.tokenizer.vocabulary import vocabulary as vocabularies
from rt2data.tokenizer.vocabulary.binding import Binding
from rt2data.tokenizer.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from rt2data.tokenizer.vocabulary.automata import Automaton
    from rt2data.tokenizer.vocabulary.check import VocabularyCheck


class Decoded(NamedTuple):
    """What `decode` returns: `actions` (..., D) or (..., horizon, D), and `terminate` (...) or (..., horizon), bool.

    `terminate` is None for a scheme without that field.
    """

    actions: Array
    terminate: Array


@dataclass(frozen=True, slots=True)
class Properties:
    """What a tokenizer promises about its own bins. Computed from its tables, in float32 and in float64.

    Attributes:
        idempotent: encode(decode(b)) == b for every bin of every dimension.
        injective: no two bins of a dimension decode to the same number.
        changed: how many bins (of all dimensions) encode(decode(b)) changes, in float32.
        faults: what is lost or bent by the scheme's definition, in words.
    """

    idempotent: bool
    injective: bool
    changed: int
    faults: tuple[str, ...]


class ActionTokenizer:
    """Turns actions into bins, bins into text or token ids, and back. Immutable; safe to share and to pickle.

    An action is D numbers (``dims``) and, where the scheme has the field, one bool `terminate`. Its bins are
    F = D + 1 integers (or D), `terminate` first. With a horizon H > 1 an action is a chunk: (H, D) numbers and (H,)
    bools, and H * F bins, step after step. All methods take any leading shape.
    """

    __slots__ = ("_binding", "_codec", "_fingerprint", "_restricted", "_spec", "_text", "_vocabulary")

    def __init__(self, spec: Spec, vocabulary: Vocabulary | None = None) -> None:
        self._spec = spec
        self._vocabulary = vocabulary
        self._fingerprint: str | None = None
        self._restricted: dict[str, ActionTokenizer] = {}
        # Made at once, since it may first be used inside torch.compile; what it needs is made when it is used.
        self._codec = None if spec.sources else Dct(spec) if spec.scheme == "dct" else Elementwise(spec)
        self._text: Text | MergedText | None = None
        self._binding: Binding | None = None

    # Where tokenizers come from and go to

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, repo_type: str | None = None
    ) -> ActionTokenizer:
        """Load a tokenizer.

        Args:
            name: a bundled specification ("rt2"), a file, a directory that holds ``action_tokenizer.json`` or
                ``tokenizer.json`` (a built mixture), or a Hub repository id ("org/name"; needs huggingface_hub).
            revision: branch, tag or commit of a Hub repository.
            repo_type: "model" (default) or "dataset", for a Hub repository.

        Raises:
            ActionError: when there is none, listing the bundled ones, or when the file is not a valid specification.
        """
        from rt2data.tokenizer import loading  # pathlib takes a third of the whole import

        return cls(loading.load(name, revision=revision, repo_type=repo_type))

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ActionTokenizer:
        """The tokenizer of a specification in its JSON form, such as `to_dict` returns."""
        return cls(Spec.of(raw, "specification"))

    def to_dict(self) -> dict[str, Any]:
        """The specification in its JSON form (``schemas/tokenizer.json``)."""
        return self._spec.to_dict()

    def save_pretrained(self, directory: str | Path, filename: str = "tokenizer.json") -> Path:
        """Write the specification into `directory` and return its path. Same tokenizer, same bytes, on any machine.

        Beside a language model, whose own ``tokenizer.json`` must stay, pass ``filename="action_tokenizer.json"``.

        Raises:
            ActionError: rather than overwrite a file that is not a specification.
        """
        from rt2data.tokenizer import loading

        return loading.save(self._spec, directory, filename)

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits over all that decides what a string means; not the name, not the vocabulary."""
        if self._fingerprint is None:
            self._fingerprint = self._spec.fingerprint()
        return self._fingerprint

    # What it is

    @property
    def name(self) -> str:
        return self._spec.name

    @property
    def spec(self) -> Spec:
        return self._spec

    @property
    def dims(self) -> tuple[Dim, ...]:
        """The dimensions of an action, in order."""
        return self._spec.dims

    @property
    def bins(self) -> int:
        """The number of bins of each dimension."""
        return self._spec.bins

    @property
    def horizon(self) -> int:
        """The number of steps in one action (chunk)."""
        return self._spec.horizon

    @property
    def terminate(self) -> Terminate | None:
        """The numbers that field 0 can hold and what they mean; None for a scheme without that field."""
        return self._spec.terminate

    @property
    def fields(self) -> int:
        """The number of integers of one action: horizon * (dimensions + 1 for terminate)."""
        return self._spec.horizon * self._spec.fields_per_step

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of a mixture that have bounds of their own; empty for a tokenizer with one set of bounds."""
        return tuple(self._spec.sources)

    @property
    def properties(self) -> Properties:
        """What holds for this tokenizer and what does not; see Properties."""
        codec = self._one_source()
        return Properties(*codec.measure(), codec.faults)

    # Tokenizers made from this one

    def with_sources(self, sources: Mapping[str, Iterable[Dim]]) -> ActionTokenizer:
        """The same scheme with dimensions (names and bounds) per source of a mixture; use them through `for_source`."""
        return ActionTokenizer(self._spec.with_sources(sources), self._vocabulary)

    def for_source(self, source: str) -> ActionTokenizer:
        """The tokenizer of one source. Its fingerprint is in each sample of that source.

        Raises:
            ActionError: naming the sources there are.
        """
        if source not in self._restricted:
            self._restricted[source] = ActionTokenizer(self._spec.restricted(source), self._vocabulary)
        return self._restricted[source]

    def with_dims(self, dims: Iterable[Dim]) -> ActionTokenizer:
        """The same scheme for other dimensions: joints, two arms, a base; any number of them."""
        return ActionTokenizer(self._spec.with_dims(dims), self._vocabulary)

    def with_horizon(self, horizon: int) -> ActionTokenizer:
        """The same tokenizer for chunks of `horizon` steps."""
        return ActionTokenizer(self._spec.with_horizon(horizon), self._vocabulary)

    def check_sample(self, sample: Mapping[str, Any]) -> ActionTokenizer:
        """The tokenizer that wrote a sample (the JSON of a robot sample), which is this one or one of its sources.

        Raises:
            ActionError: when the sample was written with another tokenizer: its bins mean other actions here.
        """
        where = f"sample {sample.get('key', '?')}"
        for key in ("tokenizer", "source"):
            if not isinstance(sample.get(key), str):
                raise ActionError(where, f'"{key}" is {sample.get(key)!r}', "a robot sample, with tokenizer and source")
        own = self.for_source(sample["source"]) if self._spec.sources else self
        if sample["tokenizer"] != own.fingerprint:
            found, expected = f"written with the tokenizer {sample['tokenizer']}", f"this one, {own.fingerprint}"
            raise ActionError(where, found, expected, "Load the tokenizer.json that lies beside the sample's shards")
        return own

    # Actions and bins

    @overload
    def encode(
        self, actions: Array, terminate: Array = None, *, validate: bool = True, return_clipped: Literal[False] = False
    ) -> Array: ...
    @overload
    def encode(
        self, actions: Array, terminate: Array = None, *, validate: bool = True, return_clipped: Literal[True]
    ) -> tuple[Array, Array]: ...
    def encode(
        self, actions: Array, terminate: Array = None, *, validate: bool = True, return_clipped: bool = False
    ) -> Any:
        """Actions to bins. Values outside the bounds clip.

        Args:
            actions: (..., D), or (..., horizon, D) for a chunk: an array of floats of any library, or a list.
                float16 and bfloat16 are taken as the numbers they hold. Units and bounds are those of `dims`.
            terminate: bool, (...) or (..., horizon); a plain True or False holds for all. Required where the scheme
                has the field, refused where it has none. For RT-1-X it may be the integer mode (0 terminate, 1 arm,
                2 base).
            validate: False skips the check for NaN and infinity, for use inside jax.jit and torch.compile. What such a
                number becomes is then undefined.
            return_clipped: also return where values were clipped: int8 in the shape of `actions`, -1 below, 1
                above, else 0.

        Returns:
            int32 (..., fields), of the library of `actions` and on its device.

        Raises:
            ActionError: NaN or infinity, another width, a dtype that is not a float.
        """
        codec = self._one_source()
        xp = arrays.namespace(actions)
        x = np.asarray(actions, np.float64) if not hasattr(actions, "dtype") else actions
        shape = layout.check_actions(self._spec, xp, x, validate)
        bins = codec.encode(xp, x)
        if self._spec.terminate is not None:
            bins = layout.add_terminate(self._spec.terminate, xp, bins, terminate)
        elif terminate is not None:
            raise ActionError(
                "terminate", "given", f'nothing: the tokenizer "{self.name}" has no such field', "Leave it out"
            )
        bins = xp.reshape(bins, (*shape, self.fields)) if self.horizon > 1 else bins
        return (bins, codec.clipped(xp, x)) if return_clipped else bins

    def decode(self, bins: Array, *, dtype: Any = "float32", validate: bool = True) -> Decoded:
        """Bins to actions.

        Args:
            bins: (..., fields), integers of any library, or a list.
            dtype: "float32" or "float64" (or a library's own name for them): the type of the actions.
            validate: False skips the check that every bin exists, for use inside jax.jit and torch.compile.

        Returns:
            Decoded(actions, terminate), of the library of `bins` and on its device.

        Raises:
            ActionError: a bin that its field cannot hold, another width, a dtype that is not an integer.
        """
        codec = self._one_source()
        name = dtype if isinstance(dtype, str) else arrays.name_of(dtype)
        if name not in ("float32", "float64"):
            raise ActionError("dtype", str(dtype), "float32 or float64")
        xp = arrays.namespace(bins)
        if xp is np:
            bins = np.asarray(bins)
        if len(bins.shape) == 0 or bins.shape[-1] != self.fields:
            raise ActionError("bins", f"shape {tuple(bins.shape)}", f"(..., {self.fields}): {self._layout().says()}")
        if "int" not in arrays.dtype_name(bins):
            raise ActionError("bins", f"dtype {arrays.dtype_name(bins)}", "integers")
        if validate:
            layout.check_bins(self._spec, self._layout(), xp, bins)
        if self.horizon > 1:
            bins = xp.reshape(bins, (*bins.shape[:-1], self.horizon, self._spec.fields_per_step))
        if self._spec.terminate is None:
            return Decoded(codec.decode(xp, bins, name), None)
        return Decoded(codec.decode(xp, bins[..., 1:], name), layout.stops(self._spec, bins[..., 0]))

    # Bins and text

    def format(self, bins: Array) -> Any:
        """Bins (..., fields) as text: a string for (fields,), a list of strings for a batch, nested for more axes.

        Raises:
            ActionError: a bin that its field cannot hold, another width.
        """
        return self._layout().format(arrays.to_numpy(bins))

    def parse(self, text: str | Sequence[Any]) -> npt.NDArray[np.int32]:
        """Text to bins, as numpy int32 (fields,); for a list of strings (n, fields).

        Only what `format` writes is taken: no other space, sign, leading zero or digit of another script.

        Raises:
            ActionParseError: with the field and the column at fault.
        """
        parse = self._layout().parse
        if isinstance(text, str):
            return np.array(parse(text), np.int32)
        if not isinstance(text, (list, tuple)):
            raise ActionError("text", f"a {type(text).__name__}", "a string or a list of strings")
        rows = [self.parse(t) if isinstance(t, (list, tuple)) else parse(t) for t in text]
        return np.array(rows, np.int32) if rows else np.empty((0, self.fields), np.int32)

    # Bins and token ids

    def with_vocabulary(self, vocabulary: Any) -> ActionTokenizer:
        """The same tokenizer, bound to the vocabulary of a language model.

        Args:
            vocabulary: the model's tokenizer (of transformers, tokenizers or sentencepiece); or the number of its
                ids, where bins lie at fixed places; or, for rt2-palme, how often each id is used, as a sequence or
                as a mapping of the ids that may be taken.

        Raises:
            ActionError: when the bins do not fit in, or when this placement needs something else.
        """
        place, bound = vocabularies.bind(self._spec.vocabulary, self._bound().numbers, vocabulary)
        return ActionTokenizer(replace(self._spec, vocabulary=place), bound)

    def token_ids(self, bins: Array) -> Array:
        """Bins (..., fields) to the model's token ids, int64: (..., fields) where bins lie at fixed places.

        Where the placement is text, or with merges, an action has as many ids as it needs: (n,) for one action,
        (rows, n) for a batch (rows, fields), and a list of arrays where n differs.

        Raises:
            ActionError: without a vocabulary, saying how to give one.
        """
        return self._bound().token_ids(bins)

    def from_token_ids(self, ids: Array, *, validate: bool = True) -> Array:
        """Token ids of actions, with nothing before or after them, to bins: the inverse of `token_ids`.

        Args:
            ids: what `token_ids` returns. For a text placement one space before the action is accepted.
            validate: False turns an id that is no action token into the bin nearest to it, for fixed places. That is
                what OpenVLA's decoder does (its end-of-sequence id becomes +0.996); never let a robot execute it.

        Raises:
            ActionParseError: for ids that are not an action.
        """
        return self._bound().from_token_ids(ids, validate)

    def check_vocabulary(self, vocabulary: Any = None, *, prompt: str = "A:") -> VocabularyCheck:
        """Whether a language model's tokenizer keeps actions intact: every bin, beside every other, there and back.

        For a text placement: text -> ids -> text is the identity, alone and behind `prompt`; no id takes in the
        prompt; and an action has the number of ids that the specification claims, if it claims one. For the others:
        the ids exist, are no special tokens, and ids -> text -> ids is the identity (what OpenVLA's issues 226 and
        246 are about).

        Args:
            vocabulary: the model's tokenizer; by default the one given to `with_vocabulary`.
        """
        return (self if vocabulary is None else self.with_vocabulary(vocabulary))._bound().check(prompt)  # noqa: SLF001

    # Constraints

    def allowed_token_ids(self, prefix_ids: Array = ()) -> npt.NDArray[np.int64]:
        """The ids that may follow `prefix_ids`, the ids of an action so far: those from which an action can be
        completed.

        After a complete action: the end-of-sequence id, where the vocabulary has one, with whatever may still follow.

        Raises:
            ActionParseError: when the prefix is not the beginning of an action.
        """
        return self._bound().allowed(prefix_ids)

    def automaton(self) -> Automaton:
        """The automaton behind `allowed_token_ids`, for decoders that keep a state per sequence (rt2data.serving)."""
        return self._bound().automaton()

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The language model's tokenizer this one is bound to."""
        return self._vocabulary

    def regex(self, *, plan: bool = False) -> str:
        """A regular expression that matches exactly the strings of `format`, in the dialect that all engines share.

        Args:
            plan: match ``Plan: ... Action: `` and the string: RT-2's chain of thought.
        """
        return grammars.regex(self._layout(), plan=plan)

    def grammar(self, form: str = "gbnf", *, plan: bool = False) -> str:
        """A grammar of exactly the strings of `format`, for servers that take one.

        Args:
            form: "gbnf" (llama.cpp), "ebnf" (xgrammar) or "lark" (outlines, llguidance).
            plan: with ``Plan: ... Action: `` before the string: RT-2's chain of thought.
        """
        return grammars.grammar(self._layout(), form, plan=plan)

    # Helpers

    def _one_source(self) -> Elementwise | Dct:
        """The codec. Refused for a tokenizer with bounds per source."""
        if self._codec is None:
            found = f"bounds for the sources {', '.join(self.sources)}"
            repair = "Choose a source: tokenizer.for_source(name)"
            raise ActionError(f'tokenizer "{self.name}"', found, "one set of bounds", repair)
        return self._codec

    def _layout(self) -> Text | MergedText:
        if self._text is None:
            self._text = layout.text_of(self._spec)
        return self._text

    def _bound(self) -> Binding:
        if self._binding is None:
            self._binding = Binding(self._spec, self._layout(), self._vocabulary)
        return self._binding

    def __repr__(self) -> str:
        dims = " ".join(d.name for d in self.dims[:12]) + (" ..." if len(self.dims) > 12 else "")
        sources = f", sources={len(self.sources)}" if self.sources else ""
        return f"ActionTokenizer({self.name!r}, bins={self.bins}, horizon={self.horizon}, dims={dims!r}{sources})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActionTokenizer) and self._spec == other._spec

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> tuple[Any, ...]:
        return ActionTokenizer, (self._spec, self._vocabulary)


def _on(xp: Any, like: Array) -> dict[str, Any]:
    """The device argument for a new array beside `like`, where the library takes one."""
    return {} if xp is np or xp.__name__.startswith("jax") else {"device": like.device}
