"""The specification of a grounding form: what a file in ``tokenizers/grounding/`` holds.

A form is data: numbers, names and templates. Reading one runs no code, and every key is checked.
``schemas/grounding.json`` describes the same format for other tools.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rt2data import resources
from rt2data.errors import near
from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.grounding.labels import Labels
from rt2data.tokenizer.grounding.numbers import Numbers, NumberText
from rt2data.tokenizer.grounding.resize import Resize
from rt2data.tokenizer.grounding.template import Template, read_shape, read_template, read_text
from rt2data.tokenizer.json_checks import as_integer, as_mapping, as_name, check_keys, read_object

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = "rt2data.grounding/1"

MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Joined:
    """The points of a trace, or several shapes behind one label.

    Attributes:
        separator: between two.
        first: the number {i} of the first.
    """

    separator: str
    first: int

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], where: str) -> Joined:
        separator = read_text(raw.get("separator", ""), f"{where}: separator")
        return cls(separator, as_integer(raw.get("first", 1), f"{where}: first", 0, 1))

    def to_dict(self) -> dict[str, Any]:
        return {"separator": self.separator} | ({} if self.first == 1 else {"first": self.first})


@dataclass(frozen=True, slots=True)
class Several:
    """How several objects of one kind and one label stand together.

    Attributes:
        joined: the separator of their shapes, and the number of the first.
        apart: such objects are read, but written each on its own.
        labelled: the template of the object; None: that of one.
        shapes: the templates of the shapes, by kind; a kind that is not there has that of one.
    """

    joined: Joined
    apart: bool
    labelled: Template | None
    shapes: Mapping[str, Template]


@dataclass(frozen=True, slots=True)
class Form:
    """A checked specification. `from_dict` reads one from JSON, `to_dict` writes it.

    Attributes:
        source: where the form comes from; no part of the fingerprint.
        numbers: how coordinates become numbers.
        number: how a number is written.
        resize: the resizing before numbers are counted; None: they count the stored image.
        shapes: the coordinates of one object, by kind.
        trace: how the points of a trace are joined; None where the form has no traces. ``shapes["trace"]`` has
            {points}.
        trace_point: the template of one of them.
        labelled: an object with a label; None where the form has no labels.
        bare: an object without a label; None where it must have one.
        several: None where each object stands on its own.
        opening: before the first object.
        closing: behind the last.
        separator: between two objects; None where there is only one.
        none: the text for no objects; None where there is none.
        count: the template around the objects where their number is asked for; None where there is none.
        ordered: False where points are sorted by x, then y.
        labels: what a label may hold, and how it is written.
    """

    name: str
    source: str
    numbers: Numbers
    number: NumberText
    resize: Resize | None
    shapes: Mapping[str, Template]
    trace: Joined | None
    trace_point: Template | None
    labelled: Template | None
    bare: Template | None
    several: Several | None
    opening: str
    closing: str
    separator: str | None
    none: str | None
    count: Template | None
    ordered: bool
    labels: Labels

    @classmethod
    def from_dict(cls, raw: Any, where: str) -> Form:
        """Read and check the JSON form of a specification, which errors call `where`.

        Raises:
            ActionError: naming the key at fault.
        """
        optional = {"source", "number", "resize", "trace", "several", "text", "labels"}
        check_keys(raw, where, {"format", "name", "numbers", "shapes", "object"}, optional)
        if raw["format"] != FORMAT:
            raise ActionError(f"{where}: format", repr(raw["format"])[:60], f'"{FORMAT}"')
        numbers = Numbers.from_dict(raw["numbers"], f"{where}: numbers")
        trace, trace_point = _read_trace(raw, f"{where}: trace")
        shapes = _read_shapes(raw["shapes"], f"{where}: shapes", numbers, trace=trace is not None)
        check_keys(raw["object"], f"{where}: object", set(), {"labelled", "bare"})
        text = raw.get("text", {})
        check_keys(text, f"{where}: text", set(), {"open", "close", "separator", "none", "count", "sorted"})
        texts = {key: read_text(text.get(key, ""), f"{where}: text.{key}") for key in ("open", "close")}
        ends = {
            k: None if text.get(k) is None else read_text(text[k], f"{where}: text.{k}") for k in ("separator", "none")
        }
        count = text.get("count")
        if type(text.get("sorted", False)) is not bool:
            raise ActionError(f"{where}: text.sorted", repr(text["sorted"])[:60], "true or false")
        form = cls(
            name=as_name(raw["name"], f"{where}: name"),
            source=read_text(raw.get("source", ""), f"{where}: source"),
            numbers=numbers,
            number=NumberText.from_dict(raw.get("number", {}), f"{where}: number"),
            resize=Resize.from_dict(raw["resize"], f"{where}: resize") if raw.get("resize") is not None else None,
            shapes=shapes,
            trace=trace,
            trace_point=trace_point,
            labelled=_read_object(raw["object"], "labelled", where, "shapes", "label"),
            bare=_read_object(raw["object"], "bare", where, "shapes"),
            several=_read_several(raw.get("several"), f"{where}: several", shapes),
            opening=texts["open"],
            closing=texts["close"],
            separator=ends["separator"],
            none=ends["none"],
            count=None if count is None else read_template(count, f"{where}: text.count", "objects", "count"),
            ordered=not text.get("sorted", False),
            labels=Labels.from_dict(raw.get("labels", {}), f"{where}: labels"),
        )
        form._check(where)
        return form

    def _check(self, where: str) -> None:
        """Check what depends on more than one key."""
        if self.labelled is None and self.bare is None:
            raise ActionError(f"{where}: object", "neither labelled nor bare", "at least one of them")
        if self.several is not None and self.labelled is None:
            raise ActionError(f"{where}: several", "a form without labels", "a template object.labelled")
        if self.count is not None and self.none is None:
            raise ActionError(f"{where}: text", "count without none", "what is written for no objects, none")
        if not self.ordered and set(self.shapes) != {"point"}:
            raise ActionError(f"{where}: text.sorted", f"shapes {', '.join(self.shapes)}", "points alone, where sorted")
        if self.numbers.scale is not None and self.resize is not None:
            raise ActionError(f"{where}: resize", "numbers that are no pixels", '"scale": "pixels" with it')

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height of the image whose pixels the form counts, for a stored image."""
        return (width, height) if self.resize is None else self.resize.size(width, height)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, with every key that differs from its default, in a fixed order."""
        out: dict[str, Any] = {"format": FORMAT, "name": self.name}
        if self.source:
            out["source"] = self.source
        out["numbers"] = self.numbers.to_dict()
        if self.number != NumberText():
            out["number"] = self.number.to_dict()
        if self.resize is not None:
            out["resize"] = self.resize.to_dict()
        out["shapes"] = {kind: template.text for kind, template in self.shapes.items()}
        if self.trace is not None and self.trace_point is not None:
            out["trace"] = {"point": self.trace_point.text} | self.trace.to_dict()
        templates = {"labelled": self.labelled, "bare": self.bare}
        out["object"] = {key: template.text for key, template in templates.items() if template is not None}
        if self.several is not None:
            several: dict[str, Any] = self.several.joined.to_dict()
            several |= {"apart": True} if self.several.apart else {}
            several |= {} if self.several.labelled is None else {"labelled": self.several.labelled.text}
            shapes = {kind: template.text for kind, template in self.several.shapes.items()}
            out["several"] = several | ({"shapes": shapes} if shapes else {})
        text: dict[str, Any] = {
            "open": self.opening or None,
            "close": self.closing or None,
            "separator": self.separator,
        }
        text |= {"none": self.none, "count": None if self.count is None else self.count.text}
        text |= {} if self.ordered else {"sorted": True}
        if any(value is not None for value in text.values()):
            out["text"] = {key: value for key, value in text.items() if value is not None}
        if labels := self.labels.to_dict():
            out["labels"] = labels
        return out

    def fingerprint(self) -> str:
        """Hash what decides the meaning of a text: everything but the name and the source.

        Returns:
            32 hexadecimal digits.
        """
        from hashlib import blake2b  # 2 ms to import, for OpenSSL, which an import of the tokenizer need not pay

        content = {key: value for key, value in self.to_dict().items() if key not in ("name", "source")}
        data = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return blake2b(data.encode(), digest_size=16).hexdigest()

    def render(self) -> str:
        """Return the text of a specification file: one key per line, the same bytes on every machine."""
        lines = [
            f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in self.to_dict().items()
        ]
        return "{\n" + ",\n".join(lines) + "\n}\n"


def load_form(name: str | Path) -> Form:
    """Load the form that `name` means: a bundled one first, then a file.

    Raises:
        ActionError: no such form, or a file that is none.
    """
    folder = os.path.join(resources.place("tokenizers"), "grounding")
    bundled = sorted(file.removesuffix(".json") for file in os.listdir(folder) if file.endswith(".json"))
    path = os.path.join(folder, f"{name}.json") if str(name) in bundled else str(name)
    if not os.path.isfile(path):
        known = ", ".join(bundled)
        raise ActionError(
            str(name), "no such grounding tokenizer", f"one of {known}; or a file", near(str(name), bundled)
        )
    return Form.from_dict(read_object(path, path, FORMAT, "a grounding specification", MAX_FILE_BYTES), path)


def _read_shapes(raw: Any, where: str, numbers: Numbers, *, trace: bool) -> dict[str, Template]:
    check_keys(raw, where, set(), {"box", "point", "trace"})
    if not raw or ("trace" in raw) != trace:
        raise ActionError(where, "no shape, or a trace without its points", 'shapes; and "trace" for the points of one')
    cells = numbers.rounding == "cells"
    if cells and set(raw) != {"box"}:
        raise ActionError(where, f"shapes {', '.join(raw)} of cells", "box alone")
    names = {
        "box": ("corner1", "corner2") if cells else ("x1", "y1", "x2", "y2"),
        "point": ("x", "y"),
        "trace": ("points",),
    }
    return {kind: read_shape(raw[kind], f"{where}: {kind}", names[kind]) for kind in names if kind in raw}


def _read_trace(raw: Mapping[str, Any], where: str) -> tuple[Joined | None, Template | None]:
    if raw.get("trace") is None:
        return None, None
    trace = as_mapping(raw["trace"], where)
    check_keys(trace, where, {"point", "separator"}, {"first"})
    return Joined.from_dict(trace, where), read_shape(trace["point"], f"{where}: point", ("x", "y"), numbered=True)


def _read_object(raw: Mapping[str, Any], key: str, where: str, *names: str) -> Template | None:
    return None if raw.get(key) is None else read_template(raw[key], f"{where}: object.{key}", *names)


def _read_several(raw: Any, where: str, shapes: Mapping[str, Template]) -> Several | None:
    if raw is None:
        return None
    check_keys(raw, where, {"separator"}, {"first", "apart", "labelled", "shapes"})
    if type(raw.get("apart", False)) is not bool:
        raise ActionError(f"{where}: apart", repr(raw["apart"])[:60], "true or false")
    own = raw.get("shapes", {})
    check_keys(own, f"{where}: shapes", set(), set(shapes) - {"trace"})
    several = {
        kind: read_shape(own[kind], f"{where}: shapes.{kind}", shapes[kind].names, numbered=True)
        for kind in shapes
        if kind in own
    }
    labelled = raw.get("labelled")
    template = None if labelled is None else read_template(labelled, f"{where}: labelled", "shapes", "label")
    return Several(Joined.from_dict(raw, where), raw.get("apart", False), template, several)
