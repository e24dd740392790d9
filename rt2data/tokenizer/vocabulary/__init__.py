"""From bins to token ids of a language model and back: where bins lie in it, whether it keeps them apart, what may
follow.

May import: `tokenizer.text` and what that may import.
"""
