"""Vision-language corpora: questions, captions, boxes and conversations from JSON, tables, tars, folders and the Hub.

`corpus` has what they share, `records` the declared fields of a record, `examples` what a record becomes.

May import: `sources.base` and what `sources` may import.
"""
