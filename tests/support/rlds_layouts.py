"""The published layouts of robot datasets, from ``rlds_layouts.json``: per dataset a path and a type for each field.

A type is ``float32[7]``, ``float32[3] zlib``, ``image[480, 640, 3] jpeg``, ``image_uint16[256, 256, 1] png``, ``text``
or ``text[] sequence``. ``python tests/support/rlds_layouts.py NAME FOLDER`` adds the layout of the ``features.json`` in
FOLDER; ``python tests/support/rlds_layouts.py FACTS`` makes the file anew from a folder of such files and of catalog
pages as JSON.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from rt2data.rlds.features import Field, load_features

FILE = Path(__file__).with_name("rlds_layouts.json")
_TYPE = re.compile(r"(\w+)(?:\[([^\]]*)\])?(?: (jpeg|png|zlib|bytes))?(?: (sequence))?")


_IMAGES = {"image": "uint8", "image_uint16": "uint16", "image_float32": "float32"}
_NAMES = {dtype: name for name, dtype in _IMAGES.items()}


def load() -> dict[str, dict[str, Field]]:
    """The fields of every known layout, by dataset."""
    content = json.loads(FILE.read_text("utf-8"))
    return {name: {path: field(path, text) for path, text in fields.items()} for name, fields in content.items()}


def field(path: str, text: str) -> Field:
    found = _TYPE.fullmatch(text)
    assert found, text
    kind, shape, encoding, sequence = found.groups()
    dims = tuple(None if n == "?" else int(n) for n in (shape or "").split(", ") if n)
    per_step = path.startswith("steps/")
    levels = per_step + bool(sequence)
    if kind in _IMAGES:
        return Field(path, "image", _IMAGES[kind], dims, per_step, encoding, levels)
    if kind == "text":
        return Field(path, "text", "string", dims, per_step, None, levels)
    return Field(path, "tensor", kind, dims, per_step, encoding or "none", levels)


def text(one: Field) -> str:
    """The inverse of `field`."""
    kind = _NAMES[one.dtype] if one.kind == "image" else "text" if one.kind == "text" else one.dtype
    shape = f"[{', '.join('?' if n is None else str(n) for n in one.shape)}]" if one.shape else ""
    encoding = f" {one.encoding}" if one.encoding not in (None, "none") else ""
    return kind + shape + encoding + (" sequence" if one.sequence > one.per_step else "")


def collect(facts: Path) -> dict[str, dict[str, str]]:
    """What ``rlds_layouts.json`` holds: FACTS/rlds_schemas (features.json) and, for other datasets,
    FACTS/oxe_features.
    """
    found = {}
    for file in sorted(facts.glob("rlds_schemas/*/*/features.json")):
        found[file.parent.parent.name] = {p: text(f) for p, f in load_features(file.parent).items() if f.ragged < 2}
    for file in sorted(facts.glob("oxe_features/*.json")):
        if file.stem not in found:
            fields = dict(_walk(json.loads(file.read_text("utf-8"))["features"], ""))
            if fields:
                found[file.stem] = {p: text(f) for p, f in fields.items()}
    return dict(sorted(found.items()))


def _walk(node: dict[str, Any], path: str) -> Any:
    kind = node.get("kind")
    if isinstance(kind, str) and kind != "Dataset":
        if kind == "Sequence":
            return  # only one dataset has them, and it is not declared
        name = _NAMES[node["dtype"]] if kind == "Image" else "text" if node["dtype"] == "string" else node["dtype"]
        shape = f"[{', '.join('?' if n is None else str(n) for n in node['shape'])}]" if node.get("shape") else ""
        encoding = node.get("encoding_format") or node.get("encoding")
        yield path, field(path, name + shape + (f" {encoding}" if encoding else ""))
        return
    for key, child in (node["feature"] if kind == "Dataset" else node).items():
        if isinstance(child, dict):
            yield from _walk(child, f"{path}/{key}" if path else key)


def write(layouts: dict[str, dict[str, str]]) -> None:
    blocks = [f"{json.dumps(name)}: {json.dumps(fields, indent=1)}" for name, fields in sorted(layouts.items())]
    FILE.write_text("{\n" + ",\n".join(blocks) + "\n}\n", "utf-8")


def add(name: str, folder: Path) -> None:
    fields = {path: text(one) for path, one in load_features(folder).items() if one.ragged < 2}
    write(json.loads(FILE.read_text("utf-8")) | {name: fields})


if __name__ == "__main__":
    if len(sys.argv) == 3:
        add(sys.argv[1], Path(sys.argv[2]))
    else:
        write(collect(Path(sys.argv[1])))
