"""Several episodes in a video file: where each begins and ends, as LeRobot's ``meta`` says it or does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from rt2data import index, sources
from rt2data.declarations import declaration

pytest.importorskip("av")
from support import lerobot_files as files
from support.lerobot_steps import CAMERA, NONE, frames, read

# --- several episodes in a file, and what meta says of them -----------------------------------------------------------


def three(root: Path, change: Callable[[int, dict[str, Any]], dict[str, Any]] | None = None) -> Path:
    """v3.0: episodes of 6, 5 and 7 steps in a file."""
    folder = files.write(root, "v3.0", steps=(6, 5, 7))
    if change:
        files.relist(folder, change)
    return folder


def span(start: float, stop: float | None) -> dict[str, Any]:
    return {f"videos/{CAMERA}/from_timestamp": start, f"videos/{CAMERA}/to_timestamp": stop}


STARTS, STOPS = [0.0, 0.6, 1.1], [0.6, 1.1, 1.8]
RIGHT = [*range(6), *range(5), *range(7)]


@pytest.mark.parametrize(
    "stops",
    [
        [0.5, 1.0, 1.7],  # the last frame's own time
        [0.6, 1.1, 1.8],
        [None, None, None],
        [0.0, 0.0, 0.0],
        [0.601, 1.099, 1.81],
        [18.0, 18.0, 18.0],
        [0.3, 0.8, 1.5],  # LeRobot's reader does not look at it
    ],
)
def test_what_is_said_of_an_episodes_end_loses_no_step(stops: list[float | None], tmp_path: Path) -> None:
    three(tmp_path, lambda n, row: span(STARTS[n], stops[n]))
    steps, reasons, notes = read(tmp_path)
    assert steps == RIGHT
    assert reasons == {"": 18}
    assert not notes


@pytest.mark.parametrize(
    ("starts", "stops"),
    [
        ([0.0, 0.5, 0.9], [0.5, 0.9, 1.5]),  # each begins where the last frame of the one before it is
        ([0.0, 0.7, 1.3], [0.7, 1.3, 2.1]),
        ([0.1, 0.7, 1.2], [0.7, 1.2, 1.9]),
        ([0.0, 0.6, 0.6], [0.6, 1.1, 1.8]),  # two begin at one frame
    ],
)
def test_beginnings_that_do_not_fit_the_number_of_frames_give_none(
    starts: list[float], stops: list[float], tmp_path: Path
) -> None:
    three(tmp_path, lambda n, row: span(starts[n], stops[n]))
    steps, reasons, _ = read(tmp_path)
    assert all(shown in (NONE, right) for shown, right in zip(steps, RIGHT, strict=True))
    assert reasons["video_out_of_step"] >= 12


def test_a_file_that_begins_late(tmp_path: Path) -> None:
    folder = three(tmp_path)
    every = [*frames(0, range(6)), *frames(1, range(5)), *frames(2, range(7))]
    files.encode(folder / f"videos/{CAMERA}/chunk-000/file-000.mp4", every, at=[n + 1 for n in range(18)])
    _steps, reasons, notes = read(tmp_path)
    assert reasons == {"video_out_of_step": 18}
    assert notes["late"] == pytest.approx(0.1)


def test_a_file_that_lacks_frames_in_one_episode(tmp_path: Path) -> None:
    folder = three(tmp_path)
    kept = [n for n in range(18) if n not in (0, 8, 17)]
    every = [*frames(0, range(6)), *frames(1, range(5)), *frames(2, range(7))]
    files.encode(folder / f"videos/{CAMERA}/chunk-000/file-000.mp4", [every[n] for n in kept], at=kept)
    steps, reasons, _ = read(tmp_path)
    assert steps == [NONE if n in (0, 8, 17) else right for n, right in enumerate(RIGHT)]
    assert reasons == {"": 15, "missing_image": 3}


def test_frames_of_an_episode_that_is_gone(tmp_path: Path) -> None:
    """Removed from meta and data, but not from the video."""
    folder = three(tmp_path)
    path = folder / "meta/episodes/chunk-000/file-000.parquet"
    listed = pq.read_table(path).to_pylist()
    data = folder / "data/chunk-000/file-000.parquet"
    rows = pq.read_table(data)
    pq.write_table(pa.Table.from_pylist([listed[0], listed[2]]), path)
    pq.write_table(rows.filter(pa.compute.not_equal(rows["episode_index"], 1)), data)
    steps, _reasons, notes = read(tmp_path)
    assert steps == [*range(6), *range(7)]
    assert not notes


def test_a_frame_that_came_twice_in_the_first_episode_is_said(tmp_path: Path) -> None:
    """Every later frame is one step late, as LeRobot's reader shows it; only the number of frames tells."""
    folder = three(tmp_path)
    every = [*frames(0, [0, 0, *range(1, 6)]), *frames(1, range(5)), *frames(2, range(7))]
    files.encode(folder / f"videos/{CAMERA}/chunk-000/file-000.mp4", every)
    (tmp_path / "socks.yaml").write_text(yaml.safe_dump(files.DECLARATION))
    source = sources.open_source(declaration.read_declaration(tmp_path / "socks.yaml"), tmp_path, "socks")
    (part,) = source.parts("train")
    notes = json.loads(index.meta(source.index(part, check="quick"))["frames"])
    assert notes["primary.longer"] == 1


def test_a_file_of_a_single_frame(tmp_path: Path) -> None:
    """It has no rate; the first step of all has the frame."""
    folder = three(tmp_path)
    files.encode(folder / f"videos/{CAMERA}/chunk-000/file-000.mp4", frames(0, [0]))
    steps, reasons, _notes = read(tmp_path)
    assert steps == [0, *[NONE] * 17]
    assert reasons == {"": 1, "missing_image": 17}


@pytest.mark.parametrize("gap", [1, 3])
def test_a_file_with_gaps_between_its_episodes(gap: int, tmp_path: Path) -> None:
    """As where each video was put behind the others with a duration that is a little longer than its frames."""
    folder = three(tmp_path)
    every = [*frames(0, range(6)), *frames(1, range(5)), *frames(2, range(7))]
    at = [n + gap * (int(n >= 6) + int(n >= 11)) for n in range(18)]
    files.encode(folder / f"videos/{CAMERA}/chunk-000/file-000.mp4", every, at=at)
    edges = [0, 0.6 + gap / 10, 1.1 + 2 * gap / 10, 1.8 + 3 * gap / 10]
    files.relist(folder, lambda n, row: span(edges[n], edges[n + 1]))
    steps, _reasons, notes = read(tmp_path)
    assert steps == RIGHT
    assert not notes


@pytest.mark.parametrize("fps", [5, 20, 30])
@pytest.mark.parametrize("said", ["fps", "video"])
def test_a_file_with_a_frame_for_each_step_at_another_rate_gives_none(fps: int, said: str, tmp_path: Path) -> None:
    """`said`: whether episodes begin where fps says, or the video's own rate."""
    folder = three(tmp_path)
    every = [*frames(0, range(6)), *frames(1, range(5)), *frames(2, range(7))]
    files.encode(folder / f"videos/{CAMERA}/chunk-000/file-000.mp4", every, fps=fps)
    edges = [n / (fps if said == "video" else files.FPS) for n in (0, 6, 11, 18)]
    files.relist(folder, lambda n, row: span(edges[n], edges[n + 1]))
    steps, reasons, _ = read(tmp_path)
    assert steps == [NONE] * 18
    assert set(reasons) <= {"video_out_of_step", "missing_image"}


def test_cameras_that_disagree(tmp_path: Path) -> None:
    """One camera lacks an episode's last frames, so that its next one begins earlier than the other camera's."""
    folder = three(tmp_path, lambda n, row: span([0.0, 0.4, 0.9][n], [0.4, 0.9, 1.6][n]))
    every = [*frames(0, range(4)), *frames(1, range(5)), *frames(2, range(7))]
    files.encode(folder / f"videos/{CAMERA}/chunk-000/file-000.mp4", every)
    steps, reasons, _notes = read(tmp_path)
    assert steps == [0, 1, 2, 3, NONE, NONE, *range(5), *range(7)]
    assert reasons == {"": 16, "missing_image": 2}


def test_lengths_that_meta_does_not_say_or_says_wrongly(tmp_path: Path) -> None:
    three(tmp_path / "a", lambda n, row: {"length": None})
    assert read(tmp_path / "a")[0] == RIGHT
    three(tmp_path / "b", lambda n, row: {"length": None, "dataset_from_index": None} | span(STARTS[n], STOPS[n] - 0.1))
    assert read(tmp_path / "b")[0] == RIGHT
    three(tmp_path / "c", lambda n, row: {"length": row["length"] + 1, "dataset_to_index": row["dataset_to_index"] + 1})
    assert read(tmp_path / "c")[0] == RIGHT


def test_a_rate_a_little_off_in_several_episodes(tmp_path: Path) -> None:
    """Each episode begins where its video does; within it the times drift."""
    folder, rate = three(tmp_path), Fraction(30000, 1001)
    every = [*frames(0, range(6)), *frames(1, range(5)), *frames(2, range(7))]
    files.encode(folder / f"videos/{CAMERA}/chunk-000/file-000.mp4", every, fps=rate)
    edges = [float(n / rate) for n in (0, 6, 11, 18)]
    files.relist(folder, lambda n, row: span(edges[n], edges[n + 1]))
    info = json.loads((folder / "meta/info.json").read_text())
    (folder / "meta/info.json").write_text(json.dumps(info | {"fps": 30}))
    assert read(tmp_path, 30, video={"tolerance": 0.001})[0] == RIGHT
    _steps, reasons, _ = read(tmp_path, 30)
    assert set(reasons) == {"", "frame_off_time"}
