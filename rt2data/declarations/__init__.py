"""The files of builders/: a dataset's fields and what they mean, as frozen dataclasses.

`yaml_file` reads YAML safely and holds it to schemas/, `declaration` is one file, `robot_parser` and `web` its two
kinds.

May import: `robot`, `rlds`, `resources`, `errors`.
"""
