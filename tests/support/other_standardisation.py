"""A declaration as another project standardises its dataset."""

from __future__ import annotations

from rt2data.declarations import declaration
from rt2data.declarations.declaration import Declaration


def other(project: str, name: str) -> Declaration:
    return declaration.standardised(declaration.find(name), project, "test")
