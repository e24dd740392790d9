"""RLDS as TensorFlow Datasets writes it, read and written without TensorFlow.

`tfrecord` and `array_record` are the containers, `tf_example` the wire format, `features` the feature structure,
`episodes` the values of one episode, `dataset` a folder's splits and files, `writer` writes all of it.

May import: `storage`, `errors`.
"""

from __future__ import annotations

from rt2data.rlds.dataset import RldsDataset, read_episodes
from rt2data.rlds.writer import ImageSpec, RaggedSpec, TensorSpec, TextSpec, write_rlds

__all__ = ["ImageSpec", "RaggedSpec", "RldsDataset", "TensorSpec", "TextSpec", "read_episodes", "write_rlds"]
