"""From numbers to bins and back.

Elementwise schemes (`quantizers` and `prompt_numbers`, applied by `elementwise`), FAST (`fast`), BEAST (`splines`),
SpatialVLA (`spatialvla`), and actions without bins (`floats`). `codec` makes that of a specification.

May import: `tokenizer.spec`, `tokenizer.arrays`, `tokenizer.floats`, `tokenizer.errors`.
"""
