"""The specification of a tokenizer: what a file in ``tokenizers/`` or a mixture's ``tokenizer.json`` holds.

A specification is data: names, numbers and short strings. Reading one runs no code, and every key and number is
checked. ``schemas/tokenizer.json`` describes the same format for other tools.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rt2data.errors import near
from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.json_checks import as_integer, as_name, check_keys
from rt2data.tokenizer.spec_fields import (
    MAX_BINS,
    MAX_CHARACTERS,
    OPTIONS,
    Dim,
    Terminate,
    dim_to_dict,
    plain_bounds,
    read_aliases,
    read_dims,
    read_options,
    read_sources,
    read_terminate,
    read_vocabulary,
    terminate_to_dict,
)

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = "rt2data.tokenizer/1"

MAX_HORIZON = 4096
MAX_FIELDS = 65536
MAX_DCT_HORIZON = 1024
MAX_FILE_BYTES = 64 << 20

# A bin of the narrowest allowed dimension is 2**-20 of its largest bound wide, 16 times the step of float32 there, so
# that every bin's centre survives the rounding to float32. For 256 bins: a width of 2**-12 of the largest bound.
MIN_RELATIVE_BIN = 2.0**-20


@dataclass(frozen=True, slots=True)
class Spec:
    """A checked specification. `from_dict` reads one from JSON, `to_dict` writes it.

    Attributes:
        lead: the text before the first field ("" or " ").
        first: the number that is written for bin 0.
        vocabulary: where bins lie among a model's token ids; no part of the fingerprint.
        options: the options of the scheme.
        sources: the dimensions of each source of a mixture, by its public name in sorted order; empty for one source.
        aliases: other names of the sources, each with the public name that it stands for; no part of the fingerprint.
    """

    name: str
    scheme: str
    bins: int
    horizon: int
    terminate: Terminate | None
    dims: tuple[Dim, ...]
    lead: str
    first: int
    vocabulary: Mapping[str, Any]
    options: Mapping[str, Any]
    sources: Mapping[str, tuple[Dim, ...]]
    aliases: Mapping[str, str] = field(default_factory=dict, compare=False)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], where: str) -> Spec:
        """Read and check the JSON form of a specification, which errors call `where`.

        Raises:
            ActionError: naming the key at fault.
        """
        check_keys(
            raw,
            where,
            {"format", "name", "scheme", "bins", "dims"},
            {"horizon", "terminate", "text", "vocabulary", "options", "sources", "aliases"},
        )
        if raw["format"] != FORMAT:
            raise ActionError(f"{where}: format", repr(raw["format"]), f'"{FORMAT}"')
        scheme = raw["scheme"]
        if not isinstance(scheme, str) or scheme not in OPTIONS:
            raise ActionError(
                f"{where}: scheme", repr(scheme), f"one of {', '.join(OPTIONS)}", near(str(scheme), OPTIONS)
            )
        sources = read_sources(raw.get("sources", {}), f"{where}: sources")
        text = raw.get("text", {})
        check_keys(text, f"{where}: text", set(), {"lead", "first"})
        spec = cls(
            name=as_name(raw["name"], f"{where}: name"),
            scheme=scheme,
            bins=as_integer(raw["bins"], f"{where}: bins", 2, MAX_BINS),
            horizon=as_integer(raw.get("horizon", 1), f"{where}: horizon", 1, MAX_HORIZON),
            terminate=read_terminate(raw.get("terminate"), f"{where}: terminate"),
            dims=read_dims(raw["dims"], f"{where}: dims"),
            lead=text.get("lead", ""),
            first=as_integer(text.get("first", 0), f"{where}: text.first", -MAX_BINS, 0),
            vocabulary=read_vocabulary(raw.get("vocabulary", {"place": "text"}), f"{where}: vocabulary"),
            options=read_options(scheme, raw.get("options", {}), f"{where}: options"),
            sources=sources,
            aliases=read_aliases(raw.get("aliases", {}), sources, f"{where}: aliases"),
        )
        spec.check(where)
        return spec

    def check(self, where: str) -> None:
        """Check what depends on more than one key.

        Raises:
            ActionError: naming the key at fault.
        """
        for dims in (self.dims, *self.sources.values()):
            if self.horizon * (len(dims) + 1) > MAX_FIELDS:
                raise ActionError(
                    where, f"{self.horizon} steps of {len(dims)} dimensions", f"at most {MAX_FIELDS} fields"
                )
        if self.by_frequency and self.horizon > MAX_DCT_HORIZON:
            expected = f"at most {MAX_DCT_HORIZON} steps for {self.scheme}"
            raise ActionError(f"{where}: horizon", str(self.horizon), expected)
        if self.scheme == "fast-bpe" and self.bins > MAX_CHARACTERS:
            raise ActionError(f"{where}: bins", str(self.bins), f"at most {MAX_CHARACTERS} for fast-bpe")
        if self.lead not in ("", " "):
            raise ActionError(f"{where}: text.lead", repr(self.lead), 'nothing or one space ("" or " ")')
        if self.first + self.bins <= 0:
            raise ActionError(f"{where}: text.first", str(self.first), f"a number above {-self.bins}")
        if self.terminate is not None:
            self._check_terminate(self.terminate, f"{where}: terminate")
        for name, dims in (("dims", self.dims), *((f"sources.{n}.dims", d) for n, d in self.sources.items())):
            for dim in dims:
                self._check_dim(dim, f"{where}: {name} {dim.name}")

    def _check_terminate(self, terminate: Terminate, where: str) -> None:
        if self.by_frequency:
            raise ActionError(where, "a terminate field", "null: a chunk of DCT codes has no field for it")
        # RT-1's modes are an index; elsewhere two numbers of any size do.
        count = terminate.modes if terminate.modes > 2 or self.scheme == "truncated" else self.bins
        low, high = sorted((terminate.true, terminate.false))
        if low == high or high >= count:
            raise ActionError(
                where, f"{terminate.true} and {terminate.false}", f"two different numbers in 0..{count - 1}"
            )

    def _check_dim(self, dim: Dim, where: str) -> None:
        if not (math.isfinite(dim.low) and math.isfinite(dim.high) and dim.low < dim.high):
            raise ActionError(where, f"low {dim.low!r}, high {dim.high!r}", "two finite numbers, low below high")
        largest = max(abs(dim.low), abs(dim.high))
        least = 2.0**-12 * largest if self.by_frequency else max(self.bins, 256) * MIN_RELATIVE_BIN * largest
        if dim.high - dim.low < least:
            fault = f"a width of {dim.high - dim.low:.3g} between {dim.low!r} and {dim.high!r}"
            repair = "A narrower one loses bins when a value is rounded to float32; mark it constant and widen it"
            raise ActionError(where, fault, f"at least {least:.3g}", repair)
        if self.scheme in ("integer", "mu-law") and dim.low != -dim.high:
            raise ActionError(where, f"low {dim.low!r}, high {dim.high!r}", f"low = -high for the {self.scheme} scheme")

    @property
    def by_frequency(self) -> bool:
        """Whether bins are cosine coefficients of a whole chunk, frequency by frequency, not values of its steps."""
        return self.scheme in ("dct", "fast-bpe")

    @property
    def fields_per_step(self) -> int:
        """The number of integers of one step: the dimensions, and one for terminate where there is one."""
        return len(self.dims) + (self.terminate is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, with every key that differs from its default, in a fixed order."""
        out: dict[str, Any] = {"format": FORMAT, "name": self.name, "scheme": self.scheme, "bins": self.bins}
        out["terminate"] = None if self.terminate is None else terminate_to_dict(self.terminate)
        out["horizon"] = self.horizon
        if self.lead or self.first:
            out["text"] = {"lead": self.lead, "first": self.first}
        if self.options:
            defaults = {k: OPTIONS[self.scheme].get(k) for k in ("alphabet", "template")}
            out["options"] = {k: _as_json(v) for k, v in self.options.items() if k not in defaults or v != defaults[k]}
        out["vocabulary"] = {k: list(v) if isinstance(v, tuple) else v for k, v in self.vocabulary.items()}
        out["dims"] = [dim_to_dict(d) for d in self.dims]
        if self.sources:
            out["sources"] = {name: {"dims": [dim_to_dict(d) for d in dims]} for name, dims in self.sources.items()}
        if self.aliases:
            out["aliases"] = dict(self.aliases)
        return out

    def fingerprint(self) -> str:
        """Hash what decides the meaning of an action string: everything but names and the vocabulary.

        Returns:
            32 hexadecimal digits.
        """
        from hashlib import blake2b  # 2 ms to import, for OpenSSL, which an import of the tokenizer need not pay

        content = {k: v for k, v in self.to_dict().items() if k not in ("name", "vocabulary", "aliases")}
        data = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return blake2b(data.encode(), digest_size=16).hexdigest()

    def render(self) -> str:
        """Return the text of a specification file: one dimension per line, the same bytes on every machine."""
        raw = self.to_dict()
        sources = raw.pop("sources", None)
        blocks = [f"  {json.dumps(k)}: {_flat(v)}" for k, v in raw.items() if k != "dims"]
        blocks.append(f'  "dims": {_dim_lines(raw["dims"], 2)}')
        if sources:
            inner = ",\n".join(
                f'    {json.dumps(n)}: {{"dims": {_dim_lines(s["dims"], 4)}}}' for n, s in sources.items()
            )
            blocks.append(f'  "sources": {{\n{inner}\n  }}')
        return "{\n" + ",\n".join(blocks) + "\n}\n"

    def restricted(self, source: str) -> Spec:
        """Return the specification of one source: its dimensions, and no sources.

        Raises:
            ActionError: no such source.
        """
        return replace(self, dims=self.sources[self.public_name(source)], sources={}, aliases={})

    def public_name(self, source: str) -> str:
        """Return the public name of a source, given that, an alias or its short id.

        Raises:
            ActionError: no such source.
        """
        if source in self.sources:
            return source
        if source in self.aliases:
            return self.aliases[source]
        known = ", ".join(self.sources) if self.sources else "none: this tokenizer has one set of bounds"
        repair = near(source, [*self.sources, *self.aliases])
        raise ActionError(f'tokenizer "{self.name}"', f'no source "{source}"', f"one of {known}", repair)

    def with_sources(self, sources: Mapping[str, Iterable[Dim]]) -> Spec:
        """Return the specification with dimensions per source."""
        taken = {as_name(name, "sources"): plain_bounds(dims) for name, dims in sorted(sources.items())}
        return replace(self, sources=taken, aliases={}).checked()

    def with_aliases(self, aliases: Mapping[str, str]) -> Spec:
        """Return the specification with other names of its sources, each with the name that it stands for."""
        return replace(self, aliases=aliases).checked()

    def with_dims(self, dims: Iterable[Dim]) -> Spec:
        """Return the specification with other dimensions, and no sources."""
        return replace(self, dims=plain_bounds(dims), sources={}, aliases={}).checked()

    def with_horizon(self, horizon: int) -> Spec:
        """Return the specification for action chunks of `horizon` steps."""
        return replace(self, horizon=as_integer(horizon, "horizon", 1, MAX_HORIZON)).checked()

    def checked(self) -> Spec:
        """Return this specification after the checks that a file passes: through JSON and back."""
        return Spec.from_dict(self.to_dict(), f'tokenizer "{self.name}"')


def read_spec(path: str | Path, where: str = "") -> Spec:
    """Read a specification file, which errors call `where`.

    Raises:
        ActionError: when it is not JSON, not of this format, or wrong in a key.
    """
    where = where or str(path)
    raw = read_json(path, where)
    if not isinstance(raw, dict) or "format" not in raw:
        what = "a Hugging Face tokenizer" if isinstance(raw, dict) and "model" in raw else "JSON of another kind"
        raise ActionError(where, what, f'a specification with "format": "{FORMAT}"')
    return Spec.from_dict(raw, where)


def read_json(path: str | Path, where: str) -> Any:
    """Read a JSON file of a tokenizer, which errors call `where`.

    Raises:
        ActionError: when it is too large, not JSON, or holds a key twice or a number that JSON does not have.
    """
    size = os.stat(path).st_size
    if size > MAX_FILE_BYTES:
        raise ActionError(where, f"{size} bytes", f"a tokenizer specification of at most {MAX_FILE_BYTES} bytes")
    try:
        with open(path, "rb") as file:
            content = file.read()
        return json.loads(content, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as e:
        raise ActionError(where, f"not valid JSON ({e})", "a tokenizer specification") from e


def _as_json(value: Any) -> Any:
    return list(map(_as_json, value)) if isinstance(value, tuple) else value


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number in JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        raise ValueError(f"a key twice among {', '.join(k for k, _ in pairs)}")
    return out


def _flat(value: object) -> str:
    return json.dumps(value, allow_nan=False)


def _dim_lines(dims: list[dict[str, Any]], indent: int) -> str:
    pad = " " * (indent + 2)
    return "[\n" + ",\n".join(pad + _flat(d) for d in dims) + "\n" + " " * indent + "]"
