"""The action tokenizer. Needs numpy and nothing else; loads in milliseconds.

>>> tok = ActionTokenizer.from_pretrained("rt2")
>>> bins = tok.encode([0.0, -0.28, 0.89, -1.5, -0.33, 0.0, 0.85], False)
>>> tok.format(bins)
'1 128 92 241 5 101 128 217'
"""

from rt2data.tokenizer.errors import ActionError as ActionError
from rt2data.tokenizer.errors import ActionParseError as ActionParseError
from rt2data.tokenizer.spec import Dim as Dim
from rt2data.tokenizer.spec import Terminate as Terminate
from rt2data.tokenizer.tokenizer import ActionTokenizer as ActionTokenizer
from rt2data.tokenizer.tokenizer import Decoded as Decoded
from rt2data.tokenizer.tokenizer import Properties as Properties
