"""Find the data files of the project: declarations, tokenizer specifications, recipes and schemas.

They lie at the top level of a checkout (``builders/ tokenizers/ mixtures/ schemas/``) and in ``rt2data/_data/`` of a
wheel. Nothing else in the package knows the difference.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS = ("builders", "tokenizers", "mixtures", "schemas")

_PACKAGE = os.path.dirname(os.path.realpath(__file__))


def place(name: str) -> str:
    """Return the folder `name` (one of FOLDERS) of this installation, as text.

    Text, since importing pathlib takes 3 of the 15 ms that serving has to start.
    """
    bundled = os.path.join(_PACKAGE, "_data", name)
    return bundled if os.path.isdir(bundled) else os.path.join(os.path.dirname(_PACKAGE), name)


def folder(name: str) -> Path:
    """Return the folder `name` (one of FOLDERS) of this installation."""
    from pathlib import Path

    return Path(place(name))


def files(name: str, suffix: str) -> Iterator[Path]:
    """List the files below folder `name` that end in `suffix`, in sorted order."""
    return iter(sorted(p for p in folder(name).rglob(f"*{suffix}") if p.is_file()))
