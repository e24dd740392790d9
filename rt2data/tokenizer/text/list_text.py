"""Actions as lists of strings: ``[[a, b], [c, d]]``, a list for each step, a string of a vocabulary for each bin.

MolmoAct writes its chunks so, with strings of the language model's vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rt2data.tokenizer.errors import ActionError, ActionParseError
from rt2data.tokenizer.text.action_string import Field, Text

if TYPE_CHECKING:
    from rt2data.tokenizer.text.action_string import Ints


class ListText(Text):
    """Format and parse lists of strings.

    Attributes:
        strings: of each bin.
        width: the fields of a step.
    """

    __slots__ = ("_bins", "strings", "width")

    def __init__(self, fields: Sequence[Field], strings: Sequence[str], width: int) -> None:
        super().__init__(fields, "")
        self.strings, self.width = tuple(strings), width
        self._bins = {text: number for number, text in enumerate(self.strings)}
        self.longest = self.count * (max(map(len, self.strings)) + 2) + 2 * (self.count // width + 1)

    def format(self, bins: Ints) -> Any:
        self.check(bins)
        if bins.ndim > 1:
            return [self.format(row) for row in bins]
        texts = [self.strings[b] for b in bins.tolist()]
        steps = (texts[i : i + self.width] for i in range(0, self.count, self.width))
        return "[" + ", ".join(f"[{', '.join(step)}]" for step in steps) + "]"

    def parse(self, text: str) -> list[int]:
        if not isinstance(text, str):
            raise ActionError("text", f"a {type(text).__name__}", "a string")
        if len(text) > self.longest:
            raise ActionParseError(text, None, self.longest, f"longer than any action of {self.count} strings")
        bins, column = list[int](), 0
        for number in range(self.count):
            before = "[[" if number == 0 else "], [" if number % self.width == 0 else ", "
            if not text.startswith(before, column):
                raise ActionParseError(text, number + 1, column, f'no "{before}" before the field')
            column += len(before)
            end = next((at for at in range(column, len(text)) if text[at] in ",]"), len(text))
            found = self._bins.get(text[column:end])
            if found is None:
                fault = f"{text[column:end][:20]!r} is none of the {len(self.strings)} strings"
                raise ActionParseError(text, number + 1, column, fault)
            bins.append(found)
            column = end
        if text[column:] != "]]":
            raise ActionParseError(text, self.count + 1, column, 'no "]]" at the end')
        return bins
