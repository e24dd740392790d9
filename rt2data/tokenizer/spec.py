"""The specification of a tokenizer: what a file in ``tokenizers/`` or a mixture's ``tokenizer.json`` holds.

A specification is data: names, numbers and short strings. Reading one runs no code, and every key and number is
checked. ``schemas/tokenizer.json`` describes the same format for other tools.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rt2data.errors import near
from rt2data.tokenizer import json_checks
from rt2data.tokenizer.errors import ActionError

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = "rt2data.tokenizer/1"

# The schemes, and the options each one takes with their defaults. The rule of each is in schemes.py (dct: fast.py).
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "uniform": {},
    "truncated": {},
    "integer": {},
    "openvla": {},
    "octo-uniform": {},
    "octo-normal": {},
    "rounded": {},
    "mu-law": {"mu": 100.0},
    "dct": {"scale": 10.0, "min_code": -354, "merges": ()},
}

# Where bins lie among the ids of a language model, and the keys that each placement takes. See vocabulary.py.
PLACEMENTS: Mapping[str, frozenset[str]] = {
    "text": frozenset({"ids_per_action"}),
    "tail": frozenset({"skip", "size"}),
    "from": frozenset({"first", "size"}),
    "least_used": frozenset(),
    "ids": frozenset({"ids", "size"}),
}

MAX_BINS = 65536
MAX_DIMS = 4096
MAX_HORIZON = 4096
MAX_FIELDS = 65536
MAX_DCT_HORIZON = 1024
MAX_FILE_BYTES = 64 << 20

# A bin of the narrowest allowed dimension is 2**-20 of its largest bound wide, 16 times the step of float32 there, so
# that every bin's centre survives the rounding to float32. For 256 bins: a width of 2**-12 of the largest bound.
MIN_RELATIVE_BIN = 2.0**-20


@dataclass(frozen=True, slots=True)
class Dim:
    """One dimension of an action: values from `low` to `high`, in `unit`.

    `constant` marks a dimension that never moved in the data its bounds were measured on.
    """

    name: str
    low: float
    high: float
    unit: str = ""
    constant: bool = False


@dataclass(frozen=True, slots=True)
class Terminate:
    """Field 0 of an action: the number that ends the episode (`true`) and the one that goes on (`false`).

    `modes` is how many numbers the field can hold. RT-1-X has three: terminate, arm and gripper, base.
    """

    true: int
    false: int
    modes: int = 2

    @property
    def symbols(self) -> tuple[int, ...]:
        return tuple(range(self.modes)) if self.modes > 2 else tuple(sorted((self.true, self.false)))


@dataclass(frozen=True, slots=True)
class Spec:
    """A checked specification. `of` reads one from JSON, `to_dict` writes it.

    Attributes:
        lead: the text before the first field ("" or " ").
        first: the number that is written for bin 0.
        vocabulary: where bins lie among a model's token ids; no part of the fingerprint.
        options: the options of the scheme.
        sources: the dimensions of each source of a mixture, by source id in sorted order; empty for one source.
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

    @classmethod
    def of(cls, raw: Mapping[str, Any], where: str) -> Spec:
        """Check the JSON form of a specification.

        Raises:
            ActionError: naming the key at fault.
        """
        json_checks.keys(
            raw,
            where,
            {"format", "name", "scheme", "bins", "dims"},
            {"horizon", "terminate", "text", "vocabulary", "options", "sources"},
        )
        if raw["format"] != FORMAT:
            raise ActionError(f"{where}: format", repr(raw["format"]), f'"{FORMAT}"')
        scheme = raw["scheme"]
        if not isinstance(scheme, str) or scheme not in OPTIONS:
            raise ActionError(
                f"{where}: scheme", repr(scheme), f"one of {', '.join(OPTIONS)}", near(str(scheme), OPTIONS)
            )
        text = raw.get("text", {})
        json_checks.keys(text, f"{where}: text", set(), {"lead", "first"})
        spec = cls(
            name=json_checks.name(raw["name"], f"{where}: name"),
            scheme=scheme,
            bins=json_checks.integer(raw["bins"], f"{where}: bins", 2, MAX_BINS),
            horizon=json_checks.integer(raw.get("horizon", 1), f"{where}: horizon", 1, MAX_HORIZON),
            terminate=_terminate(raw.get("terminate"), f"{where}: terminate"),
            dims=_dims(raw["dims"], f"{where}: dims"),
            lead=text.get("lead", ""),
            first=json_checks.integer(text.get("first", 0), f"{where}: text.first", -MAX_BINS, 0),
            vocabulary=_vocabulary(raw.get("vocabulary", {"place": "text"}), f"{where}: vocabulary"),
            options=_options(scheme, raw.get("options", {}), f"{where}: options"),
            sources={
                json_checks.name(name, f"{where}: sources"): _dims(
                    _source(entry, f"{where}: sources.{name}"), f"{where}: sources.{name}.dims"
                )
                for name, entry in sorted(json_checks.mapping(raw.get("sources", {}), f"{where}: sources").items())
            },
        )
        spec.check(where)
        return spec

    def check(self, where: str) -> None:
        """What depends on more than one key. Raises ActionError."""
        for dims in (self.dims, *self.sources.values()):
            if self.horizon * (len(dims) + 1) > MAX_FIELDS:
                raise ActionError(
                    where, f"{self.horizon} steps of {len(dims)} dimensions", f"at most {MAX_FIELDS} fields"
                )
        if self.scheme == "dct" and self.horizon > MAX_DCT_HORIZON:
            raise ActionError(f"{where}: horizon", str(self.horizon), f"at most {MAX_DCT_HORIZON} steps for dct")
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
        if self.scheme == "dct":
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
        least = max(self.bins, 256) * MIN_RELATIVE_BIN * largest if self.scheme != "dct" else 2.0**-12 * largest
        if dim.high - dim.low < least:
            found = f"a width of {dim.high - dim.low:.3g} between {dim.low!r} and {dim.high!r}"
            repair = "A narrower one loses bins when a value is rounded to float32; mark it constant and widen it"
            raise ActionError(where, found, f"at least {least:.3g}", repair)
        if self.scheme in ("integer", "mu-law") and dim.low != -dim.high:
            raise ActionError(where, f"low {dim.low!r}, high {dim.high!r}", f"low = -high for the {self.scheme} scheme")

    @property
    def fields_per_step(self) -> int:
        """Dimensions, and one for terminate where there is one."""
        return len(self.dims) + (self.terminate is not None)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, with every key that differs from its default, in a fixed order."""
        out: dict[str, Any] = {"format": FORMAT, "name": self.name, "scheme": self.scheme, "bins": self.bins}
        out["terminate"] = None if self.terminate is None else _terminate_dict(self.terminate)
        out["horizon"] = self.horizon
        if self.lead or self.first:
            out["text"] = {"lead": self.lead, "first": self.first}
        if self.options:
            out["options"] = {k: list(map(list, v)) if k == "merges" else v for k, v in self.options.items()}
        out["vocabulary"] = {k: list(v) if isinstance(v, tuple) else v for k, v in self.vocabulary.items()}
        out["dims"] = [_dim_dict(d) for d in self.dims]
        if self.sources:
            out["sources"] = {name: {"dims": [_dim_dict(d) for d in dims]} for name, dims in self.sources.items()}
        return out

    def fingerprint(self) -> str:
        """32 hexadecimal digits over what decides the meaning of a string: everything but the name and the
        vocabulary.
        """
        from hashlib import blake2b  # 2 ms to import, for OpenSSL, which an import of the tokenizer need not pay

        content = {k: v for k, v in self.to_dict().items() if k not in ("name", "vocabulary")}
        data = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return blake2b(data.encode(), digest_size=16).hexdigest()

    def render(self) -> str:
        """The text of a specification file: the same bytes on every machine, one dimension per line, newline at the
        end.
        """
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
        """The specification of one source: its dimensions, and no sources."""
        if source not in self.sources:
            known = ", ".join(self.sources) if self.sources else "none: this tokenizer has one set of bounds"
            raise ActionError(
                f'tokenizer "{self.name}"', f'no source "{source}"', f"one of {known}", near(source, self.sources)
            )
        return replace(self, dims=self.sources[source], sources={})

    def with_sources(self, sources: Mapping[str, Iterable[Dim]]) -> Spec:
        taken = {json_checks.name(name, "sources"): _dim_tuple(dims) for name, dims in sorted(sources.items())}
        return replace(self, sources=taken).checked()

    def with_dims(self, dims: Iterable[Dim]) -> Spec:
        return replace(self, dims=_dim_tuple(dims), sources={}).checked()

    def with_horizon(self, horizon: int) -> Spec:
        return replace(self, horizon=json_checks.integer(horizon, "horizon", 1, MAX_HORIZON)).checked()

    def checked(self) -> Spec:
        """This specification after the checks that a file passes: through JSON and back."""
        return Spec.of(self.to_dict(), f'tokenizer "{self.name}"')


def read(path: str | Path, where: str = "") -> Spec:
    """Read a specification file, which errors call `where`.

    Raises:
        ActionError: when it is not JSON, not of this format, or wrong in a key.
    """
    where = where or str(path)
    size = os.stat(path).st_size
    if size > MAX_FILE_BYTES:
        raise ActionError(where, f"{size} bytes", f"a tokenizer specification of at most {MAX_FILE_BYTES} bytes")
    try:
        with open(path, "rb") as file:
            content = file.read()
        raw = json.loads(content, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as e:
        raise ActionError(where, f"not valid JSON ({e})", "a tokenizer specification") from e
    if not isinstance(raw, dict) or "format" not in raw:
        what = "a Hugging Face tokenizer" if isinstance(raw, dict) and "model" in raw else "JSON of another kind"
        raise ActionError(where, what, f'a specification with "format": "{FORMAT}"')
    return Spec.of(raw, where)


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number in JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        raise ValueError(f"a key twice among {', '.join(k for k, _ in pairs)}")
    return out


def _terminate(raw: object, where: str) -> Terminate | None:
    if raw is None:
        return None
    json_checks.keys(raw, where, {"true", "false"}, {"modes"})
    entry = json_checks.mapping(raw, where)
    return Terminate(
        json_checks.integer(entry["true"], f"{where}.true", 0, MAX_BINS),
        json_checks.integer(entry["false"], f"{where}.false", 0, MAX_BINS),
        json_checks.integer(entry.get("modes", 2), f"{where}.modes", 2, 16),
    )


def _terminate_dict(terminate: Terminate) -> dict[str, int]:
    out = {"true": terminate.true, "false": terminate.false}
    return out | {"modes": terminate.modes} if terminate.modes > 2 else out


def _dims(raw: object, where: str) -> tuple[Dim, ...]:
    if not isinstance(raw, Sequence) or isinstance(raw, str) or not 1 <= len(raw) <= MAX_DIMS:
        raise ActionError(where, repr(raw)[:60], f"a list of 1 to {MAX_DIMS} dimensions")
    dims = []
    for index, entry in enumerate(raw):
        here = f"{where}[{index}]"
        json_checks.keys(entry, here, {"name", "low", "high"}, {"unit", "constant"})
        unit, constant = entry.get("unit", ""), entry.get("constant", False)
        if not isinstance(unit, str) or len(unit) > 40 or not isinstance(constant, bool):
            raise ActionError(here, f"unit {unit!r}, constant {constant!r}", "a short string and true or false")
        name = json_checks.name(entry["name"], f"{here}.name")
        dims.append(
            Dim(
                name,
                json_checks.number(entry["low"], f"{here}.low"),
                json_checks.number(entry["high"], f"{here}.high"),
                unit,
                constant,
            )
        )
    if len({d.name for d in dims}) < len(dims):
        raise ActionError(where, f"a name twice among {', '.join(d.name for d in dims)[:200]}", "names that differ")
    return tuple(dims)


def _dim_tuple(dims: Iterable[Dim]) -> tuple[Dim, ...]:
    return tuple(
        replace(d, low=json_checks.number(d.low, f"{d.name}.low"), high=json_checks.number(d.high, f"{d.name}.high"))
        for d in dims
    )


def _dim_dict(dim: Dim) -> dict[str, Any]:
    out: dict[str, Any] = {"name": dim.name, "low": dim.low, "high": dim.high}
    if dim.unit:
        out["unit"] = dim.unit
    return out | {"constant": True} if dim.constant else out


def _source(raw: object, where: str) -> object:
    json_checks.keys(raw, where, {"dims"}, set())
    return json_checks.mapping(raw, where)["dims"]


def _vocabulary(raw: object, where: str) -> dict[str, Any]:
    entry = json_checks.mapping(raw, where)
    place = entry.get("place")
    if not isinstance(place, str) or place not in PLACEMENTS:
        raise ActionError(f"{where}.place", repr(place), f"one of {', '.join(PLACEMENTS)}")
    json_checks.keys(entry, where, {"place"}, set(PLACEMENTS[place]))
    out: dict[str, Any] = {"place": place}
    for key in ("ids_per_action", "skip", "first", "size"):
        if key in entry:
            out[key] = json_checks.integer(entry[key], f"{where}.{key}", 0, 1 << 31)
    if "ids" in entry:
        if not isinstance(entry["ids"], Sequence) or len(entry["ids"]) > MAX_BINS:
            raise ActionError(f"{where}.ids", repr(entry["ids"])[:60], "a list of token ids")
        out["ids"] = tuple(json_checks.integer(i, f"{where}.ids", 0, 1 << 31) for i in entry["ids"])
        if len(set(out["ids"])) < len(out["ids"]):
            raise ActionError(f"{where}.ids", "a token id twice", "ids that differ")
    return out


def _options(scheme: str, raw: object, where: str) -> dict[str, Any]:
    entry, defaults = json_checks.mapping(raw, where), OPTIONS[scheme]
    json_checks.keys(entry, where, set(), set(defaults))
    out: dict[str, Any] = dict(defaults)
    for key in ("mu", "scale"):
        if key in entry:
            out[key] = json_checks.number(entry[key], f"{where}.{key}")
        if key in out and out[key] <= 0:
            raise ActionError(f"{where}.{key}", repr(out[key]), "a number above 0")
    if "min_code" in entry:
        out["min_code"] = json_checks.integer(entry["min_code"], f"{where}.min_code", -MAX_BINS, 0)
    if "merges" in entry:
        merges = entry["merges"]
        pairs = isinstance(merges, Sequence) and all(isinstance(m, Sequence) and len(m) == 2 for m in merges)
        if not pairs or len(merges) > MAX_BINS:
            raise ActionError(f"{where}.merges", repr(merges)[:60], "a list of pairs of ids")
        out["merges"] = tuple(tuple(json_checks.integer(i, f"{where}.merges", 0, 1 << 31) for i in m) for m in merges)
    return out


def _flat(value: object) -> str:
    return json.dumps(value, allow_nan=False)


def _dim_lines(dims: list[dict[str, Any]], indent: int) -> str:
    pad = " " * (indent + 2)
    return "[\n" + ",\n".join(pad + _flat(d) for d in dims) + "\n" + " " * indent + "]"
