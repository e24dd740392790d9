"""What VQA and caption corpora share: annotation files as JSON, pictures as files, and the index rows made of them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import google_crc32c
import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from rt2data import images, index
from rt2data.declaration import Declaration, Web
from rt2data.errors import Rt2dataError
from rt2data.sources import Part, safe_join

PART_ROWS = 20_000  # examples in a part: about a minute of opening pictures on a slow disk
MAX_BYTES = 1 << 28  # of a picture file: an annotation may name anything below the folder, and a picture is read whole


@dataclass(slots=True)
class Example:
    """A picture with its texts, as a corpus states it. `image` is None where no picture file was found, for `no_image`."""

    id: str
    image_unit: str
    image: str | None
    no_image: int
    language: str | None
    question: str | None = None
    answers: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    reject: int = 0
    candidates: list[str] = field(default_factory=list)


Facts: TypeAlias = npt.NDArray[np.int64]


class WebCorpus:
    """The common half of a web source. A format says how its files become examples: `read`."""

    def __init__(self, declaration: Declaration, root: Path) -> None:
        if declaration.web is None:
            raise Rt2dataError(declaration.file, f"kind {declaration.kind} in format {declaration.format}", "kind vqa or caption")
        self.declaration, self.root = declaration, root
        self.web: Web = declaration.web
        self._loaded: dict[str, list[Example]] = {}

    def read(self, split: str) -> list[Example]:
        """Every example of a split, in the order of its file."""
        raise NotImplementedError

    def file(self, split: str, role: str) -> str:
        """The annotation file of `role` in a split: the first of the declared names that exists."""
        names = self.web.splits[split][role]
        found = next((name for name in names if (self.root / name).is_file()), None)
        if found is None:
            where = f"{self.declaration.name}/{split} in {self.root}"
            raise Rt2dataError(where, f"no {role} file", f"one of {', '.join(names)}")
        return found

    def load(self, split: str, role: str) -> Any:
        """The parsed JSON of an annotation file."""
        path = self.root / self.file(split, role)
        try:
            return orjson.loads(path.read_bytes())
        except orjson.JSONDecodeError as error:
            raise Rt2dataError(str(path), f"not JSON ({error})", f"{role} in JSON") from None

    def examples(self, split: str) -> list[Example]:
        if split not in self._loaded:
            self._loaded = {split: self.read(split)}  # one split at a time: an annotation file may be 1 GB
        return self._loaded[split]

    def splits(self) -> dict[str, int]:
        """The splits whose files are there. Raises where none is."""
        there = [s for s, roles in self.web.splits.items() if all(any((self.root / n).is_file() for n in names) for names in roles.values())]
        if not there:
            split = next(iter(self.web.splits))
            for role in self.web.splits[split]:
                self.file(split, role)
        return {split: len(self.examples(split)) for split in there}

    def parts(self, split: str) -> list[Part]:
        files = tuple(self.file(split, role) for role in self.web.splits[split])
        total = len(self.examples(split))
        starts = range(0, max(total, 1), PART_ROWS)
        return [Part(split, f"{files[0]}[{a}:{min(a + PART_ROWS, total)}]", files, a, min(a + PART_ROWS, total)) for a in starts]

    def digest(self, part: Part) -> str:
        """Of the part's texts and of its pictures' names, sizes and CRC32Cs."""
        examples = self.examples(part.split)[part.start : part.stop]
        return _digest(part, examples, _facts(self.root, examples, check="header")[0])

    def watched(self, part: Part) -> list[str]:
        """The pictures, and where missing ones would be."""
        examples = self.examples(part.split)[part.start : part.stop]
        return list(dict.fromkeys(name for e in examples for name in e.candidates))

    def estimate(self, split: str, cameras: Sequence[str]) -> tuple[int, int]:
        """Every example; the size of the first 100 pictures."""
        examples = self.examples(split)
        sizes = [os.path.getsize(self.root / e.image) for e in examples[:100] if e.image]
        samples = sum(max(1, len(e.captions)) for e in examples)
        return samples, round(samples * sum(sizes) / len(sizes)) if sizes else 0

    def picture(self, values: dict[str, Any]) -> dict[str, Any]:
        """The fields of an Example that say where its picture is, by the declared patterns.

        ``{name}`` in a pattern stands for a value of the annotation, ``{name:012d}`` for an integer with 12 digits.
        """
        tried: list[str] = []
        reason = "missing_image"
        for pattern in self.web.images:
            try:
                name = re.sub(r"\{(\w+)(?::0(\d+)d)?\}", lambda m: _value(values, m), pattern)
            except (KeyError, TypeError, ValueError, OverflowError):
                continue
            path = safe_join(self.root, name)
            if path is None:
                reason = "unsafe_path"
                continue
            tried.append(name)
            if os.path.isfile(path):
                return {"image": name, "no_image": 0, "candidates": tried}
        return {"image": None, "no_image": index.CODE[reason], "candidates": tried}

    def language(self, entry: dict[str, Any]) -> str | None:
        """The language tag of an entry, else the declared one."""
        found = entry.get("language")
        return found if isinstance(found, str) and found.strip() else self.declaration.language

    def index(self, part: Part, *, check: str) -> pa.Table:
        examples = self.examples(part.split)[part.start : part.stop]
        facts, names = _facts(self.root, examples, check=check)
        table = pa.table(_columns(self.declaration, examples) | _pictures(examples, facts, names, check=check))
        return table.replace_schema_metadata({"digest": _digest(part, examples, facts), "units": json.dumps([[e.id, 1] for e in examples])})


def _value(values: dict[str, Any], match: re.Match[str]) -> str:
    value = values[match[1]]
    return f"{int(value):0{int(match[2])}d}" if match[2] else str(value)


def _columns(declaration: Declaration, examples: Sequence[Example]) -> dict[str, Any]:
    rows = len(examples)
    namespace = declaration.web.image_namespace if declaration.web else declaration.name
    units = b"".join(index.digest(e.id) for e in examples)
    languages = list(dict.fromkeys(e.language for e in examples if e.language))
    position = {language: code for code, language in enumerate(languages)}
    columns: dict[str, Any] = {
        "unit": pa.FixedSizeBinaryArray.from_buffers(pa.binary(10), rows, [None, pa.py_buffer(units)]),
        "split_hash": np.array([index.split_hash(namespace, e.image_unit) for e in examples], np.uint64),
        "step": np.zeros(rows, np.int32),
        "steps": np.ones(rows, np.int32),
        "episode": index.dictionary(np.arange(rows, dtype=np.int32), [e.id for e in examples]),
        "language": index.dictionary(np.array([position.get(e.language or "", -1) for e in examples], np.int32), languages),
        "reject": np.array([e.reject for e in examples], np.uint8),
    }
    if declaration.kind == "vqa":
        columns["question"] = pa.array([e.question for e in examples], pa.string())
        columns["answers"] = pa.array([e.answers for e in examples], pa.list_(pa.string()))
    else:
        columns["captions"] = pa.array([e.captions for e in examples], pa.list_(pa.string()))
    return columns


def _facts(root: Path, examples: Sequence[Example], *, check: str) -> tuple[Facts, list[str]]:
    """What each example's picture is, int64 (n, 6): size, CRC32C, format, state, width, height. And the pictures' names."""
    names = list(dict.fromkeys(e.image for e in examples if e.image is not None))
    found = {name: _fact(root / name, check) for name in names}
    rows = [found[e.image] if e.image is not None else (0, 0, 0, e.no_image, 0, 0) for e in examples]
    return np.array(rows, np.int64).reshape(-1, 6), names


def _fact(path: Path, check: str) -> tuple[int, int, int, int, int, int]:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                return MAX_BYTES, 0, 0, index.CODE["image_too_large"], 0, 0
            data = file.read(size)
    except OSError:
        return 0, 0, 0, index.CODE["unreadable_image"], 0, 0
    crc = google_crc32c.value(data)
    try:
        info = images.check_header(data)
    except images.ImageError as error:
        return len(data), crc, 0, index.CODE[error.reason], 0, 0
    state = index.decode_state(data, 0) if check == "decode" else 0
    return len(data), crc, images.FORMATS.index(info.format), state, info.width, info.height


def _digest(part: Part, examples: Sequence[Example], facts: Facts) -> str:
    h = hashlib.blake2b(part.name.encode() + b"\0", digest_size=20)
    for e, (size, crc, *_) in zip(examples, facts.tolist(), strict=True):
        h.update(orjson.dumps([e.id, e.image_unit, e.image, e.language, e.question, e.answers, e.captions, e.reject, size, crc]))
    return h.hexdigest()


def _pictures(examples: Sequence[Example], facts: Facts, names: list[str], *, check: str) -> dict[str, Any]:
    rows = len(examples)
    position = {name: code for code, name in enumerate(names)}
    which = np.array([-1 if e.image is None else position[e.image] for e in examples], np.int32)
    length, checksum, kind, state, width, height = facts.T
    return {
        "image.file": index.dictionary(which, names),
        "image.offset": np.zeros(rows, np.int64),
        "image.length": length.astype(np.int32),
        "image.crc": checksum.astype(np.uint32) if check != "quick" else np.zeros(rows, np.uint32),
        "image.format": kind.astype(np.uint8),
        "image.state": state.astype(np.uint8),
        "image.width": width.astype(np.uint16),
        "image.height": height.astype(np.uint16),
    }


def texts(values: Any) -> list[str]:
    """The non-empty strings of what should be a list of strings, and was read from data."""
    return [value for value in values if isinstance(value, str) and value.strip()] if isinstance(values, list) else []


def checked(entries: Iterable[Any], where: str, ids: Sequence[str], others: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The entries of a list that was read from data: objects whose `ids` are whole numbers or texts, and that have `others`.

    Raises:
        Rt2dataError: the first entry that is otherwise, as ``WHERE[ROW]``.
    """
    for row, entry in enumerate(entries):
        missing = [name for name in (*ids, *others) if not isinstance(entry, dict) or name not in entry]
        if missing:
            raise Rt2dataError(f"{where}[{row}]", f'no "{missing[0]}"', f"{' and '.join((*ids, *others))} in each entry")
        for name in ids:
            if not isinstance(entry[name], (int, str)) or isinstance(entry[name], bool):
                raise Rt2dataError(f"{where}[{row}]", f"{name} is {json.dumps(entry[name])[:80]}", "a whole number or a text")
        yield entry
