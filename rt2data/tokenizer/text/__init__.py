"""From bins to text and back: the canonical action string, its fields, and its grammar for constrained decoding.

May import: `tokenizer.schemes` and what that may import.
"""
