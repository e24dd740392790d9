"""The loader in PyTorch: workers, ranks, epochs, and a state of what the training loop took."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.built_mixture import Built

from rt2data.errors import Rt2dataError
from rt2data.loader import Loader, Sample

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from rt2data.torch import DataLoader, Dataset, IterableDataset  # noqa: E402


def key(sample: Sample) -> str:
    return sample.key


def keys(loader: Loader) -> list[str]:
    return [sample.key for sample in loader]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_are_the_same_with_any_number_of_workers(mixture: Built, workers: int) -> None:
    expected = [*keys(Loader(mixture.out, seed=1)), *keys(second(mixture.out))]
    options: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": 3} if workers else {}
    batches = DataLoader(Loader(mixture.out, seed=1), 7, transform=key, num_workers=workers, **options)
    found = [batch for _ in range(2) for batch in batches]
    assert [key for batch in found for key in batch] == expected
    assert batches.loader.epoch == 2
    assert len(found) == 2 * len(batches)
    assert all(len(batch) == 7 for batch in found[: len(batches) - 1])


def second(out: Path) -> Loader:
    loader = Loader(out, seed=1)
    loader.set_epoch(1)
    return loader


def test_what_workers_read_ahead_is_not_taken(mixture: Built) -> None:
    expected, rng = keys(Loader(mixture.out)), random.Random(2)
    seen: list[str] = []
    state: dict[str, Any] | None = None
    while state is None or state["epoch"] == 0:  # a position need not be a multiple of the next number of ranks
        ranks, workers = rng.choice([(1, 2), (2, 0), (3, 0), (5, 0), (1, 0)])
        group = [
            DataLoader(Loader(mixture.out, rank=rank, world_size=ranks), 3, num_workers=workers)
            for rank in range(ranks)
        ]
        for batches in group:
            if state is not None:
                batches.load_state_dict(json.loads(json.dumps(state)))
        streams = [iter(batches) for batches in group]
        for _ in range(rng.randint(1, 2)):
            step = [next(stream, None) for stream in streams]
            if step[0] is None:
                break
            samples = [sample for batch in step if batch is not None for sample in batch if not sample.padding]
            seen += [sample.key for sample in sorted(samples, key=lambda sample: sample.position)]
        state = group[0].state_dict()
        assert all(batches.state_dict() == state for batches in group)
    assert seen == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_datasets_of_both_kinds_in_a_plain_dataloader(mixture: Built, workers: int) -> None:
    expected = keys(Loader(mixture.out))
    options: dict[str, Any] = {"batch_size": 4, "num_workers": workers, "collate_fn": list}
    by_number = torch.utils.data.DataLoader(Dataset(Loader(mixture.out), key), **options)
    assert [name for batch in by_number for name in batch] == expected
    one_by_one = torch.utils.data.DataLoader(IterableDataset(Loader(mixture.out), key), **options)
    assert sorted(name for batch in one_by_one for name in batch) == sorted(expected)


@pytest.mark.parametrize("kind", [Dataset, IterableDataset])
def test_workers_that_live_on_hear_of_a_new_epoch(mixture: Built, kind: Any) -> None:
    dataset = kind(Loader(mixture.out), key)
    batches = torch.utils.data.DataLoader(dataset, 4, num_workers=2, persistent_workers=True, collate_fn=list)
    passes = []
    for epoch in (0, 0, 1):
        dataset.set_epoch(epoch)
        passes.append([name for batch in batches for name in batch])
    assert passes[0] == passes[1] != passes[2]
    assert sorted(passes[0]) == sorted(passes[2])


def test_two_iterations_at_once_are_refused(mixture: Built) -> None:
    batches = DataLoader(Loader(mixture.out), 4)
    first = iter(batches)
    next(first)
    second = iter(batches)
    next(second)
    with pytest.raises(Rt2dataError, match="one iteration at a time"):
        next(first)


@pytest.mark.parametrize("style", ["number", "iterable"])
def test_stateful_dataloader_of_torchdata(mixture: Built, style: str) -> None:
    stateful = pytest.importorskip(
        "torchdata.stateful_dataloader", reason="torchdata is not installed"
    ).StatefulDataLoader

    def new() -> Any:
        dataset: Any = (Dataset if style == "number" else IterableDataset)(Loader(mixture.out), key)
        return stateful(dataset, batch_size=4, num_workers=2, collate_fn=list)

    whole = [name for batch in new() for name in batch]
    batches = new()
    stream = iter(batches)
    seen = [name for _ in range(5) for name in next(stream)]
    state = batches.state_dict()
    again = new()
    again.load_state_dict(state)
    seen += [name for batch in again for name in batch]
    assert seen == whole


def test_the_length_is_that_of_an_epoch_wherever_it_is(mixture: Built) -> None:
    batches = DataLoader(Loader(mixture.out), 4)
    whole = len(batches)
    assert next(iter(batches))[0].position == 0
    assert len(batches) == whole == -(-batches.loader.size // 4)
    assert next(iter(batches))[0].position == 4  # a loop that was left goes on


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_state_at_the_end_of_an_epoch_goes_on_with_the_next(mixture: Built, drop_last: bool) -> None:
    state = {}
    batches = DataLoader(Loader(mixture.out), 4, drop_last=drop_last)
    for _ in batches:
        state = batches.state_dict()
    assert state["epoch"] == 0
    again = DataLoader(Loader(mixture.out), 4, drop_last=drop_last)
    again.load_state_dict(state)
    assert (again.loader.epoch, again.loader.position) == (1, 0)
    assert next(iter(again))[0].key == keys(second_of(mixture.out))[0]


def second_of(out: Path) -> Loader:
    loader = Loader(out)
    loader.set_epoch(1)
    return loader


def fails(sample: Sample) -> str:
    raise ValueError(f"cannot read {sample.key}")


def test_an_error_of_a_worker_stops_the_loop(mixture: Built) -> None:
    with pytest.raises(ValueError, match=f"cannot read {keys(Loader(mixture.out))[0]}"):
        next(iter(DataLoader(Loader(mixture.out), 4, transform=fails, num_workers=2)))


def test_a_batch_without_a_size(mixture: Built) -> None:
    size: Any = None
    with pytest.raises(Rt2dataError, match="batch_size None; expected how many samples a batch has"):
        DataLoader(Loader(mixture.out), size)


RANKS = """
import sys
import torch.distributed as dist
import torch
from rt2data import Rt2dataError
from rt2data.loader import Loader
from rt2data.torch import DataLoader

rank, folder, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=2)
try:
    DataLoader(Loader(folder), 4)
except Rt2dataError as error:
    print(error)
batches = DataLoader(Loader(folder, "val", rank=rank, world_size=2), 4)
for batch in batches:
    dist.all_reduce(torch.ones(1))
    print(*(f"{sample.key}:{int(sample.padding)}" for sample in batch))
dist.destroy_process_group()
"""


def test_two_processes_see_each_sample_once_and_none_hangs(mixture: Built, tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    command = [sys.executable, str(script)]
    processes = [
        subprocess.Popen([*command, str(rank), str(mixture.out), str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    lines = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    assert all(process.returncode == 0 for process in processes)
    for rank, said in enumerate(lines):
        assert said[0].endswith(f"expected a Loader with rank={rank}, world_size=2.")
    assert len(lines[0]) == len(lines[1])
    found = [item.rsplit(":", 1) for said in lines for line in said[1:] for item in line.split()]
    assert sorted(name for name, padding in found if padding == "0") == sorted(keys(Loader(mixture.out, "val")))
