"""Identity: each id of an episode or example once in a source."""

from __future__ import annotations

from typing import Any

import numpy as np

from rt2data import index
from rt2data.errors import Rt2dataError
from rt2data.index import keys
from rt2data.recipes import filters
from rt2data.samples import filters as row_filters
from rt2data.samples.job import Job

LISTED = 100  # duplicates that an error lists


def refuse_duplicates(job: Job, number: int) -> None:
    """Raise where two episodes or examples of a source have one id, listing the places of each.

    Episodes that the filter for duplicates leaves out do not count. Memory: 16 bytes an id, and the names of double
    ones alone.
    """
    parts = [p for p in job.parts if p.source == number]
    heads = np.concatenate([np.empty(0, np.uint64), *(_heads(job.table(part))[0] for part in parts)])
    heads.sort()
    double = np.unique(heads[1:][heads[1:] == heads[:-1]])
    del heads
    places: dict[str, list[str]] = {}
    for part in parts if len(double) else ():
        table = job.table(part)
        own, rows = _heads(table)
        codes, names = index.codes(table, "episode")
        for position in np.flatnonzero(np.isin(own, double)).tolist():
            name = str(names[codes[rows[position]]])
            member, start = part.member(int(rows[position]))
            number_there = position - int(np.searchsorted(rows, start))
            places.setdefault(name, []).append(f"{part.split} {member}[{number_there}]")
    places = {name: found for name, found in places.items() if len(found) > 1}  # the heads of two ids may be equal
    if not places:
        return
    source = job.recipe.sources[number]
    word = "episode" if source.declaration.kind == "robot" else "example"
    listed = "".join(f"\n  {name}: {' and '.join(found[:4])}" for name, found in list(places.items())[:LISTED])
    listed += f"\n  and {len(places) - LISTED:,} more" if len(places) > LISTED else ""
    several = len({p.split for p in parts}) > 1
    repair = "take only one of the dataset's splits with splits:" if several else "remove the second ones from the data"
    equal = "Leave those of equal content out with filters: {duplicate_episode: false}, or "
    repair = equal + repair if word == "episode" else repair[0].upper() + repair[1:]
    found = f"{source.declaration.name} has {len(places):,} {word}{'s' if len(places) > 1 else ''} twice"
    raise Rt2dataError(source.where, found, f"each id once; these are double:{listed}\n", repair)


def _heads(table: Any) -> tuple[keys.U64, np.ndarray[Any, np.dtype[np.int64]]]:
    """The first 8 bytes of each id's digest, and the row where the episode or example begins."""
    begins = index.numbers(table, "step") == 0
    if row_filters.DOUBLE in table.column_names:
        bit = filters.DUPLICATES["duplicate_episode"]
        begins &= index.numbers(table, row_filters.DOUBLE) & bit == 0
    rows = np.flatnonzero(begins)
    units = index.units(table)[rows].view(np.uint8).reshape(-1, 10)
    return np.ascontiguousarray(units[:, :8]).view(">u8").reshape(-1).astype(np.uint64), rows
