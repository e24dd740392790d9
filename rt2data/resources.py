"""Where the data files of the project are: declarations, tokenizer specs, recipes and schemas.

They stand at the top level of a checkout (``builders/ tokenizers/ mixtures/ schemas/``) and in ``rt2data/_data/`` of a
wheel. Nothing else in the package knows the difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("builders", "tokenizers", "mixtures", "schemas")

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder `name` (one of FOLDERS) of this installation."""
    bundled = _PACKAGE / "_data" / name
    return bundled if bundled.is_dir() else _PACKAGE.parent / name


def files(name: str, suffix: str) -> Iterator[Path]:
    """The files below folder `name` that end in `suffix`, in sorted order."""
    return iter(sorted(p for p in folder(name).rglob(f"*{suffix}") if p.is_file()))
