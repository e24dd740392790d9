"""From numbers to bins and back.

Elementwise schemes (`quantizers` and `prompt_numbers`, applied by `elementwise`), FAST (`fast`) and BEAST
(`splines`), which share `chunk_codes`, SpatialVLA (`spatialvla`), ids of a user's encoder (`learned`), and actions
without bins (`floats`). `codec` makes that of a specification.

May import: `tokenizer.spec`, `tokenizer.learned`, `tokenizer.arrays`, `tokenizer.floats`, `tokenizer.errors`.
"""
