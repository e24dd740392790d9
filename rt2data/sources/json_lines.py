"""Text files a line at a time, and JSON Lines: an object per line, as corpora, LeRobot and annotation files have it.

A line holds at most MAX_LINE bytes, since it is held in memory. Errors name the file and the line: ``FILE:LINE``.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any

import orjson

from rt2data import storage
from rt2data.errors import Rt2dataError
from rt2data.storage.places import Place

MAX_LINE = 64 << 20


def read_lines(path: Place) -> Iterator[bytes]:
    """Yield the lines of a file with their ends, without a byte order mark.

    Raises:
        Rt2dataError: a line of more than MAX_LINE bytes.
    """
    with storage.open_file(path) as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise Rt2dataError(f"{path}:{number}", f"a line of more than {MAX_LINE >> 20} MiB", "a record per line")
            yield line.removeprefix(BOM_UTF8) if number == 1 else line


def read_objects(path: Place) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of each line, from 1, and the object in it; blank lines are passed over.

    Raises:
        Rt2dataError: a line that is too long, no JSON, or no object.
    """
    expected = "a JSON object per line"
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise Rt2dataError(f"{path}:{number}", f"not JSON ({error})", expected) from None
        if not isinstance(value, dict):
            raise Rt2dataError(f"{path}:{number}", f"JSON of type {type(value).__name__}", expected)
        yield number, value
