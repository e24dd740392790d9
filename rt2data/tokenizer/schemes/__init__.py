"""From numbers to bins and back: the elementwise schemes (`quantizers`, applied by `elementwise`) and FAST (`fast`).

May import: `tokenizer.spec`, `tokenizer.arrays`, `tokenizer.errors`.
"""
