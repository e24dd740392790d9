"""What the writer computes, computed a second time from the documentation: one value at a time, simple, not fast.

`tokenizer` (with `dct` and `fast_bpe` for FAST, `floats`, `sphere` and `rules` for other schemes) is the action
tokenizer, `bounds` has the rules of its bounds, `keys` has keys and hashes, `texts` prompts and targets, `images` what
an image shows, `drift` where a replayed episode ends. Nothing here knows of checks or reports.

May import: nothing of rt2data.
"""
