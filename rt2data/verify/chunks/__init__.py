"""Samples of several steps: what they say of one another.

`windows` compares action chunks and observation histories, `relative` chunks that are relative to the state at their
start.

May import: the rest of `rt2data.verify`, and what it may.
"""
