"""Robot episodes in RLDS, as TensorFlow Datasets writes them, read without TensorFlow.

What lies in ArrayRecord instead of TFRecord files is `rt2data.sources.robot.rlds_array_record`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rt2data import index, storage
from rt2data.declarations.declaration import Declaration
from rt2data.errors import Rt2dataError
from rt2data.images import headers
from rt2data.rlds import tfrecord
from rt2data.rlds.dataset import Episode, ImageRefs, RldsDataset, Split, read_episodes
from rt2data.rlds.features import Field
from rt2data.robot import actions, instruction, match
from rt2data.robot.fields import Robot
from rt2data.sources.registry import Part
from rt2data.storage import object_store
from rt2data.storage.object_store import Url
from rt2data.storage.places import Place

Bytes = npt.NDArray[np.uint8]

SCHEMA = "features.json"
START = 32 << 20  # bytes of a file on object storage that an estimate reads: some episodes


def opened(declaration: Declaration, root: Place) -> Rlds:
    """The RLDS dataset in `root`, whichever container its records are in."""
    dataset = RldsDataset.open(root, _version(declaration, root))
    dataset.check_format()
    if dataset.file_format == "array_record":
        from rt2data.sources.robot.rlds_array_record import RldsArrayRecord

        return RldsArrayRecord(declaration, dataset)
    return Rlds(declaration, dataset)


class Rlds:
    """An RLDS dataset on disk; a part is one TFRecord file."""

    def __init__(self, declaration: Declaration, dataset: RldsDataset) -> None:
        self.declaration = declaration
        self.dataset = dataset
        self.root = dataset.directory
        if declaration.robot is None:
            raise Rt2dataError(declaration.file, f"kind {declaration.kind} in format rlds", "kind robot")
        self.robot: Robot = declaration.robot
        where = f"{declaration.name} {dataset.version}"
        for problem in match.problems(self.robot, dataset.fields, where, declaration.file):
            raise problem
        self.fields = {path: dataset.fields[path] for path in self.robot.fields}
        # Episodes of each file of a split, where that is stated.
        self.stated = {(s, f): n for s, one in dataset.splits.items() for f, n in _stated(one)}

    def splits(self) -> dict[str, int]:
        return {name: sum(self._lengths(name)) for name in self.dataset.splits}

    def _lengths(self, split: str) -> list[int]:
        """Episodes of each file of a split: as stated, else counted."""
        found = self.dataset.splits[split]
        return found.shard_lengths or [self.count(name) for name in found.files]

    def mapped(self, name: str) -> Bytes:
        """The bytes of the file `name`, mapped into memory: of a local copy where it is on object storage."""
        return tfrecord.map_file(storage.near(self.root / name))

    def count(self, name: str) -> int:
        """Episodes in a file, where the metadata do not state them."""
        return sum(1 for _ in tfrecord.scan(self.mapped(name), path=name, check=False))

    def episodes(
        self, name: str, fields: Mapping[str, Field], wanted: Sequence[str], *, check: bool
    ) -> Iterator[tuple[Episode, Bytes]]:
        """The episodes of the file `name` with the `wanted` of `fields`, each with the bytes its images lie in."""
        buffer = self.mapped(name)
        for episode in read_episodes(buffer, name, fields, wanted, check=check):
            yield episode, buffer

    def parts(self, split: str) -> list[Part]:
        return [Part(split, name, (name, SCHEMA)) for name in self.dataset.splits[split].files]

    def digest(self, part: Part) -> str:
        buffer = self.mapped(part.name)
        return _digest(
            self.root,
            part.name,
            ((r.length, r.length_crc, r.data_crc) for r in tfrecord.scan(buffer, path=part.name, check=False)),
        )

    def watched(self, part: Part) -> list[str]:
        """Nothing else: a part is its file."""
        return []

    def estimate(self, split: str, cameras: Sequence[str]) -> tuple[int, int]:
        """From the first 8 episodes of the split's first file."""
        files = self.dataset.splits[split].files
        fields = [c.field for c in self.robot.cameras if c.name in cameras]
        episodes = self._first(files[0], fields) if files else []
        if not episodes:
            return 0, 0
        size = sum(int(e[field].length.sum()) for e in episodes for field in fields)
        scale = sum(self._lengths(split)) / len(episodes)
        return round(scale * sum(e.steps for e in episodes)), round(scale * size)

    def _first(self, name: str, wanted: Sequence[str]) -> list[Episode]:
        """The first 8 episodes of a file; of one on object storage those that its first bytes hold, if any."""
        path, found = self.root / name, list[Episode]()
        if isinstance(path, Url) and path.stat().st_size:
            for data in object_store.fetch([(path, 0, min(START, path.stat().st_size))]):
                start = read_episodes(np.frombuffer(data, np.uint8), name, self.fields, wanted, check=False)
                with suppress(Rt2dataError):  # where the bytes end, or which are no TFRecord
                    found.extend(islice(start, 8))
        return found or [e for e, _ in islice(self.episodes(name, self.fields, wanted, check=False), 8)]

    def index(self, part: Part, *, check: str) -> pa.Table:
        buffer = self.mapped(part.name)
        rows = Rows(self, part)
        try:
            for episode in read_episodes(buffer, part.name, self.fields, list(self.fields), check=False):
                rows.add(episode)
        except Rt2dataError:
            if check != "quick":  # where bytes are damaged, that is what to say, not what became of them
                tfrecord.check_payloads(buffer, path=part.name)
            raise
        self.check_length(part, len(rows.records))
        table = rows.table(buffer, check)
        if check != "quick":
            tfrecord.check_payloads(buffer, path=part.name, known=self._images(table))
        return table

    def _images(self, table: pa.Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
        """Where the images lie that `Rows.table` has hashed, how long they are, and their CRC32Cs."""
        columns = [
            np.concatenate([index.numbers(table, f"{c.name}.{column}") for c in self.robot.cameras])
            for column in ("offset", "length", "crc")
        ]
        _, first = np.unique(columns[0], return_index=True)  # two cameras may be of one field
        rows = first[columns[1][first] > 0]
        offset, length, crc = (column[rows] for column in columns)
        return offset, length.astype(np.int64), crc

    def check_length(self, part: Part, episodes: int) -> None:
        """Raise where a file does not hold as many episodes as are stated of it."""
        stated = self.stated.get((part.split, part.name), episodes)
        if episodes != stated:
            expected = f"{stated} as dataset_info.json states"
            raise Rt2dataError(str(self.root / part.name), f"{episodes} episodes", expected, "Copy the file again")


class Opened(Protocol):
    """What `Rows` needs to know of a source."""

    declaration: Declaration
    robot: Robot
    fields: dict[str, Field]

    @property
    def root(self) -> Place:
        """The dataset's folder."""
        ...


class Values(Protocol):
    """An episode as `Rows` takes it: what `rt2data.rlds.episodes.Episode` offers."""

    record: int
    steps: int
    length: int
    length_crc: int
    data_crc: int

    def __getitem__(self, path: str) -> Any:
        """The value of a field."""
        ...


class Rows:
    """Collects the episodes of one part, column by column. Their images lie in `file`, by default the part's."""

    def __init__(self, source: Opened, part: Part, file: str = "") -> None:
        self.source, self.robot, self.part, self.file = source, source.robot, part, file or part.name
        self.name = source.declaration.name
        self.episodes: list[str] = []
        self.instructions: dict[str, int] = {}
        self.plans: dict[str, int] = {}
        names = "unit hash length instruction reject action terminate valid proprio plan success"
        self.columns: dict[str, list[Any]] = {name: [] for name in names.split()}
        self.refs: dict[str, list[ImageRefs]] = {camera.name: [] for camera in self.robot.cameras}
        self.hidden: dict[str, list[npt.NDArray[np.bool_]]] = {camera.name: [] for camera in self.robot.cameras}
        self.records: list[tuple[int, int, int]] = []

    def add(self, episode: Values) -> None:
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
            columns["success"].append(None)
            return
        read = self._reader(episode)
        found = actions.of_episode(robot, read, steps, where)
        ok, ends = found.known, found.ends
        action = actions.at_rest(robot, found.values, ok)
        with np.errstate(over="ignore"):
            action32 = action.astype(np.float32)
        finite = np.asarray(np.isfinite(action32).all(axis=1))
        reject = np.where(finite, np.where(ok | ends, 0, index.CODE["invalid_action"]), index.CODE["not_finite"])
        if robot.every > 1:
            reject = np.where(np.arange(steps) % robot.every, index.CODE["between_steps"], reject)
        texts = instruction.texts(robot.instruction, episode.__getitem__, steps)
        said = _codes(texts, self.instructions)
        reject = np.where((reject == 0) & (said < 0), index.CODE["no_instruction"], reject)
        self.episodes.append(name)
        columns["unit"].append(index.digest(name))
        columns["hash"].append(index.split_hash(self.name, name))
        columns["length"].append(steps)
        columns["instruction"].append(said)
        columns["reject"].append(reject.astype(np.uint8))
        columns["action"].append(np.where(finite[:, None], action32, np.float32(0)))
        columns["terminate"].append(ends)
        columns["valid"].append(ok)
        if robot.plan:
            columns["plan"].append(_codes(instruction.texts(robot.plan, episode.__getitem__, steps), self.plans))
        columns["success"].append(
            actions.success(robot.success, read, episode.__getitem__, steps, where) if robot.success else None
        )
        if robot.proprio:
            tables = [(ref, read(ref.field).reshape(steps, -1)) for ref in robot.proprio]
            picked = [table if ref.columns is None else table[:, list(ref.columns)] for ref, table in tables]
            columns["proprio"].append(np.concatenate(picked, axis=1, dtype=np.float32))
        for camera in robot.cameras:
            refs = episode[camera.field]
            if not isinstance(refs, ImageRefs):
                raise Rt2dataError(where, f"{camera.field} is not an encoded image", "an image feature")
            self.refs[camera.name].append(refs)
            if camera.valid:
                self.hidden[camera.name].append(~actions.holds(camera.valid, read, steps, where))

    def _reader(self, episode: Values) -> actions.Read:
        """Numeric fields by path, (T, ...); what is stored once per episode is the same at each step."""

        def read(path: str) -> npt.NDArray[Any]:
            values = np.asarray(episode[path])
            return (
                values if self.source.fields[path].per_step else np.broadcast_to(values, (episode.steps, *values.shape))
            )

        return read

    def table(self, buffer: Bytes, check: str) -> pa.Table:
        columns, robot = self.columns, self.robot
        lengths = np.array(columns["length"], np.int64)
        rows = int(lengths.sum())
        which = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        step = np.arange(rows) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        units = np.array(columns["unit"], "S10") if columns["unit"] else np.empty(0, "S10")
        language = self.source.declaration.language
        arrays: dict[str, Any] = {
            "unit": _binary(units[which]),
            "split_hash": np.array(columns["hash"], np.uint64)[which],
            "step": step.astype(np.int32),
            "steps": lengths[which].astype(np.int32),
            "episode": index.dictionary(which, self.episodes),
            "language": index.dictionary(np.full(rows, 0 if language else -1, np.int32), [language]),
            "reject": _concat(columns["reject"], np.uint8),
            "instruction": index.dictionary(_concat(columns["instruction"], np.int32), list(self.instructions)),
            "action": index.fixed(_concat(columns["action"], np.float32, len(robot.dims))),
            "terminate": _concat(columns["terminate"], np.bool_),
            "valid": _concat(columns["valid"], np.bool_),
        }  # fmt: skip
        if robot.plan:
            arrays["plan"] = index.dictionary(_concat(columns["plan"], np.int32), list(self.plans))
        if robot.success:
            verdict = np.array([-1 if v is None else int(v) for v in columns["success"]], np.int32)[which]
            arrays["success"] = index.dictionary(verdict, index.VERDICTS)
        if robot.proprio:
            arrays["proprio"] = index.fixed(_concat(columns["proprio"], np.float32, len(robot.proprio_dims)))
        for camera in robot.cameras:
            refs = self.refs[camera.name]
            offset = _concat([r.offset for r in refs], np.int64)
            length = _concat([r.length for r in refs], np.int64)
            checks = headers.check_refs(buffer, offset, length, crc=check != "quick")
            state = index.IMAGE_STATE[checks.state]
            if camera.valid:
                state = np.where(
                    _concat(self.hidden[camera.name], np.bool_), index.CODE["missing_image"], state
                ).astype(np.uint8)
            if check == "decode":
                state = np.array(
                    [index.decode_state(buffer[o : o + n], s) for o, n, s in zip(offset, length, state, strict=True)],
                    np.uint8,
                )
            arrays |= {
                f"{camera.name}.file": index.dictionary(np.zeros(rows, np.int32), [self.file]),
                f"{camera.name}.offset": offset,
                f"{camera.name}.length": length.astype(np.int32),
                f"{camera.name}.crc": checks.crc32c,
                f"{camera.name}.format": checks.format,
                f"{camera.name}.state": state,
                f"{camera.name}.width": checks.width.astype(np.uint16),
                f"{camera.name}.height": checks.height.astype(np.uint16),
            }
        meta = {
            "digest": _digest(self.source.root, self.part.name, self.records),
            "units": json.dumps([[name, length] for name, length in zip(self.episodes, lengths.tolist(), strict=True)]),
        }
        return pa.table(arrays).replace_schema_metadata(meta)


def _stated(split: Split) -> Iterator[tuple[str, int]]:
    """The files of a split with the episodes that are stated of each; none where nothing is stated."""
    return zip(split.files, split.shard_lengths, strict=True) if split.shard_lengths else iter(())


def _codes(texts: Sequence[str | None], known: dict[str, int]) -> npt.NDArray[np.int32]:
    """Texts as numbers of `known`, to which new ones are added; -1 where there is none."""
    if texts and texts.count(texts[0]) == len(texts):  # an episode says one thing throughout
        first = texts[0]
        return np.full(len(texts), -1 if first is None else known.setdefault(first, len(known)), np.int32)
    coded = (-1 if text is None else known.setdefault(text, len(known)) for text in texts)
    return np.fromiter(coded, np.int32, len(texts))


def _version(declaration: Declaration, root: Place) -> str | None:
    """The version folder that the declaration prefers, of those in `root`; None leaves the choice to the reader."""
    there = [version for version in declaration.versions if (root / version / "dataset_info.json").is_file()]
    return max(there, key=lambda version: tuple(map(int, version.split(".")))) if there else None


def named_digest(root: Place, name: str) -> Any:
    """A hash of a part's name and of the schema that it is read by, to which its content is to be added."""
    h = hashlib.blake2b(name.encode() + b"\0", digest_size=20)
    with suppress(FileNotFoundError):
        h.update(_schema_digest(root / SCHEMA, *storage.version(root / SCHEMA)))
    return h


@lru_cache(maxsize=8)
def _schema_digest(path: Place, *version: int | str) -> bytes:  # noqa: ARG001  # another version is another schema
    return hashlib.blake2b(path.read_bytes(), digest_size=20).digest()


def _digest(root: Place, name: str, records: Any) -> str:
    """A part's identity: its name, its schema, and each record's length and its two stored CRCs.

    The CRCs stand for the content, which is not read.
    """
    h = named_digest(root, name)
    for length, length_crc, data_crc in records:
        h.update(
            int(length).to_bytes(8, "little")
            + int(length_crc).to_bytes(4, "little")
            + int(data_crc).to_bytes(4, "little")
        )
    return str(h.hexdigest())


def _text(value: Any) -> str:
    value = value.item() if isinstance(value, np.ndarray) else value
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _binary(values: Any) -> pa.Array:
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(10), len(values), [None, pa.py_buffer(values.tobytes())])


def _concat(parts: list[Any], dtype: Any, width: int = 0) -> Any:
    if parts:
        return np.concatenate(parts).astype(dtype, copy=False)
    return np.empty((0, width) if width else 0, dtype)
