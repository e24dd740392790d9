"""Which frame of a video a step has, where LeRobot's rows and videos do not quite agree."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

pytest.importorskip("av")
from support import lerobot_files as files
from support import small_corpora
from support.lerobot_steps import CAMERA, NONE, film, read

from rt2data import cli
from rt2data.check import check
from rt2data.declarations import declaration

VERSIONS = pytest.mark.parametrize("version", ["v2.1", "v3.0"])


# --- a video that lacks frames, or begins late ------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (range(1, 6), [NONE, 1, 2, 3, 4, 5]),  # the first is not there
        (range(5), [0, 1, 2, 3, 4, NONE]),
        ([0, 1, 4, 5], [0, 1, NONE, NONE, 4, 5]),
        ([2, 3], [NONE, NONE, 2, 3, NONE, NONE]),
        ([0], [0, NONE, NONE, NONE, NONE, NONE]),
        (range(6), [0, 1, 2, 3, 4, 5]),
    ],
)
def test_steps_whose_frame_a_video_lacks_are_left_out(
    version: str, shown: Sequence[int], expected: list[int], tmp_path: Path
) -> None:
    film(tmp_path, version, shown, shown)
    steps, reasons, _ = read(tmp_path)
    assert steps == expected
    assert set(reasons) <= {"", "missing_image"}


@VERSIONS
@pytest.mark.parametrize(("count", "late"), [(6, 1), (6, 2), (6, 5), (6, 0.6), (7, 1), (8, 2)])
def test_a_video_that_begins_late_gives_no_frame(version: str, count: int, late: float, tmp_path: Path) -> None:
    """As many frames as steps, or more, but at the times of later steps: LeRobot refuses the first step."""
    film(tmp_path, version, range(count), [n + late for n in range(count)])
    steps, reasons, notes = read(tmp_path)
    assert steps == [NONE] * 6
    assert reasons == {"video_out_of_step": 6}
    assert notes["out_of_step"] == 1
    assert notes["late"] == pytest.approx(late / files.FPS)


@VERSIONS
def test_a_late_beginning_within_half_a_step_needs_a_tolerance(version: str, tmp_path: Path) -> None:
    film(tmp_path, version, range(6), [n + 0.3 for n in range(6)])
    _steps, reasons, notes = read(tmp_path)
    assert reasons == {"frame_off_time": 6}
    assert notes["off_time"] == 6
    assert notes["farthest"] == pytest.approx(0.03)
    assert read(tmp_path, video={"tolerance": 0.031})[0] == list(range(6))


@VERSIONS
def test_frames_behind_b_frames_without_an_edit_list_are_late(version: str, tmp_path: Path) -> None:
    film(tmp_path, version, range(6), range(6), use_editlist="0")
    assert read(tmp_path)[1] == {"video_out_of_step": 6}


@VERSIONS
def test_more_frames_than_steps_are_read_and_told(version: str, tmp_path: Path) -> None:
    folder = film(tmp_path, version, range(8), range(8))
    if version == "v3.0":
        files.relist(folder, lambda n, row: {f"videos/{CAMERA}/to_timestamp": 0.8})
    steps, _, notes = read(tmp_path)
    assert steps == list(range(6))
    assert notes["longer"] == 1


# --- another rate -----------------------------------------------------------------------------------------------------


def retimed(root: Path, version: str, fps: Fraction | int, count: int, steps: int = 40, said: int = 30) -> None:
    """`count` frames at `fps` for `steps` steps at `said`."""
    folder = film(root, version, range(count), range(count), steps, fps=fps)
    info = json.loads((folder / "meta/info.json").read_text())
    (folder / "meta/info.json").write_text(json.dumps(info | {"fps": said}))
    if version == "v3.0":
        files.relist(folder, lambda n, row: {f"videos/{CAMERA}/to_timestamp": float(count / Fraction(fps))})


@VERSIONS
def test_a_rate_a_little_off_needs_a_tolerance(version: str, tmp_path: Path) -> None:
    retimed(tmp_path, version, Fraction(30000, 1001), 40)
    steps, reasons, notes = read(tmp_path, 30)
    assert {n for n, shown in enumerate(steps) if shown not in (NONE, n)} == set()
    assert reasons["frame_off_time"] >= 36
    assert notes["farthest"] == pytest.approx(39 * (1001 / 30000 - 1 / 30), abs=1e-5)
    assert notes["slowest"] == pytest.approx(29.97, abs=0.01)
    assert read(tmp_path, 30, video={"tolerance": 0.0014})[0] == list(range(40))


@VERSIONS
@pytest.mark.parametrize("fps", [Fraction(30000, 1001), 29, 31])
def test_timestamps_at_the_videos_own_rate_need_no_tolerance(version: str, fps: Fraction, tmp_path: Path) -> None:
    """LeRobot's reader asks for them and gets each step's frame, whatever fps says."""
    retimed(tmp_path, version, fps, 40)
    path = next((tmp_path / "socks/data/chunk-000").iterdir())
    rows = pq.read_table(path)
    at = rows.schema.get_field_index("timestamp")
    pq.write_table(rows.set_column(at, "timestamp", pa.array(np.arange(40) / float(fps), pa.float32())), path)
    steps, _reasons, notes = read(tmp_path, 30)
    assert steps == list(range(40))
    assert not notes


@VERSIONS
@pytest.mark.parametrize("fps", [29, 31, 25, Fraction(305, 10)])
@pytest.mark.parametrize("tolerance", [1e-4, 0.0166, 0.04])
def test_a_rate_at_which_frames_have_other_steps_gives_none(
    version: str, fps: Fraction, tolerance: float, tmp_path: Path
) -> None:
    """29 frames a second: the frame that is shown at the time of step 30 is number 29."""
    retimed(tmp_path, version, fps, 40)
    _steps, reasons, notes = read(tmp_path, 30, video={"tolerance": tolerance})
    assert reasons == {"video_out_of_step": 40}
    assert notes["fastest"] == pytest.approx(float(fps), rel=1e-3)


@VERSIONS
def test_a_video_of_another_rate_and_the_same_length_is_read_by_time(version: str, tmp_path: Path) -> None:
    """24 frames a second, 10 steps: each fifth step has a frame; 30 frames a second: each step."""
    retimed(tmp_path / "a", version, 24, 48, 20, 10)
    assert read(tmp_path / "a")[0] == [n * 24 // 10 if n % 5 == 0 else NONE for n in range(20)]
    retimed(tmp_path / "b", version, 30, 60, 20, 10)
    assert read(tmp_path / "b")[0] == [3 * n for n in range(20)]
    retimed(tmp_path / "c", version, 30, 45, 20, 10)
    assert read(tmp_path / "c")[0] == [3 * n if n < 15 else NONE for n in range(20)]


@VERSIONS
@pytest.mark.parametrize(("fps", "count"), [(30, 20), (20, 20), (30, 19), (20, 21), (5, 20)])
def test_a_frame_for_each_step_at_a_multiple_of_the_rate_gives_none(
    version: str, fps: int, count: int, tmp_path: Path
) -> None:
    """20 steps at 10 Hz, but 20 frames at 30 a second: by its time the frame of step 1 is number 3."""
    retimed(tmp_path, version, fps, count, 20, 10)
    assert read(tmp_path)[1] == {"video_out_of_step": 20}


@VERSIONS
def test_every_third_frame_late_by_one_of_them(version: str, tmp_path: Path) -> None:
    folder = film(tmp_path, version, range(18), [n + 1 for n in range(18)], 6, fps=30)
    if version == "v3.0":
        files.relist(folder, lambda n, row: {f"videos/{CAMERA}/to_timestamp": 19 / 30})
    assert read(tmp_path)[1] == {"video_out_of_step": 6}


@VERSIONS
def test_a_frame_has_one_step(version: str, tmp_path: Path) -> None:
    """15 frames a second for 30 steps, and a tolerance of more than a frame: every second step has none."""
    retimed(tmp_path, version, 15, 20)
    steps, _reasons, _ = read(tmp_path, 30, video={"tolerance": 0.04})
    assert steps == [n // 2 if n % 2 == 0 else NONE for n in range(40)]


def test_frames_at_uneven_times(tmp_path: Path) -> None:
    """A clock's jitter: what is within the tolerance has its own frame, and no other step is touched."""
    at = [0, 1, 2.03, 3, 3.96, 5]
    film(tmp_path, "v2.1", range(6), at)
    steps, reasons, _notes = read(tmp_path)
    assert steps == [0, 1, NONE, 3, NONE, 5]
    assert reasons == {"": 4, "frame_off_time": 2}
    assert read(tmp_path, video={"tolerance": 0.005})[0] == list(range(6))


# --- rows -------------------------------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize(
    ("clock", "others"),
    [
        (lambda t: np.arange(t) / files.FPS, 0),
        (lambda t: np.arange(t) * 100.0, 5),  # milliseconds
        (lambda t: 1.7e9 + np.arange(t) / files.FPS, 6),
        (lambda t: (np.arange(t) + 1) / files.FPS, 6),
        (lambda t: np.maximum(np.arange(t) - 1, 0) / files.FPS, 5),
        (lambda t: np.arange(t) * 100, 5),
        (None, 0),
    ],
)
def test_frames_go_by_frame_index_and_steps_with_another_timestamp_are_counted(
    version: str, clock: Callable[[int], np.ndarray] | None, others: int, tmp_path: Path
) -> None:
    column = {"timestamp": (lambda n, t: pa.array(clock(t))) if clock else (lambda n, t: None)}
    files.write(tmp_path, version, steps=(6,), changes=column)
    steps, _, notes = read(tmp_path)
    assert steps == list(range(6))
    assert notes.get("clock", 0) == others


def test_timestamps_that_are_no_numbers(tmp_path: Path) -> None:
    files.write(tmp_path, steps=(6,), changes={"timestamp": lambda n, t: pa.array([f"0:0{s}" for s in range(t)])})
    steps, _, notes = read(tmp_path)
    assert steps == list(range(6))
    assert not notes


@VERSIONS
def test_rows_that_were_lost_have_their_own_frames(version: str, tmp_path: Path) -> None:
    """The numbers of the frames tell which rows are not there."""
    folder = files.write(tmp_path, version, steps=(6,))
    path = next((folder / "data/chunk-000").iterdir())
    pq.write_table(pq.read_table(path).take([0, 1, 3, 5]), path)
    assert read(tmp_path)[0] == [0, 1, 3, 5]


def test_two_rows_of_one_frame_have_none(tmp_path: Path) -> None:
    files.write(tmp_path, steps=(6,), changes={"frame_index": lambda n, t: pa.array([0, 1, 2, 2, 4, 5])})
    steps, _reasons, _ = read(tmp_path)
    assert steps == [0, 1, NONE, NONE, 4, 5]


# --- what is said of it -----------------------------------------------------------------------------------------------


def plan_of(root: Path, **recipe: Any) -> str:
    """What the command `plan --index` prints, in one line; on standard error where it fails."""
    (root / "socks.yaml").write_text(yaml.safe_dump(files.DECLARATION))
    path = small_corpora.write_recipe(
        root / "r.yaml", sources=[{"source": "socks.yaml"}], cameras=["primary"], splits=None, **recipe
    )
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        cli.main(["plan", str(path), "--data-root", str(root), "--work", str(root / "w"), "--index"])
    return " ".join(out.getvalue().split())


@VERSIONS
def test_the_plan_says_why_and_what_to_do(version: str, tmp_path: Path) -> None:
    film(tmp_path, version, range(6), [n * 1.001 for n in range(6)])
    said = plan_of(tmp_path)
    assert "4 frame_off_time" in said or "5 frame_off_time" in said
    assert "socks: in 1 of 1 episodes no step terminates" in said
    assert "left out, whose frame is up to 0.0005 s from the step's time (9.99 frames a second" in said
    assert "`video: {tolerance: 0.0005}` in the declaration takes them" in said
    film(tmp_path / "late", version, range(6), [n + 1 for n in range(6)])
    said = plan_of(tmp_path / "late")
    assert "socks gives train no sample: 6 steps (6 video_out_of_step)" in said
    assert "begins 0.1 s late" in said


def test_the_plan_says_where_timestamps_name_other_frames_and_lengths_differ(tmp_path: Path) -> None:
    late = {"timestamp": lambda n, t: pa.array((np.arange(t) + (n == 1)) / files.FPS)}
    folder = files.write(tmp_path, "v3.0", steps=(6, 5, 7), changes=late)
    files.relist(folder, lambda n, row: {"length": 8} if n == 2 else {})
    said = plan_of(tmp_path)
    assert "camera primary: for 5 steps the column timestamp names another frame, or none" in said
    assert "socks: meta states another length than there are rows, of 1 episode" in said
    assert "camera wrist" not in said  # the recipe does not take it


def test_datasets_check_looks_at_frames(tmp_path: Path) -> None:
    film(tmp_path, "v2.1", range(6), [n + 1 for n in range(6)])
    (tmp_path / "socks.yaml").write_text(yaml.safe_dump(files.DECLARATION))
    declared = declaration.read_declaration(tmp_path / "socks.yaml")
    verdicts = {claim.claim: claim for claim in check.check(declared, tmp_path, path="socks").claims}
    assert verdicts["camera primary: frames belong to steps"].verdict == "objects"
    assert "begins 0.1 s late" in verdicts["camera primary: frames belong to steps"].evidence
    assert verdicts["camera wrist: frames belong to steps"].verdict == "agrees"
