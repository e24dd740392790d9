"""What is dear to make and is only read: made once in a run of the tests, for all processes of pytest-xdist."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def folder(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that `make` fills, in the temporary folder of the run: whoever asks first makes it, others wait.

    Where `make` fails, its error goes to who asked, and the next one makes it anew.
    """
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # of the run; a worker's own lies in it
    found, done = base / "once" / name, base / "once" / f"{name}.done"
    found.parent.mkdir(exist_ok=True)
    with (found.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(found, ignore_errors=True)
            found.mkdir()
            make(found)
            done.touch()
    return found
