"""`rt2data datasets check`: the claims of a declaration held against the data.

`check` reads some episodes (`Source.excerpts`) and reports. `claims`, `motion_claims` and `value_claims` have the
rules, `evidence` what they compute with. Knows no format.

May import: `sources` and what it may import.
"""
