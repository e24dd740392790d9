"""Check that a language model's tokenizer keeps an action's fields apart: every bin beside every other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.text.action_string import MergedText, Text
from rt2data.tokenizer.vocabulary.vocabulary import Ids, Vocabulary

Rows = np.ndarray[tuple[int, int], np.dtype[np.int32]]

# How many offenders a report keeps; it counts all.
KEPT = 100


@dataclass(frozen=True, slots=True)
class Offender:
    """An action that does not survive: its text, its ids, the text that they give back, and why it fails."""

    text: str
    ids: tuple[int, ...]
    back: str
    reason: str


@dataclass(frozen=True, slots=True)
class VocabularyCheck:
    """The outcome of `check_vocabulary`.

    Attributes:
        checked: how many actions were tried; together they hold every bin beside every other.
        ids_per_action: the fewest and the most ids of an action, after a prompt.
        expected: how many ids of an action the specification expects; None where it expects none. A vocabulary with
            an id for each digit takes more: every action survives, sequences and answers are longer.
        failed: how many actions failed; `offenders` holds the first 100.
    """

    checked: int
    ids_per_action: tuple[int, int]
    expected: int | None
    failed: int
    offenders: tuple[Offender, ...]

    @property
    def ok(self) -> bool:
        """Whether every action survives."""
        return self.failed == 0

    @property
    def as_expected(self) -> bool:
        """Whether every action has as many ids as the specification expects."""
        return self.expected is None or self.ids_per_action == (self.expected, self.expected)

    def require(self) -> None:
        """Raise ActionError, with the first offenders, unless all is well."""
        if self.failed:
            shown = "; ".join(f'"{o.text}": {o.reason}' for o in self.offenders[:3])
            raise ActionError(
                "vocabulary",
                f"{self.failed} of {self.checked} actions do not survive it ({shown})",
                "text -> ids -> text to be the identity",
            )


class _Report:
    def __init__(self) -> None:
        self.checked, self.failed, self.offenders, self.counts = 0, 0, list[Offender](), list[int]()

    def add(self, text: str, ids: list[int], back: str, reason: str) -> None:
        self.failed += 1
        if len(self.offenders) < KEPT:
            self.offenders.append(Offender(text, tuple(ids), back, reason))

    def close(self, expected: int | None = None) -> VocabularyCheck:
        ids = min(self.counts), max(self.counts)
        return VocabularyCheck(self.checked, ids, expected, self.failed, tuple(self.offenders))


def check_text(text: Text, vocabulary: Vocabulary, prompt: str, expected: int | None) -> VocabularyCheck:
    """Text placement: text -> ids -> text, alone and behind a prompt; `expected` ids an action are reported."""
    report = _Report()
    space = "" if text.lead else " "
    before = vocabulary.encode([prompt])[0]
    for rows in _batches(neighbours(text)):
        texts = text.format(rows)
        alone = vocabulary.encode(texts)
        behind = vocabulary.encode([prompt + space + t for t in texts])
        backs, behind_backs = (
            vocabulary.decode_after(alone),
            vocabulary.decode_after([ids[len(before) :] for ids in behind]),
        )
        for t, ids, back, whole, behind_back in zip(texts, alone, backs, behind, behind_backs, strict=True):
            report.checked += 1
            rest = whole[len(before) :]
            report.counts.append(len(rest))
            if _strip(back, space) != t:
                report.add(t, ids, back, f'its ids read "{_strip(back, space)}"')
            elif whole[: len(before)] != before:
                report.add(t, whole, behind_back, f'behind the prompt "{prompt}" its first id takes in the prompt')
            elif _strip(behind_back, space) != t:
                report.add(t, rest, behind_back, f'behind a prompt its ids read "{_strip(behind_back, space)}"')
    return report.close(expected)


def check_ids(text: Text | MergedText, vocabulary: Vocabulary, table: Ids) -> VocabularyCheck:
    """Placement by ids: the ids exist, are no special tokens, and ids -> text -> ids is the identity."""
    report = _Report()
    wrong = {int(i): "is a special token" for i in table if int(i) in vocabulary.special}
    wrong |= {int(i): "is not in the vocabulary" for i in table if not 0 <= i < vocabulary.total}
    bins = {int(i): n for n, i in enumerate(table)}
    for i, reason in wrong.items():
        report.checked += 1
        report.counts.append(1)
        report.add(f"bin {bins[i]}", [i], "", f"id {i} {reason}")
    if wrong:
        return report.close()
    rows_of = neighbours(text) if isinstance(text, Text) else _windows(len(table), 32)
    for rows in _batches(rows_of):
        ids = table[rows].tolist()
        strings = vocabulary.decode(ids)
        again = vocabulary.encode(strings)
        for row, kept, string, back in zip(rows.tolist(), ids, strings, again, strict=True):
            report.checked += 1
            report.counts.append(len(kept))
            if back != kept:
                pairs = enumerate(zip(kept, back, strict=False))
                at = next((k for k, (a, b) in pairs if a != b), min(len(kept), len(back)) - 1)
                outcome = f"comes back as id {back[at]}" if back else "does not come back"
                reason = f"bin {row[at]} (id {kept[at]}) {outcome}, from the text {string!a}"
                report.add(" ".join(map(str, row)), kept, string, reason)
    return report.close()


def neighbours(text: Text) -> Rows:
    """Bins (rows, fields) in which every bin of a dimension follows every other, and each number of field 0 meets
    each bin.
    """
    fields = text.fields
    flags = [i for i, field in enumerate(fields) if field.name == "terminate"]
    dims = [i for i in range(len(fields)) if i not in set(flags)]
    size, steps = len(fields[dims[0]].bins), max(len(flags), 1)
    symbols = fields[0].bins if flags else (0,)
    # Windows stay within a step: terminate stands between two.
    windows = _windows(size, len(dims) // steps)
    rows = -(-len(windows) // steps)
    pairs = np.resize(windows, (rows * steps, windows.shape[1])).reshape(rows, -1)
    same = np.repeat(np.arange(size, dtype=np.int32), len(symbols))[:, None]
    out = np.empty((rows + len(same), len(fields)), np.int32)
    out[:, dims] = np.concatenate([pairs, np.repeat(same, len(dims), axis=1)])
    for i in flags:
        out[:, i] = np.concatenate([np.resize(symbols, rows), np.resize(symbols, len(same))])
    return out


def _windows(size: int, width: int) -> Rows:
    """Rows of `width` numbers below `size` that hold every ordered pair side by side (for width 1, every number)."""
    if width == 1:
        return np.arange(size, dtype=np.int32)[:, None]
    # A cyclic order of all pairs: a, then a b for every b above a.
    parts = []
    for a in range(size):
        above = np.arange(a + 1, size)
        parts += [np.array([a]), np.stack([np.full_like(above, a), above], axis=1).ravel()]
    cycle = np.concatenate([*parts, parts[0]]).astype(np.int32)
    starts = np.arange(0, len(cycle) - 1, width - 1)
    return np.asarray(np.resize(cycle, starts[-1] + width)[starts[:, None] + np.arange(width)], np.int32)


def _batches(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), 4096):
        yield rows[start : start + 4096]


def _strip(text: str, space: str) -> str:
    return text.removeprefix(space) if space else text
