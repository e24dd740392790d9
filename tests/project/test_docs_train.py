"""The Python of docs/train.md runs from top to bottom, on a small mixture, with tiny models for published ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support import small_corpora, tiny_models
from support.repository import DOCS

from rt2data.pipeline import build as flow

PAGE = DOCS / "train.md"


@pytest.mark.parametrize("family", ["paligemma", "idefics3"])
def test_snippets(family: str, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tiny_models.transformers()
    processor, model = tiny_models.family(family)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(flow, "Engine", small_corpora.in_process())
    recipe = small_corpora.write_recipe(tmp_path / "r.yaml")
    flow.build(recipe, tmp_path / "out/quickstart", data_root=corpora, progress=False)
    monkeypatch.setattr(library.AutoProcessor, "from_pretrained", lambda name: processor)
    monkeypatch.setattr(library.AutoModelForImageTextToText, "from_pretrained", lambda name: model)
    text = PAGE.read_text("utf-8")
    names: dict[str, Any] = {}
    blocks = list(re.finditer(r"^```python[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    assert len(blocks) == 8
    for block in blocks:
        if family == "paligemma" and "collate.pack(" in block[1]:
            continue
        line = text[: block.start()].count("\n") + 1
        exec(compile("\n" * line + block[1], "docs/train.md", "exec"), names)
    assert float(names["loss"]) > 0
