"""The field `annotations` of a recipe's source: what it means, its resolved form, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import small_corpora

from rt2data.errors import Rt2dataError
from rt2data.recipes import recipe
from rt2data.recipes.tracks import AnnotationFile, GripperEvents, GripperPixels, Motions
from rt2data.robot.fields import ARM


def parse(folder: Path, annotations: Any, source: str = "bridge_dataset") -> recipe.Recipe:
    path = small_corpora.write_recipe(folder / "r.yaml", sources=[{"source": source, "annotations": annotations}])
    return recipe.read_recipe(path)


def test_every_default_is_filled_in(tmp_path: Path) -> None:
    given = [
        {"file": "a.json", "format": "ecot", "tracks": ["subtask"], "prefix": "ecot_"},
        {"file": "b.parquet", "format": "rows", "hz": 10}, {"file": "c.jsonl", "format": "action_config"},
        {"derive": "motions", "window": 8}, {"derive": "gripper_events", "track": "grip", "closed": 0.1},
    ]  # fmt: skip
    read = parse(tmp_path, given)
    assert read.sources[0].annotations == (
        AnnotationFile("a.json", "ecot", "{file}:{episode}", ("subtask",), "ecot_", 5.0),
        AnnotationFile("b.parquet", "rows", "{episode}", (), "", 10.0),
        AnnotationFile("c.jsonl", "action_config", "{episode_index}", (), "", 5.0),
        Motions("motion", 8, 0.03, 0.15, 0.4, 0.6, ARM), GripperEvents("grip", 0.1, 0.6, ARM),
    )  # fmt: skip
    resolved = read.resolved["sources"][0]["annotations"]
    assert resolved[3] == {"derive": "motions", "track": "motion", "window": 8, "translation": 0.03, "rotation": 0.15,
                           "closed": 0.4, "open": 0.6}  # fmt: skip
    again = recipe.parse_recipe(read.resolved, "again.json")
    assert again.resolved == read.resolved
    assert again.sources[0].annotations == read.sources[0].annotations
    assert "annotations" not in parse(tmp_path, [{"derive": "motions"}]).resolved


CAMERA = {"derive": "gripper_pixels", "camera": "primary", "intrinsics": [400, 401.5, 160, 128],
          "camera_from_base": [[0, 1, 0, 0.5], [1, 0, 0, 0], [0, 0, -1, 1]]}  # fmt: skip


def test_gripper_pixels(tmp_path: Path) -> None:
    """Names of the position become places among the numbers of the state; both are read."""
    more = {"track": "other", "position": ["gripper", 2, "x"], "size": [640, 480]}
    read = parse(tmp_path, [CAMERA, CAMERA | more], "tabletop")
    rows = ((0.0, 1.0, 0.0, 0.5), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, -1.0, 1.0))
    numbers = ("primary", (400.0, 401.5, 160.0, 128.0), rows)
    assert read.sources[0].annotations == (
        GripperPixels("gripper_pixel", *numbers, (0, 1, 2), ()),
        GripperPixels("other", *numbers, (6, 2, 0), (640, 480)),
    )
    again = recipe.parse_recipe(read.resolved, "again.json")
    assert again.resolved == read.resolved
    assert again.sources[0].annotations == read.sources[0].annotations


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"intrinsics": [0, 400, 160, 128]},
            r"r\.yaml:\d+: the intrinsics \[0, 400, 160, 128\]; expected \[fx, fy, cx, cy\]",
        ),
        ({"intrinsics": [400, -1, 160, 128]}, "fx and fy above 0"),
        ({"intrinsics": [400, 400, float("nan"), 128]}, r"intrinsics\.2\" is \"NaN\"; expected a number"),
        ({"intrinsics": [400, 400, 160]}, "intrinsics"),
        ({"intrinsics": [400, 400, 160, float("inf")]}, "intrinsics"),
        ({"camera_from_base": [[0, 1, 0, 0.5], [1, 0, 0, 0]]}, "camera_from_base"),
        ({"camera_from_base": [[0, 1, 0], [1, 0, 0], [0, 0, -1]]}, "camera_from_base"),
        ({"camera_from_base": [[0, 1, 0, 0.5], [1, 0, 0, 0], [0, 0, 1, 1]]}, "no rotation in the first three columns"),
        ({"camera_from_base": [[0, 1, 0, 0.5], [1, 0, 0, 0], [0, 0, -1.002, 1]]}, "orthonormal within 0.001"),
        ({"camera_from_base": [[0, 1, 0, 0.5], [1, 0, 0, 0], [0, 0.01, -1, 1]]}, "x right, y down, z forward"),
        ({"camera_from_base": [[0, 1, 0, float("nan")], [1, 0, 0, 0], [0, 0, -1, 1]]}, r"camera_from_base\.0\.3"),
        (
            {"position": ["x", "y", "left_z"]},
            "the position left_z, which the state of tabletop does not have; expected three",
        ),
        ({"position": [0, 1, 7]}, "the position 7, which the state"),
        ({"position": ["x", "y"]}, "position"),
        ({"camera": "overhead"}, '"overhead", no camera of tabletop; expected one of primary, wrist'),
        ({"camera": None}, "gripper_pixels without camera; expected camera of the camera"),
        ({"size": [640, 0]}, "size"),
        ({"window": 4}, '"window" for gripper_pixels; expected one of track, camera, intrinsics'),
    ],
)
def test_gripper_pixels_that_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    entry = {name: value for name, value in (CAMERA | change).items() if value is not None}
    with pytest.raises(Rt2dataError, match=message):
        parse(tmp_path, [entry], "tabletop")


def test_a_recipe_without_annotations_has_none(tmp_path: Path) -> None:
    plain = recipe.read_recipe(small_corpora.write_recipe(tmp_path / "r.yaml"))
    assert not any("annotations" in source for source in plain.resolved["sources"])
    assert {source.annotations for source in plain.sources} == {()}


@pytest.mark.parametrize(
    ("annotations", "source", "message"),
    [
        ([], "bridge_dataset", "annotations"),
        ([{"file": "a.json"}], "bridge_dataset", "annotations"),
        ([{"file": "a.json", "format": "ecot", "derive": "motions"}], "bridge_dataset", "annotations"),
        ([{"file": "a.json", "format": "srt"}], "bridge_dataset", "srt"),
        ([{"derive": "dance"}], "bridge_dataset", "dance"),
        ([{"derive": "motions"}], "coco_captions", "annotations for a caption source; expected a robot source"),
        ([{"derive": "motions", "hz": 5}], "bridge_dataset", r'r\.yaml:\d+: "hz" for motions; expected one of track'),
        ([{"derive": "gripper_events", "window": 5}], "bridge_dataset", '"window" for gripper_events'),
        ([{"derive": "gripper_events", "closed": 0.7}], "bridge_dataset", "closed at 0.7 or less, open at 0.6 or more"),
        ([{"derive": "motions"}, {"derive": "motions"}], "bridge_dataset", 'two derived tracks called "motion"'),
    ],
)
def test_what_is_refused(tmp_path: Path, annotations: Any, source: str, message: str) -> None:
    with pytest.raises(Rt2dataError, match=message):
        parse(tmp_path, annotations, source)


@pytest.mark.parametrize(
    ("derive", "source", "message"),
    [
        ("motions", "conq_hose_manipulation", "in the frame of the tool; expected displacements in the base's frame"),
        ("motions", "robo_net", "whose x is not in m; expected translation: the least that counts"),
        ("motions", "aloha_mobile", "which has no displacement of an arm; expected a source with one"),
        ("gripper_events", "language_table", "which has no gripper; expected a source with one"),
        ("gripper_pixels", "language_table", "without camera; expected camera, intrinsics, camera_from_base of the"),
    ],
)
def test_sources_of_which_nothing_can_be_derived(tmp_path: Path, derive: str, source: str, message: str) -> None:
    with pytest.raises(Rt2dataError, match=message):
        parse(tmp_path, [{"derive": derive}], source)
