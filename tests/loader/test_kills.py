"""A run that is killed again and again goes on with other numbers of ranks and workers, and sees each sample once.

Real processes: ranks that step together, some with PyTorch's worker processes, are killed by SIGKILL at random moments.
What a step took is recorded before the checkpoint of that step, which replaces the one before it atomically.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from support import written_mixture

from rt2data.loader import Loader

FORK = multiprocessing.get_context("fork")


class Run:
    """A run of training over a mixture, in lives that are ended from outside."""

    def __init__(self, mixture: Path, folder: Path) -> None:
        self.mixture, self.folder = mixture, folder
        self.seen: dict[int, Counter[str]] = {}  # by epoch
        self.lives = 0
        self.test = os.getpid()

    @property
    def checkpoint(self) -> dict[str, Any] | None:
        path = self.folder / "checkpoint"
        return json.loads(path.read_text()) if path.exists() else None

    def live(self, ranks: int, workers: int, batch: int, seconds: float | None = None, *, trains: bool = True) -> None:
        """Train until killed some seconds after the start, or after the first step where it `trains`; or until an epoch
        ends. Then count what was trained on.
        """
        self.lives += 1
        alive, end = os.pipe()
        if not (process := os.fork()):
            try:
                os.setsid()
                os.close(alive)
                self._train_together(ranks, workers, batch, ends=seconds is None)
            finally:
                os._exit(0)
        os.close(end)
        if seconds is not None:
            record = self.folder / f"{self.lives}-0"
            while trains and not (record.exists() and record.stat().st_size):
                time.sleep(0.002)
            time.sleep(seconds)
            try:
                os.killpg(process, signal.SIGKILL)
            except ProcessLookupError:  # not yet a group
                os.kill(process, signal.SIGKILL)
        assert not os.read(alive, 1)  # the end of a pipe that all of them hold: none is left
        os.close(alive)
        os.waitpid(process, 0)
        last = self.checkpoint
        if last is not None and last["life"] == self.lives:
            for rank in range(ranks):
                with (self.folder / f"{self.lives}-{rank}").open() as lines:
                    for line in islice(lines, last["steps"]):
                        epoch, keys = json.loads(line)
                        self.seen.setdefault(epoch, Counter()).update(keys)

    def _train_together(self, ranks: int, workers: int, batch: int, *, ends: bool) -> None:
        together = FORK.Barrier(ranks)
        others = [
            FORK.Process(target=self._train, args=(rank, ranks, workers, batch, together, ends))
            for rank in range(1, ranks)
        ]
        for other in others:
            other.start()
        self._train(0, ranks, workers, batch, together, ends)
        for other in others:
            other.join()

    def _train(self, rank: int, ranks: int, workers: int, batch: int, together: Any, ends: bool) -> None:
        loader = Loader(self.mixture, seed=7, rank=rank, world_size=ranks)
        if self.checkpoint is not None:
            loader.load_state_dict(self.checkpoint["state"])
        batches, steps = batches_of(loader, workers, batch), 0
        with (self.folder / f"{self.lives}-{rank}").open("w") as record:
            while True:
                epoch = loader.epoch
                for samples in batches():
                    keys = [sample.key for sample in samples if not sample.padding]
                    record.write(json.dumps([epoch, keys]) + "\n")
                    record.flush()
                    steps += 1
                    together.wait()
                    if rank == 0:
                        self._keep(steps, loader)
                    together.wait()
                if rank == 0:
                    self._keep(steps, loader)
                if ends:
                    return

    def _keep(self, steps: int, loader: Loader) -> None:
        if os.getppid() != self.test:  # it was killed itself, and nobody else would end this life
            os.killpg(0, signal.SIGKILL)
        state = {"life": self.lives, "steps": steps, "state": loader.state_dict()}
        new = self.folder / "checkpoint.new"
        new.write_text(json.dumps(state))
        new.replace(self.folder / "checkpoint")


def batches_of(loader: Loader, workers: int, size: int) -> Any:
    if workers:
        from rt2data.torch import DataLoader

        ahead = DataLoader(loader, size, num_workers=workers, prefetch_factor=4)
        return lambda: ahead

    def plain() -> Iterator[list[Any]]:
        stream = iter(loader)
        while samples := list(islice(stream, size)):
            yield samples

    return plain


def run(folder: Path, kills: int, samples: int, workers: list[int]) -> None:
    (folder / "run").mkdir()
    every = Counter(written_mixture.write(folder / "mixture", samples, per_shard=50, size=100))
    one, rng = Run(folder / "mixture", folder / "run"), random.Random(3)
    for _ in range(kills):
        choice = rng.choice(workers)
        one.live(
            rng.choice([1, 2, 3, 4]), choice, rng.choice([1, 2, 5]), rng.uniform(0, 0.05), trains=rng.random() < 0.8
        )
    before = one.checkpoint
    one.live(2, 0, 4)
    epoch = before["state"]["epoch"] if before else 0
    assert list(one.seen) == list(range(epoch + 1))
    for seen in one.seen.values():
        assert seen == every


def test_a_run_that_is_killed(tmp_path: Path) -> None:
    run(tmp_path, 12, 600, [0])


def test_a_run_that_is_killed_with_workers_of_pytorch(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    import rt2data.torch  # noqa: F401  # once, not in each life

    run(tmp_path, 4, 300, [2])


@pytest.mark.slow
def test_a_run_that_is_killed_two_hundred_times(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    import rt2data.torch  # noqa: F401

    run(tmp_path, 200, 1500, [0, 0, 0, 0, 1, 2])
