"""The plan of a build, numbers only: quotas, copies, shards, requests to a store, hours and bytes, warnings.

`planner` makes it, `plan` is its data, `text` prints it.

May import: `samples` and what it may import.
"""
