"""MEASURE: the exact statistics of a job's actions, from the index alone.

`exact_stats` has moments and quantiles of columns in two passes, `action_statistics` the tasks of those passes and what
they say of the sources, `chunk_statistics` what relative chunks add.

May import: `samples`, `tokenizer` and what they may import.
"""
