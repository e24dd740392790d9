"""The specification of a tokenizer whose bounds are those of a statistics file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rt2data.tokenizer.json_checks import NAME
from rt2data.tokenizer.loading import load_spec
from rt2data.tokenizer.spec import Spec
from rt2data.tokenizer.spec_fields import Dim
from rt2data.tokenizer.statistics.files import read_statistics
from rt2data.tokenizer.statistics.stacks import STACKS
from rt2data.tokenizer.statistics.values import Statistics

if TYPE_CHECKING:
    from pathlib import Path


def statistics_spec(
    path: str | Path,
    key: str | None = None,
    *,
    spec: str = "",
    bounds: str = "",
    names: Sequence[str] = (),
) -> Spec:
    """Make a specification from a statistics file; the arguments are those of `ActionTokenizer.from_statistics`.

    Raises:
        ActionError: a file, a key or bounds that cannot be used.
    """
    statistics = read_statistics(path, key)
    base = load_spec(spec or STACKS[statistics.stack].spec)
    if names:
        statistics.check_width(len(names), " ".join(names))
    known = [names, statistics.names, [dim.name for dim in base.dims]]
    fitting = (n for n in known if len(n) == len(set(n)) == statistics.dims and all(map(NAME.fullmatch, n)))
    generic = [f"dim_{i}" for i in range(statistics.dims)]
    return base.with_dims(dims_of(statistics, next(fitting, generic), bounds))


def dims_of(statistics: Statistics, names: Sequence[str], bounds: str = "") -> list[Dim]:
    """Make the dimensions of a tokenizer, one for each of the D of `statistics`, in their order.

    A dimension that the mask leaves as it is has the bounds -1 and 1, between which its stack tokenizes it. One whose
    bounds are one value is marked constant, and its bounds lie around the value.

    Args:
        statistics: (D,).
        names: D names.
        bounds: of `stacks.BOUNDS`; "": those of the stack.

    Raises:
        ActionError: no such bounds, or statistics of each step of a chunk.
    """
    statistics.check_one_set()
    lows, highs = statistics.bounds(bounds)
    dims = []
    for i, (name, low, high) in enumerate(zip(names, lows.tolist(), highs.tolist(), strict=True)):
        if statistics.mask is not None and not statistics.mask[i]:
            dims.append(Dim(name, -1.0, 1.0))
        elif low == high:
            margin = max(1e-6, 1e-3 * abs(low))
            dims.append(Dim(name, low - margin, high + margin, constant=True))
        else:
            dims.append(Dim(name, low, high))
    return dims
