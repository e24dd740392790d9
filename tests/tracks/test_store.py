"""Rows of tracks, from what readers give to what each step of an index is given."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support import scalar_tracks

from rt2data import index
from rt2data.errors import Rt2dataError
from rt2data.storage.workdir import TrackFiles, WorkDir
from rt2data.tracks import indexing, table
from rt2data.tracks.store import TrackStore
from rt2data.tracks.table import Rejected, Row
from rt2data.tracks.times import Ambiguous, Binding


def write(folder: Path, rows: list[Row], *, hz: float | None = 10, size: int = 1, name: str = "a") -> Path:
    files = TrackFiles(folder / f"{name}.arrow")
    rejected = Rejected()
    count = table.write(files, rows, rejected, hz=hz, size=size, where="notes.jsonl")
    indexing.write_counts(files, count, rejected)
    return files.rows


def part(*episodes: tuple[str, int]) -> pa.Table:
    """The index of a part: episodes of so many steps."""
    names = [name for name, steps in episodes for _ in range(steps)]
    raw = pa.py_buffer(b"".join(index.digest(name) for name in names))
    units = pa.FixedSizeBinaryArray.from_buffers(pa.binary(10), len(names), [None, raw])
    steps = [step for _, count in episodes for step in range(count)]
    return pa.table({"unit": units, "step": pa.array(steps, pa.int32()), "episode": names})


def texts(store: TrackStore, which: Any) -> list[str | None]:
    there = which >= 0
    out: list[str | None] = [None] * len(which)
    for place, text in zip(np.flatnonzero(there), store.texts(which[there]).to_pylist(), strict=True):
        out[place] = text
    return out


@pytest.mark.parametrize("size", [1, 1 << 34])
def test_rows_in_any_order_and_any_number_of_buckets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Many episodes, tracks with ends and without: each step has the row that the scalar rule gives it."""
    monkeypatch.setattr(table, "BATCH", 37)
    monkeypatch.setattr(table, "BUFFERED", 101)
    draw = random.Random(3)
    of_track: dict[tuple[str, str], list[tuple[int, int | None, str]]] = {}
    rows = []
    for number in range(600):
        episode, track = f"e{draw.randrange(40)}", draw.choice(["plan", "subtask"])
        start = draw.randrange(20)
        until = start + draw.randrange(1, 6) if draw.random() < 0.5 else None
        rows.append(Row(episode, track, "text", f"text {number}", start, -1 if until is None else until))
        of_track.setdefault((episode, track), []).append((start, until, f"text {number}"))
    store = TrackStore([write(tmp_path, rows, size=size)])
    assert (len(store), store.rows, store.counts) == (600, 600, {})
    assert store.names() == {"plan": "text", "subtask": "text"}
    tables = [part(*((f"e{n}", 25) for n in range(low, low + 10) if n != 33)) for low in range(0, 50, 10)]
    for one in tables:
        for track in store.tracks:
            for rule in ("all", "remaining", "next"):
                offsets, which = store.resolve_all(one, Binding(track, rule))
                found = store.texts(which).to_pylist()
                for row in range(one.num_rows):
                    own = of_track.get((one["episode"][row].as_py(), track), [])
                    own.sort(key=lambda r: r[0])
                    wanted = scalar_tracks.find([r[:2] for r in own], one["step"][row].as_py(), rule)
                    assert found[offsets[row] : offsets[row + 1]] == [own[n][2] for n in wanted]
    assert store.unmatched(tables) == sum(len(own) for (name, _), own in of_track.items() if name == "e33")


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = [Row(f"e{n % 7}", "plan", "text", f"{n}", n) for n in range(100)]
    first, second = (write(tmp_path / name, rows).read_bytes() for name in "ab")
    assert first == second


def test_what_a_step_is_given(tmp_path: Path) -> None:
    box = '{"box":[1,2,3,4],"label":"cup"}'
    rows = [
        Row("one", "subtask", "text", "reach", 0), Row("one", "subtask", "text", "lift", 3),
        Row("one", "boxes", "box", box, 1, 2, camera="image_0"), Row("one", "boxes", "box", box, 1, 2, camera="wrist"),
        Row("two", "subtask", "text", "push", 2), Row("one", "said", "text", "hello", 4, role="user", event=True),
        Row("three", "subtask", "text", "never", 9),
    ]  # fmt: skip
    store = TrackStore([write(tmp_path, rows)])
    steps = part(("two", 4), ("one", 6), ("none", 2))
    found = store.resolve(steps, Binding("subtask"))
    assert texts(store, found) == [None, None, "push", "push", *["reach"] * 3, *["lift"] * 3, None, None]
    assert texts(store, store.resolve(steps, Binding("subtask", "emitted")))[4:10] == [
        "reach", None, None, "lift", None, None,
    ]  # fmt: skip
    assert texts(store, store.resolve(steps, Binding("subtask", "previous")))[4:10] == [None] * 3 + ["reach"] * 3
    assert texts(store, store.resolve(steps, Binding("said", "emitted")))[4:10] == [None] * 4 + ["hello", None]
    assert texts(store, store.resolve(steps, Binding("said", "emitted", role="assistant"))) == [None] * 12
    where = r'episode one, step 1: 2 rows of "boxes" by the rule active; expected one\. Say which camera'
    with pytest.raises(Ambiguous, match=where):
        store.resolve(steps, Binding("boxes"))
    one = store.resolve(steps, Binding("boxes", camera="wrist"))
    assert np.flatnonzero(one >= 0).tolist() == [5]
    offsets, which = store.resolve_all(steps, Binding("boxes", "all"))
    assert (np.diff(offsets).tolist(), len(which)) == ([0] * 5 + [2] + [0] * 6, 2)
    assert store.values(which).to_pylist() == [box, box] == store.texts(which).to_pylist()
    assert store.values(found[found >= 0]).to_pylist()[:3] == ['"push"', '"push"', '"reach"']
    offsets, which = store.resolve_all(steps, Binding("subtask", "remaining"), rows=np.array([4, 8]))
    assert store.texts(which).to_pylist() == ["reach", "lift", "lift"]
    assert offsets.tolist() == [0, 2, 3]
    assert store.unmatched([steps]) == 1
    empty = store.resolve(steps.slice(0, 0), Binding("subtask"))
    assert (len(empty), len(store.texts(empty))) == (0, 0)


def test_an_index_whose_steps_are_not_in_order(tmp_path: Path) -> None:
    rows = [Row("one", "plan", "text", str(n), n) for n in range(5)]
    store = TrackStore([write(tmp_path, rows)])
    steps = part(("one", 5), ("two", 1)).take([3, 0, 2, 5, 4])
    assert texts(store, store.resolve(steps, Binding("plan"))) == ["3", "0", "2", None, "4"]
    offsets, which = store.resolve_all(steps, Binding("plan", "remaining"))
    assert store.texts(which).to_pylist() == ["3", "4", "0", "1", "2", "3", "4", "2", "3", "4", "4"]
    assert np.diff(offsets).tolist() == [2, 5, 3, 0, 1]


def test_times_in_seconds(tmp_path: Path) -> None:
    """A row begins at the first step whose float32 time has reached it; a tolerance is one of float64."""
    rows = [Row("one", "plan", "text", f"{time:g}", None, time=float(np.float32(time))) for time in (0.0, 0.7, 2.4)]
    rows.append(Row("one", "range", "text", "r", None, 0.55, time=0.31))
    rows.append(Row("one", "said", "text", "s", 3, time=0.3333, event=True))
    store = TrackStore([write(tmp_path, rows, hz=30)])
    steps = part(("one", 90))
    found = texts(store, store.resolve(steps, Binding("plan")))
    for step, text in enumerate(found):
        now = np.float32(step / 30)
        assert text == next(f"{time:g}" for time in (2.4, 0.7, 0.0) if np.float32(time) <= now)
    assert np.flatnonzero(store.resolve(steps, Binding("range")) >= 0).tolist() == list(range(10, 17))
    near = store.resolve(steps, Binding("plan", "emitted", tolerance=0.1))
    for step, row in enumerate(near):
        now = float(np.float32(step / 30))
        wanted = [t for t in (0.0, 0.7, 2.4) if abs(float(np.float32(t)) - now) <= 0.1]
        assert (store.texts(near[step : step + 1])[0].as_py() if row >= 0 else None) == (
            f"{wanted[0]:g}" if wanted else None
        )
    assert np.flatnonzero(store.resolve(steps, Binding("said", "emitted", tolerance=0.01)) >= 0).tolist() == [10]


@pytest.mark.parametrize("hz", [5.0, 10.0, 29.97, 30.0, 50.0, 333.3])
def test_first_step(hz: float) -> None:
    """The first step whose time is not before it, also where it is one, of float32, and where its time is between."""
    for step in [*range(200), 99_999, 1_000_003]:
        time = float(np.float32(step / hz))
        found = table.first_step(time, hz)
        assert np.float32(found / hz) >= np.float32(time)
        assert found == 0 or np.float32((found - 1) / hz) < np.float32(time)
    assert table.first_step(-3.0, hz) == 0


def test_seconds_without_a_rate(tmp_path: Path) -> None:
    with pytest.raises(Rt2dataError, match=r'notes.jsonl: the time of a row of "plan" in seconds, and no rate; .* hz'):
        write(tmp_path, [Row("one", "plan", "text", "x", None, time=1.0)], hz=None)
    store = TrackStore([write(tmp_path, [Row("one", "plan", "text", "x", 1)], hz=None)])
    with pytest.raises(Rt2dataError, match="a tolerance in seconds; expected a source whose rate is known"):
        store.resolve(part(("one", 2)), Binding("plan", "emitted", tolerance=0.1))


def test_what_is_no_row_is_counted(tmp_path: Path) -> None:
    rows = [
        Row("one", "plan", "text", "x", 1), Row("one", "plan", "text", "x", 1), Row("one", "plan", "text", "y", 1),
        Row("one", "plan", "number", "3", 4), Row("one", "plan", "text", "x", 5, 5), Row("1", "plan", "text", "x", -1),
        Row("one", "plan", "text", "x", None, time=1e300), Row("one", "plan", "text", "x", None, time=math.nan),
        Row("one", "a\nb", "text", "x", 1),
    ]  # fmt: skip
    store = TrackStore([write(tmp_path, rows)])
    assert (store.rows, store.counts) == (2, {"bad_step": 4, "bad_track": 1, "duplicate": 1, "other_type": 1})


def test_two_questions_have_the_same_answer(tmp_path: Path) -> None:
    turns = [("user", "Is it red?"), ("assistant", "yes"), ("user", "Is it round?"), ("assistant", "yes")]
    store = TrackStore([write(tmp_path, [Row("one", "vqa", "text", v, 1, role=r, event=True) for r, v in turns])])
    assert (store.rows, store.counts) == (4, {})


def test_several_files_are_one_store(tmp_path: Path) -> None:
    first = write(tmp_path, [Row("one", "plan", "text", "first", 0)])
    second = write(tmp_path, [Row("one", "n", "number", "2.5", 1), Row("one", "n", "number", "3", 3)], name="b")
    store = TrackStore([first, second])
    steps = part(("one", 4))
    assert store.names() == {"plan": "text", "n": "number"}
    plans, numbers = (store.resolve(steps, Binding(name)) for name in store.names())
    assert store.values(np.concatenate([numbers[1:], plans[:1]])).to_pylist() == ["2.5", "2.5", "3", '"first"']
    with pytest.raises(Rt2dataError, match='two entries with a track "plan"; expected names of their own'):
        TrackStore([first, first])
    with pytest.raises(Rt2dataError, match=r'no such track; expected one of n, plan. Did you mean "plan"'):
        store.resolve(steps, Binding("plans"))
    with pytest.raises(Rt2dataError, match="remaining, which gives lists; expected one of active"):
        store.resolve(steps, Binding("plan", "remaining"))
    with pytest.raises(Rt2dataError, match="the number of no row"):
        store.texts(np.array([3]))


def test_many_names_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MAX_NAMES", 3)
    with pytest.raises(Rt2dataError, match=r"notes\.jsonl: more than 3 names of tracks"):
        write(tmp_path, [Row("one", f"t{n}", "text", "x", 1) for n in range(5)])
    assert not [path for path in tmp_path.rglob("*") if path.is_dir()]


def test_the_files_lie_where_the_work_directory_says(tmp_path: Path) -> None:
    files = WorkDir(tmp_path).tracks("x")
    write(files.rows.parent, [Row("one", "plan", "text", "x", 1)], name="x")
    assert sorted(path.name for path in (tmp_path / "tracks").iterdir()) == ["x.arrow", "x.json", "x.spans.arrow"]
    assert [files.rows.is_file(), files.spans.is_file(), files.counts.is_file()] == [True] * 3
