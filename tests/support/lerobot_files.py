"""Small LeRobot datasets for tests, in the layouts v2.0, v2.1 and v3.0.

A frame shows its episode, camera and number as black and white squares, so that one that survived a video can be told.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

FPS = 10
CAMERAS = ("observation.images.top", "observation.images.hand")
TASKS = ("Put the sock in the basket.", "fold the towel")
SIDE, BITS = 16, 12  # of a square in pixels; how many squares
SIZE = (4 * SIDE, 3 * SIDE)

DECLARATION: dict[str, Any] = {
    "name": "socks",
    "id": "socks",
    "kind": "robot",
    "format": "lerobot",
    "licence": "not stated",
    "language": "en",
    "cameras": {"primary": {"field": CAMERAS[0]}, "wrist": {"field": CAMERAS[1]}},
    "instruction": "task",
    "proprio": {"field": "observation.state", "dims": ["joint_0", "joint_1", "grip"]},
    "action": {
        "dims": ["joint_0", "joint_1", "gripper"],
        "kind": "absolute",
        "units": {"joint_0": "rad", "joint_1": "rad"},
        "gripper": "0 = closed, 1 = open",
        "terms": [{"field": "action", "to": ["joint_0", "joint_1", "gripper"]}],
    },
    "terminate": "last_step",
    "valid_action": "all",
    "control_hz": FPS,
}


def code(episode: int, camera: int, step: int) -> int:
    """The number that a frame shows."""
    return (episode % 16) << 8 | camera << 7 | step


def frame(episode: int, camera: int, step: int) -> np.ndarray:
    """The frame, uint8 (48, 64, 3)."""
    number = code(episode, camera, step)
    bits = np.array([number >> k & 1 for k in range(BITS)], np.uint8).reshape(3, 4)
    grey = np.kron(bits, np.full((SIDE, SIDE), 180, np.uint8)) + 30
    return np.stack([grey, grey, np.minimum(grey, 150)], axis=2).astype(np.uint8)


def read_code(picture: bytes) -> int:
    """The number that an encoded frame shows."""
    grey = np.asarray(Image.open(io.BytesIO(picture)).convert("L"), np.float64)
    bits = grey.reshape(3, SIDE, 4, SIDE).mean(axis=(1, 3)).reshape(-1) > 110
    return int(sum(1 << k for k, bit in enumerate(bits) if bit))


def encode(
    path: Path,
    frames: list[np.ndarray],
    codec: str = "libx264",
    fps: Fraction | int = FPS,
    pixels: str = "yuv420p",
    at: Sequence[float] | None = None,
    **container: str,
) -> Path:
    """An mp4 of `frames`, with B-frames and a key frame every 7; shown at the times `at`, counted in frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {
        "libx264": {"g": "7", "bf": "2", "crf": "12"},
        "libx265": {"x265-params": "keyint=7:bframes=2:log-level=none", "crf": "12"},
        "libsvtav1": {"g": "2", "crf": "20", "preset": "11"},
        "mpeg4": {"g": "7", "bf": "2", "qscale": "2"},
    }
    with av.open(str(path), "w", format="mp4", options=container) as out:
        stream = out.add_stream(codec, fps, options=options.get(codec, {}))
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], pixels
        base = 1 / Fraction(fps) / (1 if at is None else 1000)
        stream.time_base = stream.codec_context.time_base = base
        for number, pixels in enumerate(frames):
            one = av.VideoFrame.from_ndarray(pixels, "rgb24")
            one.pts, one.time_base = number if at is None else round(1000 * at[number]), base
            out.mux(stream.encode(one))
        out.mux(stream.encode(None))
    return path


def relist(folder: Path, change: Callable[[int, dict[str, Any]], dict[str, Any]]) -> None:
    """Change what v3.0 lists of each episode, by its number and what is listed."""
    path = folder / "meta/episodes/chunk-000/file-000.parquet"
    listed = pq.read_table(path).to_pylist()
    for number, row in enumerate(listed):
        row |= change(number, row)
    pq.write_table(pa.Table.from_pylist(listed), path)


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def rows(number: int, steps: int, first: int, *, images: bool = False, **changes: Any) -> pa.Table:
    """The rows of an episode as LeRobot writes them. A change to None removes a column."""
    rng = np.random.default_rng(number)
    action = rng.normal(size=(steps, 3)).astype(np.float32)
    action[:, 2] = np.abs(action[:, 2]) % 1
    fixed = pa.list_(pa.float32(), 3)
    columns: dict[str, Any] = {
        "observation.state": pa.array(list(action + 1), fixed),
        "action": pa.array(list(action), fixed),
        "timestamp": pa.array(np.arange(steps, dtype=np.float32) / FPS),
        "frame_index": pa.array(np.arange(steps)),
        "episode_index": pa.array(np.full(steps, number)),
        "index": pa.array(np.arange(first, first + steps)),
        "task_index": pa.array(np.full(steps, number % len(TASKS))),
    }
    for k, camera in enumerate(CAMERAS if images else ()):
        found = [{"bytes": png(frame(number, k, t)), "path": f"{t}.png"} for t in range(steps)]
        columns[camera] = pa.array(found, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    return pa.table({key: value for key, value in (columns | changes).items() if value is not None})


def info(version: str, steps: list[int], *, images: bool = False, **changes: Any) -> dict[str, Any]:
    """meta/info.json."""
    vector = {"dtype": "float32", "shape": [3], "names": ["a", "b", "grip"]}
    picture = {"dtype": "image" if images else "video", "shape": [SIZE[1], SIZE[0], 3]}
    plain = {"dtype": "int64", "shape": [1], "names": None}
    two = version != "v3.0"
    data = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet" if two else None
    video = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4" if two else None
    return {
        "codebase_version": version,
        "robot_type": "so100",
        "total_episodes": len(steps),
        "total_frames": sum(steps),
        "chunks_size": 1000,
        "fps": FPS,
        "splits": {"train": f"0:{len(steps)}"},
        "data_path": data or "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": video or "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {
            "observation.state": vector,
            "action": vector,
            **{camera: picture | {"names": ["height", "width", "channels"]} for camera in CAMERAS},
            "timestamp": {"dtype": "float32", "shape": [1], "names": None},
            **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), plain),
        },
    } | changes


def write_json(path: Path, *content: Any) -> None:
    """A JSON file, or one of lines where there are several contents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in content))


def write_tasks(root: Path, version: str, tasks: tuple[str, ...] = TASKS) -> None:
    if version == "v3.0":  # as pandas writes a frame whose index are the sentences
        table = pa.table({"task_index": range(len(tasks)), "__index_level_0__": tasks})
        pq.write_table(table, root / "meta" / "tasks.parquet")
    else:
        write_json(root / "meta/tasks.jsonl", *({"task_index": n, "task": t} for n, t in enumerate(tasks)))


def write(
    root: Path,
    version: str = "v2.1",
    steps: tuple[int, ...] = (9, 5, 12, 3),
    *,
    codec: str = "libx264",
    images: bool = False,
    per_file: int = 3,
    changes: dict[str, Any] | None = None,
) -> Path:
    """``root/socks``: an episode of each length in `steps`. v3.0 has `per_file` episodes in a file.

    `changes` are those of `rows`, per column a function of (episode, steps).
    """
    folder = root / "socks"
    write_json(folder / "meta/info.json", info(version, list(steps), images=images))
    write_tasks(folder, version)
    starts = np.concatenate([[0], np.cumsum(steps)]).tolist()
    tables = [
        rows(n, t, starts[n], images=images, **{k: v and v(n, t) for k, v in (changes or {}).items()})
        for n, t in enumerate(steps)
    ]
    shown = {c: [[frame(n, k, s) for s in range(t)] for n, t in enumerate(steps)] for k, c in enumerate(CAMERAS)}
    listed = [{"episode_index": n, "tasks": [TASKS[n % len(TASKS)]], "length": t} for n, t in enumerate(steps)]
    if version != "v3.0":
        write_json(folder / "meta/episodes.jsonl", *listed)
        for n, table in enumerate(tables):
            (folder / "data/chunk-000").mkdir(parents=True, exist_ok=True)
            pq.write_table(table, folder / f"data/chunk-000/episode_{n:06d}.parquet")
            for camera in () if images else CAMERAS:
                encode(folder / f"videos/chunk-000/{camera}/episode_{n:06d}.mp4", shown[camera][n], codec)
        return folder
    for file, first in enumerate(range(0, len(steps), per_file)):
        numbers = range(first, min(first + per_file, len(steps)))
        (folder / "data/chunk-000").mkdir(parents=True, exist_ok=True)
        # One row group for two episodes.
        pq.write_table(
            pa.concat_tables([tables[n] for n in numbers]),
            folder / f"data/chunk-000/file-{file:03d}.parquet",
            row_group_size=steps[first] + 2,
        )
        for camera in () if images else CAMERAS:
            path = folder / f"videos/{camera}/chunk-000/file-{file:03d}.mp4"
            encode(path, [f for n in numbers for f in shown[camera][n]], codec)
        for n in numbers:
            listed[n] |= {
                "data/chunk_index": 0,
                "data/file_index": file,
                "dataset_from_index": starts[n],
                "dataset_to_index": starts[n + 1],
                "stats/action/mean": [0.0],
            }
            for camera in () if images else CAMERAS:
                at = (starts[n] - starts[first]) / FPS
                place = {
                    "chunk_index": 0,
                    "file_index": file,
                    "from_timestamp": at,
                    "to_timestamp": at + steps[n] / FPS,
                }
                listed[n] |= {f"videos/{camera}/{key}": value for key, value in place.items()}
    (folder / "meta/episodes/chunk-000").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(listed), folder / "meta/episodes/chunk-000/file-000.parquet")
    return folder
