"""The grounding tokenizer: boxes, points and traces to the text of a model's form, and back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.grounding.form import Form, load_form
from rt2data.tokenizer.grounding.strings import Strings
from rt2data.tokenizer.grounding.values import Object, Parsed, check_size, coordinates, to_object

if TYPE_CHECKING:
    from pathlib import Path

_SIZES = (224, 333, 480, 640)  # in pixels; the sides for which `properties` tries every number


@dataclass(frozen=True, slots=True)
class GroundingProperties:
    """What holds for the texts of a grounding tokenizer.

    Attributes:
        idempotent: formatting what was decoded gives the same numbers, for each number of images of 224, 333, 480 and
            640 pixels.
        injective: no two texts decode to the same objects.
        order_dependent: the same objects in another order have another text.
        half_bin: every coordinate inside the image is decoded to within half a bin of itself.
        faults: what is lost or bent by the form's definition, in words.
    """

    idempotent: bool
    injective: bool
    order_dependent: bool
    half_bin: bool
    faults: tuple[str, ...]


class GroundingTokenizer:
    """Formats boxes, points and traces as a vision-language model writes them, and parses and decodes its text.

    Objects are in pixels of the image that samples store, upright (`to_stored` brings them there). Immutable; safe to
    share and to pickle.

    >>> tok = GroundingTokenizer.from_pretrained("paligemma")
    >>> text = tok.format([Box(160, 240, 480, 480, "cup")], size=(640, 480))
    >>> text
    '<loc0512><loc0256><loc1023><loc0767> cup'
    >>> tok.decode(tok.parse(text), size=(640, 480))[0].label
    'cup'
    """

    __slots__ = ("_fingerprint", "_form", "_strings")

    def __init__(self, form: Form) -> None:
        self._form = form
        self._strings = Strings(form)
        self._fingerprint: str | None = None

    # Where tokenizers come from and go to

    @classmethod
    def from_pretrained(cls, name: str | Path) -> GroundingTokenizer:
        """Load a tokenizer: a bundled form ("qwen2.5-vl"), or a file.

        Raises:
            ActionError: when there is none, listing the bundled ones, or when the file is not a valid form.
        """
        return cls(load_form(name))._checked(str(name))

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> GroundingTokenizer:
        """Make the tokenizer of a form in its JSON form, such as `to_dict` returns."""
        return cls(Form.from_dict(raw, "form"))._checked("form")

    def to_dict(self) -> dict[str, Any]:
        """Return the form in its JSON form (``schemas/grounding.json``)."""
        return self._form.to_dict()

    def save_pretrained(self, directory: str | Path, filename: str = "grounding.json") -> Path:
        """Write the form into `directory` and return its path. Same tokenizer, same bytes, on any machine.

        Raises:
            ActionError: a name that is not a plain ``.json`` name.
        """
        from pathlib import Path  # 3 ms that a bundled name does not need

        if Path(filename).name != filename or not filename.endswith(".json"):
            raise ActionError("filename", repr(filename), "a plain file name that ends in .json")
        path = Path(directory) / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{filename}.{os.getpid()}.tmp")
        temporary.write_bytes(self._form.render().encode())
        temporary.replace(path)
        return path

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits over all that decides what a text means, bounds of the resizing included."""
        if self._fingerprint is None:
            self._fingerprint = self._form.fingerprint()
        return self._fingerprint

    # What it is

    @property
    def name(self) -> str:
        return self._form.name

    @property
    def form(self) -> Form:
        return self._form

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of objects that the form has: of "box", "point", "trace"."""
        return tuple(self._form.shapes)

    @property
    def labels(self) -> str:
        """Whether objects have a label: "required", "optional" or "none"."""
        return "none" if self._form.labelled is None else "required" if self._form.bare is None else "optional"

    @property
    def properties(self) -> GroundingProperties:
        """What holds for this tokenizer and what does not; see GroundingProperties."""
        form, numbers = self._form, self._form.numbers
        faults = []
        half_bin = numbers.rounding != "cells" and (numbers.rounding == "floor") == (numbers.back == "middle")
        if numbers.rounding == "cells":
            faults.append("corners that share a column or a row of cells are decoded up to one cell further apart")
        elif not half_bin and numbers.rounding != "exact":
            faults.append("a coordinate is cut off to its bin's edge: decoding can only lower it, by up to one bin")
        if numbers.highest == "below" and numbers.rounding == "half_even":
            half_bin = False
            faults.append(
                "the highest number is one below the far edge: what lies there comes back up to one bin lower"
            )
        if numbers.edge == "last_pixel":
            half_bin = False
            faults.append(
                "the scale ends at the last pixel's index: what lies behind it comes back up to one pixel lower"
            )
        idempotent = self._idempotent()
        if not idempotent:
            faults.append("some numbers change when they are decoded and formatted again")
        if form.resize is not None:
            faults.append(
                "numbers are pixels of the resized image: other bounds of the resizing give them other meanings"
            )
        elif numbers.scale is None:
            faults.append("numbers are pixels of the stored image: an image of another size gives them other meanings")
        if not form.ordered:
            faults.append("points are sorted by x, then y: their order is lost")
        if form.several is not None:
            faults.append("objects of one label can stand together or apart")
        if form.labels.lower:
            faults.append("labels are written in lower case")
        if self.labels == "none":
            faults.append("objects have no label")
        if form.none is None:
            faults.append("there is no text for no objects")
        return GroundingProperties(idempotent, form.several is None, form.ordered, half_bin, tuple(faults))

    # Tokenizers made from this one

    def with_resize(self, **changes: Any) -> GroundingTokenizer:
        """Return the same form for a processor with another resizing: any field of `Resize`.

        >>> small = GroundingTokenizer.from_pretrained("qwen2.5-vl").with_resize(max_pixels=256 * 28 * 28)

        Raises:
            ActionError: a form that counts no pixels of a resized image, or a bad value.
        """
        if self._form.resize is None:
            fault = "numbers that do not depend on how a processor resizes the image"
            raise ActionError(f'grounding tokenizer "{self.name}"', fault, "a form with resize (qwen2.5-vl)")
        return GroundingTokenizer.from_dict(self.to_dict() | {"resize": self._form.resize.to_dict() | changes})

    def with_classes(self, names: Iterable[str]) -> GroundingTokenizer:
        """Return the same form with names of its classes, for a form whose labels are numbers (pix2seq).

        Raises:
            ActionError: a form whose labels are texts, or no list of different names.
        """
        labels = self._form.labels.with_classes(names, f'grounding tokenizer "{self.name}"')
        return GroundingTokenizer(replace(self._form, labels=labels))

    # Objects and numbers

    def encode(self, objects: Iterable[Object], size: tuple[int, int]) -> list[Parsed]:
        """Return the kind, the numbers and the label of each object. Coordinates outside the image are moved to its edge.

        Args:
            objects: boxes, points and traces in pixels of the stored image.
            size: its width and height.

        Raises:
            ActionError: an object that the form cannot write, naming it.
        """
        width, height = check_size(size)
        numbers, (wide, high) = self._form.numbers, self._resized(width, height)
        x_number, y_number = numbers.encoder(width, wide), numbers.encoder(height, high)
        out = []
        for index, item in enumerate(objects):
            kind, flat = coordinates(item, f"objects[{index}]")
            self._check(kind, item.label, f"objects[{index}]")
            if numbers.rounding == "cells":
                if flat[0] >= flat[2] or flat[1] >= flat[3]:
                    raise ActionError(f"objects[{index}]", "a box without area", "one of at least one cell of the form")
                out.append(Parsed(kind, numbers.cells(flat, width, height), item.label))
            else:
                values = [y_number(c) if odd & 1 else x_number(c) for odd, c in enumerate(flat)]
                out.append(Parsed(kind, tuple(values), item.label))
        return out

    def decode(self, parsed: Iterable[Parsed], size: tuple[int, int]) -> list[Object]:
        """Return objects in pixels of the stored image. A box has the corners that its text has, in that order.

        Args:
            parsed: what `parse` returns.
            size: width and height of the stored image.

        Raises:
            ActionError: a number beyond the image (of a form that counts pixels), naming the object.
        """
        width, height = check_size(size)
        numbers, (wide, high) = self._form.numbers, self._resized(width, height)
        x_pixel, y_pixel = numbers.decoder(width, wide), numbers.decoder(height, high)
        limits = (wide, high) if numbers.scale is None else None
        out = []
        for index, item in enumerate(parsed):
            if limits is not None:
                for odd, n in enumerate(item.numbers):
                    if n > numbers.limit(limits[odd & 1]):
                        fault, where = f"the number {n}", f"objects[{index}]"
                        raise ActionError(
                            where, fault, f"pixels of an image of {wide} x {high}, to which it is resized"
                        )
            if numbers.rounding == "cells":
                flat = numbers.uncells(item.numbers, width, height)
            else:
                flat = tuple(y_pixel(n) if odd & 1 else x_pixel(n) for odd, n in enumerate(item.numbers))
            out.append(to_object(item.kind, flat, item.label))
        return out

    # Objects and text

    def format(self, objects: Iterable[Object], size: tuple[int, int], *, count: bool = False) -> str:
        """Format objects as text.

        Args:
            objects: boxes, points and traces in pixels of the stored image.
            size: its width and height.
            count: with their number, where the form has a sentence for it (molmo).

        Raises:
            ActionError: an object that the form cannot write, naming it; none or several, where it cannot say that.
        """
        return self._strings.write(self.encode(objects, size), count=count)

    def parse(self, text: str) -> list[Parsed]:
        """Parse text into the numbers and labels of its objects; `decode` makes pixels of them.

        Only what `format` writes is taken: no other space, no number out of its range or with another leading zero.
        Where several objects of one label may stand together, they may also stand apart, and in any order.

        Raises:
            GroundingParseError: with the object and the column at fault.
        """
        return self._strings.read(text)

    # Constraints

    def regex(
        self,
        *,
        labels: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        size: tuple[int, int] | None = None,
        count: bool = False,
        most: int = 16,
    ) -> str:
        """Return a regular expression whose strings all parse, in the dialect that engines share.

        Args:
            labels: the only labels allowed; None: any. A form that writes a label twice (molmo) needs them.
            kinds: the only kinds of objects allowed; None: all.
            size: width and height of the stored image, for a form that counts pixels: none beyond it is allowed.
            count: with the number of objects, of one label.
            most: the most shapes of one object, where a form numbers them (molmo, gemini-trace), and the most objects
                with `count`.

        Raises:
            ActionError: no labels where they are needed, or what the form does not have.
        """
        from rt2data.tokenizer.grounding import language

        return language.regex(self._form, self._options(labels, kinds, size, count=count, most=most))

    def grammar(
        self,
        form: str = "gbnf",
        *,
        labels: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        size: tuple[int, int] | None = None,
        count: bool = False,
        most: int = 16,
    ) -> str:
        """Return a grammar of the strings of `regex`, for servers that take one.

        Args:
            form: "gbnf" (llama.cpp), "ebnf" (xgrammar) or "lark" (outlines, llguidance).
            labels, kinds, size, count, most: as for `regex`.
        """
        from rt2data.tokenizer.grounding import language

        return language.grammar(self._form, form, self._options(labels, kinds, size, count=count, most=most))

    def _options(
        self,
        labels: Sequence[str] | None,
        kinds: Sequence[str] | None,
        size: tuple[int, int] | None,
        *,
        count: bool,
        most: int,
    ) -> Any:
        from rt2data.tokenizer.grounding import language

        resized = None if size is None else self._resized(*check_size(size))
        return language.Options(labels, self.kinds if kinds is None else tuple(kinds), resized, count, most)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Return the size of the image whose pixels the form counts."""
        return (width, height) if self._form.resize is None else self._form.resize.size(width, height)

    def _check(self, kind: str, label: str, where: str) -> None:
        """Check that the form can write an object."""
        form = self._form
        if kind not in form.shapes:
            raise ActionError(where, f"a {kind}", f"one of {', '.join(form.shapes)}, which {form.name} can write")
        if label == "":
            if form.bare is None:
                raise ActionError(where, "no label", f"one: {form.name} has no text for an object without it")
        elif form.labelled is None:
            repair = "Format the object without its label"
            raise ActionError(where, f"the label {label!r}"[:80], f"none: {form.name} has no place for it", repair)
        elif fault := form.labels.fault(label):
            raise ActionError(f"{where}.label", repr(label)[:80], fault)

    def _idempotent(self) -> bool:
        numbers = self._form.numbers
        if numbers.rounding == "cells":
            return True
        for size in _SIZES:
            resized = self._resized(size, size)[0]
            encode, decode = numbers.encoder(size, resized), numbers.decoder(size, resized)
            # Of numbers that are not rounded, thirds.
            steps = 3 if numbers.rounding == "exact" else 10**numbers.decimals
            if any(encode(decode(n / steps)) != n / steps for n in range(int(numbers.limit(resized) * steps) + 1)):
                return False
        return True

    def _checked(self, where: str) -> GroundingTokenizer:
        """Return this tokenizer after a trial: a form whose texts it cannot read back is none.

        Raises:
            ActionError: showing a text.
        """
        form = self._form
        label = "" if form.labelled is None else "1" if form.labels.classes is not None else "a b"
        for kind in form.shapes:
            numbers = (1, 2, 3, 4) if kind != "point" else (1, 2)
            numbers = tuple(min(n, int(form.numbers.limit(100))) for n in numbers)
            if form.labels.classes is not None and form.labels.classes.names:
                label = form.labels.classes.names[0]
            some = [Parsed(kind, numbers, x) for x in {label, "" if form.bare is not None else label}]
            for tried in ([p] * n for p in some for n in ((1,) if form.separator is None else (1, 3))):
                text = self._strings.write(tried)
                if self._strings.read(text) != tried:
                    raise ActionError(
                        where, f"the text {text[:100]!r}", "a form whose texts are read back as they were"
                    )
        return self

    def __repr__(self) -> str:
        return f"GroundingTokenizer({self.name!r}, kinds={' '.join(self.kinds)!r}, labels={self.labels!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GroundingTokenizer) and self._form == other._form

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> tuple[Any, ...]:
        return GroundingTokenizer, (self._form,)
