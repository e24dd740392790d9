"""The annotations of the demo world are true: of its geometry, and of the pixels that are rendered."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rt2data.demo import episodes, scene
from rt2data.demo.motion import Course, Task, draw_task, perform_task
from rt2data.demo.notes import TRACE, annotate_episode, talk_in_episode
from rt2data.demo.pose import from_rpy
from rt2data.demo.robot import FINGER_GAP, Arm
from rt2data.demo.scene import PRIMARY, SEEN, Scene, Thing, make_camera, make_tables
from rt2data.demo.shapes import SHAPES
from rt2data.images.codec import encode_image

SEED = 17
COUNT = 4  # episodes: each kind of task
Row = dict[str, Any]


@dataclass
class Episode:
    """An episode of the sample, made again, with its rows as they were written."""

    task: Task
    course: Course
    rng: Any  # where the generator is before the scene
    rows: list[Row]

    def scene(self, things: list[Thing], tables: dict[str, Image.Image]) -> Scene:
        """The scene with these objects: light, table and camera stay."""
        rng = Random()
        rng.setstate(self.rng)
        return Scene(rng, make_camera(rng), tables, things, self.task.plate)

    def arm(self, step: int, paint: tuple[float, float, float]) -> Arm:
        state = self.course.states[step]
        return Arm(state[:3], from_rpy(*state[3:6]), state[6], paint)

    def of(self, track: str) -> list[Row]:
        return [row for row in self.rows if row.get("track") == track]

    def boxes(self, step: int) -> dict[str, list[int]]:
        """The boxes that hold at a step, by their labels."""
        holding = [row["value"] for row in self.of("box") if row["step"] <= step < row["until"]]
        assert len({one["label"] for one in holding}) == len(holding)
        return {one["label"]: one["box"] for one in holding}


@pytest.fixture(scope="module")
def tables() -> dict[str, Image.Image]:
    return make_tables(SEED)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[Episode]]:
    """The first episodes of the sample: the bytes of the dataset, and each episode with its annotations."""
    folder = tmp_path_factory.mktemp("sample")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(episodes, "SPLITS", {"train": COUNT - 1, "val": 1})
        patch.setattr(episodes, "SHARDS", {"train": 1, "val": 1})
        episodes.write_episodes(folder, SEED)
    rows = [json.loads(line) for line in (folder / "tabletop/annotations.jsonl").read_text().splitlines()]
    data = b"".join(path.read_bytes() for path in sorted((folder / "tabletop/1.0.0").glob("*tfrecord*")))
    found = []
    for number in range(COUNT):
        task, rng = draw_task(SEED, number)
        course = perform_task(rng, task)
        found.append(Episode(task, course, rng.getstate(), [r for r in rows if r["episode"] == str(number)]))
    assert sum(len(episode.rows) for episode in found) == len(rows)
    return data, found


def name(thing: Thing) -> str:
    return f"{thing.colour} {thing.shape}"


def changed(before: Image.Image, after: Image.Image) -> tuple[list[int] | None, int]:
    """The box of the pixels in which two images differ, and how many there are."""
    down, across = np.nonzero((np.asarray(before) != np.asarray(after)).any(-1))
    if not len(across):
        return None, 0
    return [int(across.min()), int(down.min()), int(across.max()) + 1, int(down.max()) + 1], len(across)


def test_boxes_hold_the_pixels_that_change_with_the_colour_of_the_object(
    written: tuple[bytes, list[Episode]], tables: dict[str, Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, compared = 0, 0
    for episode in written[1]:
        things, steps = episode.task.things, range(1, len(episode.course.states), 6)
        plain = episode.scene(things[1:], tables)
        images = {}
        for step in steps:
            images[step] = plain.render(episode.arm(step, plain.paint), [episode.course.movers[step]])[0]
            assert encode_image(images[step], "jpeg") in written[0]  # it is the picture of the dataset
        for place, thing in enumerate(things):
            other = "green" if thing.colour in ("red", "purple") else "purple"
            painted = [replace(t, colour=other) if t is thing else t for t in things]
            drawn = episode.scene(painted[1:], tables)
            for step in steps:
                mover = replace(episode.course.movers[step], colour=painted[0].colour)
                again = drawn.render(episode.arm(step, drawn.paint), [mover])[0]
                expected, pixels = changed(images[step], again)
                found = episode.boxes(step).get(name(thing))
                if pixels > 1.5 * SEEN:
                    assert found == expected, (thing, step)
                elif pixels < SEEN / 2:
                    assert found is None, (thing, step)
                hidden += place > 0 and found != episode.boxes(0)[name(thing)]
                compared += 1
        if episode.task.plate:
            with monkeypatch.context() as patch:
                patch.setattr(scene, "_PLATE", (90.0, 90.0, 90.0))
                dark = episode.scene(things[1:], tables)
                for step in steps:
                    again = dark.render(episode.arm(step, dark.paint), [episode.course.movers[step]])[0]
                    expected, _ = changed(images[step], again)
                    assert episode.boxes(step)["plate"] == expected
    assert compared > 60
    assert hidden  # the arm hides a part of what stands still


def test_the_gripper_is_where_a_ball_at_its_place_is_seen(
    written: tuple[bytes, list[Episode]], tables: dict[str, Image.Image]
) -> None:
    for episode in written[1]:
        drawn = episode.scene([], tables)
        away = Arm((0.3, -0.9, 0.6), from_rpy(0.0, 0.0, 0.0), 1.0, drawn.paint)  # out of the picture
        points = {row["step"]: row["gripper"]["point"] for row in episode.rows if "gripper" in row}
        assert list(points) == list(range(len(episode.course.states)))
        for step in range(0, len(points), 5):
            x, y, z = episode.course.states[step][:3]
            ball = Thing("ball", "red", (x, y, z - SHAPES["ball"].height / 2), from_rpy(0.0, 0.0, 0.0))
            found = drawn.render(away, [ball])[2][0]
            assert found is not None
            left, top, right, bottom = found
            assert points[step] == pytest.approx([(left + right) / 2, (top + bottom) / 2], abs=1)


def test_a_trace_is_the_way_of_the_gripper_from_here_on(written: tuple[bytes, list[Episode]]) -> None:
    for episode in written[1]:
        points = [row["gripper"]["point"] for row in episode.rows if "gripper" in row]
        traces = [row["trace"]["trace"] for row in episode.rows if "trace" in row]
        for step, trace in enumerate(traces):
            left = points[step:]
            places = np.linspace(0, len(left) - 1, min(TRACE, len(left))).astype(int)
            assert trace == [left[place] for place in places]


def bare(count: int) -> Iterator[tuple[Task, Course, list[Row]]]:
    """Episodes of the sample without their pictures."""
    for number in range(count):
        task, rng = draw_task(SEED, number)
        course = perform_task(rng, task)
        nothing = [[None] * (len(task.things) + (task.plate is not None))] * len(course.states)
        yield task, course, list(annotate_episode(number, SEED, task, course, make_camera(rng), nothing))


def held(course: Course, step: int) -> bool:
    """Whether the fingers are as wide open as the object is, and around its middle."""
    mover, state = course.movers[step], course.states[step]
    shape = SHAPES[mover.shape]
    foot = np.array(from_rpy(*state[3:6])) @ [0.0, 0.0, shape.height / 2]
    near = math.dist(np.array(mover.position) + foot, state[:3]) < 0.02
    return near and abs(state[6] * FINGER_GAP - shape.grip) < 1e-4


def test_subtasks_say_what_the_arm_does() -> None:
    seen: Counter[str] = Counter()
    for task, course, rows in bare(64):
        starts = [row for row in rows if row.get("track") == "subtask"]
        ends = [*(row["step"] for row in starts[1:]), len(course.states) - 1]
        a = name(task.things[0])
        for row, end in zip(starts, ends, strict=True):
            verb, start = row["value"].split()[0], row["step"]
            seen[verb] += 1
            assert a in row["value"]
            before, after, path = course.states[start], course.states[end], course.movers[start : end + 1]
            moved = math.dist(path[0].position, path[-1].position)
            assert (moved > 0.04) == (verb in ("lift", "carry", "put", "push")), row
            assert held(course, start) == (verb in ("lift", "carry", "put")), row
            to_object = [math.dist(s[:2], path[0].position[:2]) for s in (before, after)]
            if verb == "reach":
                assert to_object[1] < (0.12 if task.push else 0.01)
            elif verb == "grasp":
                assert held(course, end)
            elif verb == "lift":
                assert path[-1].position[2] - path[0].position[2] > 0.08
            elif verb in ("carry", "put"):
                assert task.plate is not None
                assert math.dist(after[:2], task.plate[:2]) < 0.01
                assert (path[-1].position[2] < 0.011) == (verb == "put")
            elif verb == "push":
                if task.kind == "push":
                    assert row["value"].endswith(f" to the {name(task.things[1])}")
                    apart = SHAPES[path[0].shape].radius + SHAPES[task.things[1].shape].radius
                    assert math.dist(path[-1].position, task.things[1].position) == pytest.approx(apart, abs=0.01)
                else:
                    assert row["value"].split(a)[1].strip() in task.instruction
            else:
                assert verb == "move"
                assert math.dist(after[:3], path[0].position) > math.dist(before[:3], path[0].position) + 0.02
        texts = [row["value"] for row in starts]
        (plan,) = [row for row in rows if row.get("track") == "plan"]
        assert (plan["step"], re.split(r"(?:, )?\d\. ", plan["value"])[1:]) == (0, texts)
        memories = [row for row in rows if row.get("track") == "memory"]
        assert [row["step"] for row in memories] == [row["step"] for row in starts[1:]]
        assert [row["value"].count(a) for row in memories] == list(range(1, len(starts)))
    assert set(seen) == {"reach", "grasp", "lift", "carry", "put", "push", "move"}


def true_answer(question: str, episode: Episode, step: int) -> str | None:
    """The answer to an English question, from the boxes and the hand; None where there is no rule."""
    boxes = episode.boxes(step)
    plate = boxes.pop("plate", None)
    mover = name(episode.task.things[0])
    in_hand = mover if held(episode.course, step) else None
    middles = {label: (box[0] + box[2]) / 2 for label, box in boxes.items()}
    table = sorted((label for label in boxes if label != in_hand), key=middles.__getitem__)

    def yes(fact: bool) -> str:
        return "yes" if fact else "no"

    def where(label: str) -> str:
        if label == in_hand:
            return "in the gripper"
        left, top, right, bottom = boxes[label]
        if plate and label == mover and plate[0] <= left and right <= plate[2] and top < plate[1] < bottom <= plate[3]:
            return "on the plate"
        third = int(middles[label] / (PRIMARY[0] / 3))
        return ("on the left", "in the middle", "on the right")[third] + " of the picture"

    rules: dict[str, Callable[..., list[str]]] = {
        r"What should the robot do now to .*\?": lambda: [
            row["value"] for row in episode.of("subtask") if row["step"] == step
        ],
        r"Where is the (\w+ \w+)\?": lambda a: [where(a)],
        r"What color is the (\w+)\?": lambda s: [label.split()[0] for label in boxes if label.endswith(s)],
        r"What is the (\w+) toy\?": lambda c: [label.split()[1] for label in boxes if label.startswith(c)],
        r"How many toys are on the table\?": lambda: [str(len(table))],
        r"How many (\w+)s are on the table\?": lambda s: [str(sum(label.endswith(s) for label in table))],
        r"How many (\w+) toys are on the table\?": lambda c: [str(sum(label.startswith(c) for label in table))],
        r"Is the (\w+ \w+) to the left of the (\w+ \w+)\?": lambda a, b: [yes(middles[a] < middles[b])],
        r"Is the (\w+ \w+) to the right of the (\w+ \w+)\?": lambda a, b: [yes(middles[a] > middles[b])],
        r"Is there an? (\w+ \w+) on the table\?": lambda a: [yes(a in table)],
        r"Is the robot holding something\?": lambda: [yes(in_hand is not None)],
        r"What is the gripper holding\?": lambda: [in_hand or "nothing"],
        r"Which toy on the table is farthest to the left\?": lambda: [table[0]],
    }
    for pattern, rule in rules.items():
        if match := re.fullmatch(pattern, question):
            (only,) = rule(*match.groups())  # more than one: the question would be ambiguous
            return str(only)
    return None


def test_answers_on_robot_frames_are_true(written: tuple[bytes, list[Episode]]) -> None:
    checked: Counter[str] = Counter()
    for episode in written[1]:
        rows = episode.of("vqa")
        assert {row["step"] for row in rows} == {row["step"] for row in episode.of("subtask")}
        for asked, answered in zip(rows[::2], rows[1::2], strict=True):
            assert (asked["role"], answered["role"]) == ("user", "assistant")
            assert asked["event"] is answered["event"] is True
            assert asked["step"] == answered["step"]
            expected = true_answer(asked["value"], episode, asked["step"])
            if expected is None:
                checked["French"] += 1
                assert not asked["value"].startswith(("What", "Where", "How", "Is "))
            else:
                assert answered["value"] == expected, asked
                checked[" ".join(asked["value"].split()[:2])] += 1
    assert checked["French"] < 0.4 * sum(checked.values())
    assert {"Where is", "What should", "What color", "Is there", "How many"} < checked.keys()


def test_what_is_said_asks_for_the_subtask_that_begins() -> None:
    """Each subtask but the first is asked for where it begins, and the robot agrees with a call of its tool."""
    agreed: Counter[bool] = Counter()
    for number, (task, _, rows) in enumerate(bare(16)):
        starts = [(row["step"], row["value"]) for row in rows if row.get("track") == "subtask"][1:]
        said = list(talk_in_episode(number, SEED, task))
        asked = [row for row in said if row["track"] == "interjection"]
        assert [row["step"] for row in asked] == [step for step, _ in starts]
        assert all(text in row["value"] for row, (_, text) in zip(asked, starts, strict=True))
        for row, (step, text) in zip((r for r in said if r["track"] == "speech"), starts, strict=True):
            assert (row["step"], row["value"]["name"]) == (step, "say")
            agreed[text in row["value"]["arguments"]["text"]] += 1
        assert all(row["event"] and row["episode"] == str(number) for row in said)
    assert agreed[True] > agreed[False] > 0
