"""Action chunks relative to the state at their start, of a whole part's table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rt2data import index
from rt2data.recipes.recipe import RecipeSource
from rt2data.recipes.relative import Relative
from rt2data.robot import origins, relative
from rt2data.robot.fields import RobotFields

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class RelativeChunks:
    """Makes the chunks of samples relative."""

    def __init__(self, table: pa.Table, robot: RobotFields, how: Relative) -> None:
        self.robot, self.how = robot, how
        self.proprio: Floats | None = None
        if origins.has_origin(robot):
            self.proprio = index.matrix(table.column("proprio"))

    def origin(self, rows: Ints) -> Floats | None:
        """The state at each of `rows`, float32 (..., D); None where chunks are composed of displacements."""
        if self.proprio is None:
            return None
        low, high = (int(rows.min()), int(rows.max()) + 1) if rows.size else (0, 0)
        return origins.read_origins(self.robot, self.how.rules, self.proprio[low:high])[0][rows - low]

    def of(self, at: Ints, stored: Floats, rested: Floats) -> Floats:
        """The chunks of samples.

        Args:
            at: the rows of their steps (n, H), past the end of an episode its last one.
            stored: the actions of these steps, (n, H, D).
            rested: the same, at rest past the end.

        Returns:
            float32 (n, H, D). Past the end: what is relative stays where the last step took it, the rest as in
            `rested`.
        """
        rules, dims = self.how.rules, self.robot.dims
        states = self.origin(at)
        if states is None:
            return relative.compose_displacements(rested, rules, dims)
        targets = rested.astype(np.float64)
        if self.robot.kind != "absolute":
            targets = self._targets(stored, states.astype(np.float64), rested)
        # The first step of a chunk is at its start.
        return relative.make_relative(targets, states[:, 0].astype(np.float64), rules, dims).astype(np.float32)

    def _targets(self, stored: Floats, states: npt.NDArray[np.float64], rested: Floats) -> npt.NDArray[np.float64]:
        """The commanded poses, which stand in an index as displacements from the state at their own step."""
        frame = relative.POSE_TOOL if self.robot.frame == "tool" else relative.POSE_BASE
        by = [frame if rule != relative.NONE else rule for rule in self.how.rules]
        width = len(by)
        moves = stored.astype(np.float64).reshape(-1, 1, width)
        targets = relative.make_absolute(moves, states.reshape(-1, width), by, self.robot.dims).reshape(stored.shape)
        kept = [i for i, rule in enumerate(by) if rule == relative.NONE]
        targets[..., kept] = rested[..., kept]
        return targets


def find_known(table: pa.Table, source: RecipeSource) -> Bools:
    """Which rows have the state that a chunk needs, bool (T,)."""
    robot, how = source.declaration.robot, source.sampling.relative
    if robot is None or how is None or not origins.has_origin(robot):
        return np.ones(table.num_rows, np.bool_)
    return origins.read_origins(robot, how.rules, index.matrix(table.column("proprio")))[1]
