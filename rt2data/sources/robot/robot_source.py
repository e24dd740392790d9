"""What robot datasets of every format share: the declared fields, held against those that are there."""

from __future__ import annotations

from collections.abc import Mapping

from rt2data.declarations.declaration import Declaration
from rt2data.errors import Rt2dataError
from rt2data.rlds.features import Field
from rt2data.robot import match
from rt2data.robot.fields import Robot
from rt2data.sources.base import Source
from rt2data.storage.places import Place

FLAGS = ("is_first", "is_last", "is_terminal")  # of RLDS' steps


class RobotSource(Source):
    """A dataset of robot episodes. `rt2data.sources.EpisodeRows` makes the index of a part from its episodes.

    Attributes:
        robot: the declared cameras, instruction, proprioception and action.
        fields: the dataset's fields by path, the declared ones among them.
    """

    robot: Robot
    fields: Mapping[str, Field]

    def __init__(self, declaration: Declaration, root: Place) -> None:
        super().__init__(declaration, root)
        if declaration.robot is None:
            found = f"kind {declaration.kind} in format {declaration.format}"
            raise Rt2dataError(declaration.file, found, "kind robot")
        self.robot = declaration.robot
        self.fields = {}

    def take_fields(self, fields: Mapping[str, Field], where: str, *, listed: str = "features.json") -> None:
        """Set `fields`.

        Args:
            fields: of the dataset, by path.
            where: begins the error.
            listed: what lists the fields, for the error.

        Raises:
            Rt2dataError: a declared field that is not there, or of another kind or shape.
        """
        for problem in match.problems(self.robot, fields, where, self.declaration.file, listed=listed):
            raise problem
        self.fields = fields
