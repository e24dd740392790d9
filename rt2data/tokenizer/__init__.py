"""The action tokenizer: actions to bins, bins to text or token ids, and back. Needs numpy alone; loads in milliseconds.

>>> tok = ActionTokenizer.from_pretrained("rt2")
>>> bins = tok.encode([0.0, -0.28, 0.89, -1.5, -0.33, 0.0, 0.85], False)
>>> tok.format(bins)
'1 128 92 241 5 101 128 217'

`tokenizer` has the class, `spec` and `spec_fields` its specification, `schemes` the rules from numbers to bins, `text`
the action string, `vocabulary` the token ids of a language model, `fit` the fit of FAST, `fast_directory` the files of
FAST's own processor, `proprio` states in prompts.

May import: `prompts`, `storage` (inside functions), `resources`, `errors`.
"""

from __future__ import annotations

from rt2data.tokenizer.errors import ActionError, ActionParseError
from rt2data.tokenizer.results import Decoded, Properties
from rt2data.tokenizer.spec_fields import Dim, Terminate
from rt2data.tokenizer.tokenizer import ActionTokenizer

__all__ = ["ActionError", "ActionParseError", "ActionTokenizer", "Decoded", "Dim", "Properties", "Terminate"]
