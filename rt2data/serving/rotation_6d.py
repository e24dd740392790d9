"""Convert canonical actions to actions whose rotations are six numbers of a rotation matrix, and back.

Flow and diffusion heads take rotations so, since roll, pitch and yaw jump at the ends of their ranges. GR00T and
pytorch3d take the first two rows of the matrix, RDT2 and UMI its first two columns; the numbers are others, so the
layout is always named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rt2data.robot import rotation
from rt2data.tokenizer import ActionError

if TYPE_CHECKING:
    import numpy.typing as npt

ARM = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
LAYOUTS = ("rows", "columns")
_ANGLES = ("roll", "pitch", "yaw")


def rotation_6d_dims(dims: Sequence[str] = ARM) -> tuple[str, ...]:
    """Return the dimensions of `to_rotation_6d`: ``rot6d_0`` to ``rot6d_5`` in place of roll, pitch and yaw.

    Where there are several arms their names stay in front (``left_rot6d_0``).

    Raises:
        ActionError: roll, pitch and yaw that do not follow each other.
    """
    return tuple(name for part in _parts(dims) for name in part[1])


def to_rotation_6d(actions: Any, layout: str, dims: Sequence[str] = ARM) -> npt.NDArray[np.float64]:
    """Replace roll, pitch and yaw of each arm by six numbers of its rotation matrix Rz(yaw) Ry(pitch) Rx(roll).

    Args:
        actions: (..., D), angles in radians.
        layout: "rows" (GR00T, pytorch3d) or "columns" (RDT2, UMI): the first two of the matrix, one after the other.
        dims: the names of the D dimensions, as a sample's `dims` has them.

    Returns:
        float64 (..., D + 3 for each arm), of the dimensions `rotation_6d_dims` names.

    Raises:
        ActionError: another layout or width, or roll, pitch and yaw that do not follow each other.
    """
    return _converted(actions, layout, dims, forward=True)


def from_rotation_6d(values: Any, layout: str, dims: Sequence[str] = ARM) -> npt.NDArray[np.float64]:
    """Convert back to canonical actions: the inverse of `to_rotation_6d`, for any numbers a model writes.

    The two vectors are made orthonormal, the first keeping its direction (Gram-Schmidt, arXiv 1812.07035).

    Args:
        values: (..., the width of `rotation_6d_dims(dims)`).
        layout: as in `to_rotation_6d`.
        dims: the names of the canonical dimensions.

    Returns:
        float64 (..., D): pitch in [-pi/2, pi/2]; NaN where the two vectors are parallel or 0.

    Raises:
        ActionError: as `to_rotation_6d`.
    """
    return _converted(values, layout, dims, forward=False)


def _converted(values: Any, layout: str, dims: Sequence[str], *, forward: bool) -> npt.NDArray[np.float64]:
    if layout not in LAYOUTS:
        raise ActionError("layout", repr(layout)[:60], " or ".join(LAYOUTS))
    x, parts = np.asarray(values, np.float64), list(_parts(dims))
    names = [name for part in parts for name in part[not forward]]
    if x.ndim == 0 or x.shape[-1] != len(names):
        raise ActionError("actions", f"shape {x.shape}", f"(..., {len(names)}): {' '.join(names[:16])}")
    out, start = [], 0
    for old, new in parts:
        width = len(old if forward else new)
        column, start = x[..., start : start + width], start + width
        if len(old) < len(new):
            flat = column.reshape(-1, width)
            with np.errstate(invalid="ignore", divide="ignore"):
                turned = (
                    rotation.to_6d(rotation.from_rpy(flat), layout)
                    if forward
                    else rotation.to_rpy(rotation.from_6d(flat, layout))
                )
            column = turned.reshape(*x.shape[:-1], turned.shape[-1])
        out.append(column)
    return np.concatenate(out, axis=-1)


def _parts(dims: Sequence[str]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Each run of dimensions, with what stands in its place: an arm's angles are three, another dimension is one."""
    index = 0
    while index < len(dims):
        name = dims[index]
        arm, _, last = name.rpartition("_")
        before = f"{arm}_" if arm else ""
        if last not in _ANGLES:
            yield (name,), (name,)
            index += 1
            continue
        angles = tuple(before + angle for angle in _ANGLES)
        if tuple(dims[index : index + 3]) != angles:
            raise ActionError("dims", " ".join(dims[index : index + 3]), f"{' '.join(angles)}, one after the other")
        yield angles, tuple(f"{before}rot6d_{i}" for i in range(6))
        index += 3
