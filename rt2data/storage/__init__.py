"""Where data lies: a folder of a file system or a prefix of an object store, and files that appear whole or not at all.

`places` has the functions that take either, `object_store` what an object store needs, `local_copies` the copies of its
objects, `atomic` the writing of whole files. Knows nothing of datasets or mixtures.

May import: `errors`.
"""

from __future__ import annotations

from rt2data.storage.places import Place, place
from rt2data.storage.places import is_file as is_file
from rt2data.storage.places import join as join
from rt2data.storage.places import list_matching as matching
from rt2data.storage.places import local_path as near
from rt2data.storage.places import open_file as open_file
from rt2data.storage.places import open_partly as reading
from rt2data.storage.places import read_version as version
from rt2data.storage.places import read_versions as versions
from rt2data.storage.places import safe_join as safe_join

__all__ = ["Place", "place"]
