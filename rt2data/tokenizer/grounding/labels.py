"""The labels of a grounding form: which texts can be one, and how they are written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.grounding.template import read_text
from rt2data.tokenizer.json_checks import as_integer, check_keys

MAX_LABEL = 1000
MAX_CLASSES = 100_000

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Classes:
    """Labels as numbers of classes, from 1 on.

    Attributes:
        offset: is added to the number of a class.
        count: how many classes there may be.
        names: of the classes, the first being 1; none: a label is the number itself, in decimal digits.
    """

    offset: int
    count: int
    names: tuple[str, ...]

    def number(self, label: str) -> int | None:
        """Return the number that is written for a label; None where it has none."""
        if self.names:
            return self.names.index(label) + 1 + self.offset if label in self.names else None
        good = re.fullmatch(r"[1-9][0-9]{0,5}", label) and int(label) <= self.count
        return int(label) + self.offset if good else None

    def label(self, number: int) -> str | None:
        """Return the label of a number; None where there is none."""
        index = number - self.offset
        if not 1 <= index <= (len(self.names) or self.count):
            return None
        return self.names[index - 1] if self.names else str(index)


@dataclass(frozen=True, slots=True)
class Labels:
    """What a label may hold: any text without control characters, and without a space at either end.

    Attributes:
        exclude: characters that it may not have, since they are the form's own.
        quoted: it is written as a string of JSON, in which every character is allowed.
        lower: it is written in lower case.
        classes: labels are numbers of classes; None: they are texts.
    """

    exclude: str = ""
    quoted: bool = False
    lower: bool = False
    classes: Classes | None = None

    @classmethod
    def from_dict(cls, raw: Any, where: str) -> Labels:
        """Read and check the JSON form.

        Raises:
            ActionError: naming the key at fault.
        """
        check_keys(raw, where, set(), {"exclude", "quoted", "lower", "classes"})
        for key in ("quoted", "lower"):
            if type(raw.get(key, False)) is not bool:
                raise ActionError(f"{where}: {key}", repr(raw[key])[:60], "true or false")
        exclude = read_text(raw.get("exclude", ""), f"{where}: exclude")
        if not exclude.isascii() or _CONTROL.search(exclude):
            raise ActionError(f"{where}: exclude", repr(exclude)[:60], "printable ASCII characters")
        classes = None
        if raw.get("classes") is not None:
            place = f"{where}: classes"
            check_keys(raw["classes"], place, {"offset", "count"}, {"names"})
            offset = as_integer(raw["classes"]["offset"], f"{place}: offset", 0, MAX_CLASSES)
            count = as_integer(raw["classes"]["count"], f"{place}: count", 1, MAX_CLASSES)
            classes = Classes(offset, count, _class_names(raw["classes"].get("names", []), count, f"{place}: names"))
        return cls(exclude, raw.get("quoted", False), raw.get("lower", False), classes)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, with every key that differs from its default."""
        out: dict[str, Any] = {"exclude": self.exclude, "quoted": self.quoted, "lower": self.lower}
        out = {key: value for key, value in out.items() if value}
        if self.classes is not None:
            names = {"names": list(self.classes.names)} if self.classes.names else {}
            out["classes"] = {"offset": self.classes.offset, "count": self.classes.count} | names
        return out

    def with_classes(self, names: Iterable[str], where: str) -> Labels:
        """Return the same rules with names of the classes.

        Raises:
            ActionError: a form whose labels are texts, or no list of different names.
        """
        if self.classes is None:
            raise ActionError(where, "labels that are texts", "a form whose labels are numbers of classes (pix2seq)")
        return replace(self, classes=replace(self.classes, names=_class_names(names, self.classes.count, where)))

    def fault(self, label: object) -> str:
        """Say what a label should be; "" where it is good."""
        if not isinstance(label, str) or not 1 <= len(label) <= MAX_LABEL:
            return f"a text of 1 to {MAX_LABEL} characters"
        if self.classes is not None:
            if self.classes.number(label) is None:
                return (
                    "the name of a class" if self.classes.names else f"the number of a class, 1..{self.classes.count}"
                )
            return ""
        if _CONTROL.search(label) or any("\ud800" <= c <= "\udfff" for c in label):
            return "a label without line breaks and other control characters"
        if label[0] == " " or label[-1] == " ":
            return "a label without spaces at its ends"
        if not self.quoted and any(c in label for c in self.exclude):
            return f"a label without any of {' '.join(self.exclude)}, which the form itself uses"
        return ""

    def write(self, label: str) -> str:
        """Return the text of a good label."""
        if self.classes is not None:
            return str(self.classes.number(label))
        label = label.lower() if self.lower else label
        return json.dumps(label, ensure_ascii=False) if self.quoted else label

    def loose(self) -> str:
        """Return a pattern of what a label might be: `read` says whether it is."""
        if self.classes is not None:
            return "[0-9]+"
        if self.quoted:
            return r'"(?:[^"\\\x00-\x1f\x7f]|\\.)*"'
        return rf"[^{re.escape(self.exclude)}\x00-\x1f\x7f]+"

    def read(self, text: str) -> str:
        """Return the label of a text that `loose` found.

        Raises:
            ValueError: saying what is wrong with it.
        """
        label: str | None = text
        if self.classes is not None:
            canonical = len(text) <= 8 and str(int(text)) == text
            label = self.classes.label(int(text)) if canonical else None
            if label is None:
                raise ValueError(f"{text[:20]} is not the number of a class")
        elif self.quoted:
            label = re.sub(r'\\(["\\])', r"\1", text[1:-1])
            if json.dumps(label, ensure_ascii=False) != text:
                raise ValueError("the label has an escape that is not needed")
        fault = self.fault(label)
        if fault or label is None:
            raise ValueError(f"{str(label)[:60]!r} is no label; expected {fault}")
        return label


def _class_names(raw: Iterable[str], count: int, where: str) -> tuple[str, ...]:
    names = tuple(raw)
    good = all(isinstance(n, str) and 1 <= len(n) <= MAX_LABEL and not _CONTROL.search(n) for n in names)
    if isinstance(raw, str) or not good or len(set(names)) < len(names) or len(names) > count:
        raise ActionError(where, f"{len(names)} names", f"at most {count} names of classes, each once")
    return names
