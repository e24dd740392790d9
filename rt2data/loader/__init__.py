"""Read a built mixture for training: in a new order each epoch, from any position, for any number of readers.

`loader` has the class `Loader`, `order` and `mixing` say which sample a position is, `shards` reads samples by number,
`decoding` decodes their images.

May import: `mixture`, `images`, `storage`, `errors`.
"""

from __future__ import annotations

from rt2data.loader.loader import Loader, Sample

__all__ = ["Loader", "Sample"]
