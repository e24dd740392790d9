"""Annotations as tracks: named, typed rows per episode, with a time each, found for every step of a part at once.

`types` has the forms of values, `table` the rows as they are stored (one Arrow file per annotation file), `store` finds
them, by the rules of `times`. `ecot_files`, `row_files` and `action_config_files` read the formats, `indexing` is the
stage that does so once; `columns` takes the tracks that a dataset itself has from its indexes; `derived` has tracks
that no file holds, made from the actions of the index, `pixels` one that is made from its states.

May import: `sources`, `recipes`, `index`, `runners` and what they may import.
"""
