"""The fields of an action: how a specification lays out terminate and dimensions, in text and in arrays."""

from __future__ import annotations

import numpy as np

from rt2data.tokenizer import arrays
from rt2data.tokenizer.arrays import Array, Namespace
from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.schemes.fast import Merges
from rt2data.tokenizer.spec import Spec, Terminate
from rt2data.tokenizer.text.action_string import Field, MergedText, Text

FLOATS = ("float32", "float64", "float16", "bfloat16")


def text_of(spec: Spec) -> Text | MergedText:
    """The text form of a specification's actions; refused where its sources have layouts of their own."""
    widths = {len(dims) for dims in spec.sources.values()}
    if len(widths) > 1:
        raise ActionError(
            f'tokenizer "{spec.name}"',
            "sources with different numbers of dimensions",
            "one layout",
            "Choose a source: tokenizer.for_source(name)",
        )
    text = Text(_fields(spec), spec.lead)
    merges = spec.options.get("merges")
    return MergedText(text, Merges(spec.bins, merges, f'tokenizer "{spec.name}"')) if merges else text


def _fields(spec: Spec) -> list[Field]:
    dims = next(iter(spec.sources.values()), spec.dims)
    numbers = range(spec.first, spec.first + spec.bins)
    if spec.scheme == "dct":
        return [Field(f"{d.name} at frequency {k}", numbers, spec.first) for k in range(spec.horizon) for d in dims]
    step = [Field(d.name, numbers, spec.first) for d in dims]
    if spec.terminate is not None:
        step.insert(0, Field("terminate", spec.terminate.symbols))
    return step * spec.horizon


def check_actions(spec: Spec, xp: Namespace, x: Array, validate: bool) -> tuple[int, ...]:
    """Check dtype, shape and (with `validate`) values of actions; return the leading shape."""
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


def add_terminate(terminate: Terminate, xp: Namespace, cells: Array, given: Array) -> Array:
    """Put field 0 before the bins of each step: cells (..., D) and flags (...) to (..., D + 1)."""
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
    """Bools, or the modes of RT-1, as the numbers of field 0."""
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
    """Raise ActionError for a bin that its field cannot hold. Only what is wrong is copied to the host."""
    if xp is np:
        text.check(bins)
        return
    step = text.fields[: spec.fields_per_step]
    low = arrays.constant(xp, np.array([f.bins[0] for f in step] * spec.horizon, np.int32), bins)
    high = arrays.constant(xp, np.array([f.bins[-1] for f in step] * spec.horizon, np.int32), bins)
    dense = all(f.dense for f in step)
    if not dense or not bool(xp.all((bins >= low) & (bins <= high))):
        text.check(arrays.to_numpy(bins))


def stops(spec: Spec, symbols: Array) -> Array:
    """Which numbers of field 0 mean terminate. RT-1 takes a number beyond its modes, which only unchecked bins hold,
    for 0.
    """
    terminate = spec.terminate
    if terminate is None:
        return None
    found = symbols == terminate.true
    return found | (symbols >= terminate.modes) if spec.scheme == "truncated" and terminate.true == 0 else found
