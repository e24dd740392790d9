"""From rows of an index to the samples of a recipe: which rows, which steps together, which words before the action.

`job` is what workers read, `view` the index as a recipe takes it, `selection` the rows that become samples.

May import: `recipes`, `sources`, `index`, `runners` and what they may import.
"""
