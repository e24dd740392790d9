"""From rows to the bytes of a shard.

`render` makes keys, prompts, targets and the JSON member of each sample, `reencode` the images that a recipe wants in
another form, `tar` the headers and checksums, `direct_writer` writes files past the page cache.

May import: `samples`, `tokenizer` and what they may import.
"""
