"""A build, front to back: INDEX, MEASURE, PLAN, EXCHANGE, GATHER, COMMIT, one module a stage. Begin with `stages`.

`estimate`, `dataset_stats` and `fit_tokenizer` are shorter flows over the same stages.

May import: `plan`, `shards`, `samples`, `mixture` and what they may import.
"""
