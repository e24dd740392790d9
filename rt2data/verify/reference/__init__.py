"""What the writer computes, computed a second time from the documentation: one value at a time, simple, not fast.

`tokenizer` (with `dct` and `fast_bpe` for FAST) is the action tokenizer, `keys` has keys and hashes, `texts` prompts
and targets,
`images` what an image shows. Nothing here knows of checks or reports.

May import: nothing of rt2data.
"""
