"""From rows to the bytes of a shard: prompts, targets and JSON members (`render`), tar headers (`tar`), writing.

May import: `samples`, `tokenizer` and what they may import.
"""
