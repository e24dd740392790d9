"""Put the samples of a conversation together again: which of its turns a split holds, and what was shown at each.

A build makes a sample of each answer, with the questions and answers before it. Chat formats hold a conversation as one
record, in which every answer counts: exporting each sample as it is would train on earlier answers again and again.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterable
from typing import Any, NamedTuple

_COPY = re.compile(r"-c([0-9]+)$")


class Record(NamedTuple):
    """One copy of a conversation as one record.

    Attributes:
        last: its last turn, from 0; the sample of that turn holds all texts and images of the record.
        trained: per turn up to `last`, whether the split holds its sample, so that its answer is to be learned.
        shown: per turn, how many images are shown with its question.
    """

    last: int
    trained: tuple[bool, ...]
    shown: tuple[int, ...]


class Conversations:
    """The turns of every conversation of a split, in a temporary database on disk: memory stays bounded.

    Args:
        metas: the JSON of every sample.
        gaps: whether a record may hold turns that are not to be learned. If not, it ends before the first of them.
    """

    def __init__(self, metas: Iterable[dict[str, Any]], *, gaps: bool) -> None:
        self.gaps = gaps
        self.database = sqlite3.connect("")  # a file of its own that is deleted when it is closed
        self.database.execute("CREATE TABLE turns (conversation BLOB, turn INTEGER, images INTEGER)")
        rows = ((_conversation(meta), _turn(meta), len(meta["images"])) for meta in metas if meta.get("kind") == "vqa")
        self.database.executemany("INSERT INTO turns VALUES (?, ?, ?)", rows)
        self.database.execute("CREATE INDEX by_conversation ON turns (conversation, turn, images)")

    def close(self) -> None:
        """Delete the database."""
        self.database.close()

    def record(self, meta: dict[str, Any]) -> tuple[int, Record] | None:
        """Return the turn of a sample and the record of its conversation; None where it is no part of one.

        A turn after the last of its record is in no record.

        Args:
            meta: the sample's JSON.
        """
        if meta.get("kind") != "vqa":
            return None
        query = "SELECT turn, images FROM turns WHERE conversation = ? ORDER BY turn"
        images = dict(self.database.execute(query, (_conversation(meta),)).fetchall())
        if max(images) == 0:
            return None
        return _turn(meta), _record(images, gaps=self.gaps)


def _record(images: dict[int, int], *, gaps: bool) -> Record:
    """Make the record of turns that a split holds, each with the number of images shown until then."""
    last = max(images) if gaps else next(turn for turn in range(len(images) + 1) if turn not in images) - 1
    trained = tuple(turn in images for turn in range(last + 1))
    shown, before, place = [0] * (last + 1), 0, 0
    for turn in sorted(images):
        if turn > last:
            break
        # Who shows what among turns that the split lacks is not known: as early as can be, so before it is asked about.
        shown[place] += images[turn] - before
        before, place = images[turn], turn + 1
    return Record(last, trained, tuple(shown))


def _turn(meta: dict[str, Any]) -> int:
    return len(meta["turns"] or ()) // 2


def _conversation(meta: dict[str, Any]) -> bytes:
    """Name a copy of a conversation. The example of turn N > 0 is called after that of turn 0, with ``/N`` behind."""
    turn, copy = _turn(meta), _COPY.search(meta["key"])
    example = meta["example"].removesuffix(f"/{turn}") if turn else meta["example"]
    name = "\0".join((meta["source"], copy[1] if copy else "0", example))
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
