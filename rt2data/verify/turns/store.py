"""Rows of tracks, and the actions of samples, in a database on disk: files of annotations may have gigabytes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from rt2data.verify.reference import keys
from rt2data.verify.turns.files import Noted
from rt2data.verify.turns.times import Row

CACHED = 64  # tracks of an episode whose times are held
MEMORY = 16 << 10  # KiB of the database that are held


def database(*tables: str) -> sqlite3.Connection:
    """Open a database that is in no folder, and ends with its connection."""
    connection = sqlite3.connect("", isolation_level=None)
    for line in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{MEMORY}"):
        connection.execute(f"PRAGMA {line}")
    for table in tables:
        connection.execute(f"CREATE TABLE {table}")
    return connection


class Store:
    """The rows of some tracks of a source. `kinds` has the type of each, `events` those whose rows are events."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = {name: number for number, name in enumerate(sorted(names))}
        self.kinds: dict[str, str] = {}
        self.events: set[str] = set()
        self._database = database(
            "rows (unit BLOB, track INT, start INT, until INT, camera TEXT, role TEXT, text TEXT)"
        )
        self._times = lru_cache(CACHED)(self._read_times)

    def add(self, rows: Iterable[Noted], prefix: str, tracks: Iterable[str]) -> None:
        """Add the rows of a file: of `tracks`, where it names any, and only those that are asked for."""
        coded = self._coded(rows, prefix, tracks)
        self._database.execute("BEGIN")
        try:
            self._database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", coded)
        finally:  # a file that ends in the middle leaves what it had
            self._database.execute("COMMIT")

    def _coded(self, rows: Iterable[Noted], prefix: str, tracks: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        taken, episode, unit = set(tracks), "", keys.digest("")
        for row in rows:
            name = prefix + row.track
            if name not in self.names or (taken and row.track not in taken):
                continue
            if name not in self.kinds:
                self.kinds[name] = row.kind
                self.events |= {name} if row.event else set()
            if (row.kind, row.event) != (self.kinds[name], name in self.events):
                continue
            if row.episode != episode:
                episode, unit = row.episode, keys.digest(row.episode)
            yield unit, self.names[name], row.start, row.until, row.camera, row.role, row.text

    def close(self) -> None:
        """Make rows findable, once all are there."""
        self._database.execute("CREATE INDEX places ON rows (unit, track)")

    def rows(self, unit: bytes, name: str, camera: str | None, role: str | None) -> list[Row]:
        """The rows of a track in an episode, by their start; of a camera and role where these are given."""
        return [
            row
            for row, seen, said in self._times(unit, self.names[name])
            if camera in (None, seen) and role in (None, said)
        ]

    def text(self, row: Row) -> str:
        """The text of a row."""
        (text,) = self._database.execute("SELECT text FROM rows WHERE rowid = ?", (row.number,)).fetchone()
        return str(text)

    def _read_times(self, unit: bytes, track: int) -> list[tuple[Row, str, str]]:
        found = self._database.execute(
            "SELECT start, until, camera, role, rowid, text FROM rows WHERE unit = ? AND track = ? "
            "ORDER BY start, rowid",
            (unit, track),
        )
        rows: list[tuple[Row, str, str]] = []
        seen: set[tuple[Any, ...]] = set()  # at one time; without a role, rows that are equal in all else are one
        for start, until, camera, role, number, text in found:
            if rows and rows[-1][0].start != start:
                seen.clear()
            key = (until, camera, role, text)
            if role or key not in seen:
                rows.append((Row(start, until, number), camera, role))
            seen.add(key)
        return rows
