"""LeRobot datasets in v2.0, v2.1 and v3.0: `source` is the format's class.

`meta` reads what the folder ``meta`` says, `episodes` finds where episodes lie, `table` reads Parquet, `frames` lists
which images are read from which file, `fields` gives columns the names that declarations use,
`annotation_columns` reads those that become tracks.

May import: `sources.robot` and what it may import.
"""
