"""Sources: a dataset opened from its declaration. A source lists its parts and indexes one part at a time."""

from __future__ import annotations

import importlib
import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from rt2data import storage
from rt2data.declarations.declaration import Declaration
from rt2data.errors import Rt2dataError, near
from rt2data.storage.object_store import Url
from rt2data.storage.places import Place

# What a declaration's `format` may name. Anyone's own format is given as module:Class.
FORMATS = {
    "rlds": "rt2data.sources.robot.rlds_tfrecord:opened",
    "roboset_hdf5": "rt2data.sources.robot.roboset:RobosetHdf5",
    "lerobot": "rt2data.sources.robot.lerobot.source:LeRobot",
    "vqa_json": "rt2data.sources.web.vqa_json:VqaJson",
    "coco_captions": "rt2data.sources.web.coco_captions:CocoCaptions",
    "coco_instances": "rt2data.sources.web.coco_instances:CocoInstances",
    "json": "rt2data.sources.web.text_files:Json",
    "json_columns": "rt2data.sources.web.text_files:JsonColumns",
    "jsonl": "rt2data.sources.web.text_files:Jsonl",
    "lines": "rt2data.sources.web.text_files:Lines",
    "csv": "rt2data.sources.web.text_files:Csv",
    "tsv": "rt2data.sources.web.text_files:Tsv",
    "webdataset": "rt2data.sources.web.webdataset:WebDataset",
    "parquet": "rt2data.sources.web.tables:Parquet",
    "arrow": "rt2data.sources.web.tables:Arrow",
    "hub": "rt2data.sources.web.hub:Hub",
}


@dataclass(frozen=True, slots=True)
class Part:
    """The unit of parallel reading: one file, or rows `start` to `stop` of one.

    `files` are the files (below the dataset's folder) whose change means that the part has changed.
    """

    split: str
    name: str
    files: tuple[str, ...]
    start: int = 0
    stop: int = -1


class Source(Protocol):
    """What every format offers. `root` is the dataset's folder."""

    declaration: Declaration
    root: Place

    def splits(self) -> dict[str, int]:
        """The dataset's own splits, and how many episodes or examples each holds as its metadata says."""
        ...

    def parts(self, split: str) -> list[Part]:
        """The parts of a split, in a fixed order."""
        ...

    def digest(self, part: Part) -> str:
        """The part's identity: a hex digest of its content, made without reading the images."""
        ...

    def watched(self, part: Part) -> list[str]:
        """Further files below `root` whose change means that the part has changed, such as pictures, there or not."""
        ...

    def index(self, part: Part, *, check: str) -> pa.Table:
        """The index of a part (`rt2data.index`), with its images checked as far as `check` (of `index.LEVELS`) says."""
        ...

    def estimate(self, split: str, cameras: Sequence[str]) -> tuple[int, int]:
        """(samples, bytes of their images) of a split, guessed from metadata and the first records, fast."""
        ...


def open_source(declaration: Declaration, data_root: Place | None, path: str | None = None, where: str = "") -> Source:
    """Open the dataset of a declaration.

    Args:
        declaration: what to open.
        data_root: the folder that holds datasets.
        path: the dataset's folder, where it is not one that the declaration names; relative to `data_root`.
        where: begins the error, such as the recipe's line.

    Raises:
        Rt2dataError: no such folder, or one that does not hold the dataset.
    """
    where = where or declaration.name
    if path is None and data_root is None:
        raise Rt2dataError(
            where, "no data root", f"the folder that holds {declaration.name}", "Give it with --data-root"
        )
    tried = [storage.join(data_root, p) for p in ([path] if path else declaration.paths)]
    for folder in tried:
        if folder.is_dir():
            source: Source = of_format(declaration, where)(declaration, folder)
            return source
    if declaration.format == "hub":
        from rt2data.sources.web import hub

        found: Source = hub.Hub(declaration, hub.place(declaration, tried[0]))
        return found
    if isinstance(data_root, Path) and not data_root.is_dir():
        raise Rt2dataError(where, f"no data root {data_root}", "the folder that holds the datasets")
    places = ", ".join(str(p) for p in tried)
    expected = f"a folder at one of {places}" if len(tried) > 1 else f"the folder {places}"
    copy = declaration.raw.get("bucket", {}).get("copy")
    repair = (
        f"`rt2data datasets {declaration.name}` prints the command that copies it"
        if copy
        else "Give its folder with path:"
    )
    raise Rt2dataError(where, f'dataset "{declaration.name}" is not on disk', expected, repair)


def of_format(declaration: Declaration, where: str) -> Any:
    """The class that reads a declaration's format."""
    reference = FORMATS.get(declaration.format, declaration.format)
    module, _, name = reference.partition(":")
    if not name:
        known = ", ".join(FORMATS)
        raise Rt2dataError(
            where,
            f'unknown format "{declaration.format}"',
            f"one of {known}, or module:Class",
            near(declaration.format, FORMATS),
        )
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise Rt2dataError(where, f'format "{declaration.format}": {error}', "a class that can be imported") from None


def safe_join(root: Place, name: str) -> Place | None:
    """`root`/`name`, or None where `name`, which is read from data, would leave `root`."""
    if "\0" in name:
        return None
    if isinstance(root, Url):
        plain = posixpath.normpath(name)
        return None if plain == "." or plain.split("/")[0] in ("", "..") else root / plain
    folder = os.path.abspath(root)
    joined = os.path.normpath(os.path.join(folder, name))
    return Path(joined) if joined != folder and joined.startswith(folder.rstrip(os.sep) + os.sep) else None
