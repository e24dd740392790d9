"""The plan of a build, numbers only: quotas, repeats, shards, requests to an object store, hours and bytes.

`planner` makes the exact plan of a job, `plan` is its data, `draw` says which samples of a part it draws. `forecast`
and `requests` say what a build costs, `warnings` and `text` what a person should see of it. No image is read.

May import: `samples` and what it may import.
"""
