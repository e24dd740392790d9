"""RLDS reading against TFDS's own classes, on real data and on a small dataset for each layout."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.repository import ROOT

from rt2data.errors import Rt2dataError
from rt2data.rlds.dataset import Episode, ImageRefs, RldsDataset, read_episodes
from rt2data.rlds.features import Field, load_features, parse_features
from rt2data.rlds.tfrecord import map_file, masked_crc, scan_records


def frame(payload: bytes) -> bytes:
    header = struct.pack("<Q", len(payload))
    return header + struct.pack("<I", masked_crc(header)) + payload + struct.pack("<I", masked_crc(payload))


def oracle_features(directory: Path) -> Any:
    pytest.importorskip("tensorflow_datasets")
    from tensorflow_datasets.core.features.feature import FeatureConnector

    return FeatureConnector.from_config(str(directory))


def read(file: bytes, fields: dict[str, Field], wanted: list[str] | None = None, check: bool = True) -> list[Episode]:
    return list(read_episodes(file, "shard", fields, list(fields) if wanted is None else wanted, check=check))


def at(tree: Any, path: str) -> Any:
    for name in path.split("/"):
        tree = tree[name]
    return tree


def png(value: int, size: int = 4) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(out, "PNG")
    return out.getvalue()


# ---- every layout, written by TFDS's own classes ---------------------------------------------------------------------


def synthetic(build: Any, episodes: list[dict[str, Any]]) -> tuple[bytes, dict[str, Field], Any, list[bytes]]:
    """A shard and the fields of a dataset, both written by TFDS: features by `build(tfds.features)`."""
    pytest.importorskip("tensorflow_datasets")
    from google.protobuf import json_format
    from tensorflow_datasets.core import features as tfds_features

    features = tfds_features.FeaturesDict(build(tfds_features))
    payloads = [features.serialize_example(episode) for episode in episodes]
    fields = parse_features(json_format.MessageToDict(features.to_proto()))
    return b"".join(map(frame, payloads)), fields, features, payloads


def assert_as_tfds(file: bytes, fields: dict[str, Field], features: Any, payloads: list[bytes]) -> int:
    """Compares every value of every episode with TFDS's; returns how many were compared."""
    compared = 0
    episodes = read(file, fields)
    assert len(episodes) == len(payloads)
    for episode, payload in zip(episodes, payloads, strict=True):
        assert file[episode.offset : episode.offset + episode.length] == payload
        truth = features.deserialize_example_np(payload)
        stored = features._example_parser_np.parse_example(payload)
        steps = list(truth["steps"]) if "steps" in truth and not isinstance(truth["steps"], dict) else None
        if steps is not None:
            assert episode.steps == len(steps)
        for path, field in fields.items():
            ours = episode[path]
            if field.kind == "image":
                encoded = np.atleast_1d(np.array(at(stored, path), object))
                assert [file[o : o + n] for o, n in zip(ours.offset, ours.length, strict=True)] == list(encoded)
                compared += len(encoded)
                continue
            if field.per_step and steps is not None:
                assert len(ours) == len(steps)
                name = path.removeprefix("steps/")
                for one, step in zip(ours, steps, strict=True):
                    assert_same(one, at(step, name), field)
                    compared += 1
            else:
                assert_same(ours, at(truth, path), field)
                compared += 1
    return compared


def assert_same(ours: Any, theirs: Any, field: Field) -> None:
    if field.dtype == "string":
        assert _plain(ours) == _plain(theirs), field.path
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), field.path
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other, field)
    else:
        expected = np.asarray(theirs, field.dtype)
        assert ours.dtype == expected.dtype == np.dtype(field.dtype), field.path
        assert ours.shape == expected.shape, field.path
        assert ours.tobytes() == expected.tobytes(), field.path  # bit for bit, NaN and -0.0 too


def _plain(texts: Any) -> Any:
    if isinstance(texts, np.ndarray):
        return texts.tolist()
    return [_plain(text) for text in texts] if isinstance(texts, list) else texts


def random_steps(count: int, make: Any) -> list[dict[str, Any]]:
    random = np.random.default_rng(count)
    return [make(random, t) for t in range(count)]


def test_flat_and_nested_tensors_of_every_dtype() -> None:
    dtypes = ["float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]

    def build(f: Any) -> dict[str, Any]:
        nested = {name: f.Tensor(shape=(2, 3), dtype=np.dtype(name)) for name in dtypes}
        scalars = {f"{name}_scalar": f.Scalar(np.dtype(name)) for name in dtypes}
        return {
            "steps": f.Dataset({"observation": {**nested, "deep": scalars}, "is_last": np.bool_, "flags": f.Tensor(shape=(3,), dtype=np.bool_)}),  # noqa: E501
            "meta": {**scalars, "flag": np.bool_, "table": f.Tensor(shape=(2, 2), dtype=np.float64)},
        }  # fmt: skip

    def value(random: Any, name: str, shape: tuple[int, ...]) -> Any:
        dtype = np.dtype(name)
        if dtype.kind == "f":
            values = random.standard_normal(shape).astype(np.float32).astype(dtype)
            return values if shape else dtype.type(values)
        info = np.iinfo(dtype)
        largest = min(info.max, 2**63 - 1)  # TFDS's numpy path fails above; a test of its own follows
        values = random.choice(np.array([info.min, largest, 0, 1, 100], dtype), shape)
        return values if shape else dtype.type(values)

    def step(random: Any, t: int) -> dict[str, Any]:
        observation: dict[str, Any] = {name: value(random, name, (2, 3)) for name in dtypes}
        observation["deep"] = {f"{name}_scalar": value(random, name, ()) for name in dtypes}
        return {"observation": observation, "is_last": t == 4, "flags": np.array([True, False, t % 2 == 0])}

    random = np.random.default_rng(0)
    meta = {f"{name}_scalar": value(random, name, ()) for name in dtypes}
    meta |= {"flag": True, "table": np.array([[1.5, -0.0], [np.inf, np.nan]])}
    data = synthetic(build, [{"steps": random_steps(n, step), "meta": meta} for n in (5, 1)])
    assert assert_as_tfds(*data) > 100


def test_uint64_above_int64() -> None:
    values = np.array([2**64 - 1, 2**63, 0], np.uint64)
    file, fields, _, _ = synthetic(
        lambda f: {"steps": f.Dataset({"a": f.Tensor(shape=(3,), dtype=np.uint64)})}, [{"steps": [{"a": values}]}]
    )
    (episode,) = read(file, fields)
    assert episode["steps/a"].dtype == np.uint64
    assert episode["steps/a"].tolist() == [values.tolist()]


def test_empty_episode() -> None:
    data = synthetic(
        lambda f: {"steps": f.Dataset({"a": f.Tensor(shape=(7,), dtype=np.float32), "b": np.bool_, "t": f.Text(), "i": f.Image(shape=(4, 4, 3))})},  # noqa: E501
        [{"steps": []}],
    )  # fmt: skip
    (episode,) = read(*data[:2])
    assert episode.steps == 0
    assert episode["steps/a"].shape == (0, 7)
    assert episode["steps/b"].dtype == bool
    assert episode["steps/t"] == []
    assert episode["steps/i"].offset.shape == (0,)


@pytest.mark.parametrize("container", ["Dataset", "Sequence"])
def test_steps_as_dataset_and_as_sequence(container: str) -> None:
    def step(random: Any, t: int) -> dict[str, Any]:
        return {
            "action": random.standard_normal(7).astype(np.float32),
            "is_last": t == 2,
            "text": f"wörd {t}",
            "n": t * 1000,
        }

    steps = random_steps(3, step)
    if container == "Sequence":
        steps = {name: [one[name] for one in steps] for name in steps[0]}  # type: ignore[assignment]
    file, fields, features, payloads = synthetic(
        lambda f: {
            "steps": getattr(f, container)({"action": f.Tensor(shape=(7,), dtype=np.float32), "is_last": np.bool_, "text": f.Text(), "n": np.int32}),  # noqa: E501
            "id": f.Text(),
        },
        [{"steps": steps, "id": "e0"}],
    )  # fmt: skip
    (episode,) = read(file, fields)
    assert all(field.per_step == path.startswith("steps/") for path, field in fields.items())
    assert episode.steps == 3
    assert episode["id"] == b"e0"
    assert episode["steps/text"] == ["wörd 0".encode(), "wörd 1".encode(), "wörd 2".encode()]
    stored = features._example_parser_np.parse_example(payloads[0])["steps"]
    assert episode["steps/action"].tobytes() == stored["action"].tobytes()
    assert episode["steps/n"].tolist() == [0, 1000, 2000]
    assert episode["steps/is_last"].tolist() == [False, False, True]


def test_encoded_tensors() -> None:
    def build(f: Any) -> dict[str, Any]:
        tensors = {
            f"{encoding}_{dtype}": f.Tensor(shape=(2, 3), dtype=np.dtype(dtype), encoding=encoding)
            for encoding in ("zlib", "bytes")
            for dtype in ("float32", "float64", "uint8", "int64", "uint64", "bool")
        }
        tensors["grows"] = f.Tensor(shape=(None, 2), dtype=np.float32, encoding="zlib")
        tensors["image_like"] = f.Tensor(shape=(None, None, 3), dtype=np.uint8, encoding="zlib")
        tensors["raw"] = f.Tensor(shape=(None, 2, None), dtype=np.int16, encoding="bytes")
        return {"steps": f.Dataset(tensors), "meta": tensors}

    def step(random: Any, t: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for encoding in ("zlib", "bytes"):
            for dtype in ("float32", "float64", "uint8", "int64", "uint64", "bool"):
                values[f"{encoding}_{dtype}"] = random.integers(0, 2 if dtype == "bool" else 200, (2, 3)).astype(dtype)
        values["grows"] = random.standard_normal((t, 2)).astype(np.float32)
        values["image_like"] = random.integers(0, 255, (t + 1, 3, 3)).astype(np.uint8)
        values["raw"] = random.integers(-9, 9, (1, 2, t)).astype(np.int16)
        return values

    file, fields, features, payloads = synthetic(
        build, [{"steps": random_steps(n, step), "meta": step(np.random.default_rng(9), 2)} for n in (4, 1)]
    )
    assert fields["steps/image_like"].shape == (None, None, 3)
    episodes = read(file, fields)
    for episode, count in zip(episodes, (4, 1), strict=True):
        truth = random_steps(count, step)  # TFDS's numpy path cannot read the tensors of several varying lengths
        assert episode.steps == count
        for path, field in fields.items():
            name = path.rpartition("/")[2]
            ours = episode[path] if field.per_step else [episode[path]]
            expected = [one[name] for one in truth] if field.per_step else [step(np.random.default_rng(9), 2)[name]]
            for one, other in zip(ours, expected, strict=True):
                assert one.dtype == other.dtype
                assert one.shape == other.shape
                assert one.tobytes() == other.tobytes()
    readable = {path: field for path, field in fields.items() if field.item_shape.count(None) == 0 and field.per_step}
    stored = features._example_parser_np.parse_example(payloads[0])
    for path in readable:
        theirs = at(features["steps"], path[6:]).decode_example_np(at(stored, path)[0])
        assert episodes[0][path][0].tobytes() == theirs.tobytes()


def test_ragged_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorflow_datasets")
    from tensorflow_datasets.core.features.feature import TensorInfo

    # TFDS asks TensorFlow for the dtype here only.
    monkeypatch.setattr(TensorInfo, "dtype", property(lambda info: info.np_dtype))

    def build(f: Any) -> dict[str, Any]:
        return {
            "steps": f.Dataset(
                {
                    "names": f.Sequence(f.Text()),
                    "boxes": f.Sequence(f.Tensor(shape=(4,), dtype=np.float32)),
                    "levels": f.Sequence(f.Sequence(np.int64)),
                    "fixed": f.Sequence(np.int32, length=3),
                    "cameras": f.Sequence(f.Image(shape=(None, None, 3))),
                    "dicts": f.Sequence({"id": np.int64, "label": f.ClassLabel(num_classes=5)}),
                    "box": f.BBoxFeature(),
                }
            ),
            "words": f.Sequence(f.Text()),
            "numbers": f.Sequence(f.Tensor(shape=(2,), dtype=np.float32)),
            "pair": f.Sequence(np.int64, length=2),
            "table": f.Sequence(f.Sequence(np.int64)),
            "grows": f.Tensor(shape=(None, 2), dtype=np.float32),
            "translation": f.Translation(["en", "de"]),
        }

    def step(random: Any, t: int) -> dict[str, Any]:
        return {
            "names": [f"n{i}" for i in range(t)],
            "boxes": [random.standard_normal(4).astype(np.float32) for _ in range(2 - t % 3)],
            "levels": [list(range(i)) for i in range(t)],
            "fixed": [t, t + 1, -t],
            "cameras": [io.BytesIO(png(10 * t + i)) for i in range(t)],
            "dicts": [{"id": t, "label": 4}] * t,
            "box": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
        }

    file, fields, features, payloads = synthetic(
        build,
        [
            {
                "steps": random_steps(count, step),
                "words": ["a", "b"],
                "numbers": [np.ones(2, np.float32)] * 3,
                "pair": [7, 8],
                "table": [[1], [], [2, 3]],
                "grows": np.ones((count, 2), np.float32),
                "translation": {"en": "arm", "de": "Arm"},
            }
            for count in (4, 1)
        ],
    )
    episode = read(file, fields)[0]
    assert episode["steps/names"] == [[], [b"n0"], [b"n0", b"n1"], [b"n0", b"n1", b"n2"]]
    assert [[row.tolist() for row in rows] for rows in episode["steps/levels"]] == [
        [],
        [[]],
        [[], [0]],
        [[], [0], [0, 1]],
    ]
    assert episode["steps/fixed"].shape == (4, 3)
    assert episode["steps/fixed"].dtype == np.int32
    assert [len(rows) for rows in episode["steps/boxes"]] == [2, 1, 0, 2]
    truth = random_steps(4, step)
    for ours, theirs in zip(episode["steps/boxes"], truth, strict=True):
        assert ours.shape == (len(theirs["boxes"]), 4)
        assert ours.tobytes() == b"".join(box.tobytes() for box in theirs["boxes"])
    for t, refs in enumerate(episode["steps/cameras"]):
        assert [file[o : o + n] for o, n in zip(*refs, strict=True)] == [png(10 * t + i) for i in range(t)]
    assert [rows.tolist() for rows in episode["steps/dicts/label"]] == [[], [4], [4, 4], [4, 4, 4]]
    assert episode["words"] == [b"a", b"b"]
    assert episode["numbers"].shape == (3, 2)
    assert episode["pair"].tolist() == [7, 8]
    assert [row.tolist() for row in episode["table"]] == [[1], [], [2, 3]]
    assert episode["grows"].shape == (4, 2)
    assert episode["translation/de"] == b"Arm"
    assert fields["steps/levels"].shape == (None, None)
    assert fields["steps/levels"].ragged == 2
    stored = features._example_parser_np.parse_example(payloads[0])
    for path in ("steps/names", "steps/dicts/id", "table"):
        assert [_plain(row.tolist() if isinstance(row, np.ndarray) else row) for row in episode[path]] == [
            row.tolist() for row in at(stored, path)
        ]


def test_text_and_images() -> None:
    pictures = [png(1), b"", png(2)]

    def build(f: Any) -> dict[str, Any]:
        step = {
            "text": f.Text(),
            "tags": f.Tensor(shape=(2,), dtype=np.str_),
            "word": f.Tensor(shape=(), dtype=np.str_),
            "image": f.Image(),
        }
        return {
            "steps": f.Dataset(step),
            "goal": f.Image(shape=(4, 4, 3), encoding_format="png"),
            "video": f.Sequence(f.Image()),
        }

    steps = [
        {"text": b"\xff\x00raw", "tags": np.array(["a", f"b{t}"], object), "word": "w", "image": picture}
        for t, picture in enumerate(pictures)
    ]
    file, fields, _, _ = synthetic(build, [{"steps": steps, "goal": png(9), "video": [png(3)] * 2}])
    assert fields["steps/image"].shape == (None, None, 3)
    assert fields["steps/image"].encoding is None
    assert fields["goal"].encoding == "png"
    (episode,) = read(file, fields)
    refs = episode["steps/image"]
    assert isinstance(refs, ImageRefs)
    assert refs.offset.dtype == refs.length.dtype == np.int64
    assert [file[o : o + n] for o, n in zip(*refs, strict=True)] == pictures
    assert refs.length[1] == 0
    assert [file[o : o + n] for o, n in zip(*episode["goal"], strict=True)] == [png(9)]
    assert [file[o : o + n] for o, n in zip(*episode["video"], strict=True)] == [png(3)] * 2
    assert episode["steps/text"] == [b"\xff\x00raw"] * 3
    assert episode["steps/tags"].tolist() == [[b"a", b"b0"], [b"a", b"b1"], [b"a", b"b2"]]
    assert episode["steps/word"] == [b"w"] * 3


def test_optional_fields_may_be_absent() -> None:
    file, fields, _, _ = synthetic(
        lambda f: {"steps": f.Dataset({"a": np.int64}), "note": f.Scalar(np.int64, optional=True)},
        [{"steps": [{"a": 1}], "note": None}, {"steps": [{"a": 1}], "note": 5}],
    )
    first, second = read(file, fields)
    assert first["note"] is None
    assert second["note"].shape == ()
    assert second["note"] == 5


def test_steps_are_counted_whatever_is_wanted() -> None:
    file, fields, _, _ = synthetic(
        lambda f: {"steps": f.Dataset({"a": np.bool_, "big": f.Tensor(shape=(50,), dtype=np.float32)}), "id": f.Text()},
        [{"steps": [{"a": True, "big": np.zeros(50, np.float32)}] * 3, "id": "x"}],
    )
    for wanted in ([], ["id"], ["steps/big"], ["id", "id", "steps/a"]):
        (episode,) = read(file, fields, wanted)
        assert episode.steps == 3
    with pytest.raises(Rt2dataError, match='"steps/a" was not read'):
        read(file, fields, ["id"])[0]["steps/a"]


def test_steps_that_cannot_be_counted_are_refused() -> None:
    fields = declared("steps/a", (None,)) | declared("steps/b", optional=True)
    for wanted in ([], ["steps/a"], ["steps/b"]):
        with pytest.raises(Rt2dataError, match="number of steps"):
            read_episodes(b"", "shard", fields, wanted, check=False)
    episodes = read(simple(steps__a=[1.0] * 6, steps__c=[1, 0]), fields | declared("steps/c", dtype="bool"))
    assert episodes[0].steps == 2
    assert episodes[0]["steps/a"].shape == (2, 3)
    assert episodes[0]["steps/b"] is None


def test_float_tensors_are_read_only_views() -> None:
    file, fields, _, _ = synthetic(
        lambda f: {"steps": f.Dataset({"a": f.Tensor(shape=(7,), dtype=np.float32)})},
        [{"steps": [{"a": np.arange(7, dtype=np.float32)}] * 3}],
    )
    (episode,) = read(file, fields)
    assert np.shares_memory(episode["steps/a"], np.frombuffer(file, np.uint8))
    assert not episode["steps/a"].flags.writeable


# ---- real data -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "episodes"), [("bridge_dataset", 50), ("mt_opt_rlds", 2)])
def test_real_data_is_read_as_tfds_reads_it(shared_data: Path, name: str, episodes: int) -> None:
    dataset = RldsDataset.open(shared_data / "rlds" / name)
    features = oracle_features(dataset.directory)
    count = 0
    for split in dataset.splits.values():
        for path, length in zip(dataset.paths(split.name), split.shard_lengths, strict=True):
            payloads = [record.data.tobytes() for record in scan_records(map_file(path), path=str(path), check=True)]
            assert len(payloads) == length
            assert sum(map(len, payloads)) + 16 * length == path.stat().st_size
            assert assert_as_tfds(path.read_bytes(), dataset.fields, features, payloads) > 20 * length
            count += length
    assert count == episodes


@pytest.mark.parametrize("name", ["bridge_dataset", "mt_opt_rlds"])
def test_real_images_decode_to_tfds_pixels(shared_data: Path, name: str) -> None:
    from PIL import Image

    dataset = RldsDataset.open(shared_data / "rlds" / name)
    features = oracle_features(dataset.directory)
    (path,) = dataset.paths("train")
    file = map_file(path)
    episode = next(read_episodes(file, str(path), dataset.fields, list(dataset.fields), check=True))
    steps = list(
        features.deserialize_example_np(file[episode.offset : episode.offset + episode.length].tobytes())["steps"]
    )
    images = [field.path for field in dataset.fields.values() if field.kind == "image"]
    assert images
    for image in images:
        for step, offset, length in zip(steps, *episode[image], strict=True):
            pixels = np.asarray(Image.open(io.BytesIO(file[offset : offset + length].tobytes())))
            np.testing.assert_array_equal(pixels, at(step, image.removeprefix("steps/")))


def test_tfds_opens_the_same_dataset(shared_data: Path) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")
    for name in ("bridge_dataset", "mt_opt_rlds"):
        dataset = RldsDataset.open(shared_data / "rlds" / name)
        info = tfds.builder_from_directory(str(dataset.directory)).info
        assert (dataset.name, dataset.version) == (info.name, str(info.version))
        assert dataset.citation == info.citation
        assert dataset.splits.keys() == info.splits.keys()
        for split, theirs in info.splits.items():
            assert [str(path) for path in dataset.paths(split)] == [str(path) for path in theirs.filepaths]
            assert dataset.splits[split].shard_lengths == theirs.shard_lengths
            assert dataset.splits[split].num_bytes == theirs.num_bytes


# ---- what is refused -------------------------------------------------------------------------------------------------


def declared(name: str, shape: tuple[int | None, ...] = (), dtype: str = "float32", **other: Any) -> dict[str, Field]:
    values: dict[str, Any] = {"kind": "tensor", "per_step": True, "encoding": "none", "sequence": 1} | other
    return {name: Field(path=name, shape=shape, dtype=dtype, **values)}


def simple(**features: Any) -> bytes:
    """A record with the given features: lists of float, int or bytes."""
    pytest.importorskip("tensorflow_datasets")
    from tensorflow_datasets.proto import tf_example_pb2

    message = tf_example_pb2.Example()
    for name, values in features.items():
        feature = message.features.feature[name.replace("__", "/")]
        kind = {float: feature.float_list, int: feature.int64_list, bytes: feature.bytes_list}[type(values[0])]
        kind.value.extend(values)
    return frame(message.SerializeToString())


def test_wanted_field_that_is_not_declared_names_the_near_one() -> None:
    with pytest.raises(Rt2dataError, match=r'unknown field "steps/actoin".*Did you mean "steps/action"\?'):
        read_episodes(
            b"", "shard", declared("steps/action"), ["steps/actoin"], check=False
        )  # before any episode is asked for


def test_field_that_a_record_lacks_names_the_near_one() -> None:
    file = simple(steps__action=[1.0]) + simple(steps__actions=[1.0])
    episodes = read_episodes(file, "shard", declared("steps/action"), ["steps/action"], check=True)
    first = next(episodes)
    expected = (
        rf'record 1, byte {first.offset + first.length + 16}, field "steps/action": no feature .*"steps/actions"\?'
    )
    with pytest.raises(Rt2dataError, match=expected):
        next(episodes)


@pytest.mark.parametrize(
    ("record", "fields", "word"),
    [
        ({"a": [1.0] * 5}, declared("a", (2,)), "5 numbers; expected a multiple of 2"),
        ({"a": [1.0] * 4, "b": [1, 2, 3]}, declared("a", (2,)) | declared("b", dtype="int64"), "one per step"),
        ({"a": [1]}, declared("a"), "integers; expected floats"),
        ({"a": [1.0]}, declared("a", dtype="int64"), "floats; expected integers"),
        ({"a": [b"x"]}, declared("a"), "bytes; expected floats"),
        ({"a": [300]}, declared("a", dtype="uint8"), "the number 300; expected numbers that fit uint8"),
        ({"a": [-1]}, declared("a", dtype="uint16"), "the number -1"),
        ({"a": [1.0, 2.0]}, declared("a", per_step=False, sequence=0), "2 values of shape .*; expected one"),
        ({"a": [b"xyz"]}, declared("a", (2,), encoding="zlib"), "damaged zlib"),
        ({"a": [zlib.compress(bytes(9))]}, declared("a", (2,), encoding="zlib"), "more than 8 bytes"),
        ({"a": [zlib.compress(bytes(7))]}, declared("a", (2,), encoding="zlib"), "7 bytes of float32; expected 8"),
        ({"a": [zlib.compress(bytes(8))[:-2]]}, declared("a", (2,), encoding="zlib"), "does not end"),
        ({"a": [zlib.compress(bytes(8)) + b"x"]}, declared("a", (2,), encoding="zlib"), "does not end"),
        ({"a": [bytes(9)]}, declared("a", (None, 2), encoding="bytes"), "multiple of 8"),
        ({"a/value": [bytes(8)], "a/shape": [1, 3]}, declared("a", (None, None), encoding="bytes"), "expected 12"),
        ({"a/value": [bytes(8)], "a/shape": [-1, 2]}, declared("a", (None, None), encoding="bytes"), "lengths from 0"),
        ({"a/value": [bytes(8)]}, declared("a", (None, None), encoding="bytes"), 'no feature "a/shape"'),
        ({"a/ragged_flat_values": [1.0, 2.0], "a/ragged_row_lengths_0": [1, 2]}, declared("a", (None,), sequence=2), "sum to 2"),  # noqa: E501
        ({"a/ragged_flat_values": [1.0], "a/ragged_row_lengths_0": [2, -1]}, declared("a", (None,), sequence=2), "sum to 1"),  # noqa: E501
        ({"a/ragged_flat_values": [1.0]}, declared("a", (None,), sequence=2), "no feature"),
        ({"a/ragged_flat_values": [1.0], "a/ragged_row_lengths_0": [1]}, declared("a", (2,), sequence=2), "rows of 2"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_their_declaration(record: dict[str, Any], fields: dict[str, Field], word: str) -> None:
    with pytest.raises(Rt2dataError, match=word) as caught:
        read(simple(**record), fields)
    assert str(caught.value).startswith("shard: record 0, byte ")
    assert 'field "' in str(caught.value)


def test_zlib_bombs_are_bounded() -> None:
    bomb = zlib.compress(bytes(10**8), 9)
    fields = declared("a", (7,), encoding="zlib")
    with pytest.raises(Rt2dataError, match="more than 28 bytes"):
        read(simple(a=[bomb]), fields)


@pytest.mark.parametrize(
    "field",
    [
        declared("a", (None, None)),
        declared("a", (None, None), sequence=2),
        declared("a", (None, None), per_step=False),
        declared("a", (None, None, None), sequence=2, encoding="zlib"),
        declared("a", kind="unsupported"),
    ],
)
def test_layouts_that_cannot_be_told_apart_are_refused_at_once(field: dict[str, Field]) -> None:
    with pytest.raises(Rt2dataError, match='shard: field "a": '):
        read_episodes(b"", "shard", field, ["a"], check=False)


LAYOUTS = {
    **declared("steps/a", (2,)),
    **declared("steps/n", dtype="int64"),
    **declared("steps/z", (2,), encoding="zlib"),
    **declared("steps/d", (None, None), encoding="bytes"),
    **declared("steps/r", (None,), sequence=2, dtype="int32"),
    **declared("steps/i", (4, 4, 3), kind="image", dtype="uint8", encoding="png"),
    **declared("steps/t", kind="text", dtype="string", encoding=None),
    **declared("m", per_step=False, sequence=0),
}


def layouts_record() -> bytes:
    return simple(
        steps__a=[1.0, 2.0, 3.0, 4.0], steps__n=[1, 300], steps__z=[zlib.compress(bytes(8))] * 2,
        steps__d__value=[bytes(8), bytes(4)], steps__d__shape=[1, 2, 1, 1], steps__r__ragged_flat_values=[1, 2, 3],
        steps__r__ragged_row_lengths_0=[3, 0], steps__i=[b"a" * 200, b""], steps__t=[b"x", b"y"], m=[1.0],
    )  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_mutated_records_are_read_or_refused(data: st.DataObject) -> None:
    """Whatever the bytes (the CRC not being checked), the answer is an episode or an Rt2dataError with its place."""
    payload = bytearray(layouts_record()[12:-4])
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    file = frame(bytes(payload[: data.draw(st.integers(len(payload) - 3, len(payload)))]))
    try:
        (episode,) = read(file, LAYOUTS, check=False)
    except Rt2dataError as error:
        assert str(error).startswith("shard: record 0, byte ")
        return
    for path, field in LAYOUTS.items():
        if field.per_step:
            value = episode[path]
            assert len(value.offset if isinstance(value, ImageRefs) else value) == episode.steps
    refs = episode["steps/i"]
    assert ((refs.offset >= 12) & (refs.offset + refs.length <= len(file) - 4)).all()


# ---- features.json and dataset_info.json -----------------------------------------------------------------------------


def schema_folders() -> list[Path]:
    schemas = ROOT.parent / "shared" / "facts" / "rlds_schemas"
    return sorted(file.parent for file in schemas.rglob("features.json"))


def test_published_schemas_agree_with_tfds() -> None:
    folders = schema_folders()
    if not folders:
        pytest.skip("published schemas not found in ../shared/facts/rlds_schemas")
    pytest.importorskip("tensorflow_datasets")
    for folder in folders:
        fields = load_features(folder)
        theirs = dict(flat_tensor_info(oracle_features(folder)))
        assert {path: (field.dtype, field.shape) for path, field in fields.items()} == theirs, folder
        dataset = RldsDataset.open(folder)
        assert dataset.fields == fields
        assert all(len(split.files) == len(split.shard_lengths) > 0 for split in dataset.splits.values()), folder


def flat_tensor_info(features: Any) -> Iterator[tuple[str, tuple[str, tuple[int | None, ...]]]]:
    def walk(info: Any, path: str) -> Iterator[tuple[str, Any]]:
        if isinstance(info, dict):
            for name, child in info.items():
                yield from walk(child, f"{path}/{name}" if path else name)
        else:
            yield path, info

    for path, info in walk(features.get_tensor_info(), ""):
        # TFDS counts the Dataset level in dataset_lvl; the shape is then that of one element.
        yield path, ("string" if info.np_dtype == np.object_ else np.dtype(info.np_dtype).name, tuple(info.shape))


def test_features_of_both_forms_agree() -> None:
    """The older form ("type" and "content") of what the present form says."""
    new = {
        "pythonClassName": "tfds.FeaturesDict",
        "featuresDict": {
            "features": {
                "steps": {
                    "pythonClassName": "tfds.Dataset",
                    "sequence": {
                        "length": "-1",
                        "feature": {
                            "featuresDict": {
                                "features": {
                                    "a": {"tensor": {"shape": {"dimensions": ["7"]}, "dtype": "float32"}, "description": "d"},  # noqa: E501
                                    "z": {"tensor": {"shape": {}, "dtype": "float64", "encoding": "zlib"}},
                                    "t": {"text": {}},
                                    "i": {"image": {"shape": {"dimensions": ["-1", "-1", "3"]}, "dtype": "uint8"}},
                                    "s": {"sequence": {"length": "3", "feature": {"classLabel": {"numClasses": "4"}}}},
                                }
                            }
                        },
                    },
                }
            }
        },
    }  # fmt: skip
    core = "tensorflow_datasets.core.features."
    old = {
        "type": core + "features_dict.FeaturesDict",
        "content": {
            "steps": {
                "type": core + "dataset_feature.Dataset",
                "content": {
                    "length": None,
                    "feature": {
                        "type": core + "features_dict.FeaturesDict",
                        "proto_cls": "tensorflow_datasets.FeaturesDict",
                        "content": json.dumps(
                            {
                                "features": {
                                    "a": {"pythonClassName": "x.Tensor", "description": "d", "tensor": {"shape": {"dimensions": ["7"]}, "dtype": "float32", "encoding": "none"}},  # noqa: E501
                                    "z": {"type": "x.Tensor", "content": {"shape": [], "dtype": "float64", "encoding": "zlib"}},  # noqa: E501
                                    "t": {"type": "x.Text", "content": {"use_encoder": False}},
                                    "i": {"type": "x.Image", "content": {"shape": [None, None, 3], "dtype": "uint8", "encoding_format": None}},  # noqa: E501
                                    "s": {"type": "x.Sequence", "content": {"length": 3, "feature": {"type": "x.ClassLabel", "content": {"num_classes": 4}}}},  # noqa: E501
                                }
                            }
                        ),
                    },
                },
            }
        },
    }  # fmt: skip
    fields = parse_features(new)
    assert fields == parse_features(old)
    assert fields["steps/a"] == Field("steps/a", "tensor", "float32", (7,), True, "none", 1, "d")
    assert fields["steps/s"].shape == (3,)
    assert fields["steps/s"].ragged == 1


def test_unknown_features_are_listed_but_not_read() -> None:
    fields = parse_features(
        {
            "featuresDict": {
                "features": {
                    "x": {"pythonClassName": "their.Thing", "jsonFeature": {"json": "{}"}},
                    "y": {"tensor": {"dtype": "bfloat16"}},
                }
            }
        }
    )
    assert [field.kind for field in fields.values()] == ["unsupported"] * 2
    with pytest.raises(Rt2dataError, match="Thing"):
        read_episodes(b"", "shard", fields, ["x"], check=False)
    with pytest.raises(Rt2dataError, match="bfloat16"):
        read_episodes(b"", "shard", fields, ["y"], check=False)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{", "no readable JSON"),
        ("[]", "JSON of type list"),
        ('{"a": 1}', "pythonClassName"),
        ('{"featuresDict": {"features": {"x": 3}}}', 'field "x": JSON of type int'),
        ('{"featuresDict": {"features": {"x": {"tensor": {"dtype": "int8", "encoding": "lz4"}}}}}', "lz4"),
        ('{"featuresDict": {"features": {"x": {"tensor": {"dtype": "int8", "shape": [-2]}}}}}', "length -2"),
        ('{"featuresDict": {"features": {"x": {"tensor": {"dtype": "int8", "shape": "7"}}}}}', "shape '7'"),
        ('{"featuresDict": {"features": {"x": {"sequence": {}}}}}', 'field "x"'),
        ("[" * 100_000, "no readable JSON"),
    ],
)
def test_features_that_are_none(tmp_path: Path, content: str, word: str) -> None:
    (tmp_path / "features.json").write_text(content)
    with pytest.raises(Rt2dataError, match=word) as caught:
        load_features(tmp_path)
    assert str(tmp_path / "features.json") in str(caught.value)


FEATURES = {"featuresDict": {"features": {"id": {"text": {}}}}}


def make_dataset(folder: Path, **info: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "features.json").write_text(json.dumps(FEATURES))
    split = {"name": "train", "numBytes": "9", "shardLengths": ["1", "2"], "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"}  # fmt: skip  # noqa: E501
    base = {"name": "toy", "version": folder.name, "fileFormat": "tfrecord", "splits": [split]}
    (folder / "dataset_info.json").write_text(json.dumps(base | info))
    return folder


def test_open_finds_the_version(tmp_path: Path) -> None:
    for version in ("0.9.0", "0.10.0", "0.2.0"):
        make_dataset(tmp_path / "toy" / version)
    (tmp_path / "toy" / "99.0.0").mkdir()  # holds no dataset
    assert RldsDataset.open(tmp_path / "toy").version == "0.10.0"
    assert RldsDataset.open(tmp_path / "toy", "0.2.0").version == "0.2.0"
    assert RldsDataset.open(tmp_path / "toy" / "0.9.0").version == "0.9.0"
    assert RldsDataset.open(tmp_path / "toy" / "0.9.0", "0.9.0").version == "0.9.0"
    with pytest.raises(Rt2dataError, match=r'no version "1.0.0"; expected 0.2.0, 0.9.0, 0.10.0'):
        RldsDataset.open(tmp_path / "toy", "1.0.0")
    with pytest.raises(Rt2dataError, match="folders: toy"):
        RldsDataset.open(tmp_path)
    with pytest.raises(Rt2dataError, match="no such folder"):
        RldsDataset.open(tmp_path / "missing")


def test_shards_missing_and_extra(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "1.0.0")
    dataset = RldsDataset.open(folder)
    names = ["toy-train.tfrecord-00000-of-00002", "toy-train.tfrecord-00001-of-00002"]
    assert dataset.splits["train"].files == names
    (folder / names[0]).write_bytes(b"")
    with pytest.raises(Rt2dataError, match=f"1 of 2 shards missing: {names[1]}"):
        dataset.paths("train")
    (folder / names[1]).write_bytes(b"")
    assert [path.name for path in dataset.paths("train")] == names
    (folder / "toy-training.tfrecord-00000-of-00009").write_bytes(b"")  # of no split: not ours
    (folder / "notes.txt").write_bytes(b"")
    dataset.paths("train")
    (folder / "toy-train.tfrecord-00002-of-00003").write_bytes(b"")
    with pytest.raises(Rt2dataError, match=r"1 shards that dataset_info.json does not state: .*00002-of-00003"):
        dataset.paths("train")
    with pytest.raises(Rt2dataError, match=r'no split "trian"; expected train. Did you mean "train"'):
        dataset.paths("trian")


def test_other_formats(tmp_path: Path) -> None:
    dataset = RldsDataset.open(make_dataset(tmp_path / "0.9.0", fileFormat="riegeli"))
    with pytest.raises(Rt2dataError, match="format riegeli; expected tfrecord or array_record"):
        dataset.paths("train")
    folder = make_dataset(tmp_path / "1.0.0", fileFormat="array_record")
    dataset = RldsDataset.open(folder)
    assert dataset.splits["train"].files[0] == "toy-train.array_record-00000-of-00002"
    with pytest.raises(Rt2dataError, match="2 of 2 shards missing"):
        dataset.paths("train")
    for index in range(2):
        (folder / f"toy-train.tfrecord-0000{index}-of-00002").write_bytes(b"")
    dataset = RldsDataset.open(folder)
    assert (dataset.file_format, len(dataset.paths("train"))) == ("tfrecord", 2)
    for index in range(2):  # in both formats: TFRecord is read in place
        (folder / f"toy-train.array_record-0000{index}-of-00002").write_bytes(b"")
    assert RldsDataset.open(folder).file_format == "tfrecord"


def test_shards_that_nobody_counted(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "1.0.0", splits=[{"name": "train"}, {"name": "val"}])
    for index in range(3):
        (folder / f"toy-train.tfrecord-0000{index}-of-00003").write_bytes(b"")
    splits = RldsDataset.open(folder).splits
    assert [len(split.files) for split in splits.values()] == [3, 0]
    (folder / "toy-train.tfrecord-00000-of-00004").write_bytes(b"")
    with pytest.raises(Rt2dataError, match=r'no shardLengths of split "train", and shards of 3, 4; expected'):
        RldsDataset.open(folder)


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ({"shardLengths": ["3"], "filepathTemplate": ""}, ["toy-train.tfrecord-00000-of-00001"]),
        ({"numShards": "1"}, ["toy-train.tfrecord-00000-of-00001"]),
        ({"shardLengths": [1], "filepathTemplate": "{DATASET}.{FILEFORMAT}"}, ["toy.tfrecord"]),
        ({"shardLengths": ["1"] * 2, "filepathTemplate": "{SPLIT}/{SHARD_INDEX}.{FILEFORMAT}"}, ["train/00000.tfrecord", "train/00001.tfrecord"]),  # noqa: E501
        ({"shardLengths": []}, []),
    ],
)  # fmt: skip
def test_shard_names_follow_the_template(tmp_path: Path, split: dict[str, Any], names: list[str]) -> None:
    folder = make_dataset(tmp_path / "1.0.0", splits=[{"name": "train"} | split])
    dataset = RldsDataset.open(folder)
    assert dataset.splits["train"].files == names
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    assert dataset.paths("train") == [folder / name for name in names]


@pytest.mark.parametrize(
    "split",
    [
        {"name": "train", "shardLengths": ["1"], "filepathTemplate": "../{SPLIT}"},
        {"name": "train", "shardLengths": ["1"], "filepathTemplate": "/etc/{SPLIT}"},
        {"name": "..", "shardLengths": ["1"], "filepathTemplate": "{SPLIT}/x"},
        {"name": "train", "shardLengths": ["1"], "filepathTemplate": "{SPLIT.__class__}"},
        {"name": "train", "shardLengths": ["1"], "filepathTemplate": "{OTHER}"},
        {"name": "train", "shardLengths": ["1", "1"], "filepathTemplate": "{SPLIT}"},
        {"name": "train", "shardLengths": ["-1"]},
        {"name": "train", "shardLengths": "many"},
        {"name": "train", "numShards": "99999999999"},
        {"name": ""},
        {"name": 3},
        "train",
    ],
)
def test_splits_that_are_refused(tmp_path: Path, split: Any) -> None:
    folder = make_dataset(tmp_path / "1.0.0", splits=[split])
    with pytest.raises(Rt2dataError, match=r"dataset_info.json: "):
        RldsDataset.open(folder)


def test_licence_and_citation(tmp_path: Path) -> None:
    folder = make_dataset(
        tmp_path / "1.0.0", citation="@toy", description="A toy.", redistributionInfo={"license": "MIT"}
    )
    dataset = RldsDataset.open(folder)
    assert (dataset.citation, dataset.description, dataset.licence) == ("@toy", "A toy.", "MIT")
