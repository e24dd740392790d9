"""What licences demand of whoever trains on a mixture or passes it on, as far as their names say it."""

from __future__ import annotations

import re
from collections.abc import Iterable

UNKNOWN = "unknown"

# The demands of licences by their SPDX name, also as dataset cards write them (apache-2.0, CC BY-NC 4.0). A name that
# is not listed demands what nobody has read, so it is unknown.
_CREATIVE = re.compile(r"\bCC[- ]BY((?:[- ](?:NC|SA|ND))*)(?:[- ]\d\.\d)?(?![- ]?\w)", re.IGNORECASE)
_FREE = re.compile(r"\bCC0(?:-1\.0)?\b|\bpublic domain\b", re.IGNORECASE)
_NOTICE = re.compile(r"\b(?:MIT|Apache-2\.0|BSD-[23]-Clause)\b", re.IGNORECASE)
_NON_COMMERCIAL = re.compile(r"\bnon-?commercial\b", re.IGNORECASE)
_PARTS = {"NC": "non-commercial", "SA": "share-alike", "ND": "no derivatives"}

ORDER = ("attribution", "non-commercial", "share-alike", "no derivatives", UNKNOWN)


def list_demands(licence: str) -> list[str]:
    """List what a licence demands, as declared: of ORDER, in its order; nothing for what is given away.

    Parts that have terms of their own stand apart with ``;`` ("annotations CC-BY-4.0; pictures under their own
    licences"): each adds its demands. ``attribution`` also stands for keeping a notice (MIT, Apache-2.0, BSD).
    ``unknown``: nothing was found, or the words are none of these licences; nobody may assume that they allow it.
    """
    found: set[str] = set()
    for part in licence.split(";"):
        named = False
        for match in _CREATIVE.finditer(part):
            named = True
            found.update(["attribution", *(_PARTS[word] for word in re.findall("[A-Z]+", match[1].upper()))])
        if _NOTICE.search(part):
            named = True
            found.add("attribution")
        if _NON_COMMERCIAL.search(part):
            named = True
            found.add("non-commercial")
        if not named and not _FREE.search(part):
            found.add(UNKNOWN)
    return [demand for demand in ORDER if demand in found]


def group_by_demand(licences: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Group names of sources by what their licences demand, in the order of ORDER.

    Args:
        licences: name and licence of each source.
    """
    pairs = [(demand, name) for name, licence in licences for demand in list_demands(licence)]
    groups = {demand: [name for d, name in pairs if d == demand] for demand in ORDER}
    return {demand: list(dict.fromkeys(names)) for demand, names in groups.items() if names}
