"""Fixtures that every test file may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real sample data: RT2DATA_SAMPLE_DATA, else ../shared/data; the test is skipped where neither is."""
    folder = Path(os.environ.get("RT2DATA_SAMPLE_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "rlds").is_dir():
        pytest.skip(f"real sample data not found in {folder}; set RT2DATA_SAMPLE_DATA")
    return folder
