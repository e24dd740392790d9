"""From samples of a mixture to the batch of a model.

`processor` has `for_processor`, which makes batches of the vision-language models of transformers, over `conversation`
(a sample's turns), `chat` and `paligemma` (the forms of models), `tokens` (which token is which text) and `batch`
(padding and packing). `action_heads` has arrays for flow and diffusion heads; `lengths` measures and packs samples.

May import: `loader`, `tokenizer`, `prompts`, `errors`. torch and transformers are imported when a batch is made.
"""

from __future__ import annotations

from rt2data.collate.action_heads import ActionHeadCollate, as_gr00t, as_octo, as_openpi, for_action_head
from rt2data.collate.lengths import TokenLengths, packs, token_lengths
from rt2data.collate.processor import Encoded, ProcessorCollate, for_processor

__all__ = [
    "ActionHeadCollate",
    "Encoded",
    "ProcessorCollate",
    "TokenLengths",
    "as_gr00t",
    "as_octo",
    "as_openpi",
    "for_action_head",
    "for_processor",
    "packs",
    "token_lengths",
]
