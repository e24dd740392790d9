"""Conversations rendered a second time, from the recipe and the files of annotations that it names.

`check` compares the turns of a sample with those of its kind (`placeholders`), by `matching`. What tracks say is in
`tracks`: `files` and `values` read them into `store`, a database on disk; `times` has the rules of time, `forms`
boxes, points and traces as text, `derived` what follows from the actions and states of samples.

May import: the rest of `rt2data.verify`, and what it may.
"""
