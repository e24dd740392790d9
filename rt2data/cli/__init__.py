"""The command line: `program` has the parser, errors and exit codes, the other modules a group of commands each.

May import: everything.
"""

from __future__ import annotations

from rt2data.cli.program import main, program

__all__ = ["main", "program"]
