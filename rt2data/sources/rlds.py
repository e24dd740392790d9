"""Robot episodes in RLDS: TFRecord files as TensorFlow Datasets writes them, read without TensorFlow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rt2data import actions, images, index, tfrecord
from rt2data.declaration import Declaration, Robot
from rt2data.errors import Rt2dataError, near
from rt2data.features import Field
from rt2data.rlds import Episode, ImageRefs, RldsDataset, read_episodes
from rt2data.sources import Part

Bytes = npt.NDArray[np.uint8]


class Rlds:
    """An RLDS dataset on disk; a part is one TFRecord file."""

    def __init__(self, declaration: Declaration, root: Path) -> None:
        self.declaration = declaration
        self.dataset = RldsDataset.open(root)
        self.root = Path(self.dataset.directory)
        if declaration.robot is None:
            raise Rt2dataError(declaration.file, f"kind {declaration.kind} in format rlds", "kind robot")
        self.robot: Robot = declaration.robot
        self.fields = {path: self._field(path) for path in self._wanted()}

    def _wanted(self) -> tuple[str, ...]:
        robot = self.robot
        wanted = [*robot.episode_id, *(c.field for c in robot.cameras), robot.instruction]
        wanted += [term.field for term in robot.terms] + ([robot.proprio] if robot.proprio else [])
        return tuple(dict.fromkeys([*wanted, *actions.flag_fields(robot)]))

    def _field(self, path: str) -> Field:
        known = self.dataset.fields
        if path not in known:
            where = f"{self.declaration.name} {self.dataset.version}"
            raise Rt2dataError(where, f'no field "{path}" in features.json', f"the field that {self.declaration.file} names", near(path, known))
        return known[path]

    def splits(self) -> dict[str, int]:
        return {name: sum(split.shard_lengths) for name, split in self.dataset.splits.items()}

    def parts(self, split: str) -> list[Part]:
        return [Part(split, name, (name,)) for name in self.dataset.splits[split].files]

    def digest(self, part: Part) -> str:
        buffer = tfrecord.map_file(self.root / part.name)
        return _digest(part.name, ((r.length, r.length_crc, r.data_crc) for r in tfrecord.scan(buffer, path=part.name, check=False)))

    def estimate(self, split: str, cameras: Sequence[str]) -> tuple[int, int]:
        """From the first 8 episodes of the split's first file."""
        found = self.dataset.splits[split]
        buffer = tfrecord.map_file(self.root / found.files[0])
        fields = [c.field for c in self.robot.cameras if c.name in cameras]
        episodes = list(islice(read_episodes(buffer, found.files[0], self.fields, fields, check=False), 8))
        if not episodes:
            return 0, 0
        size = sum(int(e[field].length.sum()) for e in episodes for field in fields)
        scale = sum(found.shard_lengths) / len(episodes)
        return round(scale * sum(e.steps for e in episodes)), round(scale * size)

    def index(self, part: Part, *, check: str) -> pa.Table:
        buffer = tfrecord.map_file(self.root / part.name)
        rows = _Rows(self, part)
        for episode in read_episodes(buffer, part.name, self.fields, list(self.fields), check=check != "quick"):
            rows.add(episode)
        split = self.dataset.splits[part.split]
        stated = split.shard_lengths[split.files.index(part.name)]
        if len(rows.records) != stated:
            expected = f"{stated} as dataset_info.json states"
            raise Rt2dataError(str(self.root / part.name), f"{len(rows.records)} episodes", expected, "Copy the file again")
        return rows.table(buffer, check)


class _Rows:
    """Collects the episodes of one part, column by column."""

    def __init__(self, source: Rlds, part: Part) -> None:
        self.source, self.robot, self.part = source, source.robot, part
        self.name = source.declaration.name
        self.episodes: list[str] = []
        self.instructions: dict[str, int] = {}
        self.columns: dict[str, list[Any]] = {name: [] for name in (
            "unit", "hash", "length", "instruction", "reject", "action", "terminate", "valid", "proprio")}  # fmt: skip
        self.refs: dict[str, list[ImageRefs]] = {camera.name: [] for camera in self.robot.cameras}
        self.records: list[tuple[int, int, int]] = []

    def add(self, episode: Episode) -> None:
        robot, steps, columns = self.robot, episode.steps, self.columns
        self.records.append((episode.length, episode.length_crc, episode.data_crc))
        name = ":".join(_text(episode[path]) for path in robot.episode_id)
        name = name if robot.episode_id else f"{self.part.split}/{self.part.name}/{episode.record}"
        where = f"{self.name}/{self.part.split} {self.part.name}, episode {name}"
        if steps == 0:
            self.episodes.append(name)  # counted as an episode; it has no step to leave out
            columns["unit"].append(index.digest(name))
            columns["hash"].append(index.split_hash(self.name, name))
            columns["length"].append(0)
            return
        flags = {path: np.asarray(episode[path]) for path in actions.flag_fields(robot)}
        ok = actions.valid(robot, flags, steps)
        ends = actions.terminate(robot, flags, steps)
        action = actions.at_rest(robot, actions.canonical(robot, lambda path: np.asarray(episode[path]), steps, where), ok)
        with np.errstate(over="ignore"):
            action32 = action.astype(np.float32)
        finite = np.asarray(np.isfinite(action32).all(axis=1))
        reject = np.where(finite, np.where(ok | ends, 0, index.CODE["invalid_action"]), index.CODE["not_finite"])
        texts = episode[robot.instruction]
        texts = [texts] * steps if isinstance(texts, bytes) else texts
        instruction = np.fromiter((self._instruction(text) for text in texts), np.int32, steps)
        reject = np.where((reject == 0) & (instruction < 0), index.CODE["no_instruction"], reject)
        self.episodes.append(name)
        columns["unit"].append(index.digest(name))
        columns["hash"].append(index.split_hash(self.name, name))
        columns["length"].append(steps)
        columns["instruction"].append(instruction)
        columns["reject"].append(reject.astype(np.uint8))
        columns["action"].append(np.where(finite[:, None], action32, np.float32(0)))
        columns["terminate"].append(ends)
        columns["valid"].append(ok)
        if robot.proprio:
            proprio = np.asarray(episode[robot.proprio], np.float32).reshape(steps, -1)
            if proprio.shape[1] != len(robot.proprio_dims):
                raise Rt2dataError(where, f"{robot.proprio} has shape {proprio.shape}", f"(T, {len(robot.proprio_dims)})")
            columns["proprio"].append(proprio)
        for camera in robot.cameras:
            refs = episode[camera.field]
            if not isinstance(refs, ImageRefs):
                raise Rt2dataError(where, f"{camera.field} is not an encoded image", "an image feature")
            self.refs[camera.name].append(refs)

    def _instruction(self, text: bytes) -> int:
        decoded = text.decode("utf-8", "backslashreplace")
        if not decoded.strip():
            return -1
        return self.instructions.setdefault(decoded, len(self.instructions))

    def table(self, buffer: Bytes, check: str) -> pa.Table:
        columns, robot = self.columns, self.robot
        lengths = np.array(columns["length"], np.int64)
        rows = int(lengths.sum())
        which = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        step = np.arange(rows) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        units = np.array(columns["unit"], "S10") if columns["unit"] else np.empty(0, "S10")
        arrays: dict[str, Any] = {
            "unit": _binary(units[which]),
            "split_hash": np.array(columns["hash"], np.uint64)[which],
            "step": step.astype(np.int32),
            "steps": lengths[which].astype(np.int32),
            "episode": index.dictionary(which, self.episodes),
            "language": index.dictionary(np.full(rows, 0 if self.source.declaration.language else -1, np.int32), [self.source.declaration.language]),
            "reject": _concat(columns["reject"], np.uint8),
            "instruction": index.dictionary(_concat(columns["instruction"], np.int32), list(self.instructions)),
            "action": index.fixed(_concat(columns["action"], np.float32, len(robot.dims))),
            "terminate": _concat(columns["terminate"], np.bool_),
            "valid": _concat(columns["valid"], np.bool_),
        }  # fmt: skip
        if robot.proprio:
            arrays["proprio"] = index.fixed(_concat(columns["proprio"], np.float32, len(robot.proprio_dims)))
        for camera in robot.cameras:
            refs = self.refs[camera.name]
            offset = _concat([r.offset for r in refs], np.int64)
            length = _concat([r.length for r in refs], np.int64)
            checks = images.check_refs(buffer, offset, length, crc=check != "quick")
            state = index.IMAGE_STATE[checks.state]
            if check == "decode":
                state = np.array([index.decode_state(buffer[o : o + n], s) for o, n, s in zip(offset, length, state, strict=True)], np.uint8)
            arrays |= {
                f"{camera.name}.file": index.dictionary(np.zeros(rows, np.int32), [self.part.name]),
                f"{camera.name}.offset": offset,
                f"{camera.name}.length": length.astype(np.int32),
                f"{camera.name}.crc": checks.crc32c,
                f"{camera.name}.format": checks.format,
                f"{camera.name}.state": state,
                f"{camera.name}.width": checks.width.astype(np.uint16),
                f"{camera.name}.height": checks.height.astype(np.uint16),
            }
        meta = {
            "digest": _digest(self.part.name, self.records),
            "units": json.dumps([[name, length] for name, length in zip(self.episodes, lengths.tolist(), strict=True)]),
        }
        return pa.table(arrays).replace_schema_metadata(meta)


def _digest(name: str, records: Any) -> str:
    """A part's identity: its name, and each record's length and its two stored CRCs, which stand for the content."""
    h = hashlib.blake2b(name.encode() + b"\0", digest_size=20)
    for length, length_crc, data_crc in records:
        h.update(int(length).to_bytes(8, "little") + int(length_crc).to_bytes(4, "little") + int(data_crc).to_bytes(4, "little"))
    return h.hexdigest()


def _text(value: Any) -> str:
    value = value.item() if isinstance(value, np.ndarray) else value
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _binary(values: Any) -> pa.Array:
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(10), len(values), [None, pa.py_buffer(values.tobytes())])


def _concat(parts: list[Any], dtype: Any, width: int = 0) -> Any:
    if parts:
        return np.concatenate(parts).astype(dtype, copy=False)
    return np.empty((0, width) if width else 0, dtype)
