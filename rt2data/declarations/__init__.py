"""Read the files of builders/, which declare a dataset's fields and their meaning, into frozen dataclasses.

`yaml_file` reads YAML safely and checks it against schemas/, `declaration` reads and finds declarations, `robot_parser`
and `web` parse the two kinds.

May import: `robot`, `rlds`, `resources`, `errors`.
"""
