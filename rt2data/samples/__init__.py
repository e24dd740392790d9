"""From rows of an index to the samples of a recipe.

`job` is what workers read: recipe and indexed parts. `view` is the index of a part as the recipe takes it, `selection`
which rows become samples, `windows` which steps a sample holds, `reasoning` what stands before its action, `groups` how
rows are divided among tasks. `image_pass` and `duplicates` are stages that only some filters need.

May import: `recipes`, `tracks`, `sources`, `index`, `runners` and what they may import.
"""
