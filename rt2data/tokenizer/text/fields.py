"""The fields of an action: the layout of terminate and dimensions, in text and in arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rt2data.tokenizer import arrays
from rt2data.tokenizer.arrays import Array, Namespace
from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.schemes.fast import Merges
from rt2data.tokenizer.schemes.fast_bytes import ByteMerges
from rt2data.tokenizer.spec import Spec
from rt2data.tokenizer.spec_fields import Terminate
from rt2data.tokenizer.text.action_string import Field, MergedText, NoText, TemplateText, Text, TokenText
from rt2data.tokenizer.text.list_text import ListText

# The ids that each field of a step of the scheme "spatialvla" can hold.
SPATIALVLA = (("translation", range(4096)), ("rotation", range(4096, 8192)), ("gripper", range(8192, 8194)))

FLOATS = ("float32", "float64", "float16", "bfloat16")


def text_form(spec: Spec) -> Text | MergedText:
    """Make the text form of a specification's actions.

    Raises:
        ActionError: sources with different numbers of dimensions.
    """
    widths = {len(dims) for dims in spec.sources.values()}
    if len(widths) > 1:
        raise ActionError(
            f'tokenizer "{spec.name}"',
            "sources with different numbers of dimensions",
            "one layout",
            "Choose a source: tokenizer.for_source(name)",
        )
    if spec.scheme == "float":
        return NoText()
    if spec.scheme == "spatialvla" and spec.tokens:
        return TokenText(_fields(spec), spec.tokens, digits=5)
    if spec.lists:
        return ListText(_fields(spec), spec.lists, len(spec.dims))
    text = TokenText(_fields(spec), spec.tokens) if spec.tokens else Text(_fields(spec), spec.lead)
    merges, where = spec.options.get("merges"), f'tokenizer "{spec.name}"'
    if spec.scheme == "fast-bpe":
        in_bytes = ByteMerges(spec.bins, spec.options["alphabet"], merges or (), where)
        template = spec.options["template"]
        return TemplateText(text, in_bytes, template) if template else MergedText(text, in_bytes)
    if template := spec.options.get("template"):  # of learned ids, which are not merged
        return TemplateText(text, Merges(spec.bins, (), where), template)
    return MergedText(text, Merges(spec.bins, merges, where)) if merges else text


def _fields(spec: Spec) -> list[Field]:
    dims = next(iter(spec.sources.values()), spec.dims)
    numbers = range(spec.first, spec.first + spec.bins)
    if spec.by_frequency:
        return [Field(f"{d.name} at frequency {k}", numbers, spec.first) for k in range(spec.horizon) for d in dims]
    if spec.scheme == "learned":
        return [Field(f"id {k}", numbers, spec.first) for k in range(spec.fields_per_step)]
    if spec.scheme == "beast":
        return [Field(f"{d.name} of weight {k}", numbers, spec.first) for k in range(spec.rows) for d in dims]
    if spec.scheme == "spatialvla":
        return [Field(*held) for held in SPATIALVLA] * spec.horizon
    step = [Field(d.name, numbers, spec.first) for d in dims]
    if spec.terminate is not None:
        step.insert(0, Field("terminate", spec.terminate.symbols))
    return step * spec.horizon


def source_of(sample: Mapping[str, Any]) -> str:
    """Return the source of a robot sample (its JSON).

    Raises:
        ActionError: a sample without source or tokenizer.
    """
    source, written = sample.get("source"), sample.get("tokenizer")
    if not isinstance(source, str) or not isinstance(written, str):
        fault = f"source {source!r}, tokenizer {written!r}"
        raise ActionError(f"sample {sample.get('key', '?')}", fault, "a robot sample, with tokenizer and source")
    return source


def check_written_with(sample: Mapping[str, Any], fingerprint: str) -> None:
    """Check that a robot sample was written with the tokenizer of a fingerprint.

    Raises:
        ActionError: another tokenizer, or none.
    """
    source_of(sample)
    if sample["tokenizer"] != fingerprint:
        fault, expected = f"written with the tokenizer {sample['tokenizer']}", f"this one, {fingerprint}"
        repair = "Load the tokenizer.json that lies beside the sample's shards"
        raise ActionError(f"sample {sample.get('key', '?')}", fault, expected, repair)


def several_sources(spec: Spec) -> ActionError:
    """Make the error of a tokenizer that is used as if it had one set of bounds."""
    fault = f"bounds for the sources {', '.join(spec.sources)}"
    repair = "Choose a source: tokenizer.for_source(name)"
    return ActionError(f'tokenizer "{spec.name}"', fault, "one set of bounds", repair)


def check_actions(spec: Spec, xp: Namespace, x: Array, validate: bool) -> tuple[int, ...]:
    """Check dtype, shape and (with `validate`) values of actions (..., D) or (..., horizon, D).

    Returns:
        The leading shape.

    Raises:
        ActionError: another dtype than FLOATS, another width, NaN or infinity.
    """
    name = arrays.dtype_name(x)
    if name not in FLOATS:
        raise ActionError("actions", f"dtype {name}", f"one of {', '.join(FLOATS)}")
    tail = (len(spec.dims),) if spec.horizon == 1 else (spec.horizon, len(spec.dims))
    shape = tuple(x.shape)
    if shape[len(shape) - len(tail) :] != tail:
        names = " ".join(d.name for d in spec.dims[:16])
        raise ActionError("actions", f"shape {shape}", f"(..., {', '.join(map(str, tail))}): {names}")
    if validate and not bool(xp.all(xp.isfinite(x))):
        wrong = np.argwhere(~np.isfinite(arrays.to_numpy(x).astype(np.float64)))
        where = tuple(int(i) for i in wrong[0])
        count = "1 value is" if len(wrong) == 1 else f"{len(wrong)} values are"
        raise ActionError(
            "actions", f"{count} NaN or infinite, the first at {where} ({spec.dims[where[-1]].name})", "finite numbers"
        )
    return shape[: len(shape) - len(tail)]


def add_terminate(spec: Spec, xp: Namespace, cells: Array, given: Array) -> Array:
    """Put the terminate field, where a scheme has it, before the bins of each step.

    Args:
        spec: the specification.
        xp: the array library.
        cells: the bins, int32 (..., D).
        given: the flags, a bool or an array (...); for RT-1's field also the integer mode; None without the field.

    Returns:
        int32 (..., D + 1), or `cells`.

    Raises:
        ActionError: no flags, flags without the field, another shape, another dtype, a mode out of range.
    """
    terminate = spec.terminate
    if terminate is None:
        if given is not None:
            expected = f'nothing: the tokenizer "{spec.name}" has no such field'
            raise ActionError("terminate", "given", expected, "Leave it out")
        return cells
    shape = tuple(cells.shape[:-1])
    if given is None:
        raise ActionError("terminate", "not given", "a bool per step", "Pass False where the episode goes on")
    flags: Array
    if isinstance(given, bool):
        flags = terminate.true if given else terminate.false
        if xp is not np:
            flags = xp.zeros_like(cells[..., 0]) + flags
    else:
        flags = _symbols(terminate, xp, np.asarray(given) if xp is np else given, shape)
    if xp is np:
        bins = np.empty((*shape, cells.shape[-1] + 1), np.int32)
        bins[..., 0], bins[..., 1:] = flags, cells
        return bins
    return xp.concat([flags[..., None], cells], axis=-1)


def _symbols(terminate: Terminate, xp: Namespace, flags: Array, shape: tuple[int, ...]) -> Array:
    """Turn bools, or the modes of RT-1, into the numbers of field 0."""
    if tuple(flags.shape) != shape:
        raise ActionError("terminate", f"shape {tuple(flags.shape)}", f"{shape}, one for each step of the actions")
    name = arrays.dtype_name(flags)
    if name == "bool":
        return terminate.false + arrays.cast(xp, flags, "int32") * (terminate.true - terminate.false)
    if "int" not in name or terminate.modes == 2:
        raise ActionError("terminate", f"dtype {name}", "bool" if terminate.modes == 2 else "bool, or the integer mode")
    if not bool(xp.all((flags >= 0) & (flags < terminate.modes))):
        raise ActionError("terminate", "a mode out of range", f"modes in 0..{terminate.modes - 1}")
    return arrays.cast(xp, flags, "int32")


def check_bins(spec: Spec, text: Text | MergedText, xp: Namespace, bins: Array) -> None:
    """Check that each field can hold its bin: bins (..., fields). Only wrong bins are copied to the host.

    Raises:
        ActionError: naming the field and the bin.
    """
    if xp is np:
        text.check(bins)
        return
    step = text.fields[: spec.fields_per_step]
    low = arrays.constant(xp, np.array([f.bins[0] for f in step] * spec.rows, np.int32), bins)
    high = arrays.constant(xp, np.array([f.bins[-1] for f in step] * spec.rows, np.int32), bins)
    dense = all(f.dense for f in step)
    if not dense or not bool(xp.all((bins >= low) & (bins <= high))):
        text.check(arrays.to_numpy(bins))


def parse_texts(form: Text | MergedText, text: str | Sequence[Any]) -> list[Any]:
    """Parse a string into its bins, and a list of strings, nested to any depth, into a list.

    Raises:
        ActionError: neither.
        ActionParseError: a string that is not an action.
    """
    if isinstance(text, (list, tuple)):
        return [parse_texts(form, inner) for inner in text]
    if not isinstance(text, str):
        raise ActionError("text", f"a {type(text).__name__}", "a string or a list of strings")
    return form.parse(text)


def split_steps(spec: Spec, text: Text | MergedText | None, xp: Namespace, bins: Array) -> Array:
    """Check bins (..., fields), of any library or a list, and give each step of a chunk an axis of its own.

    Args:
        spec: their specification.
        text: its text form; None takes bins that their field cannot hold.
        xp: the namespace of `bins`.
        bins: as in `ActionTokenizer.decode`.

    Returns:
        (..., fields), or (..., rows, fields per step) for a horizon > 1; a row is a step, or a weight of a curve.

    Raises:
        ActionError: another shape or dtype, or a bin that its field cannot hold.
    """
    bins = np.asarray(bins) if xp is np else bins
    count = spec.rows * spec.fields_per_step
    if len(bins.shape) == 0 or bins.shape[-1] != count:
        raise ActionError("bins", f"shape {tuple(bins.shape)}", f"(..., {count}): {text_form(spec).describe()}")
    if "int" not in arrays.dtype_name(bins):
        raise ActionError("bins", f"dtype {arrays.dtype_name(bins)}", "integers")
    if text is not None:
        check_bins(spec, text, xp, bins)
    return bins if spec.horizon == 1 else xp.reshape(bins, (*bins.shape[:-1], spec.rows, spec.fields_per_step))


def terminate_flags(spec: Spec, bins: Array) -> Array:
    """Return where field 0 of bins (..., fields per step) means terminate, bool (...); None for a scheme without it.

    RT-1 reads a number beyond its modes, which only unchecked bins hold, as 0.
    """
    terminate = spec.terminate
    if terminate is None:
        return None
    symbols = bins[..., 0]
    flags = symbols == terminate.true
    return flags | (symbols >= terminate.modes) if spec.scheme == "truncated" and terminate.true == 0 else flags
