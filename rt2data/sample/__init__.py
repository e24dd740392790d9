"""The embedded sample: a rendered tabletop world as robot episodes, questions and captions.

``write_sample`` makes three corpora in one folder: ``tabletop/1.0.0`` (RLDS as TensorFlow Datasets writes it),
``tabletop_vqa`` (the layout of VQAv2) and ``tabletop_captions`` (the layout of COCO captions). Their bytes depend on
the seed alone, for one version of Pillow.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from rt2data.errors import Rt2dataError

VERSION = 1  # of the sample's content: a folder written by another version is written anew
CORPORA = ("tabletop", "tabletop_vqa", "tabletop_captions")
_MARKER = "sample.json"


def write_sample(folder: Path, seed: int = 17) -> None:
    """Writes the three corpora into `folder`; returns at once where they are there already, whole and from this seed.

    They are made in a folder beside and moved into place when they are complete; ``folder/sample.json`` comes last.

    Raises:
        Rt2dataError: `folder` holds a folder of a corpus's name that is not from here.
    """
    folder = Path(folder)
    marker = _marker(folder)
    if marker is None:
        for corpus in CORPORA:
            if (folder / corpus).exists():
                where, repair = str(folder / corpus), "Choose another folder, or remove it."
                raise Rt2dataError(where, "something that `rt2data sample` did not write", "nothing there", repair)
    elif marker == {"version": VERSION, "seed": seed, "files": _sizes(folder)}:
        return
    partial = folder / f".sample.partial-{os.getpid()}-{secrets.token_hex(4)}"
    partial.mkdir(parents=True)
    try:
        # Imported here: the check above needs neither Pillow nor NumPy.
        from rt2data.sample.episodes import write_episodes
        from rt2data.sample.scene import make_tables
        from rt2data.sample.web import write_web

        tables = make_tables(seed)
        write_episodes(partial, seed, tables)
        write_web(partial, seed, tables)
        _write_marker(folder, {"version": VERSION, "seed": seed})  # says whose the folders are, should we be stopped
        for corpus in CORPORA:
            if (folder / corpus).exists():
                (folder / corpus).rename(partial / f"old {corpus}")
            (partial / corpus).rename(folder / corpus)
        _write_marker(folder, {"version": VERSION, "seed": seed, "files": _sizes(folder)})
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sizes(folder: Path) -> dict[str, int]:
    """Size in bytes of every file of the corpora, by its path below `folder`."""
    files = (p for corpus in CORPORA for p in sorted((folder / corpus).rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): p.stat().st_size for p in files}


def _marker(folder: Path) -> dict[str, Any] | None:
    try:
        marker = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return marker if isinstance(marker, dict) else None


def _write_marker(folder: Path, value: dict[str, Any]) -> None:
    temporary = folder / f".{_MARKER}.{os.getpid()}-{secrets.token_hex(4)}"
    temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(folder / _MARKER)
