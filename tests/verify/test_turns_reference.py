"""What `verify` reads of annotations, against the readers, rules and forms of the writer: two programs, one answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.recipes.tracks import EPISODE, AnnotationFile, GripperEvents, Motions
from rt2data.robot.fields import ARM
from rt2data.runners.tasks import Task
from rt2data.storage.workdir import TrackFiles, WorkDir
from rt2data.tokenizer import Box, GroundingTokenizer, Point, Trace
from rt2data.tracks import derived as writers
from rt2data.tracks import times as rules
from rt2data.tracks.indexing import TracksTask, cached
from rt2data.tracks.store import TrackStore
from rt2data.tracks.times import Binding
from rt2data.verify.reference import keys
from rt2data.verify.turns import derived, files, forms, times
from rt2data.verify.turns.store import Store

BOX = {"box": [1, 2.5, 3.0, 4], "label": " cup ", "score": 1e-7, "size": [32, 24]}
AT = {"episode": "e", "track": "t", "step": 0}
VALUES = [
    ("text", " two\nlines "), (None, "a"), ("number", 3.0), (None, 0.1), (None, 1e300),
    (None, 1.5e-5), (None, 1e-7), ("flag", False), ("box", BOX),
    ("box", [1, 2, 3, 4]), ("box", [4, 3, 2, 1]), ("box", json.dumps(BOX)), ("box", {"box": [0, 0, 1, 1], "more": 1}),
    ("point", [1e9, 0]), ("trace", [[0, 0], [1, 1]]), ("pose_trace", [[0.5] * 7, [1] * 7]), ("word", "x"), ("text", ""),
    ("pose_trace", [[0.5] * 7, [1]]), ("tool_call", {"name": "say", "arguments": '{"text": "é"}'}), (None, [1, 2]),
    ("tool_call", {"type": "function", "function": {"name": "go"}}), ("box", {"box": [0, 0, 1, 1], "size": [1.5, 2]}),
]  # fmt: skip
# What is in files: (format, name, content, changes of the entry).
FILES: list[tuple[str, str, Any, dict[str, Any]]] = [
    ("rows", "values.jsonl", [AT | {"track": f"t{n}", "type": kind, "value": value}
                              for n, (kind, value) in enumerate(VALUES)], {}),
    ("rows", "steps.jsonl", [
        AT | {"value": "a"}, AT | {"value": "a"}, AT | {"value": "b", "until": 3}, AT | {"value": 5},
        AT | {"step": "4"},
        AT | {"step": "4", "value": "c", "until": 9.0}, AT | {"step": 5, "until": 5, "value": "d"},
        AT | {"step": 1.5, "value": "e"}, AT | {"step": -1, "value": "f"},
        AT | {"step": None, "time": 2.4, "value": "g"},
        {"episode": "e", "track": "t", "time": 0.31, "until": 0.32, "value": "h"},
        {"step": 0, "track": "t", "value": "i"},
        AT | {"track": "u", "role": "user", "value": "a"}, AT | {"track": "u", "role": "user", "value": "a"},
        AT | {"track": "v", "event": True, "value": "a"}, AT | {"track": "v", "value": "a"},
        AT | {"track": 4, "value": 1},
        AT | {"track": "w", "camera": "front", "value": "a"}, AT | {"track": "w", "camera": "side", "value": "b"},
    ], {"hz": 12.5, "prefix": "our_"}),
    ("rows", "wide.json", [
        {"file": "a/b.npy", "id": {"n": 1}, "step": 0, "subtask": "reach", "done": False, "note": None},
        {"file": "a/b.npy", "id": {"n": 1}, "step": 3, "until": 5, "subtask": "lift", "box": {"box": [1, 2, 3, 4]}},
    ], {"episode": "{file|stem}:{id.n}", "tracks": ("subtask", "box")}),
    ("rows", "table.parquet", [
        {"episode": 3.0, "step": 2.0, "move": "left", "box": json.dumps(BOX)},
        {"episode": None, "step": None, "move": "right", "box": None},
        {"episode": 3.0, "step": float("inf"), "move": "up", "box": None},
    ], {}),
    ("ecot", "ecot.json", {
        "/d/out.npy": {"7": {
            "reasoning": {"0": {"subtask": "a"}, "1": {"subtask": "a"}, "2": {"subtask": ""}, "10": {"subtask": "b"},
                          "x": {"subtask": "c"}, "11": "text"},
            "features": {"state_3d": [[0.1, 0.2, 0.3]], "move_primitive": ["stop", "stop", None, "up"], "sure": [True],
                         "gripper_positions": [[10, 20], [11, 21]], "height": [0.5],
                         "bboxes": [[[0.5, "cup", [1, 2, 3, 4]]], [], [[0.5, "cup", [4, 3, 2, 1]]]]},
        }, "8": {"0": {"subtask": "bare"}}, "9": {"reasoning": None}},
    }, {"episode": "{file|name}:{episode}"}),
    ("action_config", "ranges.jsonl", [
        {"episode_index": 0, "action_config": [{"start_frame": 2, "end_frame": 9, "action_text": "a", "skill": "A"},
                                               {"start_frame": 9, "end_frame": 9, "action_text": "b"}]},
        {"episode_index": 1, "label_info": {"action_config": [{"end_frame": 10, "action_text": "a"},
                                                              {"end_frame": "20", "action_text": "b"}]}},
        {"episode_index": 2}, {"episode_index": 3, "action_config": [{"start_frame": 0}, {"end_frame": 5.0}]},
    ], {}),
]  # fmt: skip


def write(path: Path, content: Any) -> None:
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.Table.from_pylist(content), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in content))
    else:
        path.write_text(json.dumps(content))


def stored(path: Path, form: str, changes: dict[str, Any], work: WorkDir) -> set[tuple[Any, ...]]:
    """The rows as the writer keeps them."""
    entry = AnnotationFile(**({"file": "x", "format": form, "episode": EPISODE[form], "tracks": (), "prefix": "",
                               "hz": 0.0} | changes))  # fmt: skip
    task: Task = TracksTask(path, entry, work)
    task.run()
    rows = TrackFiles(work.path(str(cached(task))))  # type: ignore[arg-type]
    with pa.memory_map(str(rows.rows)) as file:
        table = pa.ipc.open_file(file).read_all()
    meta = {key.decode(): json.loads(value) for key, value in table.schema.metadata.items()}
    cameras, roles = ({-1: ""} | dict(enumerate(meta[name])) for name in ("cameras", "roles"))
    return {
        (row["unit"], meta["tracks"][row["track"]][0], row["start"], row["until"], cameras[row["camera"]],
         roles[row["role"]], row["value"], *meta["tracks"][row["track"]][1:])
        for row in table.to_pylist()
    }  # fmt: skip


@pytest.mark.parametrize(("form", "name", "content", "changes"), [pytest.param(*one, id=one[1]) for one in FILES])
def test_files_are_read_alike(tmp_path: Path, form: str, name: str, content: Any, changes: dict[str, Any]) -> None:
    path = tmp_path / name
    write(path, content)
    wanted = stored(path, form, changes, WorkDir(tmp_path / "work"))
    entry = {"format": form} | ({"episode": changes["episode"]} if "episode" in changes else {})
    store = Store({row[1] for row in wanted})
    store.add(files.read(path, entry, changes.get("hz")), changes.get("prefix", ""), changes.get("tracks", ()))
    store.close()
    found = set()
    for unit, track in {row[:2] for row in wanted}:
        for camera, role in {(row[4], row[5]) for row in wanted}:
            for row in store.rows(unit, track, camera, role):
                more = store.kinds[track], track in store.events
                found.add((unit, track, row.start, row.until, camera, role, store.text(row), *more))
    assert wanted
    assert found == wanted


def test_equal_rows_are_one(tmp_path: Path) -> None:
    """But for those with a role: two questions may have the same answer."""
    write(tmp_path / "x.jsonl", [AT | {"value": "a"}] * 3 + [AT | {"role": "user", "value": "a"}] * 2)
    store = Store(["t", "unused"])
    store.add(files.read(tmp_path / "x.jsonl", {"format": "rows"}, None), "", ())
    store.close()
    unit = keys.digest("e")
    assert [store.text(row) for row in store.rows(unit, "t", None, None)] == ["a", "a", "a"]
    assert len(store.rows(unit, "t", None, "user")) == 2
    assert store.rows(keys.digest("f"), "t", None, None) == store.rows(unit, "unused", None, None) == []


RULES = [("active", 1), ("emitted", 1), ("previous", 1), ("previous", 3), ("next", 1), ("next", 2), ("all", 1),
         ("remaining", 1)]  # fmt: skip


@pytest.mark.parametrize(("rule", "count"), RULES)
@given(rows=st.lists(st.tuples(st.integers(0, 12), st.none() | st.integers(1, 5)), max_size=6))
def test_times(rule: str, count: int, rows: list[tuple[int, int | None]]) -> None:
    own = sorted(((start, None if size is None else start + size) for start, size in rows), key=lambda row: row[0])
    plain = [{"track": "t", "time": start} | ({} if end is None else {"until": end}) for start, end in own]
    mine = [times.Row(start, -1 if end is None else end, number) for number, (start, end) in enumerate(own)]
    for step in range(16):
        found = [row.number for row in times.find(mine, step, rule, count)]
        try:
            assert rules.find_plain(plain, [float(step)], Binding("t", rule, count))[0] == found
        except rules.Ambiguous:
            assert len(found) > 1


def test_what_is_derived() -> None:
    """Motions and gripper events of two arms, and how far they are known where the last actions are not."""
    dims = tuple(f"{arm}_{name}" for arm in ("left", "right") for name in ARM)
    rng = np.random.default_rng(3)
    actions = rng.choice(np.float32([0, 0.01, -0.01, 0.05, 0.5, 0.4, 0.6]), (60, len(dims)))
    unit = np.frombuffer(b"\0" * 600, "S10")
    raw = pa.FixedSizeBinaryArray.from_buffers(pa.binary(10), 60, [None, pa.py_buffer(unit.tobytes())])
    table = pa.table({"unit": raw, "step": pa.array(range(60), pa.int32()), "episode": ["e"] * 60,
                      "action": pa.FixedSizeListArray.from_arrays(pa.array(actions.reshape(-1)), len(dims)),
                      "reject": np.zeros(60, np.uint8)})  # fmt: skip
    for rule, name in (
        (Motions("t", 4, 0.03, 0.15, 0.4, 0.6, dims), "motions"),
        (GripperEvents("t", 0.4, 0.6, dims), "gripper_events"),
    ):
        store = TrackStore([], [rule])
        rows = store.resolve(table, Binding("t", "emitted" if rule.event else "active"))
        wanted = ["" if row < 0 else writers.texts(rule, np.array([row]))[0] for row in rows.tolist()]
        said = derived.texts({"derive": name}, dims, actions.tolist(), 60)
        assert said == wanted
        assert len(set(said)) > 5
        known = derived.texts({"derive": name}, dims, actions[:50].tolist(), 60)
        assert known == wanted[: 50 if rule.event else 47]


@pytest.mark.parametrize("form", sorted(forms.FORMS))
def test_forms(form: str) -> None:
    tok = GroundingTokenizer.from_pretrained(form)
    rng = np.random.default_rng(5)
    pools = {"none": [[""]], "required": [["cup", "red lid"]]}.get(tok.labels, [[""], ["cup", "red lid"]])
    for size in ((640, 480), (256, 256), (31, 77), (1920, 1080)):
        for kind in tok.kinds:
            for number, labels in [(n, pool) for n in ((1, 2, 5) if kind != "trace" else (1,)) for pool in pools]:
                values, objects = [], []
                for _ in range(number):
                    x, y = np.sort(rng.integers(0, 2 * np.array(size)[:, None], (2, 2)) / 2, axis=1).tolist()
                    label = str(rng.choice(labels))
                    flat = [x[0], y[0], x[1], y[1]]
                    if kind == "box":
                        objects.append(Box(*flat, label))
                        values.append({"box": flat})
                    elif kind == "point":
                        objects.append(Point(*flat[:2], label))
                        values.append({"point": flat[:2]})
                    else:
                        objects.append(Trace(((flat[0], flat[1]), (flat[2], flat[3])), label))
                        values.append({"trace": [flat[:2], flat[2:]]})
                    values[-1] |= {"label": label} if label else {}
                things = [forms.thing(value, size, size) for value in values]
                assert forms.write(form, things, size) == tok.format(objects, size)
    assert forms.write("kosmos2", [], (8, 8)) is None


def test_objects_are_moved_to_the_stored_image() -> None:
    moved = forms.thing({"box": [0, 0, 32, 24], "label": "cup"}, (640, 480), (224, 224))
    assert moved == ("box", (0.0, 0.0, 11.2, 11.2), "cup")
    assert forms.thing({"point": [8, 4], "size": [16, 16]}, None, (32, 16)).numbers == (16.0, 4.0)
