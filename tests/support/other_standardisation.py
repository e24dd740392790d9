"""A declaration as another project standardises its dataset."""

from __future__ import annotations

from rt2data.declarations import declaration
from rt2data.declarations.declaration import Declaration


def other(project: str, name: str) -> Declaration:
    return declaration.find_standardised(declaration.find_declaration(name), project, "test")
