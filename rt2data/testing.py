"""Fake datasets for tests: seeded RLDS of any layout, as TensorFlow Datasets writes it but without it.

    fake_dataset("facts/fmb/0.1.0", "data", robot=declaration.find_declaration("fmb").robot, episodes=4)

writes ``data/fmb/0.1.0`` from ``facts/fmb/0.1.0/features.json``. The values are sane: small displacements, unit
quaternions, flags that mark the ends, instructions, small images.
"""

from __future__ import annotations

import io
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from rt2data.errors import Rt2dataError
from rt2data.rlds.features import Field, load_features, read_json
from rt2data.rlds.writer import ImageSpec, RaggedSpec, Spec, TensorSpec, TextSpec, nest_fields, write_rlds
from rt2data.robot.fields import Ref, RobotFields, Rule, Term

__all__ = ["fake_dataset", "layout"]

TEXTS = (
    "Put the pot on the stove.",
    "pick up the USB stick",
    "MOVE it",
    "将红色方块推向蓝色方块",
    "open the drawer, then close it",
)
"""Instructions; episode n has the n-th, and the first again after the last."""

Value = Callable[[np.random.Generator, int, int], Any]
"""Gives a field's value of one episode, as `write_rlds` takes it, from (generator, number of the episode, steps)."""


def fake_dataset(
    schema: str | os.PathLike[str] | Mapping[str, Field],
    out: str | os.PathLike[str],
    *,
    name: str = "",
    version: str = "",
    robot: RobotFields | None = None,
    seed: int = 0,
    episodes: int = 3,
    steps: int = 4,
    splits: Sequence[str] = ("train",),
    values: Mapping[str, Value] | None = None,
    image_size: tuple[int, int] = (16, 12),
    file_format: Literal["tfrecord", "array_record"] = "tfrecord",
) -> Path:
    """Write a fake dataset of the layout `schema` to ``OUT/NAME/VERSION`` and return that folder.

    Args:
        schema: a folder with ``features.json`` (copied as it is) and perhaps ``dataset_info.json``; or the fields.
        out: where to write.
        name, version: of the dataset; by default those of ``dataset_info.json``.
        robot: a declaration of the dataset, so that its rotations are rotations and its flags are right.
        seed: the same seed gives the same bytes.
        episodes, steps: per split; episode n has ``steps + n % 3`` steps.
        splits: their names.
        values: values of some fields, in place of those made up here.
        image_size: width and height in pixels, whatever the layout says.
        file_format: of the shards; ArrayRecord needs the package array-record.

    Raises:
        Rt2dataError: no layout there, a field that cannot be written, or the folder exists.
    """
    folder = None if isinstance(schema, Mapping) else Path(schema)
    fields = load_features(folder) if folder else dict(schema)  # type: ignore[arg-type]
    if folder and (folder / "dataset_info.json").is_file():
        info = read_json(folder / "dataset_info.json")
        name, version = name or str(info.get("name", "")), version or str(info.get("version", ""))
    maker = _Maker(fields, robot, dict(values or {}), image_size)
    written = write_rlds(
        Path(out), name=name, version=version,
        features=nest_fields({path: _spec(field) for path, field in fields.items()}),
        splits={split: maker.episodes(seed, number, episodes, steps) for number, split in enumerate(splits)},
        shards=dict.fromkeys(splits, 2 if episodes > 1 else 1), file_format=file_format,
    )  # fmt: skip
    if folder:
        shutil.copyfile(folder / "features.json", written / "features.json")
    return written


def layout(robot: RobotFields) -> dict[str, Field]:
    """Return the smallest layout that a declaration fits, by path, for datasets whose own layout is not published."""
    columns: dict[str, int] = {}
    for ref, width in _uses(robot):
        columns[ref.field] = max(columns.get(ref.field, 0), width, *(c + 1 for c in ref.columns or ()))
    fields = {
        path: Field(path, "tensor", "float32", (n,), path.startswith("steps/"), "none") for path, n in columns.items()
    }
    for path in robot.fields:
        if path in ("steps/is_first", "steps/is_last", "steps/is_terminal"):
            fields[path] = Field(path, "tensor", "bool", (), per_step=True, encoding="none")
    for camera in robot.cameras:
        fields[camera.field] = Field(camera.field, "image", "uint8", (None, None, 3), per_step=True, encoding="jpeg")
    for path in (*robot.instruction.paths, *(robot.plan.paths if robot.plan else ()), *robot.episode_id):
        per_step = path.startswith("steps/")
        text = Field(path, "text", "string", (), per_step)
        fields[path] = Field(path, "tensor", "int32", (512,), per_step, "none") if robot.instruction.codes else text
    for track in robot.tracks:
        numbers = {"box": (4,), "point": (2,), "number": (), "flag": ()}
        kind = ("tensor", "float32", numbers[track.type]) if track.type in numbers else ("text", "string", ())
        fields[track.field] = Field(track.field, *kind, track.field.startswith("steps/"))
    if robot.success and robot.success.field:
        path = robot.success.field
        fields[path] = Field(path, "text", "string", (), path.startswith("steps/"))
    return fields


def _uses(robot: RobotFields) -> Iterator[tuple[Ref, int]]:
    """Each use of numbers, with the columns that it needs where it names none."""
    for term in (*robot.terms, *robot.state):
        if term.field:
            yield Ref(term.field, term.columns), term.width
        yield from ((op.other, term.width_of(op)) for op in term.ops if op.other)
    for rule in robot.rules:
        yield Ref(rule.field, rule.columns), 1
    for state in robot.proprio:
        yield Ref(state.field, state.columns), len(state.dims)
    for path in robot.first_scale or ():
        yield Ref(path, None), len(robot.dims)


def _spec(field: Field) -> Spec:
    if field.kind == "image" and not field.ragged and (field.per_step or not field.sequence):
        shape = (*field.shape, None, None, None)[:3]
        return ImageSpec((shape[0], shape[1], shape[2] or 3), "jpeg" if field.encoding == "jpeg" else "png")
    if field.kind == "text" and not field.shape:
        return TextSpec()
    if field.kind in ("text", "tensor") and field.ragged < 2:
        item = tuple(n or 0 for n in field.item_shape)
        if field.ragged or (field.sequence and not field.per_step):
            return RaggedSpec(item, field.dtype)
        encoding = field.encoding if field.encoding in ("bytes", "zlib") else "none"
        return TensorSpec(field.shape, field.dtype, encoding)  # type: ignore[arg-type]
    raise Rt2dataError(
        f'field "{field.path}"', f"a {field.kind} in {field.sequence} sequences", "a layout that can be faked"
    )


class _Maker:
    def __init__(
        self, fields: dict[str, Field], robot: RobotFields | None, values: dict[str, Value], image_size: tuple[int, int]
    ) -> None:
        self.fields, self.robot, self.values, self.image_size = fields, robot, values, image_size

    def episodes(self, seed: int, split: int, episodes: int, steps: int) -> Iterator[dict[str, Any]]:
        for number in range(episodes):
            rng = np.random.default_rng([seed, split, number])
            count = steps + number % 3
            unique = split * episodes + number
            flat = {path: self._value(field, rng, unique, count) for path, field in self.fields.items()}
            if self.robot:
                self._mean(self.robot, flat, rng, unique, count)
            yield nest_fields(
                flat | {path: make(rng, unique, count) for path, make in self.values.items() if path in flat}
            )

    def _value(self, field: Field, rng: np.random.Generator, number: int, steps: int) -> Any:
        """A value for a field that is known by its name and type alone."""
        leaf = field.path.rpartition("/")[2]
        times = steps if field.per_step else 1
        ends = np.arange(steps) == (0 if leaf == "is_first" else steps - 1)
        if field.kind == "image":
            images = [self._image(field, 7 * number + step) for step in range(times)]
            return images if field.per_step else images[0]
        if field.kind == "text":
            return self._text(field, number, times)
        shape = tuple(3 if n is None else n for n in field.shape)
        if leaf in ("is_first", "is_last", "is_terminal") and field.per_step and not shape:
            return ends.astype(field.dtype)
        if leaf in ("terminate", "terminate_episode") and field.per_step:
            flags = np.zeros((steps, *shape))
            flags[ends] = 1
            if shape:  # a one-hot: end, go on, unused
                flags[:] = np.eye(shape[0])[np.where(ends, 0, 1)]
            return flags.astype(field.dtype)
        if not field.per_step and not shape and field.dtype != "bool":
            return np.array(number, field.dtype)
        rows = rng.integers(1, 4, steps) if field.ragged and field.per_step else None
        return _numbers(rng, field, shape, steps, rows)

    def _text(self, field: Field, number: int, times: int) -> Any:
        text = TEXTS[number % len(TEXTS)] if "instruction" in field.path else f"/data/{field.path}/{number}"
        if field.ragged:
            return [np.array([f"{text} {i}" for i in range(1 + step % 3)], object) for step in range(times)]
        if field.shape or (field.sequence and not field.per_step):
            table = np.full((times, *(3 if n is None else n for n in field.shape)), text, object)
            return table if field.per_step else table[0]
        return [text] * times if field.per_step else text

    def _image(self, field: Field, seed: int) -> bytes:
        channels = field.shape[-1] if field.shape else 3
        return _encoded_image(
            "JPEG" if field.encoding == "jpeg" else "PNG", self.image_size, channels or 3, field.dtype, seed % 16
        )

    def _mean(
        self, robot: RobotFields, flat: dict[str, Any], rng: np.random.Generator, number: int, steps: int
    ) -> None:
        """Make the values mean what the declaration says."""
        for term in (t for t in (*robot.terms, *robot.state) if t.field):
            self._rotation(term, flat, rng, steps, missing=number % 3 == 2)
            if term.to[0].endswith("gripper") and not np.issubdtype(flat[term.field].dtype, np.bool_):
                _put(flat, term.field, term.columns, rng.choice([-1.0, 0.0, 0.03, 0.4, 0.97, 1.0], (steps, term.width)))
        for rule in robot.rules:
            on = np.arange(steps) == steps - 1 if rule is robot.terminate else np.arange(steps) > 0
            self._flag(rule, flat, on)
        texts = robot.instruction
        for path in texts.fields:
            field = self.fields[path]
            text = TEXTS[number % len(TEXTS)] if not texts.dummy or number % 4 else texts.dummy[0]
            text = list(texts.table)[number % len(texts.table)] if texts.table else text
            value: Any = text if field.kind == "text" else int(text) if not texts.codes else None
            if texts.codes:
                length = field.shape[0] or 512
                value = np.frombuffer(text.encode()[:length].ljust(length, b"\0"), np.uint8).astype(field.dtype)
            flat[path] = (
                value
                if not field.per_step
                else [value] * steps
                if field.kind == "text"
                else np.array([value] * steps, field.dtype)
            )

    def _rotation(
        self, term: Term, flat: dict[str, Any], rng: np.random.Generator, steps: int, *, missing: bool
    ) -> None:
        kind = next((op.name for op in term.ops if op.rotation), "")
        if kind not in ("quaternion", "rotation_6d", "matrix"):
            return
        q = rng.normal(size=(steps, 4))
        q /= np.sqrt((q * q).sum(axis=1, keepdims=True))
        if kind == "quaternion":
            table = q
        else:
            x, y, z, w = q.T
            rows = [[1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                    [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                    [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]]  # fmt: skip
            matrix = np.array(rows).transpose(2, 0, 1)
            word = term.ops[-1].word
            table = matrix.reshape(steps, 9) if kind == "matrix" else np.concatenate(
                [matrix[:, :, 0], matrix[:, :, 1]] if word == "columns" else [matrix[:, 0], matrix[:, 1]], axis=1
            )  # fmt: skip
        if missing:
            table[1:2] = 0.0
        _put(flat, term.field, term.columns, table)

    def _flag(self, rule: Rule, flat: dict[str, Any], on: np.ndarray[Any, Any]) -> None:
        if not self.fields[rule.field].per_step:
            return
        if rule.above is None and rule.below is None:
            table = flat[rule.field].reshape(len(on), -1)
            columns = list(rule.columns or range(table.shape[1]))
            _put(
                flat,
                rule.field,
                tuple(columns),
                np.where(on[:, None], np.where(table[:, columns] == 0, 1, table[:, columns]), 0),
            )
            return
        high, low = (
            (rule.above + 0.5, rule.above - 0.5)
            if rule.above is not None
            else ((rule.below or 0) - 0.5, (rule.below or 0) + 0.5)
        )
        _put(flat, rule.field, rule.columns, np.where(on, high, low)[:, None])


def _put(flat: dict[str, Any], path: str, columns: Sequence[int] | None, table: Any) -> None:
    """Write columns of a field of the steps, in the field's own type."""
    value = flat[path].copy()
    rows = value.reshape(len(table), -1)
    rows[:, list(range(rows.shape[1])) if columns is None else list(columns)] = table
    flat[path] = rows.reshape(value.shape)


def _numbers(rng: np.random.Generator, field: Field, shape: tuple[int, ...], steps: int, rows: Any) -> Any:
    def make(full: tuple[int, ...]) -> Any:
        if field.dtype == "bool":
            return rng.random(full) < 0.5
        if field.dtype.startswith("float"):
            return np.clip(rng.normal(0.0, 0.05, full), -1.0, 1.0).astype(field.dtype)
        return rng.integers(0, 4, full).astype(field.dtype)

    if rows is not None:
        return [make((int(n), *shape[1:])) for n in rows]
    if field.per_step and None in field.shape:
        return [make(shape) for _ in range(steps)]
    values = make((steps, *shape) if field.per_step else shape)
    return values if math.prod(values.shape) or shape else np.array(values)


@cache
def _encoded_image(kind: str, size: tuple[int, int], channels: int, dtype: str, seed: int) -> bytes:
    """An encoded image, smooth so that it stays small; never of one colour."""
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    planes = [np.mod(x * (1 + c) + y * 2 + seed / 16, 1.0) for c in range(3)]
    if channels == 1 and dtype == "uint16":
        image = Image.fromarray((planes[0] * 4000).astype(np.uint16))
    elif channels == 1 and dtype != "float32":
        image = Image.fromarray((planes[0] * 255).astype(np.uint8))
    else:  # TFDS keeps a float32 image of one channel as the four bytes of each number, in a PNG of four channels
        planes += [np.ones_like(x)] if channels in (1, 4) else []
        image = Image.fromarray((np.stack(planes, axis=2) * 255).astype(np.uint8))
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()
