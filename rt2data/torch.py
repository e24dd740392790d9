"""The loader in PyTorch: a `DataLoader` that counts what the training loop has taken, and the two kinds of dataset.

loader = Loader("/data/mine", rank=rank, world_size=world_size)
batches = DataLoader(loader, batch_size=32, num_workers=8, collate_fn=collate)
for batch in batches:  # the rest of an epoch
    train(batch)
    save({"data": batches.state_dict()})  # load_state_dict goes on behind this batch
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch.distributed
import torch.utils.data as torch_data

from rt2data.errors import Rt2dataError
from rt2data.loader import Loader, Sample

__all__ = ["DataLoader", "Dataset", "IterableDataset"]

T = TypeVar("T")


def _same(samples: list[Any]) -> list[Any]:
    return samples


class _Positions(torch_data.Dataset[T], Generic[T]):
    """The samples of a `Loader` by epoch and position, so that workers that live on need not be told of a new epoch."""

    def __init__(self, loader: Loader, transform: Callable[[Sample], T] | None) -> None:
        self.loader, self.transform = loader, transform

    def read(self, epoch: int, positions: Sequence[int]) -> list[Any]:
        samples = self.loader.read(epoch, positions)
        return samples if self.transform is None else [self.transform(sample) for sample in samples]

    def __getitems__(self, places: list[tuple[int, int]]) -> list[Any]:
        return self.read(places[0][0], [position for _, position in places])


class _Epoch:
    """The epoch that `set_epoch` names, also for the copies of a dataset in workers that live on."""

    loader: Loader

    def __init__(self) -> None:
        self._named = torch.full((), -1, dtype=torch.int64).share_memory_()
        self._heard = -1

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch, here and in all workers. Loops that know datasets call this before each one."""
        self._named.fill_(epoch)
        self._listen()

    def _listen(self) -> None:
        epoch = int(self._named)
        if epoch != self._heard:
            self._heard = epoch
            self.loader.set_epoch(epoch)


class Dataset(torch_data.Dataset[T], _Epoch, Generic[T]):
    """The samples of one epoch of a `Loader`'s reader, by number from 0, for code that asks for a map-style dataset.

    Args:
        loader: the loader, of this rank and in the epoch that is wanted.
        transform: is applied to each sample, in the workers; None gives `Sample`.
    """

    def __init__(self, loader: Loader, transform: Callable[[Sample], T] | None = None) -> None:
        _Epoch.__init__(self)
        self.loader, self._read = loader, _Positions(loader, transform).read

    def __len__(self) -> int:
        """Samples of one epoch of this reader."""
        return len(self.loader)

    def __getitem__(self, number: int) -> T:
        """Return a sample."""
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: list[int]) -> list[T]:
        """Return the samples of a batch."""
        if numbers and not (min(numbers) >= 0 and max(numbers) < len(self)):
            raise IndexError(numbers)
        self._listen()
        return self._read(self.loader.epoch, [n * self.loader.world_size + self.loader.rank for n in numbers])


class IterableDataset(torch_data.IterableDataset[T], _Epoch, Generic[T]):
    """The rest of a `Loader`'s epoch, dealt to the workers sample by sample, for code that asks for an iterable.

    Every sample comes once. `DataLoader` makes a batch of samples of one worker, so what a batch holds depends on the
    number of workers, as with every iterable dataset; with a `Dataset` it does not. Each pass is the same epoch until
    `set_epoch` names another. torchdata's StatefulDataLoader
    keeps and restores its state.
    """

    def __init__(self, loader: Loader, transform: Callable[[Sample], T] | None = None) -> None:
        _Epoch.__init__(self)
        self.loader, self._read = loader, _Positions(loader, transform).read
        self._taken = 0  # by this worker, of its part of the epoch

    def __iter__(self) -> Iterator[T]:
        """Iterate this worker's part."""
        self._listen()
        worker = torch_data.get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        places = self.loader.rest()[number::workers]
        while self._taken < len(places):
            self._taken += 1
            yield self._read(self.loader.epoch, [places[self._taken - 1]])[0]
        self._taken = 0

    def state_dict(self) -> dict[str, Any]:
        """Return how many samples this worker gave, beside the loader's state."""
        return {"loader": self.loader.state_dict(), "taken": self._taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a state was taken, with as many workers."""
        self.loader.load_state_dict(state["loader"])
        self._taken = int(state["taken"])


class _Rest(torch_data.Sampler[Any]):
    """The epoch and the position of each sample that is left of the epoch. Its length is that of a whole epoch."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.loader.epoch
        return ((epoch, position) for position in self.loader.rest())


class DataLoader(torch_data.DataLoader[Any]):
    """PyTorch's DataLoader over the rest of a `Loader`'s epoch. It gives the samples in the loader's order with any
    number of workers, and keeps the loader's position at what the training loop has taken, not at what workers read
    ahead. Its length is the number of batches of a whole epoch, wherever the loader is: learning rate schedules do not
    change when a run goes on. accelerate's `prepare` returns it as it is.

    Args:
        loader: of this rank.
        batch_size: samples of a batch of this rank.
        transform: is applied to each sample, in the workers.
        collate_fn: makes a batch of a list of samples, in the workers; None gives the list.
        options: further arguments of PyTorch's DataLoader, but those about datasets, samplers and shuffling.

    Raises:
        Rt2dataError: several processes train, and the loader gives all of them the same samples; no batch size.
    """

    # accelerate would make another DataLoader of it, which gives each process only a part of its batches. What bears
    # this mark it takes for one that it has made.
    _is_accelerate_prepared = True

    def __init__(
        self,
        loader: Loader,
        batch_size: int = 1,
        *,
        transform: Callable[[Sample], Any] | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        **options: Any,
    ) -> None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            ranks = torch.distributed.get_world_size()
            if ranks > 1 and loader.world_size == 1:
                expected = f"a Loader with rank={torch.distributed.get_rank()}, world_size={ranks}"
                raise Rt2dataError("DataLoader", f"a loader of one reader among {ranks} processes", expected)
        if batch_size is None:
            raise Rt2dataError("DataLoader", "batch_size None", "how many samples a batch has")
        self.loader = loader
        if loader.remote and options.get("num_workers"):  # threads of its client are not in a process that is forked
            options.setdefault("multiprocessing_context", "forkserver")
        super().__init__(
            _Positions(loader, transform), batch_size, sampler=_Rest(loader), collate_fn=collate_fn or _same, **options
        )

    def __iter__(self) -> Iterator[Any]:
        """Iterate the batches that are left of the epoch; at its end the next epoch is due.

        Raises:
            Rt2dataError: another iteration, epoch or state was begun since the last batch: there is one position.
        """
        start, size = self.loader.position, self.loader.size
        each = self.batch_size * self.loader.world_size
        place = self.loader.epoch, start
        for number, batch in enumerate(super().__iter__(), 1):
            if (self.loader.epoch, self.loader.position) != place:
                raise Rt2dataError("DataLoader", "another iteration or epoch was begun", "one iteration at a time")
            self.loader.position = min(start + number * each, size)
            place = self.loader.epoch, self.loader.position
            yield batch
        self.loader.set_epoch(self.loader.epoch + 1)

    def state_dict(self) -> dict[str, Any]:
        """Where the training loop is: `Loader.state_dict`."""
        return self.loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a state was taken, on any number of ranks and workers: `Loader.load_state_dict`.

        Where no batch was left of the epoch, the next one begins.
        """
        self.loader.load_state_dict(state)
        if len(self.loader.rest()) < (self.batch_size if self.drop_last else 1):
            self.loader.set_epoch(self.loader.epoch + 1)
