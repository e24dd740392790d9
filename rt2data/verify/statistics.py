"""`statistics.json` compared with the steps in the shards, by exact sums in plain integers and a replay of episodes."""

from __future__ import annotations

import math
import struct
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from rt2data.verify.ledger import hash_of
from rt2data.verify.reference import drift
from rt2data.verify.reference.keys import Key
from rt2data.verify.reference.tokenizer import Reference, float32
from rt2data.verify.report import Check, Report
from rt2data.verify.spill import Records, groups

Json = dict[str, Any]
Row = Sequence[float]

_UNIT = 149  # every float32 is a whole multiple of 2**-149
_QUANTILES = {"q01": Fraction(0.01), "median": Fraction(0.5), "q99": Fraction(0.99)}
_SHARES = {"p50": 0.5, "p90": 0.9, "max": 1.0}


class TrainSums:
    """Sums over the train steps of one source, or of those that share bounds, each step once.

    Args:
        stats: the source's ``train`` (or ``shared``) in statistics.json, whose quantiles are counted against.
        dims: number of dimensions; of chunks with statistics per step, those of all steps.
        fields: number of bins of a step; 0 where bins are not counted.
        bins: bins of a dimension.
        outer: which quantiles ``q_low`` and ``q_high`` are, where the statistics have them.
    """

    def __init__(
        self, stats: Json, dims: int, fields: int, bins: int, outer: tuple[float, float] | None = None
    ) -> None:
        self.stats, self.count = stats, 0
        named = _QUANTILES | (dict(zip(("q_low", "q_high"), outer, strict=True)) if outer else {})
        self.quantiles = {name: Fraction(q) for name, q in named.items()}
        self.low, self.high = [math.inf] * dims, [-math.inf] * dims
        self.sums, self.squares = [0] * dims, [0] * dims
        self.clipped = [0] * dims
        self.bins = [[0] * bins for _ in range(fields)]
        # Per quantile and dimension, how many values are below it, and how many are at most it.
        self.below = {name: [[0, 0] for _ in range(dims)] for name in self.quantiles}

    def add(self, action: list[float], coded: list[tuple[list[int], list[bool]]]) -> None:
        """Add a step: D float32 values; its bins, and which values lie outside the bounds (`Reference.steps`)."""
        self.count += 1
        for i, x in enumerate(action):
            self.low[i], self.high[i] = min(self.low[i], x), max(self.high[i], x)
            whole = int(math.ldexp(x, _UNIT))
            self.sums[i] += whole
            self.squares[i] += whole * whole
        for bins, clipped in coded:
            for i, outside in enumerate(clipped):
                self.clipped[i] += outside
            for row, b in zip(self.bins, bins, strict=True):
                if b < len(row):
                    row[b] += 1
        for name, counts in self.below.items():
            for pair, x, edge in zip(counts, action, self.stats[name], strict=True):
                pair[0] += x < edge
                pair[1] += x <= edge


class DriftCheck:
    """The drifts that a manifest states, against a replay of the samples: `add` takes one sample, `finish` compares.

    The actions of samples are kept in a temporary file for each source, 16 bytes a number, and read episode by episode
    when every sample was seen. Memory: some 40 bytes an episode.

    Attributes:
        sources: the replay of each source that is replayed, by its public name; filled before the first sample.
    """

    def __init__(self) -> None:
        self.sources: dict[str, SourceReplay] = {}
        self.rows = Records(unit=8, step=4, source=2, at=8)

    def add(self, sample: Json, key: Key, bins: list[int]) -> None:
        """Keep the actions of a train sample, the first copy and the first paraphrase of its step."""
        source = self.sources.get(key.source)
        if source is not None and len(sample["units"]) == len(source.reference.dims):
            self.rows.add(hash_of(key.unit), key.step, list(self.sources).index(key.source), source.count)
            source.keep(sample, bins)

    def finish(self, check: Check) -> None:
        """Replay the episodes, and compare."""
        sources = list(self.sources.values())
        for part in self.rows.ranges():
            for rows in groups(part, "unit") if len(part) else ():
                sources[int(rows[0]["source"])].replay([(int(row["step"]), int(row["at"])) for row in rows])
        for name, source in self.sources.items():
            source.compare(f"manifest.json {name} drift", check)


class SourceReplay:
    """The actions of a source's train samples, and the errors of its episodes.

    Args:
        entry: the source's entry in the manifest, with a drift.
        reference: the tokenizer of its actions.
    """

    def __init__(self, entry: Json, reference: Reference) -> None:
        self.entry, self.reference, self.units, self.count = entry, reference, [""], 0
        self.file = tempfile.TemporaryFile()  # noqa: SIM115  # closed with this object
        steps, size = reference.horizon, reference.horizon * len(reference.dims)
        self.record = struct.Struct(f"<{2 * size}d{size + steps}?")  # stored, decoded, clipped, valid
        self.errors: dict[str, list[float]] = {}
        self.clipped: list[bool] = []

    def keep(self, sample: Json, bins: list[int]) -> None:
        """Keep the actions of a sample, as number `count`."""
        self.units = sample["units"]
        stored = [float32(value) for value in sample["action"]]
        decoded, outside = self.reference.decode(bins)[0], self.reference.clipped(stored)
        if self.reference.of_chunks:  # a code that is clipped bends all steps of its chunk
            width = len(self.units)
            outside = [any(outside[i % width :: width]) for i in range(len(stored))]
        self.file.write(self.record.pack(*stored, *decoded, *outside, *sample["action_valid"]))
        self.count += 1

    def replay(self, rows: list[tuple[int, int]]) -> None:
        """Replay an episode: step and number of each of its samples, by step."""
        seconds = self.entry["stride"] / self.entry["control_hz"] if self.entry["control_hz"] else 0.0
        names = [str(dim["name"]) for dim in self.reference.dims]
        replay = drift.Replay(names, self.units, self.entry["drift"], seconds)
        stored, decoded, outside = self._steps(rows)
        if stored:
            self.clipped.append(any(step[i] for step in outside for i in replay.followed))
            for name, value in replay.errors(stored, decoded).items():
                self.errors.setdefault(name, []).append(value)

    def compare(self, where: str, check: Check) -> None:
        """Compare the manifest's drift with that of all episodes."""
        stated, count, hit = self.entry["drift"], len(self.clipped), sum(self.clipped)
        check.expect(stated["episodes"] == count, where, f"{stated['episodes']} episodes", f"{count}, replayed")
        check.expect(stated["clipped"] == hit, where, f"{stated['clipped']} clipped", f"{hit}, by the samples")
        said = {name: stated[name] for name in ("position_mm", "rotation_deg") if stated[name]}
        said |= {f"unit {unit}": quantiles for unit, quantiles in stated["others"].items()}
        found, expected = f"errors of {', '.join(sorted(said))}", f"errors of {', '.join(sorted(self.errors))}"
        if not check.expect(said.keys() == self.errors.keys(), where, found, expected):
            return
        for name, values in self.errors.items():
            values.sort()
            for share, q in _SHARES.items():
                number, exact = said[name][share], drift.quantile(values, q)
                # Half of the fourth digit is at most 5e-4 of a number, and nothing is stated below 1e-6.
                near = abs(number - exact) <= 5.1e-4 * exact + 1e-6
                check.expect(near, where, f"{name} {share} {number!r}", f"{exact:.4g}, replayed from the samples")

    def _steps(self, rows: list[tuple[int, int]]) -> tuple[list[Row], list[Row], list[Row]]:
        """The defined steps of an episode as stored, as decoded, and what is clipped: chunk after chunk.

        `rows` are step and number of its samples, by step.
        """
        steps, width, begin = self.reference.horizon, len(self.reference.dims), 0
        columns: tuple[list[Row], list[Row], list[Row]] = ([], [], [])
        for step, at in rows:
            if step < begin:  # within the chunk before
                continue
            begin = step + steps * self.entry["stride"]
            self.file.seek(at * self.record.size)
            numbers = self.record.unpack(self.file.read(self.record.size))
            for k in (k for k in range(steps) if numbers[3 * steps * width + k]):
                for n, column in enumerate(columns):
                    first = (n * steps + k) * width
                    column.append(numbers[first : first + width])
        return columns


def shape_error(stats: Json, dims: list[str], fields: int, bins: int, *, outer: bool = False) -> str:
    """Say what is wrong with the lengths of the lists of a set of statistics; "" where nothing is.

    `outer`: whether the set has q_low and q_high, the quantiles of its rule of bounds.
    """
    if stats["dims"] != dims:
        return f"the dimensions {' '.join(stats['dims'])}"
    if {"q_low", "q_high"} & set(stats) != ({"q_low", "q_high"} if outer else set()):
        return "no q_low and q_high" if outer else "q_low and q_high, which its bounds do not need"
    optional = [name for name in ("q_low", "q_high") if name in stats]
    for name in ("mean", "std", "min", "q01", "median", "q99", "max", *optional):
        if len(stats[name]) != len(dims) * stats.get("horizon", 1):
            return f"{len(stats[name])} values of {name}"
    if len(stats.get("clipped", dims)) != len(dims):
        return f"{len(stats['clipped'])} values of clipped"
    if "bins" in stats and (len(stats["bins"]) != fields or {len(row) for row in stats["bins"]} - {bins}):
        return f"bins of {len(stats['bins'])} rows"
    return ""


def compare(where: str, sums: TrainSums, *, complete: bool, report: Report) -> None:
    """Compare the statistics of train with the steps that were seen; `complete`: all of its steps are in the shards."""
    check, stats, n = report["statistics"], sums.stats, sums.count
    names, width = stats["dims"] * stats.get("horizon", 1), len(stats["dims"])
    if not complete:
        check.expect(n <= stats["count"], where, f"count {stats['count']}", f"at least the {n} steps in the shards")
        for i, name in enumerate(names):
            clipped = stats["clipped"][i % width] if "clipped" in stats else sums.clipped[i % width]
            fits = stats["min"][i] <= sums.low[i] and sums.high[i] <= stats["max"][i]
            fits &= sums.clipped[i % width] <= clipped
            found = f"min {stats['min'][i]!r}, max {stats['max'][i]!r}, {clipped} clipped"
            expected = f"room for {sums.low[i]!r}, {sums.high[i]!r}, {sums.clipped[i % width]} of the shards"
            check.expect(fits, f"{where} {name}", found, expected)
        return
    if (
        not check.expect(n == stats["count"], where, f"count {stats['count']}", f"{n}, the steps in the shards")
        or n == 0
    ):
        return
    for name, clipped, stated in zip(stats["dims"], sums.clipped, stats.get("clipped", ()), strict=False):
        check.expect(clipped == stated, f"{where} {name}", f"clipped {stated}", f"{clipped}, that of the shards")
    for i, name in enumerate(names):
        mean = Fraction(sums.sums[i], n << _UNIT)
        variance = Fraction(sums.squares[i], n << 2 * _UNIT) - mean * mean
        exact = {"min": sums.low[i], "max": sums.high[i], "mean": float(mean)}
        for key, value in exact.items():
            check.expect(
                stats[key][i] == value, f"{where} {name}", f"{key} {stats[key][i]!r}", f"{value!r}, that of the shards"
            )
        std = math.sqrt(variance)
        check.expect(
            math.isclose(stats["std"][i], std, rel_tol=1e-12, abs_tol=1e-300),
            f"{where} {name}",
            f"std {stats['std'][i]!r}",
            repr(std),
        )
        for key, q in sums.quantiles.items():
            # The quantile lies between the sorted values number k and k + 1, from 0.
            k = math.floor(q * (n - 1))
            below, upto = sums.below[key][i]
            check.expect(
                upto >= k + 1 and below <= k + 1,
                f"{where} {name}",
                f"{key} {stats[key][i]!r}, above {below} of {n} values",
                f"about {k + 1} values below it",
            )
    for row, (found, wanted) in enumerate(zip(stats.get("bins", ()), sums.bins, strict=True)):
        check.expect(found == wanted, f"{where} bins, field {row + 1}", "other counts", "those of the shards")
