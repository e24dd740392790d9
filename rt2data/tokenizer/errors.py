"""The errors of the tokenizers. A wrong action raises one of them; it never becomes zeros or a nearby action."""

from __future__ import annotations

from rt2data.errors import Rt2dataError

_SHOWN = 72


class ActionError(Rt2dataError):
    """Actions, bins, a specification or a vocabulary that cannot be used."""


class ActionParseError(ActionError):
    """A string (or a row of token ids) that is not an action.

    Attributes:
        text: the string, shortened around the fault when it is long.
        field: the number of the field at fault, counted from 1; None when the fault is not in one field.
        column: where that field starts in the string: ``text[column:]``, counted from 0 (for ids, the index of the id).
        reason: what is wrong, without a final stop.
    """

    _WHAT, _PART, _EXPECTED = "action", "field", "an action"

    def __init__(self, text: str, field: int | None, column: int, reason: str) -> None:
        self.text, self.field, self.column, self.reason = _excerpt(text, column), field, column, reason
        place = f"column {column}" if field is None else f"{self._PART} {field} (column {column})"
        super().__init__(f'{self._WHAT} "{self.text}"', f"at {place}: {reason}", self._EXPECTED)
        self.args = (f'cannot parse {self._WHAT} "{self.text}" at {place}: {reason}.',)

    def __reduce__(self) -> tuple[type[ActionParseError], tuple[str, int | None, int, str]]:  # type: ignore[override]
        return type(self), (self.text, self.field, self.column, self.reason)


class GroundingParseError(ActionParseError):
    """A string that is no objects of a grounding form; `field` is the number of the object at fault."""

    _WHAT, _PART, _EXPECTED = "objects", "object", "objects of the form"


def _excerpt(text: str, column: int) -> str:
    """At most _SHOWN characters of `text` around `column`, with unprintable characters escaped."""
    if len(text) > _SHOWN:
        start = max(0, min(column - _SHOWN // 2, len(text) - _SHOWN))
        end = start + _SHOWN
        text = ("..." if start else "") + text[start:end] + ("..." if end < len(text) else "")
    return "".join(c if c.isprintable() and c.isascii() else ascii(c)[1:-1] for c in text)
