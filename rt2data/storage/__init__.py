"""Where data lies: a folder of a file system or a prefix of an object store, and files that appear whole or not at all.

`places` has the functions that take either, `object_store` what an object store needs, `local_copies` the copies of its
objects, `atomic` the writing of whole files. Knows nothing of datasets or mixtures.

May import: `errors`.
"""

from __future__ import annotations

from rt2data.storage.places import (
    Place,
    is_file,
    join,
    matching,
    near,
    open_file,
    place,
    reading,
    safe_join,
    version,
    versions,
)

__all__ = [
    "Place",
    "is_file",
    "join",
    "matching",
    "near",
    "open_file",
    "place",
    "reading",
    "safe_join",
    "version",
    "versions",
]
