"""The parts of a job: what was indexed, and which rows of it go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Member(NamedTuple):
    """A part of a source, as it was indexed."""

    name: str
    digest: str
    rows: int


@dataclass(frozen=True, slots=True)
class IndexedPart:
    """A part of source `source` (its position in the recipe) whose index is at `file` below the work directory.

    Where a source's parts are small, `members` are several of one split that follow one another
    (`rt2data.pipeline.indexing`), and all that comes after INDEX takes them as one part. Its name is that of the first.
    """

    source: int
    split: str
    file: str
    members: tuple[Member, ...]

    @property
    def name(self) -> str:
        return self.members[0].name

    @property
    def rows(self) -> int:
        return sum(member.rows for member in self.members)

    def member(self, row: int) -> tuple[str, int]:
        """The source's part in which a row lies: its name, and its first row."""
        start = 0
        for one in self.members:
            if row < start + one.rows:
                break
            start += one.rows
        return one.name, start


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows `start` to `stop` of part `part` (its position in the job)."""

    part: int
    start: int
    stop: int
