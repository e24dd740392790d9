"""Robot demonstrations: RLDS in TFRecord and ArrayRecord, RoboSet's HDF5, LeRobot; `video` decodes frames.

May import: `sources.base` and what `sources` may import.
"""
