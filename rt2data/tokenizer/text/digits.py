"""The integers of a range as runs of digits: what regular expressions and grammars of numbers are made of."""

from __future__ import annotations

# A range for each digit of one way to write numbers, such as ((2, 2), (0, 4), (0, 9)) for 200..249.
DigitRanges = tuple[tuple[int, int], ...]


def digit_ranges(low: int, high: int, width: int = 1) -> list[DigitRanges]:
    """Return the ways to write the integers low..high, those of most digits first.

    Args:
        low: the lowest, at least 0.
        high: the highest.
        width: the least number of digits; shorter numbers are padded with zeros on the left. Others have none.
    """
    ways = []
    for length in range(max(len(str(high)), width), 0, -1):
        least, most = max(low, 10 ** (length - 1) if length > width else 0), min(high, 10**length - 1)
        if length >= width and least <= most:
            ways += _between(str(least).zfill(length), str(most).zfill(length))
    return ways


def _between(low: str, high: str) -> list[DigitRanges]:
    """The numbers low..high, both of as many digits."""
    if not low:
        return [()]
    first, last, rest = int(low[0]), int(high[0]), len(low) - 1
    if first == last:
        return [((first, first), *way) for way in _between(low[1:], high[1:])]
    before = [((first, first), *way) for way in _between(low[1:], "9" * rest)] if low[1:] != "0" * rest else []
    behind = [((last, last), *way) for way in _between("0" * rest, high[1:])] if high[1:] != "9" * rest else []
    first, last = first + bool(before), last - bool(behind)
    return [*before, *([((first, last), *([(0, 9)] * rest))] if first <= last else []), *behind]
