"""From samples of a mixture to the batch of a model.

`processor` has `for_processor`, which makes batches of the vision-language models of transformers, over `conversation`
(a sample's turns), `chat` and `paligemma` (the forms of models), `tokens` (which token is which text) and `batch`
(padding).

May import: `tokenizer`, `images`, `prompts`, `errors`. torch and transformers are imported when a batch is made.
"""

from __future__ import annotations

from rt2data.collate.processor import Encoded, ProcessorCollate, for_processor

__all__ = ["Encoded", "ProcessorCollate", "for_processor"]
