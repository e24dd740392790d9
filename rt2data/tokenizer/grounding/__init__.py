"""Boxes, points and traces as vision-language models write them: forms as data, and one engine for all of them.

`tokenizer` has the class, `properties` what holds for its texts; `values` the objects, `placing` their way into the
stored image, `resize` that of a model's processor, `outlines` the lines that show them; `form` the specification with
`numbers`, `labels` and `template`; `strings` writes and reads texts, `language` makes regular expressions and grammars
of them.

May import: `tokenizer.errors`, `tokenizer.json_checks`, `tokenizer.text.digits`, `resources`, `errors`.
"""

from __future__ import annotations

from rt2data.tokenizer.grounding.outlines import to_lines
from rt2data.tokenizer.grounding.placing import to_stored
from rt2data.tokenizer.grounding.properties import GroundingProperties
from rt2data.tokenizer.grounding.tokenizer import GroundingTokenizer
from rt2data.tokenizer.grounding.values import Box, Parsed, Point, Trace

__all__ = ["Box", "GroundingProperties", "GroundingTokenizer", "Parsed", "Point", "Trace", "to_lines", "to_stored"]
