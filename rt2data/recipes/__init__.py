"""The files of mixtures/: sources, amounts, tokenizer, prompts, filters, as frozen dataclasses. Never looks at data.

`recipe` is one file, `include` reads files that build on others, `sampling`, `filters`, `holdout` and `reasoning` are
parts of it.

May import: `declarations`, `tokenizer`, `prompts`, `errors`.
"""
