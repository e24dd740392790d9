"""rt2data: robot demonstrations and web data as one shuffled, weighted, reproducible mixture, and its action tokenizer.

The data model in one sentence: sources give samples (images, prompt, target), a recipe says how many of each, and a
build writes them as shards whose bytes depend on nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rt2data.errors import Rt2dataError
    from rt2data.loader import Loader
    from rt2data.mixture import load_manifest
    from rt2data.pipeline.build import build
    from rt2data.tokenizer import (
        ActionError,
        ActionParseError,
        ActionTokenizer,
        Box,
        Dim,
        GroundingTokenizer,
        Point,
        Trace,
    )

__version__ = "0.1.0"

__all__ = [
    "ActionError",
    "ActionParseError",
    "ActionTokenizer",
    "Box",
    "Dim",
    "GroundingTokenizer",
    "Loader",
    "Point",
    "Rt2dataError",
    "Trace",
    "build",
    "load_manifest",
]

# Serving imports the tokenizer and nothing else: each name is loaded when it is first used.
_HOME = {
    "ActionError": "rt2data.tokenizer",
    "ActionParseError": "rt2data.tokenizer",
    "ActionTokenizer": "rt2data.tokenizer",
    "Box": "rt2data.tokenizer",
    "Dim": "rt2data.tokenizer",
    "GroundingTokenizer": "rt2data.tokenizer",
    "Loader": "rt2data.loader",
    "Point": "rt2data.tokenizer",
    "Rt2dataError": "rt2data.errors",
    "Trace": "rt2data.tokenizer",
    "build": "rt2data.pipeline.build",
    "load_manifest": "rt2data.mixture",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
