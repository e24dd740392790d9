"""Read the files of mixtures/ (recipes) into frozen dataclasses. Never looks at data: `rt2data.samples` does.

`include` reads a file and merges those that it includes, `recipe` checks it and fills in defaults. `prompt_templates`,
`sampling`, `bounds`, `filters`, `holdout`, `reasoning`, `kinds` and `tracks` parse its parts.

May import: `declarations`, `tokenizer`, `prompts`, `errors`.
"""
