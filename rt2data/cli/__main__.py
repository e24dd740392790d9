"""`python -m rt2data.cli` is the command line."""

from rt2data.cli.program import program

raise SystemExit(program())
