"""The loader: one order for any number of readers, resumed anywhere, each sample once."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from support.built_mixture import Built

from rt2data import mixture as mixtures
from rt2data.errors import Rt2dataError
from rt2data.loader import Loader, shards


def stored(built: Built, split: str = "train") -> list[mixtures.Sample]:
    names = [shard["name"] for shard in built.manifest["splits"][split]["shards"]]
    return [sample for name in names for sample in mixtures.samples(built.out / name)]


def keys(loader: Loader) -> list[str]:
    return [sample.key for sample in loader]


def test_an_epoch_is_every_sample_once_with_all_that_it_has(mixture: Built) -> None:
    expected = {sample.key: sample for sample in stored(mixture)}
    loader = Loader(mixture.out)
    found = {sample.key: sample for sample in loader}
    assert len(loader) == loader.size == len(expected)
    assert found.keys() == expected.keys()
    for name, sample in found.items():
        assert sample.json == expected[name].meta
        assert {k: v for k, v in sample.members.items() if k != "json"} == expected[name].images
        roles = [camera["role"] for camera in sample.json["cameras"] or []] or ["image"] * len(sample.json["images"])
        assert list(sample.images) == list(dict.fromkeys(roles))
        assert [data for own in sample.images.values() for data in own] == list(expected[name].images.values())


def test_each_epoch_and_each_seed_has_an_order_of_its_own(mixture: Built) -> None:
    loader = Loader(mixture.out)
    first, second = keys(loader), keys(loader)
    assert loader.epoch == 2
    assert sorted(first) == sorted(second)
    assert first != second
    assert keys(Loader(mixture.out)) == first
    loader.set_epoch(1)
    assert keys(loader) == second
    assert keys(Loader(mixture.out, seed=1)) not in (first, second)
    assert keys(Loader(mixture.out, shuffle=False)) == [sample.key for sample in stored(mixture)]


@pytest.mark.parametrize("readers", [2, 3, 7, 64, 1000])
def test_readers_share_one_order(mixture: Built, readers: int) -> None:
    order = keys(Loader(mixture.out, seed=4))
    parts = [list(Loader(mixture.out, seed=4, rank=rank, world_size=readers)) for rank in range(readers)]
    assert len({len(part) for part in parts}) == 1
    dealt = [sample for step in zip(*parts, strict=True) for sample in step]
    assert [sample.key for sample in dealt if not sample.padding] == order
    assert [sample.position for sample in dealt if not sample.padding] == list(range(len(order)))
    assert all(sample.padding for sample in dealt[len(order) :])
    assert len(parts[0]) == len(Loader(mixture.out, rank=readers - 1, world_size=readers))


def test_a_sample_by_its_place_and_by_its_key(mixture: Built) -> None:
    loader = Loader(mixture.out, rank=1, world_size=3)
    every = list(loader)
    loader.set_epoch(0)
    assert [loader[number].members for number in range(len(loader))] == [sample.members for sample in every]
    with pytest.raises(IndexError):
        loader[len(loader)]
    assert loader.by_key(every[5].key).members == every[5].members
    with pytest.raises(Rt2dataError, match='no sample "bridge-0"'):
        loader.by_key("bridge-0")


def test_every_sample_once_however_often_it_is_stopped_and_with_how_many_readers(mixture: Built) -> None:
    order = keys(Loader(mixture.out, seed=2))
    rng = random.Random(1)
    seen: list[str] = []
    state: dict[str, Any] | None = None
    for _ in range(200):
        readers = rng.choice([1, 2, 3, 5, 8])
        group = [Loader(mixture.out, seed=2, rank=rank, world_size=readers) for rank in range(readers)]
        for loader in group:
            if state is not None:
                loader.load_state_dict(json.loads(json.dumps(state)))
        if group[0].epoch:
            break
        streams = [iter(loader) for loader in group]
        for _ in range(rng.randint(0, 2)):
            step = [next(stream, None) for stream in streams]
            seen += [sample.key for sample in step if sample is not None and not sample.padding]
        states = [loader.state_dict() for loader in group]
        assert all(one == states[0] for one in states)
        state = states[0]
    assert seen[: len(order)] == order
    assert Counter(seen[: len(order)]).most_common(1)[0][1] == 1


def test_a_state_of_something_else_is_refused(mixture: Built, apart: Built) -> None:
    loader = Loader(mixture.out)
    state = loader.state_dict()
    for other in (Loader(apart.out), Loader(mixture.out, seed=1), Loader(mixture.out, shuffle=False)):
        with pytest.raises(Rt2dataError, match="It is of another loader"):
            other.load_state_dict(state)
    for wrong in ({"position": -1}, {"position": 10**9}, {"epoch": "1"}, {"epoch": None}):
        with pytest.raises(Rt2dataError, match="expected a position up to"):
            loader.load_state_dict(state | wrong)


def test_a_mixture_by_source_has_its_weights(apart: Built) -> None:
    short = {s["source"]: s["id"] for s in apart.manifest["sources"]}
    loader = Loader(apart.out, weights={"bridge_dataset": 3, "vqav2": 1})
    stream = (sample.key for _ in range(4096 // loader.size + 1) for sample in loader)
    found = Counter(islice(stream, 4096))
    by_source = Counter({name: sum(n for key, n in found.items() if key.startswith(name)) for name in short.values()})
    assert by_source == {
        short["bridge_dataset"]: 4096 * 3 // 4,
        short["vqav2"]: 4096 // 4,
        short["coco_captions"]: 0,
    }
    for name in ("bridge_dataset", "vqav2"):
        times = [n for key, n in found.items() if key.startswith(short[name])]
        assert max(times) - min(times) <= 1
    own = Loader(apart.out)
    assert own.size == sum(source["mix"] for source in apart.manifest["sources"])
    assert sorted(keys(Loader(apart.out, "val"))) == sorted(sample.key for sample in stored(apart, "val"))


def test_weights_may_change(apart: Built) -> None:
    loader = Loader(apart.out, weights=[(0, {"vqav2": 1}), (4096 * 2, {"bridge_dataset": 1})])
    source = [Counter(sample.key.split("-")[0] for sample in loader) for _ in range(1)]
    assert set(source[0]) == {"vqav2"}
    loader.set_epoch(-(-4096 * 2 // loader.size) + 1)
    assert {sample.key.split("-")[0] for sample in loader} == {"bridge"}


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"nothing": 1}, 'no source "nothing"'),
        ({"vqav2": -1}, "the weight -1"),
        ({"vqav2": 0}, "no weight above 0"),
        ({"vqav2": 1, "vqa_v2": 1}, "two weights of vqav2"),
        ([(5, {"vqav2": 1})], "positions that rise from 0"),
        ([(0, {"vqav2": 1}), (0, {"vqav2": 1})], "positions that rise from 0"),
    ],
)
def test_weights_that_say_nothing(apart: Built, weights: Any, said: str) -> None:
    with pytest.raises(Rt2dataError, match=said):
        Loader(apart.out, weights=weights)


def test_weights_of_a_mixed_mixture(mixture: Built) -> None:
    with pytest.raises(Rt2dataError, match="form: by_source"):
        Loader(mixture.out, weights={"bridge_dataset": 1})


def test_readers_that_there_cannot_be(mixture: Built) -> None:
    for rank, readers in ((0, 0), (1, 1), (-1, 2)):
        with pytest.raises(Rt2dataError, match="expected ranks from 0 to world_size - 1"):
            Loader(mixture.out, rank=rank, world_size=readers)
    with pytest.raises(Rt2dataError, match='no split "test"'):
        Loader(mixture.out, "test")


def test_it_goes_to_other_processes_and_forks(mixture: Built) -> None:
    loader = Loader(mixture.out, seed=3)
    stream = iter(loader)
    first = [next(stream).key for _ in range(5)]
    loader.state_dict()
    other = pickle.loads(pickle.dumps(loader))
    assert other.state_dict() == loader.state_dict()
    assert first + keys(other) == keys(Loader(mixture.out, seed=3))


@pytest.fixture
def copy(mixture: Built, tmp_path: Path) -> Callable[[], Path]:
    return lambda: Path(shutil.copytree(mixture.out, tmp_path / "copy"))


def test_shards_that_are_not_those_of_the_manifest(copy: Callable[[], Path]) -> None:
    folder = copy()
    shard = next((folder / "train").glob("*.tar"))
    whole = shard.read_bytes()
    for damaged, said in (
        (whole[: len(whole) // 2], "Run `rt2data verify`"),
        (b"", "Run `rt2data verify`"),
        (whole[:512] + b"\x01" + whole[513:512] + whole[1024:], "Run `rt2data verify`"),
        (b"x" * 2048, "Run `rt2data verify`"),
    ):
        shard.write_bytes(damaged)
        with pytest.raises(Rt2dataError, match=said) as error:
            list(Loader(folder))
        assert shard.name in str(error.value)
    shard.unlink()
    with pytest.raises(Rt2dataError, match="No such file"):
        list(Loader(folder))


def test_an_index_beside_a_shard(copy: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy()
    expected = keys(Loader(folder))
    index, *others = (folder / "train").glob("*.idx")
    for other in others:  # old shards have none
        other.unlink()
    scanned: list[str] = []
    scan = shards.scan
    monkeypatch.setattr(shards, "scan", lambda header, name: scanned.append(name) or scan(header, name))
    assert keys(Loader(folder)) == expected
    assert sorted(scanned) == sorted(str(other.with_suffix("")) for other in others)  # each once
    good = index.read_bytes()
    last = int.from_bytes(good[-8:], "little")
    early = (last - 10240).to_bytes(8, "little")  # as of a shorter file
    for bad in (good[:-8], good[:-3], good[8:], good[:8] * (len(good) // 8), b"\xff" * len(good), good[:-8] + early):
        index.write_bytes(bad)
        with pytest.raises(Rt2dataError, match="Run `rt2data verify`"):
            list(Loader(folder))
