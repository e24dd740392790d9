"""LeRobot v2.0, v2.1 and v3.0: metadata, episodes in Parquet, frames of video or pictures. `source` is the format's
class.

May import: `sources.robot`, `sources.base` and what `sources` may import.
"""
