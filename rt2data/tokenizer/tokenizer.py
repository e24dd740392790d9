"""The action tokenizer: actions to bins, bins to text or token ids, and back, exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import numpy as np

from rt2data.tokenizer import arrays
from rt2data.tokenizer.arrays import Array
from rt2data.tokenizer.elementwise import Elementwise
from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.fast import Dct, Merges
from rt2data.tokenizer.spec import Dim, Spec, Terminate
from rt2data.tokenizer.text import Field, MergedText, Text

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

_FLOATS = ("float32", "float64", "float16", "bfloat16")


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
    F = D + 1 integers (or D), `terminate` first. With a horizon H > 1 an action is a chunk: (H, D) numbers and (H,) bools,
    and H * F bins, step after step. All methods take any leading shape.
    """

    __slots__ = ("_codec", "_fingerprint", "_restricted", "_spec", "_text", "_vocabulary")

    def __init__(self, spec: Spec, vocabulary: Vocabulary | None = None) -> None:
        self._spec = spec
        self._vocabulary = vocabulary
        self._fingerprint: str | None = None
        self._restricted: dict[str, ActionTokenizer] = {}
        self._codec: Elementwise | Dct | None = None
        self._text: Text | MergedText | None = None

    # Where tokenizers come from and go to

    @classmethod
    def from_pretrained(cls, name: str | Path, *, revision: str | None = None, repo_type: str | None = None) -> ActionTokenizer:
        """Load a tokenizer.

        Args:
            name: a bundled specification ("rt2"), a file, a directory that holds ``action_tokenizer.json`` or
                ``tokenizer.json`` (a built mixture), or a Hub repository id ("org/name"; needs huggingface_hub).
            revision: branch, tag or commit of a Hub repository.
            repo_type: "model" (default) or "dataset", for a Hub repository.

        Raises:
            ActionError: when there is none, listing the bundled ones, or when the file is not a valid specification.
        """
        from rt2data.tokenizer import files  # pathlib takes a third of the whole import

        return cls(files.load(name, revision=revision, repo_type=repo_type))

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
        from rt2data.tokenizer import files

        return files.save(self._spec, directory, filename)

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
                raise ActionError(where, f'"{key}" is {sample.get(key)!r}', "a robot sample with its tokenizer's fingerprint and its source")
        own = self.for_source(sample["source"]) if self._spec.sources else self
        if sample["tokenizer"] != own.fingerprint:
            raise ActionError(
                where, f"written with the tokenizer {sample['tokenizer']}", f'this one, {own.fingerprint} ("{self.name}")',
                "Load the tokenizer.json that lies beside the sample's shards",
            )  # fmt: skip
        return own

    # Actions and bins

    @overload
    def encode(self, actions: Array, terminate: Array = None, *, validate: bool = True, return_clipped: Literal[False] = False) -> Array: ...
    @overload
    def encode(self, actions: Array, terminate: Array = None, *, validate: bool = True, return_clipped: Literal[True]) -> tuple[Array, Array]: ...
    def encode(self, actions: Array, terminate: Array = None, *, validate: bool = True, return_clipped: bool = False) -> Any:
        """Actions to bins. Values outside the bounds clip.

        Args:
            actions: (..., D), or (..., horizon, D) for a chunk: an array of floats of any library, or a list. float16 and
                bfloat16 are taken as the numbers they hold. Units and bounds are those of `dims`.
            terminate: bool, (...) or (..., horizon); a plain True or False holds for all. Required where the scheme has the
                field, refused where it has none. For RT-1-X it may be the integer mode (0 terminate, 1 arm, 2 base).
            validate: False skips the check for NaN and infinity, for use inside jax.jit and torch.compile. What such a
                number becomes is then undefined.
            return_clipped: also return where values were clipped: int8 in the shape of `actions`, -1 below, 1 above, else 0.

        Returns:
            int32 (..., fields), of the library of `actions` and on its device.

        Raises:
            ActionError: NaN or infinity, another width, a dtype that is not a float.
        """
        codec = self._one_source()
        xp = arrays.namespace(actions)
        x = np.asarray(actions, np.float64) if not hasattr(actions, "dtype") else actions
        shape = self._check_actions(xp, x, validate)
        cells = codec.encode(xp, x)
        bins = cells if self._spec.terminate is None else self._with_terminate(xp, cells, terminate, self._spec.terminate)
        if self._spec.terminate is None and terminate is not None:
            raise ActionError("terminate", "given", f'nothing: the tokenizer "{self.name}" has no such field', "Leave it out")
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
            self._check_bins(xp, bins)
        if self.horizon > 1:
            bins = xp.reshape(bins, (*bins.shape[:-1], self.horizon, self._spec.fields_per_step))
        if self._spec.terminate is None:
            return Decoded(codec.decode(xp, bins, name), None)
        return Decoded(codec.decode(xp, bins[..., 1:], name), bins[..., 0] == self._spec.terminate.true)

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

    # Helpers

    def _one_source(self) -> Elementwise | Dct:
        """The codec, made on first use. Refused for a tokenizer with bounds per source."""
        if self._codec is None:
            if self._spec.sources:
                raise ActionError(
                    f'tokenizer "{self.name}"', f"bounds for the sources {', '.join(self.sources)}", "one set of bounds",
                    "Choose a source: tokenizer.for_source(name)",
                )  # fmt: skip
            self._codec = Dct(self._spec) if self._spec.scheme == "dct" else Elementwise(self._spec)
        return self._codec

    def _layout(self) -> Text | MergedText:
        if self._text is None:
            widths = {len(dims) for dims in self._spec.sources.values()} | ({len(self.dims)} if not self._spec.sources else set())
            if len(widths) > 1:
                raise ActionError(
                    f'tokenizer "{self.name}"', "sources with different numbers of dimensions", "one layout",
                    "Choose a source: tokenizer.for_source(name)",
                )  # fmt: skip
            text = Text(self._fields(), self._spec.lead)
            merges = self._spec.options.get("merges")
            self._text = MergedText(text, Merges(self.bins, merges, f'tokenizer "{self.name}"')) if merges else text
        return self._text

    def _fields(self) -> list[Field]:
        spec = self._spec
        dims = next(iter(spec.sources.values()), spec.dims)
        numbers = range(spec.first, spec.first + spec.bins)
        if spec.scheme == "dct":
            return [Field(f"{d.name} at frequency {k}", numbers, spec.first) for k in range(spec.horizon) for d in dims]
        step = [Field(d.name, numbers, spec.first) for d in dims]
        if spec.terminate is not None:
            step.insert(0, Field("terminate", spec.terminate.symbols, 0))
        return step * spec.horizon

    def _check_actions(self, xp: Any, x: Array, validate: bool) -> tuple[int, ...]:
        """Check dtype, shape and (validate) values of actions; return the leading shape."""
        if arrays.dtype_name(x) not in _FLOATS:
            raise ActionError("actions", f"dtype {arrays.dtype_name(x)}", f"one of {', '.join(_FLOATS)}")
        tail = (len(self.dims),) if self.horizon == 1 else (self.horizon, len(self.dims))
        if tuple(x.shape[len(x.shape) - len(tail) :]) != tail or len(x.shape) < len(tail):
            names = " ".join(d.name for d in self.dims[:16])
            raise ActionError("actions", f"shape {tuple(x.shape)}", f"(..., {', '.join(map(str, tail))}): {names}")
        if validate and not bool(xp.all(xp.isfinite(x))):
            wrong = np.argwhere(~np.isfinite(arrays.to_numpy(x).astype(np.float64)))
            where = tuple(int(i) for i in wrong[0])
            raise ActionError("actions", f"{len(wrong)} values are NaN or infinite, the first at {where} ({self.dims[where[-1]].name})", "finite numbers")
        return tuple(int(n) for n in x.shape[: len(x.shape) - len(tail)])

    def _with_terminate(self, xp: Any, cells: Array, given: Array, terminate: Terminate) -> Array:
        """Put field 0 before the bins of each step."""
        shape = tuple(cells.shape[:-1])
        if given is None:
            raise ActionError("terminate", "not given", "a bool per step", "Pass False where the episode goes on")
        if isinstance(given, bool):
            flags = xp.full(shape, terminate.true if given else terminate.false, dtype=xp.int32, **_on(xp, cells))
        else:
            flags = np.asarray(given) if xp is np else given
            if tuple(flags.shape) != shape:
                raise ActionError("terminate", f"shape {tuple(flags.shape)}", f"{shape}, one for each step of the actions")
            kind = arrays.dtype_name(flags)
            if kind == "bool":
                flags = terminate.false + xp.astype(flags, xp.int32) * (terminate.true - terminate.false)
            elif "int" in kind and terminate.modes > 2:
                if not bool(xp.all((flags >= 0) & (flags < terminate.modes))):
                    raise ActionError("terminate", "a mode out of range", f"a mode in 0..{terminate.modes - 1}")
                flags = xp.astype(flags, xp.int32)
            else:
                raise ActionError("terminate", f"dtype {kind}", "bool")
        if xp is np:
            bins = np.empty((*shape, cells.shape[-1] + 1), np.int32)
            bins[..., 0], bins[..., 1:] = flags, cells
            return bins
        return xp.concat([flags[..., None], cells], axis=-1)

    def _check_bins(self, xp: Any, bins: Array) -> None:
        text = self._layout()
        if xp is np:
            text.check(bins)
            return
        step = text.fields[: self._spec.fields_per_step]
        low = arrays.constant(xp, np.array([f.bins[0] for f in step] * self.horizon, np.int32), bins)
        high = arrays.constant(xp, np.array([f.bins[-1] for f in step] * self.horizon, np.int32), bins)
        if not bool(xp.all((bins >= low) & (bins <= high))):
            text.check(arrays.to_numpy(bins))

    def __repr__(self) -> str:
        dims = " ".join(d.name for d in self.dims[:12]) + (" ..." if len(self.dims) > 12 else "")
        return f"ActionTokenizer({self.name!r}, bins={self.bins}, horizon={self.horizon}, dims={dims!r}, sources={len(self.sources)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActionTokenizer) and self._spec == other._spec

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> tuple[Any, ...]:
        return ActionTokenizer, (self._spec, self._vocabulary)


def _on(xp: Any, like: Array) -> dict[str, Any]:
    """The device argument for a new array beside `like`, where the library takes one."""
    return {} if xp is np or xp.__name__.startswith("jax") else {"device": like.device}
