"""Objects from the image that they were annotated in to the image that samples store."""

from __future__ import annotations

from collections.abc import Iterable

from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.grounding.values import Box, Object, check_size, coordinates, to_object

# How an orientation shows stored pixels: exchange x and y, then count x, then y, from the other side.
_TURNS = {
    0: (False, False, False),
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def to_stored(
    objects: Iterable[Object], annotated: tuple[int, int], stored: tuple[int, int], turn: int = 0
) -> list[Object]:
    """Move objects from the image that they were annotated in to the image that samples store.

    A mixture stores images upright, and of another size where the recipe says ``image: {size: ...}``. Width and height
    are scaled each by itself, as the pixels are.

    >>> to_stored([Box(0, 0, 32, 24, "cup")], annotated=(640, 480), stored=(224, 224))
    [Box(x1=0.0, y1=0.0, x2=11.2, y2=11.2, label='cup')]

    Args:
        objects: in pixels of the annotated image.
        annotated: its width and height, as its pixels are stored in the file, before any turn.
        stored: width and height of the image in the samples, which is upright.
        turn: the EXIF orientation of the annotated image, 2 to 8, where the objects belong to its pixels as they are
            stored in the file (Exif 2.32, 4.6.4 A); 0 where they belong to the upright image, or there is none.

    Raises:
        ActionError: no size, no orientation, or an object that `GroundingTokenizer.format` would refuse.
    """
    width, height = check_size(annotated, "annotated")
    new_width, new_height = check_size(stored, "stored")
    if turn not in _TURNS:
        raise ActionError("turn", repr(turn)[:40], "an EXIF orientation: 0 (none) or 1..8")
    sideways, from_right, from_below = _TURNS[turn]
    if sideways:
        width, height = height, width
    moved = []
    for index, item in enumerate(objects):
        kind, flat = coordinates(item, f"objects[{index}]")
        new = []
        for x, y in zip(flat[::2], flat[1::2], strict=True):
            across, down = (y, x) if sideways else (x, y)
            across, down = width - across if from_right else across, height - down if from_below else down
            new += [across * new_width / width, down * new_height / height]
        if isinstance(item, Box):  # a mirror exchanges the corners
            xs, ys = sorted(new[::2]), sorted(new[1::2])
            new = [xs[0], ys[0], xs[1], ys[1]]
        moved.append(to_object(kind, new, item.label))
    return moved
