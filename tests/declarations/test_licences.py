"""What licences demand, as plans and dataset cards list it."""

from __future__ import annotations

import pytest

from rt2data.declarations.declaration import list_declarations
from rt2data.declarations.licences import group_by_demand, list_demands


@pytest.mark.parametrize(
    ("licence", "demands"),
    [
        ("CC-BY-4.0", ["attribution"]),
        ("CC-BY-NC-SA-3.0", ["attribution", "non-commercial", "share-alike"]),
        ("CC-BY-NC-ND-4.0", ["attribution", "non-commercial", "no derivatives"]),
        ("CC-BY-SA-4.0", ["attribution", "share-alike"]),
        ("MIT", ["attribution"]),
        ("Apache-2.0", ["attribution"]),
        ("BSD-3-Clause", ["attribution"]),
        ("CC0-1.0", []),
        ("apache-2.0", ["attribution"]),  # as cards of the Hub spell them
        ("cc-by-nc-4.0", ["attribution", "non-commercial"]),
        ("CC BY-NC-SA 4.0", ["attribution", "non-commercial", "share-alike"]),
        ("CC BY", ["attribution"]),
        ("cc-by-xyz-4.0", ["unknown"]),
        ("annotations CC-BY-4.0; pictures under their Flickr licences", ["attribution", "unknown"]),
        ("non-commercial research; pictures under their Flickr licences", ["non-commercial", "unknown"]),
        ("unknown", ["unknown"]),
        ("not stated", ["unknown"]),
        ("limited", ["unknown"]),  # not MIT
        ("the authors' own terms", ["unknown"]),
    ],
)
def test_demands(licence: str, demands: list[str]) -> None:
    assert list_demands(licence) == demands


def test_groups() -> None:
    pairs = [("a", "CC-BY-4.0"), ("b", "unknown"), ("c", "CC-BY-NC-4.0"), ("b", "unknown")]
    assert group_by_demand(pairs) == {"attribution": ["a", "c"], "non-commercial": ["c"], "unknown": ["b"]}


def test_every_bundled_licence_has_its_evidence() -> None:
    """Either where the terms stand, or where they were looked for; nothing is guessed."""
    for name, declaration in list_declarations().items():
        if declaration.file.rpartition("/builders/")[2].startswith("sample/"):
            continue  # made by this project
        evidence = declaration.raw.get("licence_evidence")
        assert evidence, f"{name}: no licence_evidence"
        if declaration.raw["licence"] == "unknown":
            continue
        assert any(read["says"] != "nothing" for read in evidence), name
