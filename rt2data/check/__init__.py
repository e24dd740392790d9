"""`rt2data datasets check`: the claims of a declaration held against the data.

May import: `sources` and what it may import.
"""
