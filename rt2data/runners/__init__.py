"""How tasks run: in this process, in worker processes, or on a Beam runner; and how progress is counted.

`engine` chooses among them, `workers` is the pool of processes, `beam` the pipeline, `progress` what stderr shows.
A task is a name of `workers.STAGES` and JSON. Knows no dataset.

May import: `storage`, `errors`.
"""
