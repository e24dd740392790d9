"""Datasets on disk: one class per format, each of which lists its parts and indexes one at a time.

`base` is the contract (`Source`, `Part`), `registry` the table of formats; `robot/` has demonstrations, `web/` corpora.

May import: `index`, `declarations`, `robot`, `rlds`, `images`, `storage`, `errors`.
"""

from __future__ import annotations

from rt2data.sources.base import Part, Source
from rt2data.sources.registry import FORMATS, of_format, open_source

__all__ = ["FORMATS", "Part", "Source", "of_format", "open_source"]
