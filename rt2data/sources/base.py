"""What a format offers: the contract between a dataset's format and everything that reads datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from rt2data.declarations.declaration import Declaration
from rt2data.storage.places import Place


@dataclass(frozen=True, slots=True)
class Part:
    """The unit of parallel reading: one file, or rows `start` to `stop` of one.

    `files` are the files (below the dataset's folder) whose change means that the part has changed.
    """

    split: str
    name: str
    files: tuple[str, ...]
    start: int = 0
    stop: int = -1


class Source(Protocol):
    """What every format offers. `root` is the dataset's folder."""

    declaration: Declaration
    root: Place

    def splits(self) -> dict[str, int]:
        """The dataset's own splits, and how many episodes or examples each holds as its metadata says."""
        ...

    def parts(self, split: str) -> list[Part]:
        """The parts of a split, in a fixed order."""
        ...

    def digest(self, part: Part) -> str:
        """The part's identity: a hex digest of its content, made without reading the images."""
        ...

    def watched(self, part: Part) -> list[str]:
        """Further files below `root` whose change means that the part has changed, such as pictures, there or not."""
        ...

    def index(self, part: Part, *, check: str) -> pa.Table:
        """The index of a part (`rt2data.index`), with its images checked as far as `check` (of `index.LEVELS`) says."""
        ...

    def estimate(self, split: str, cameras: Sequence[str]) -> tuple[int, int]:
        """(samples, bytes of their images) of a split, guessed from metadata and the first records, fast."""
        ...
