"""Parse the annotations of a recipe's source: files of tracks, and tracks that are derived from its steps.

A track is a named list of typed values with times in an episode (`rt2data.tracks`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rt2data.declarations.declaration import Declaration
from rt2data.errors import Rt2dataError
from rt2data.robot.fields import ARM, RobotFields, split_dimension

# The id of an episode from the fields of an annotation, unless the recipe says otherwise.
EPISODE = {"ecot": "{file}:{episode}", "rows": "{episode}", "action_config": "{episode_index}"}
MAX_DIMS = 30  # of a robot whose motions are put into words
_SQUARE = 1e-3  # how far R R^T of a rotation may be from the identity


@dataclass(frozen=True, slots=True)
class AnnotationFile:
    """A file of annotations.

    Attributes:
        file: below the data root.
        format: ``ecot``, ``rows`` or ``action_config``.
        episode: template of an episode's id from fields of an annotation.
        tracks: names of tracks that are read, as the file has them; empty: all.
        prefix: goes before their names.
        hz: steps per second of the dataset, for times in seconds; 0: unknown.
    """

    file: str
    format: str
    episode: str
    tracks: tuple[str, ...]
    prefix: str
    hz: float

    @property
    def resolved(self) -> dict[str, Any]:
        """The entry with every default filled in."""
        own: dict[str, Any] = {"file": self.file, "format": self.format, "episode": self.episode}
        own |= {"tracks": list(self.tracks)} if self.tracks else {}
        own |= {"prefix": self.prefix} if self.prefix else {}
        return own | ({"hz": self.hz} if self.hz else {})


@dataclass(frozen=True, slots=True)
class Motions:
    """What the arms do, in words, from the actions of some steps (`rt2data.tracks.derived`).

    Attributes:
        track: the name of the track.
        window: how many steps' displacements are added, that of the step itself among them.
        translation, rotation: the least that counts as motion, in the units of the actions: metres and radians.
        closed, open: a gripper is closed at this openness or less, open at this or more, between them as it was.
        dims: of the actions.
    """

    track: str
    window: int
    translation: float
    rotation: float
    closed: float
    open: float
    dims: tuple[str, ...]
    event, type = False, "text"

    @property
    def resolved(self) -> dict[str, Any]:
        """The entry with every default filled in."""
        own = {name: getattr(self, name) for name in ("track", "window", "translation", "rotation", "closed", "open")}
        return {"derive": "motions"} | own


@dataclass(frozen=True, slots=True)
class GripperEvents:
    """The steps at which grippers are told to close and to open, as events. Fields as in `Motions`."""

    track: str
    closed: float
    open: float
    dims: tuple[str, ...]
    event, type = True, "text"

    @property
    def resolved(self) -> dict[str, Any]:
        """The entry with every default filled in."""
        return {"derive": "gripper_events", "track": self.track, "closed": self.closed, "open": self.open}


@dataclass(frozen=True, slots=True)
class GripperPixels:
    """Where a gripper is in the image of a camera whose calibration is known (`rt2data.tracks.pixels`).

    Attributes:
        track: the name of the track.
        camera: of the source.
        intrinsics: fx, fy, cx, cy in pixels.
        camera_from_base: the rows of [R | t], which takes a position of the state into the frame of the camera.
        position: columns of the proprioception: x, y, z.
        size: (width, height) of the image that the intrinsics are of; () for that which the dataset stores.
    """

    track: str
    camera: str
    intrinsics: tuple[float, ...]
    camera_from_base: tuple[tuple[float, ...], ...]
    position: tuple[int, ...]
    size: tuple[int, ...]
    event, type = False, "point"

    @property
    def resolved(self) -> dict[str, Any]:
        """The entry with every default filled in, and the columns of the position in place of names."""
        own = {"derive": "gripper_pixels", "track": self.track, "camera": self.camera}
        rows = {"intrinsics": list(self.intrinsics), "camera_from_base": [list(row) for row in self.camera_from_base]}
        size = {"size": list(self.size)} if self.size else {}
        return own | rows | {"position": list(self.position)} | size


Derived = Motions | GripperEvents | GripperPixels
Annotation = AnnotationFile | Derived

_DEFAULTS: dict[str, dict[str, Any]] = {
    "motions": {
        "track": "motion", "window": 4, "translation": 0.03, "rotation": 0.15, "closed": 0.4, "open": 0.6,
    },
    "gripper_events": {"track": "gripper_event", "closed": 0.4, "open": 0.6},
    "gripper_pixels": {
        "track": "gripper_pixel", "camera": None, "intrinsics": None, "camera_from_base": None,
        "position": ["x", "y", "z"], "size": [],
    },
}  # fmt: skip


def parse_annotations(
    raw: Sequence[Mapping[str, Any]], declaration: Declaration, where: Callable[[int, str], str]
) -> tuple[Annotation, ...]:
    """Parse the field ``annotations`` of a source, which fits the schema.

    Args:
        raw: its entries.
        declaration: of the source.
        where: gives the line of a field of an entry.
    """
    robot = declaration.robot
    if not raw:
        return ()
    if robot is None:
        raise Rt2dataError(where(0, ""), f"annotations for a {declaration.kind} source", "a robot source")
    out: list[Annotation] = []
    for number, entry in enumerate(raw):
        at = lambda name, number=number: where(number, name)  # noqa: E731
        out.append(_derived(entry, declaration.name, robot, at) if "derive" in entry else _file(entry, robot))
    derived = [one.track for one in out if not isinstance(one, AnnotationFile)]
    for number, name in enumerate(derived):
        if name in derived[:number]:
            found = f'two derived tracks called "{name}"'
            raise Rt2dataError(where(len(raw) - 1, "derive"), found, "track: with a name for each")
    return tuple(out)


def _file(entry: Mapping[str, Any], robot: RobotFields) -> AnnotationFile:
    form = entry["format"]
    return AnnotationFile(
        file=entry["file"], format=form, episode=entry.get("episode", EPISODE[form]),
        tracks=tuple(entry.get("tracks", ())), prefix=entry.get("prefix", ""),
        hz=float(entry.get("hz", robot.control_hz or 0)),
    )  # fmt: skip


def _derived(entry: Mapping[str, Any], name: str, robot: RobotFields, at: Callable[[str], str]) -> Derived:
    kind = entry["derive"]
    fields = _DEFAULTS[kind] | {key: value for key, value in entry.items() if key != "derive"}
    if fields.keys() - _DEFAULTS[kind].keys():
        wrong = min(fields.keys() - _DEFAULTS[kind].keys())
        raise Rt2dataError(at(wrong), f'"{wrong}" for {kind}', f"one of {', '.join(_DEFAULTS[kind])}")
    if kind == "gripper_pixels":
        return _pixels(fields, name, robot, at)
    if not fields["closed"] < fields["open"]:
        found = f"closed at {fields['closed']:g} or less, open at {fields['open']:g} or more"
        raise Rt2dataError(at("closed" if "closed" in entry else "open"), found, "closed below open")
    words = [split_dimension(dim)[1] for dim in robot.dims]
    if kind == "gripper_events":
        if "gripper" not in words:
            raise Rt2dataError(at("derive"), f"gripper events of {name}, which has no gripper", "a source with one")
        return GripperEvents(**fields, dims=robot.dims)
    if robot.kind == "absolute" or not set(words) & set(ARM[:6]):
        raise Rt2dataError(at("derive"), f"motions of {name}, which has no displacement of an arm", "a source with one")
    if robot.frame == "tool":
        repair = "Forward of a tool is not forward of the robot"
        raise Rt2dataError(at("derive"), f"motions of {name}, whose actions are in the frame of the tool",
                           "displacements in the base's frame", repair)  # fmt: skip
    if len(robot.dims) > MAX_DIMS:
        raise Rt2dataError(at("derive"), f"motions of {len(robot.dims)} dimensions", f"at most {MAX_DIMS}")
    for group, unit, names in (("translation", "m", ARM[:3]), ("rotation", "rad", ARM[3:6])):
        other = [dim for dim, word, own in zip(robot.dims, words, robot.units, strict=True)
                 if word in names and own != unit]  # fmt: skip
        if other and group not in entry:
            found = f"motions of {name}, whose {other[0]} is not in {unit}"
            raise Rt2dataError(at("derive"), found, f"{group}: the least that counts, in the dataset's own unit")
    return Motions(**fields, dims=robot.dims)


def _pixels(fields: Mapping[str, Any], name: str, robot: RobotFields, at: Callable[[str], str]) -> GripperPixels:
    absent = [key for key, value in fields.items() if value is None]
    if absent:
        raise Rt2dataError(at("derive"), f"gripper_pixels without {absent[0]}", f"{', '.join(absent)} of the camera")
    cameras = [camera.name for camera in robot.cameras]
    if fields["camera"] not in cameras:
        found = f'"{fields["camera"]}", no camera of {name}'
        raise Rt2dataError(at("camera"), found, f"one of {', '.join(cameras)}")
    fx, fy, cx, cy = (float(value) for value in fields["intrinsics"])
    if not (fx > 0 and fy > 0):
        found = f"the intrinsics {fields['intrinsics']}"
        raise Rt2dataError(at("intrinsics"), found, "[fx, fy, cx, cy], fx and fy above 0")
    rows = tuple(tuple(float(value) for value in row) for row in fields["camera_from_base"])
    if not _is_rotation([row[:3] for row in rows]):
        repair = "It takes a point of the base into the camera's frame, x right, y down, z forward"
        raise Rt2dataError(at("camera_from_base"), "no rotation in the first three columns",
                           "[R | t] with R orthonormal within 0.001 and its determinant 1", repair)  # fmt: skip
    dims = robot.proprio_dims
    where = at("position" if "position" in fields else "derive")
    position = []
    for one in fields["position"]:
        if one not in (dims if isinstance(one, str) else range(len(dims))):
            found = f"the position {one}, which the state of {name} does not have"
            expected = f"three of {', '.join(dims)}" if dims else "a source with proprio: in its declaration"
            raise Rt2dataError(where, found, expected)
        position.append(dims.index(one) if isinstance(one, str) else int(one))
    return GripperPixels(
        fields["track"], fields["camera"], (fx, fy, cx, cy), rows, tuple(position), tuple(fields["size"])
    )


def _is_rotation(rows: Sequence[Sequence[float]]) -> bool:
    """Whether three rows are orthonormal, and their determinant is 1 and not -1."""
    for i, row in enumerate(rows):
        for j, other in enumerate(rows):
            product = sum(a * b for a, b in zip(row, other, strict=True))
            if abs(product - (i == j)) > _SQUARE:
                return False
    (a, b, c), (d, e, f), (g, h, k) = rows
    return a * (e * k - f * h) - b * (d * k - f * g) + c * (d * h - e * g) > 0
