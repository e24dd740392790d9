"""Files of published numbers, which are no part of the project."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest


def read_goldens(name: str) -> Any:
    """Read a file of published numbers in the folder RT2DATA_SHARED; the test is skipped where that is unset."""
    if "RT2DATA_SHARED" not in os.environ:
        pytest.skip("RT2DATA_SHARED names no folder of published numbers")
    return json.loads((Path(os.environ["RT2DATA_SHARED"]) / "facts" / "goldens" / name).read_text())
