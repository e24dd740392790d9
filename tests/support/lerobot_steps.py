"""Small LeRobot datasets whose videos do not quite fit their rows, and the frame that each step gets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rt2data import index, sources
from rt2data.declarations import declaration
from rt2data.index import blobs
from rt2data.sources.robot.lerobot.source import LeRobot
from rt2data.storage.workdir import WorkDir
from support import lerobot_files as files

CAMERA = files.CAMERAS[0]
NONE = -1


def read(root: Path, fps: float = files.FPS, **changes: Any) -> tuple[list[int], Counter[str], dict[str, float]]:
    """Per step the step whose frame it has, NONE for none; the reasons; the notes of the camera primary.

    A frame of another episode is a fault.
    """
    file = root / "socks.yaml"
    file.write_text(yaml.safe_dump(files.DECLARATION | {"control_hz": fps} | changes))
    source = sources.open_source(declaration.read_declaration(file), root, "socks")
    assert isinstance(source, LeRobot)
    source.blob_folder = WorkDir(root / "work").blobs
    (part,) = source.parts("train")
    table = source.index(part, check="header")
    quick = source.index(part, check="quick")
    assert quick.column("primary.state").to_pylist() == table.column("primary.state").to_pylist()
    state = index.numbers(table, "primary.state")
    steps = []
    for row, code in enumerate(state.tolist()):
        where, offset, length = (table.column(f"primary.{w}")[row].as_py() for w in ("file", "offset", "length"))
        if code:
            steps.append(NONE)
            continue
        shown = files.read_code(Path(blobs.locate(where, "", root / "work")).read_bytes()[offset : offset + length])
        assert shown >> 8 == int(table.column("episode")[row].as_py()), f"row {row} shows another episode"
        steps.append(shown & 127)
    notes = json.loads(index.meta(table)["frames"])
    mine = {name.partition(".")[2]: value for name, value in notes.items() if name.startswith("primary.")}
    return steps, Counter(index.REASONS[code] for code in state.tolist()), mine


def frames(episode: int, numbers: Sequence[int] | range) -> list[np.ndarray]:
    return [files.frame(episode, 0, n) for n in numbers]


def film(root: Path, version: str, numbers: Sequence[int], at: Sequence[float], steps: int = 6, **how: Any) -> Path:
    """One episode of `steps` steps, whose video shows the frames `numbers` at the times `at`, counted in frames."""
    folder = files.write(root, version, steps=(steps,))
    name = f"videos/{CAMERA}/chunk-000/file-000" if version == "v3.0" else f"videos/chunk-000/{CAMERA}/episode_000000"
    files.encode(folder / f"{name}.mp4", frames(0, numbers), at=at, **how)
    return folder
