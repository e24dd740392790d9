"""The sample world and its mixture, as the quickstart leaves them; made once for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.built_mixture import Built

from rt2data import build
from rt2data.demo import write_sample
from rt2data.recipes.recipe import find_recipe


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The mixture of the bundled recipe ``quickstart`` on the whole sample; not to be changed."""
    folder = tmp_path_factory.mktemp("closed_loop")
    write_sample(folder / "sample", workers=2)
    manifest = build("quickstart", folder / "out", data_root=folder / "sample", workers=2, progress=False)
    return Built(Path(find_recipe("quickstart")), folder / "sample", folder / "out", manifest)
