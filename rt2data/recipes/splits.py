"""The field ``splits``: which of a dataset's own splits a source reads, and into which split of the mixture they go."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rt2data.declarations.declaration import Declaration
from rt2data.errors import Rt2dataError

POOL = "from"  # the key of ``splits`` that names the dataset splits which shares divide; no split has this name


@dataclass(frozen=True, slots=True)
class Splits:
    """Where the samples of a source go. Either `shares` and `pool` or `taken` says so; the others are empty.

    Attributes:
        shares: each split's share of the split units (episodes, images), in order.
        pool: the dataset splits that the shares divide, all together.
        taken: per split, the dataset splits whose samples it holds.
    """

    shares: tuple[tuple[str, float], ...] = ()
    pool: tuple[str, ...] = ()
    taken: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The splits of the mixture, in order."""
        return tuple(name for name, _ in self.shares or self.taken)

    @property
    def read(self) -> tuple[str, ...]:
        """The dataset splits that are read."""
        return self.pool or tuple(name for _, names in self.taken for name in names)

    @property
    def into_train(self) -> tuple[str, ...]:
        """The dataset splits that train holds, or a share of them."""
        return self.pool or dict(self.taken)["train"]

    @property
    def fixed(self) -> bool:
        """Whether a dataset split goes into one split as a whole, and no hash decides."""
        return sum(share > 0 for _, share in self.shares) < 2

    def split_of(self, dataset_split: str) -> str | None:
        """The split that holds a dataset split, where lists say so; None where none does."""
        return next((name for name, names in self.taken if dataset_split in names), None)

    def portions(self, dataset_split: str) -> list[tuple[str, float]]:
        """Which share of a dataset split each split holds, about."""
        if self.shares:
            return list(self.shares) if dataset_split in self.pool else []
        return [(name, 1.0) for name, names in self.taken if dataset_split in names]

    def resolved(self) -> dict[str, Any]:
        """The field with its defaults filled in, as JSON."""
        if self.taken:
            return {name: list(names) for name, names in self.taken}
        return {POOL: list(self.pool)} | dict(self.shares)

    def choose(self, dataset: str, sizes: Mapping[str, int], where: str) -> list[str]:
        """Return the dataset splits that are read, in the dataset's order.

        Args:
            dataset: its name.
            sizes: the dataset's own splits, with their episodes or examples.
            where: the source's place in the recipe.

        Raises:
            Rt2dataError: the dataset has no split of such a name.
        """
        for name in self.read:
            if name not in sizes:
                own = ", ".join(f"{split} ({size:,})" for split, size in sizes.items()) or "none"
                repair = "Name what goes into train with splits: {train: [NAME]}, or beside shares with from: [NAME]"
                if name in self.into_train:
                    repair += ". The declaration of a dataset names its train split with train_splits: [NAME]"
                raise Rt2dataError(where, f'{dataset} has no split "{name}"', f"one of its splits: {own}", repair)
        return [name for name in sizes if name in self.read]


def parse_splits(raw: Mapping[str, Any] | None, declaration: Declaration, where: str) -> Splits:
    """Parse the field ``splits`` of a source, or of its recipe; None stands for the dataset's own train split.

    Evaluation splits enter train only by their names: without ``from``, shares divide the train split alone.

    Raises:
        Rt2dataError: shares that do not add up to 1, or lists and shares that do not go together.
    """
    if raw is None:
        return Splits(taken=(("train", declaration.train_splits),))
    values = {name: value for name, value in raw.items() if name != POOL}
    lists = [name for name, value in values.items() if isinstance(value, list)]
    if lists and POOL in raw:
        found = f'"{POOL}" beside lists of dataset splits'
        raise Rt2dataError(where, found, f'"{POOL}" beside shares, or lists alone', "A list names what it takes")
    if len(lists) == len(values):
        taken = [name for names in values.values() for name in names]
        if len(set(taken)) < len(taken):
            twice = next(name for name in taken if taken.count(name) > 1)
            raise Rt2dataError(where, f'the dataset split "{twice}" is taken twice', "each dataset split in one split")
        return Splits(taken=tuple((name, tuple(names)) for name, names in values.items()))
    if lists:
        raise Rt2dataError(where, "shares and dataset splits mixed", "either a share for each split or a list for each")
    if not math.isclose(sum(values.values()), 1.0, abs_tol=1e-9):
        raise Rt2dataError(where, f"shares that add up to {sum(values.values()):g}", "shares that add up to 1")
    pool = tuple(raw.get(POOL, declaration.train_splits))
    return Splits(shares=tuple((name, float(share)) for name, share in values.items()), pool=pool)
