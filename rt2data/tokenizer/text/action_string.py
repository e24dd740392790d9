"""Bins as text: one canonical string per action, and a parser that takes nothing else.

The text of an action is its fields as decimal integers with one space between them (and one before the first where the
specification says so). Canonical: ASCII digits, no sign but the minus of a negative number, no leading zero, no other
space, nothing before or after. So parse(format(bins)) == bins, format(parse(text)) == text, and every other string
raises.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rt2data.tokenizer.errors import ActionError, ActionParseError

if TYPE_CHECKING:
    import numpy.typing as npt

    from rt2data.tokenizer.schemes.fast import Merges
    from rt2data.tokenizer.schemes.fast_bytes import ByteMerges

    Ints = npt.NDArray[np.integer[Any]]


class Field:
    """One field of an action string: the numbers that it can hold, and the bins that they stand for.

    Attributes:
        name: the dimension, or ``terminate``.
        numbers: the integers in the text.
        first: the number that is written for bin 0.
        bins: the bins that the field can hold, ascending.
        dense: whether they are all the integers between the first and the last.
    """

    __slots__ = ("bins", "dense", "first", "name", "numbers")

    def __init__(self, name: str, numbers: range | tuple[int, ...], first: int = 0) -> None:
        self.name, self.numbers, self.first = name, numbers, first
        self.bins = range(numbers[0] - first, numbers[-1] - first + 1) if isinstance(numbers, range) else numbers
        self.dense = len(self.bins) == self.bins[-1] - self.bins[0] + 1

    def describe(self) -> str:
        """Return the numbers in words, such as ``0..255``."""
        return _span(self.numbers)


class Text:
    """Format and parse strings of a fixed sequence of fields.

    Tables are kept per kind of field: the number of each string for parsing, the bytes of each number for formatting.
    """

    __slots__ = ("_least", "_most", "_table", "_width", "count", "fields", "lead", "longest", "tables")

    def __init__(self, fields: Sequence[Field], lead: str) -> None:
        self.fields, self.lead, self.count = tuple(fields), lead, len(fields)
        kinds = {(n, first): {str(i): i - first for i in n} for n, first in {(f.numbers, f.first) for f in self.fields}}
        self.tables = tuple(kinds[f.numbers, f.first] for f in self.fields)
        self.longest = len(lead) + sum(max(map(len, t)) + 1 for t in self.tables) - 1
        # One row of bytes per number: its digits, a space, zeros up to 4 or 8 bytes. Rows are copied for all fields of
        # all actions at once and the zeros deleted: 25 times the speed of a loop, where joining strings reaches 18.
        self._width = 4 if max(len(text) for table in kinds.values() for text in table) <= 3 else 8
        self._least = np.array([f.bins[0] for f in self.fields], np.int32)
        self._most = np.array([f.bins[-1] for f in self.fields], np.int32)
        self._table: dict[tuple[int, bytes], npt.NDArray[Any]] = {}

    def check(self, bins: Ints) -> None:
        """Check bins (..., fields).

        Raises:
            ActionError: another dtype or shape, or a bin that its field cannot hold.
        """
        if bins.dtype.kind not in "iu":
            raise ActionError("bins", f"dtype {bins.dtype}", "integers")
        if bins.ndim == 0 or bins.shape[-1] != self.count:
            raise ActionError("bins", f"shape {bins.shape}", f"(..., {self.count}): {self.describe()}")
        if bins.size == 0:
            return
        if bins.ndim == 1:
            # One action, or a few: plain Python is faster than numpy's calls.
            if all(b in f.bins for b, f in zip(bins.tolist(), self.fields, strict=True)):
                return
        else:
            fits = not (bins > self._most).any() and not (bins < self._least).any()
            if fits and all(f.dense for f in self.fields):
                return
        for index, field in enumerate(self.fields):
            column = bins[..., index]
            wrong = column[~np.isin(column, field.bins)].ravel()
            if len(wrong):
                raise ActionError(
                    f"bins, field {index + 1} ({field.name})", str(wrong[0]), f"a bin in {_span(field.bins)}"
                )

    def format(self, bins: Ints) -> Any:
        """Format bins (..., fields): a string for (fields,), else nested lists in the shape of the leading axes."""
        self.check(bins)
        if bins.ndim == 1:
            return self.lead + " ".join([str(b + f.first) for b, f in zip(bins.tolist(), self.fields, strict=True)])
        lines = self._lines(bins.reshape(-1, self.count))
        for size in bins.shape[-2:0:-1]:
            lines = [lines[i : i + size] for i in range(0, len(lines), size)] if size else []
        return lines if bins.size else _empty(bins.shape[:-1])

    def _lines(self, bins: Ints) -> list[Any]:
        if not len(bins):
            return []
        words = np.empty(bins.shape, f"u{self._width}")
        index = 0
        while index < self.count:
            # Neighbouring fields of one kind share a table, except the last, whose separator ends the line.
            end = index + 1
            while (
                end < self.count - 1
                and index < self.count - 1
                and self.fields[end].first == self.fields[index].first
                and self.tables[end] is self.tables[index]
            ):
                end += 1
            table = self._bytes(index, b"\n" if end == self.count else b" ")
            words[:, index:end] = table.take(bins[:, index:end])
            index = end
        data = words.tobytes().translate(None, b"\0")
        lines: list[Any] = data.decode("ascii").split("\n")
        lines.pop()
        return [self.lead + line for line in lines] if self.lead else lines

    def _bytes(self, index: int, separator: bytes) -> npt.NDArray[Any]:
        """The bytes of each bin of field `index`, as one unsigned integer each."""
        key = (id(self.tables[index]), separator)
        if key not in self._table:
            held = self.fields[index].bins
            rows = np.zeros(held[-1] + 1, f"S{self._width}")
            for text, value in self.tables[index].items():
                rows[value] = text.encode() + separator
            self._table[key] = rows.view(f"u{self._width}")
        return self._table[key]

    def parse(self, text: str) -> list[int]:
        """Parse one string into bins.

        Raises:
            ActionParseError: for any string that `format` does not write. Time is linear in the length of an
                action, not of the string: a string too long to be one is refused by its length.
        """
        if not isinstance(text, str):
            raise ActionError("text", f"a {type(text).__name__}", "a string")
        if len(text) <= self.longest and text.startswith(self.lead):
            parts = text[len(self.lead) :].split(" ")
            if len(parts) == self.count:
                try:
                    return [table[part] for table, part in zip(self.tables, parts, strict=True)]
                except KeyError:
                    pass
        raise self._error(text)

    def _error(self, text: str) -> ActionParseError:
        """The error for a string that is not an action, at the first field at fault."""
        if not text:
            return ActionParseError(text, None, 0, f"the string is empty; expected {self.count} integers")
        if not text.startswith(self.lead):
            return ActionParseError(text, 1, 0, "no space before the first field")
        column = len(self.lead)
        parts = text[column : column + self.longest + 1].split(" ", self.count)
        for index, (part, field) in enumerate(zip(parts, self.fields, strict=False)):
            if part not in self.tables[index]:
                return ActionParseError(text, index + 1, column, f"{_shown(part)} is {_fault(part, field)}")
            column += len(part) + 1
        if len(parts) < self.count:
            return ActionParseError(text, len(parts) + 1, len(text), f"{len(parts)} fields; expected {self.count}")
        return ActionParseError(text, self.count + 1, column, f"more than {self.count} fields")

    def describe(self) -> str:
        """Return the names of the fields, the first 15 where there are many."""
        names = [f.name for f in self.fields]
        return " ".join(names if len(names) <= 16 else [*names[:15], "..."])


class TokenText(Text):
    """Format and parse strings of tokens instead of integers.

    Either ``<state_start><state_128><state_end>``, or with a fixed number of digits ``<ACTION00128>`` alone.

    Attributes:
        name: what the tokens begin with (``state``).
        digits: how many digits there are in each; 0: as many as the number needs, and tokens before and behind all.
        begin, end: the token before the first number and the one behind the last; "" where there is none.
    """

    __slots__ = ("begin", "digits", "end", "name")

    def __init__(self, fields: Sequence[Field], name: str, digits: int = 0) -> None:
        super().__init__(fields, "")
        self.name, self.digits = name, digits
        self.begin, self.end = ("", "") if digits else (f"<{name}_start>", f"<{name}_end>")
        most = sum(len(self.token(max(table, key=len))) for table in self.tables)
        self.longest = most + len(self.begin + self.end)

    @property
    def before(self) -> str:
        """What stands before the number in a token."""
        return f"<{self.name}" if self.digits else f"<{self.name}_"

    def token(self, number: str) -> str:
        """Return the token of a number."""
        return f"{self.before}{number.rjust(self.digits, '0')}>"

    def format(self, bins: Ints) -> Any:
        self.check(bins)
        if bins.ndim > 1:
            return [self.format(row) for row in bins]
        return self.begin + "".join([self.token(str(b)) for b in bins.tolist()]) + self.end

    def parse(self, text: str) -> list[int]:
        if not isinstance(text, str):
            raise ActionError("text", f"a {type(text).__name__}", "a string")
        if len(text) > self.longest:
            raise ActionParseError(text, None, self.longest, f"longer than any action of {self.count} tokens")
        if not text.startswith(self.begin):
            raise ActionParseError(text, 1, 0, f"no {self.begin} before the first field")
        column, bins = len(self.begin), list[int]()
        token = re.compile(rf"{self.before}([0-9]{{{self.digits}}})>" if self.digits else rf"{self.before}([0-9]+)>")
        for index, table in enumerate(self.tables):
            found = token.match(text, column)
            number = found[1] if found else ""
            number = (number.lstrip("0") or "0") if number and self.digits else number
            if found is None or number not in table:
                fault = _fault(number, self.fields[index]) if found else f"no token {self.before}N>"
                raise ActionParseError(text, index + 1, column, fault)
            bins.append(table[number])
            column = found.end()
        if text[column:] != self.end:
            fault = f"no {self.end} at the end" if self.end else f"more than {self.count} tokens"
            raise ActionParseError(text, self.count + 1, column, fault)
        return bins


class NoText(Text):
    """The text form of a scheme without bins: every action is the empty string."""

    __slots__ = ()

    def __init__(self) -> None:
        self.fields, self.lead, self.count, self.longest, self.tables = (), "", 0, 0, ()

    def check(self, bins: Ints) -> None:
        if bins.ndim == 0 or bins.shape[-1]:
            raise ActionError("bins", f"shape {bins.shape}", "(..., 0): the scheme has no bins")

    def format(self, bins: Ints) -> Any:
        self.check(bins)
        return "" if bins.ndim == 1 else [self.format(row) for row in bins]

    def parse(self, text: str) -> list[int]:
        if not isinstance(text, str):
            raise ActionError("text", f"a {type(text).__name__}", "a string")
        if text:
            raise ActionParseError(text, None, 0, "the scheme has no bins; expected the empty string")
        return []


class MergedText:
    """Format and parse strings of a fitted ``fast``: the ids of merged codes, a varying number per action."""

    __slots__ = ("_codes", "_id", "lead", "longest", "merges")

    def __init__(self, codes: Text, merges: Merges | ByteMerges) -> None:
        self._codes, self.merges, self.lead = codes, merges, codes.lead
        self._id = Field("id", range(merges.count))
        self.longest = len(codes.lead) + codes.count * merges.width * (len(str(merges.count - 1)) + 1) - 1

    @property
    def fields(self) -> tuple[Field, ...]:
        return self._codes.fields

    def check(self, bins: Ints) -> None:
        self._codes.check(bins)

    def describe(self) -> str:
        return self._codes.describe()

    def format(self, bins: Ints) -> Any:
        self.check(bins)
        if bins.ndim == 1:
            return self.lead + self._write(self.merges.join(bins.tolist()))
        return [self.format(row) for row in bins]

    def parse(self, text: str) -> list[int]:
        if not isinstance(text, str):
            raise ActionError("text", f"a {type(text).__name__}", "a string")
        if not text.startswith(self.lead):
            raise ActionParseError(text, 1, 0, "no space before the first field")
        if len(text) > self.longest:
            raise ActionParseError(text, None, self.longest, f"longer than any action of {self._codes.count} codes")
        ids, columns = self._read(text, len(self.lead))
        return self.merges.split(ids, self._codes.count, text, columns)

    def _write(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))

    def _read(self, text: str, column: int) -> tuple[list[int], list[int]]:
        """The ids in `text` from `column` on, and the column of each."""
        ids, columns = [], []
        for index, part in enumerate(text[column:].split(" ")):
            ids.append(self._number(text, index, column, part))
            columns.append(column)
            column += len(part) + 1
        return ids, columns

    def _number(self, text: str, index: int, column: int, part: str) -> int:
        if not _canonical(part) or not 0 <= int(part) < self.merges.count:
            raise ActionParseError(text, index + 1, column, f"{_shown(part)} is {_fault(part, self._id)}")
        return int(part)


class TemplateText(MergedText):
    """The same ids, each as a token of its own: ``<action_start><action_312><action_260><action_end>``.

    Attributes:
        template: the text before the ids, of one id with ``{}`` for its number, and behind them.
    """

    __slots__ = ("_token", "template")

    def __init__(self, codes: Text, merges: Merges | ByteMerges, template: Sequence[str]) -> None:
        super().__init__(codes, merges)
        self.template = tuple(template)
        before, one, behind = self.template
        head, _, tail = one.partition("{}")
        self._token = re.compile(f"{re.escape(head)}([0-9]{{1,9}}){re.escape(tail)}")
        longest = len(self.token(merges.count - 1)) * codes.count * merges.width
        self.longest = len(codes.lead) + len(before) + longest + len(behind)

    def token(self, number: int) -> str:
        """Return the text of one id."""
        return self.template[1].replace("{}", str(number))

    def _write(self, ids: Sequence[int]) -> str:
        return self.template[0] + "".join(map(self.token, ids)) + self.template[2]

    def _read(self, text: str, column: int) -> tuple[list[int], list[int]]:
        before, _, behind = self.template
        if not text.startswith(before, column):
            raise ActionParseError(text, 1, column, f"no {before} before the first id")
        column, end = column + len(before), len(text) - len(behind)
        ids, columns = list[int](), list[int]()
        while column < end:
            match = self._token.match(text, column)
            if match is None or match.end() > end:
                fault = f"no token such as {self.token(0)}"
                raise ActionParseError(text, len(ids) + 1, column, fault)
            ids.append(self._number(text, len(ids), match.start(1), match[1]))
            columns.append(column)
            column = match.end()
        if column != end or not text.endswith(behind):
            raise ActionParseError(text, len(ids) + 1, column, f"no {behind} behind the last id")
        return ids, columns


def _canonical(part: str) -> bool:
    return part.isascii() and part.isdigit() and len(part) <= 9 and (part[0] != "0" or part == "0")


def _fault(part: str, field: Field) -> str:
    """Why `part` is not what `field` holds."""
    digits = part.removeprefix("-")
    if not part:
        return "no number: one space too many"
    if not (digits.isascii() and digits.isdigit()):
        return "not a decimal integer"
    if (len(digits) > 1 and digits[0] == "0") or part == "-0":
        return "not the canonical form of a number"
    return f"not in {field.describe()}" if isinstance(field.numbers, range) else f"not {field.describe()}"


def _shown(part: str) -> str:
    if part and part.removeprefix("-").isascii() and part.removeprefix("-").isdigit() and len(part) <= 12:
        return part
    return ascii(part[:12]) + ("..." if len(part) > 12 else "")


def _span(held: range | tuple[int, ...]) -> str:
    return f"{held[0]}..{held[-1]}" if isinstance(held, range) else " or ".join(map(str, held))


def _empty(shape: tuple[int, ...]) -> list[Any]:
    return [] if len(shape) == 1 else [_empty(shape[1:]) for _ in range(shape[0])]
