"""What pages point at is there: files that they link, paths that they name, and dotted names of the package."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from support.repository import DOCS, ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "mixtures" / "README.md", *sorted(DOCS.glob("*.md"))]
PATH = re.compile(r"`((?:rt2data|tests|benchmarks|builders|mixtures|schemas|tokenizers|docs)/[\w./-]+)`")


def resolve(dotted: str) -> Any:
    """The module or the attribute of a dotted name; raises where there is none."""
    module, _, name = dotted.rpartition(".")
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        return getattr(resolve(module), name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_points_at_what_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    for link in re.findall(r"\]\((?!https?:)([\w./-]+)(?:#[\w.-]+)?\)", text):
        assert (page.parent / link).exists(), link
    for path in PATH.findall(text):
        assert (ROOT / path).exists() or "NAME" in path, path
    for dotted in re.findall(r"`(rt2data(?:\.\w+)+)", text):
        if not dotted.rpartition(".")[2].isupper():  # a placeholder, such as STAGE
            resolve(dotted)
