"""RLDS datasets on disk, as TensorFlow Datasets lays them out, read and written without TensorFlow.

`tfrecord` and `array_record` read the two containers, `tf_example` the wire format of a record, `features` the declared
fields, `field_values` the values of a field, `episodes` an episode, `dataset` a folder's splits and shards. `writer`
writes all of these.

May import: `storage`, `errors`.
"""

from __future__ import annotations

from rt2data.rlds.dataset import RldsDataset, read_episodes
from rt2data.rlds.writer import ImageSpec, RaggedSpec, TensorSpec, TextSpec, write_rlds

__all__ = ["ImageSpec", "RaggedSpec", "RldsDataset", "TensorSpec", "TextSpec", "read_episodes", "write_rlds"]
