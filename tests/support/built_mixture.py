"""A mixture that a fixture has built."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Built:
    """A small mixture that was built: its recipe, data root, folder and manifest."""

    recipe: Path
    data: Path
    out: Path
    manifest: dict[str, Any]
