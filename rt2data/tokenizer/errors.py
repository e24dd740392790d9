"""The two errors of the tokenizer. A wrong action raises one of them; it never becomes zeros or a nearby action."""

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

    def __init__(self, text: str, field: int | None, column: int, reason: str) -> None:
        self.text, self.field, self.column, self.reason = _excerpt(text, column), field, column, reason
        place = f"column {column}" if field is None else f"field {field} (column {column})"
        super().__init__(f'action "{self.text}"', f"at {place}: {reason}", "an action")
        self.args = (f'cannot parse action "{self.text}" at {place}: {reason}.',)

    def __reduce__(self) -> tuple[type[ActionParseError], tuple[str, int | None, int, str]]:  # type: ignore[override]
        return type(self), (self.text, self.field, self.column, self.reason)


def _excerpt(text: str, column: int) -> str:
    """At most _SHOWN characters of `text` around `column`, with unprintable characters escaped."""
    if len(text) > _SHOWN:
        start = max(0, min(column - _SHOWN // 2, len(text) - _SHOWN))
        end = start + _SHOWN
        text = ("..." if start else "") + text[start:end] + ("..." if end < len(text) else "")
    return "".join(c if c.isprintable() and c.isascii() else ascii(c)[1:-1] for c in text)
