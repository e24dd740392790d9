"""Datasets made by a declaration, in the layout that is published of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rt2data import testing
from rt2data.declarations.declaration import Declaration
from rt2data.rlds.features import Field
from rt2data.robot.fields import RobotFields
from support import rlds_layouts, scalar_actions

PUBLISHED = rlds_layouts.load()


def published(one: Declaration) -> dict[str, Field] | None:
    """The published layout of a dataset."""
    names = (one.name, *one.aliases, *one.paths)
    return next((PUBLISHED[name] for name in names if name in PUBLISHED), None)


def robot_of(one: Declaration) -> RobotFields:
    assert one.robot is not None
    return one.robot


def fake(one: Declaration, folder: Path, **options: Any) -> Path:
    """A fake of the dataset, of its published layout or, without one, of the least that the declaration fits."""
    fields = published(one) or testing.layout(robot_of(one))
    version = one.versions[0] if one.versions else "0.1.0"
    return testing.fake_dataset(fields, folder, name=one.name, version=version, robot=one.robot, **options)


def numbers(episode: Any, fields: dict[str, Field], robot: RobotFields) -> scalar_actions.Values:
    """Each numeric field as a list of flat rows, one per step."""
    out = {}
    for path in robot.fields:
        if fields[path].kind == "tensor":
            table = np.asarray(episode[path])
            table = table if fields[path].per_step else np.broadcast_to(table, (episode.steps, *table.shape))
            out[path] = [[float(v) for v in np.ravel(step)] for step in table]
    return out


def same(got: np.ndarray[Any, Any], wanted: list[list[float]], name: str) -> None:
    """`got` is `wanted` rounded to float32, where `wanted` may be off by the rounding errors of float64."""
    exact = np.array(wanted)
    tolerance = 4e-15 * np.maximum(1.0, np.abs(exact)) * 100
    low, high = (exact - tolerance).astype(np.float32), (exact + tolerance).astype(np.float32)
    assert got.shape == exact.shape
    assert ((low <= got) & (got <= high)).all(), f"{name}: {got} instead of {exact}"
