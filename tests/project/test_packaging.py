"""What is shipped: the wheel carries the data files and needs numpy only; the exact versions fit what is declared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.repository import ROOT

from rt2data import resources

ASK = """
import sys
from rt2data import ActionTokenizer, resources
tokenizer = ActionTokenizer.from_pretrained("rt2")
print(tokenizer.format(tokenizer.encode([[0.0] * 7], [False]))[0])
for name in resources.FOLDERS:
    print(name, *(path.relative_to(resources.folder(name)).as_posix() for path in resources.files(name, "")))
print("modules", *sorted({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built without a network."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("*.whl")
    return found


def tracked(name: str) -> list[str]:
    """The files of a data folder, without what running them leaves behind."""
    files = (path.relative_to(ROOT / name) for path in (ROOT / name).rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in files if "__pycache__" not in path.parts)


def test_the_wheel_holds_the_package_and_its_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert all(name.startswith(("rt2data/", "rt2data-")) for name in names)
    assert "rt2data/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name]
    for folder in resources.FOLDERS:
        start = f"rt2data/_data/{folder}/"
        assert sorted(name.removeprefix(start) for name in names if name.startswith(start)) == tracked(folder)


def test_the_wheel_works_with_numpy_alone(wheel: Path, tmp_path: Path) -> None:
    """From a folder that holds the wheel's files and numpy, and nothing else that is installed."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    numpy = Path(np.__file__).parent
    for part in (numpy, numpy.with_name("numpy.libs")):
        if part.exists():
            (tmp_path / part.name).symlink_to(part)
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(tmp_path)!r})\n{ASK}"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    action, *folders, modules = ran.stdout.splitlines()
    assert re.fullmatch(r"1( \d{1,3}){7}", action)
    assert folders == [" ".join([name, *tracked(name)]) for name in resources.FOLDERS]
    assert set(modules.split()[1:]) <= {"numpy", "rt2data", "__main__"}


def test_exact_versions_cover_the_declared_ones_and_name_no_registry() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+( ; .+)?", line), line
    pinned = {line.partition("==")[0] for line in lines}
    project = (ROOT / "pyproject.toml").read_text()
    declared = set(
        re.findall(
            r'"([A-Za-z0-9-]+)[>=;"]', project[project.index("dependencies = [") : project.index("[project.scripts]")]
        )
    )
    assert {"numpy", "apache-beam", "pytest", "ruff"} <= declared
    assert {name.lower() for name in declared} - {"rt2data"} <= pinned


@pytest.mark.parametrize("target", ["help", "build-mixture", "test", "lint", "types"])
def test_make_knows_its_targets(target: str) -> None:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = ["make", "--dry-run", target, "VENV=absent"]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
