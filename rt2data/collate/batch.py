"""Rows of tensors as one batch: padding along tokens, and arrays of images one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def pad_rows(rows: Sequence[Mapping[str, Any]], length: int, filler: Mapping[str, int], side: str) -> dict[str, Any]:
    """Pad arrays of one value per token to a length.

    Args:
        rows: per sample, tensors (n,) by name. A row that lacks one has zeros there.
        length: of each row of the batch.
        filler: the value of padding by name; 0 for others.
        side: "left" or "right", where the padding goes.

    Returns:
        Tensors (rows, length).
    """
    import torch

    out = {}
    for name in {name: None for row in rows for name in row}:
        first = next(row[name] for row in rows if name in row)
        padded = torch.full((len(rows), length), filler.get(name, 0), dtype=first.dtype)
        for number, row in enumerate(rows):
            n = len(row["input_ids"])
            own = slice(0, n) if side == "right" else slice(length - n, length)
            padded[number, own] = row.get(name, 0)
        out[name] = padded
    return out


def join_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the arrays of images of samples along their first axis; shorter further axes are padded with zeros."""
    import torch

    out = {}
    for name in {name: None for row in rows for name in row}:
        own = [row[name] for row in rows if name in row]
        if len({tensor.shape[1:] for tensor in own}) == 1:
            out[name] = torch.cat(own)
            continue
        shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in own), strict=True)]
        joined = torch.zeros((sum(len(tensor) for tensor in own), *shape), dtype=own[0].dtype)
        at = 0
        for tensor in own:
            joined[(slice(at, at + len(tensor)), *(slice(0, size) for size in tensor.shape[1:]))] = tensor
            at += len(tensor)
        out[name] = joined
    return out
