"""Which rows of an index become samples of which split, and why the others do not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from rt2data import index
from rt2data.errors import Rt2dataError
from rt2data.index import keys
from rt2data.recipes import filters
from rt2data.recipes.recipe import Recipe, RecipeSource
from rt2data.samples import filters as row_filters
from rt2data.samples import holdout as row_holdout
from rt2data.samples import paraphrases


@dataclass(slots=True)
class Selection:
    """The samples of some rows of an index.

    Attributes:
        rows: int64 (n,), positions in the table; a row with several variants stands several times.
        variant: int32 (n,), which answer, caption or paraphrase; -1 where the sample has no variant.
        split: int8 (n,), position in ``recipe.splits``.
        units: the rows' digests, 10 bytes each.
        step: int32 (n,).
        left_out: rows that became no sample, by reason.
        row_split: int8 (rows of the table,), the split of every row, left out or not.
        kept: bool (rows of the table,).
        kind: int8 (n,), position in the source's kinds; None where the source has one kind without a name.
    """

    rows: npt.NDArray[np.int64]
    variant: npt.NDArray[np.int32]
    split: npt.NDArray[np.int8]
    units: bytes
    step: npt.NDArray[np.int32]
    left_out: Counter[str]
    row_split: npt.NDArray[np.int8]
    kept: npt.NDArray[np.bool_]
    kind: npt.NDArray[np.int8] | None = None

    def take(self, mask: npt.NDArray[Any]) -> Selection:
        """The samples where `mask` (n,) is true, or at the positions that it holds; counts stay."""
        units = np.frombuffer(self.units, np.uint8).reshape(-1, 10)[mask].tobytes()
        return Selection(
            self.rows[mask],
            self.variant[mask],
            self.split[mask],
            units,
            self.step[mask],
            self.left_out,
            self.row_split,
            self.kept,
            self.kind if self.kind is None else self.kind[mask],
        )


def cameras(source: RecipeSource) -> tuple[str, ...]:
    """The cameras of the recipe that a source has, in its order; of a web source the places for its pictures."""
    if source.declaration.kind != "robot":
        return source.declaration.cameras
    return tuple(name for name in source.cameras if name in source.declaration.cameras)


def camera_fields(source: RecipeSource) -> dict[str, str] | None:
    """The dataset's field of each of `cameras`, by the camera's name; None for a web source, which has no cameras."""
    robot = source.declaration.robot
    if robot is None:
        return None
    fields = {camera.name: camera.field for camera in robot.cameras}
    return {name: fields[name] for name in cameras(source)}


def shown(source: RecipeSource) -> tuple[str, ...]:
    """Of `cameras` those that show something: not those declared as padding, unless all are."""
    taken = cameras(source)
    robot = source.declaration.robot
    padding = {camera.name for camera in robot.cameras if camera.padding} if robot else set()
    return tuple(name for name in taken if name not in padding) or taken


def has_image(table: pa.Table, source: RecipeSource) -> npt.NDArray[np.bool_]:
    """Whether each row names an image, bool (rows,): of usable rows those of text alone do not."""
    return row_filters.has_image(table, cameras(source))


def before_duplicates(source: RecipeSource) -> RecipeSource:
    """The source without its filters for duplicates, which are looked for among what the others leave."""
    return replace(source, filters=tuple(rule for rule in source.filters if rule.column not in filters.DUPLICATES))


def select(table: pa.Table, recipe: Recipe, source: RecipeSource, dataset_split: str) -> Selection:
    """The samples of an index table (all of one part, or a slice of it). Rejection happens here and nowhere else."""
    _, kept, left_out = rejected(table, source)
    row_split = splits(table, recipe, source, dataset_split)
    positions = np.flatnonzero(kept)
    number = variants(table, source)
    if number is None:
        variant = np.full(len(positions), -1, np.int32)
    else:
        number = number[positions]
        if len(number) and number.max() > keys.MAX_VARIANT:
            unit = "step" if source.declaration.robot else "picture"
            raise Rt2dataError(source.where, f"{number.max()} texts of one {unit}", f"at most {keys.MAX_VARIANT}")
        variant = (np.arange(int(number.sum())) - np.repeat(np.cumsum(number) - number, number)).astype(np.int32)
        positions = np.repeat(positions, number)
    picked = index.units(table)[positions].tobytes()
    return Selection(
        positions,
        variant,
        row_split[positions],
        picked,
        index.numbers(table, "step")[positions],
        left_out,
        row_split,
        kept,
    )


def rejected(
    table: pa.Table, source: RecipeSource
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_], Counter[str]]:
    """Why rows are no samples: a code of `index.REASONS` per row, which rows pass the filters too, and the counts."""
    reject = index.numbers(table, "reject").copy()
    taken = cameras(source)
    for camera in taken:
        reject = np.where(reject == 0, index.numbers(table, f"{camera}.state"), reject)
        if f"filter.{camera}.state" in table.column_names:  # the image pass decoded it
            reject = np.where(reject == 0, index.numbers(table, f"filter.{camera}.state"), reject)
    counts = np.bincount(reject, minlength=1)
    left_out = Counter({index.REASONS[code]: int(n) for code, n in enumerate(counts) if code and n})
    kept = reject == 0
    for rule in source.filters:
        lost = kept & ~row_filters.passes(table, rule, taken)
        if lost.any():
            left_out[filters.PREFIX + rule.column] = int(np.count_nonzero(lost))
        kept = kept & ~lost
    return reject, kept, left_out


def reasons(table: pa.Table, source: RecipeSource) -> Iterator[tuple[int, str]]:
    """The rows that are no samples, each with the reason that counts for it."""
    reject, kept, _ = rejected(table, source)
    taken = cameras(source)
    passed = [(rule.column, row_filters.passes(table, rule, taken)) for rule in source.filters]
    for row in np.flatnonzero(~kept).tolist():
        lost = next((filters.PREFIX + column for column, ok in passed if not ok[row]), "")
        yield row, index.REASONS[reject[row]] or lost


def languages(table: pa.Table, rows: npt.NDArray[np.int64]) -> Iterator[tuple[str, int]]:
    """How many of some rows have each language; ``und`` stands for an unknown one."""
    codes, values = index.codes(table, "language")
    for code, count in zip(*np.unique(codes[rows], return_counts=True), strict=True):
        yield (values[code] if code >= 0 else None) or "und", int(count)


def splits(table: pa.Table, recipe: Recipe, source: RecipeSource, dataset_split: str) -> npt.NDArray[np.int8]:
    """The split of every row, int8 positions in ``recipe.splits``; -1 where the dataset's split is not taken."""
    split = _splits(table, recipe, source, dataset_split)
    if recipe.holdout is not None:
        held = index.numbers(table, row_holdout.HELD) & (split >= 0)
        split[held] = recipe.splits.index(recipe.holdout.split)
    return split


def _splits(table: pa.Table, recipe: Recipe, source: RecipeSource, dataset_split: str) -> npt.NDArray[np.int8]:
    names = recipe.splits
    if source.splits.taken:
        split = source.splits.split_of(dataset_split)
        return np.full(table.num_rows, names.index(split) if split else -1, np.int8)
    shares = source.splits.shares
    ends = np.cumsum([share for _, share in shares])[:-1]
    edges = np.array([min(round(float(end) * 2.0**64), 2**64 - 1) for end in ends], np.uint64)
    position = np.array([names.index(name) for name, _ in shares], np.int8)
    return position[np.searchsorted(edges, index.numbers(table, "split_hash"), side="right")]


def unit_starts(table: pa.Table) -> npt.NDArray[np.int64]:
    """Per row the first row of its episode, in the index of a whole part of robot data."""
    first = index.numbers(table, "step") == 0
    return np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))


def variants(table: pa.Table, source: RecipeSource) -> npt.NDArray[np.int64] | None:
    """How many samples each row makes, int64 (rows,); None where each makes one without a variant."""
    if source.declaration.kind == "caption" and source.captions == "all":
        return np.asarray(pa.compute.list_value_length(table.column("captions")).to_numpy(), np.int64)
    if source.declaration.kind == "vqa" and source.answers == "all":
        return np.array([len(dict.fromkeys(a)) for a in table.column("answers").to_pylist()], np.int64)
    if source.declaration.kind == "robot" and source.instructions == "all":
        return paraphrases.pools(table).sizes
    return None


def instructions(table: pa.Table, source: RecipeSource, seed: int, samples: Selection) -> paraphrases.Told:
    """The instruction of each robot sample that the recipe's rule picks."""
    rule, rows = source.instructions, samples.rows
    return paraphrases.choose(table, rule, seed, source.id, rows, samples.units, samples.variant)


def targets(table: pa.Table, source: RecipeSource, seed: int, samples: Selection) -> list[str]:
    """The target text of each web sample: the answer or caption that the recipe's rule picks."""
    vqa = source.declaration.kind == "vqa"
    texts: list[list[str]] = table.column("answers" if vqa else "captions").take(samples.rows).to_pylist()
    rule = source.answers if vqa else source.captions
    if rule == "all":
        unique = [list(dict.fromkeys(t)) for t in texts] if vqa else texts
        return [t[v] for t, v in zip(unique, samples.variant.tolist(), strict=True)]
    if rule == "majority":
        return [majority(t) for t in texts]
    drawn = keys.hashes("draw", seed, source.id, samples.units, samples.step, samples.variant)
    return [t[int(h) % len(t)] for t, h in zip(texts, drawn.tolist(), strict=True)]


def majority(answers: list[str]) -> str:
    """The answer given most often; among equals the one given first."""
    return Counter(answers).most_common(1)[0][0]


def count_failed(table: pa.Table, samples: Selection) -> int:
    """How many episodes of a part give samples although the dataset says that they failed."""
    if "success" not in table.column_names:
        return 0
    verdicts, texts = index.codes(table, "success")
    failed = np.isin(verdicts, [code for code, text in enumerate(texts) if text == index.VERDICTS[False]])
    return len(np.unique(index.codes(table, "episode")[0][samples.kept & failed]))


def count_units(table: pa.Table) -> Mapping[str, int]:
    """Episodes or examples as found, rows, and `recoded` (`rt2data.index.table`)."""
    meta = index.meta(table)
    return {"units": len(json.loads(meta["units"])), "rows": table.num_rows, "recoded": int(meta.get("recoded", "0"))}
