"""Engines: how the stages of a build are run, and how their progress is counted."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from rt2data.errors import Rt2dataError
from rt2data.runners import progress
from rt2data.runners import workers as worker
from rt2data.runners.tasks import Stages

T = TypeVar("T")


def finished(things: Iterable[T], is_done: Callable[[T], bool]) -> Callable[[], int]:
    """A function that counts how many of `things` are done.

    It looks at the first 256 that were not: they end in order.
    """
    pending = list(things)
    total = len(pending)

    def count() -> int:
        pending[:256] = [thing for thing in pending[:256] if not is_done(thing)]
        return total - len(pending)

    return count


class Direct:
    """Runs stages in this process, one task after the other: for `plan` and `stats`, which read no image through."""

    def __init__(self, say: progress.Reporter) -> None:
        self.say = say

    def run(self, stages: Stages, word: str = "", done: Callable[[], int] | None = None, total: int = 0) -> None:
        """As `Engine.run`."""
        with self.say.progress(word, done, total):
            for _, tasks in stages:
                for task in tasks:
                    if "error" in (answer := worker.run(task)):
                        raise Rt2dataError(*answer["error"])


class Engine:
    """Runs stages on Beam. Local unless the options name a runner; then in the worker processes of this process's pool.

    Where there is no pool yet, one of `workers` processes is started.
    """

    def __init__(self, work: Path, workers: int | None, beam_options: Sequence[str], say: progress.Reporter) -> None:
        self.work, self.options, self.say = work, list(beam_options), say
        self.local = not any(o.startswith("--runner") for o in self.options)
        if self.local and self.options:
            repair = "A local build takes --workers, and no options of Beam"
            raise Rt2dataError("Beam's options", f"{self.options[0]} without a runner", "--runner=NAME too", repair)
        self._workers, self._own = workers, contextlib.ExitStack()

    def __enter__(self) -> Engine:
        self.pool = None
        if self.local:
            self.pool = worker.pool() or self._own.enter_context(worker.Pool(self._workers))
        return self

    def __exit__(self, *_: object) -> None:
        self._own.close()

    def run(self, stages: Stages, word: str = "", done: Callable[[], int] | None = None, total: int = 0) -> None:
        """Run stages one after the other, in one pipeline. `done` counts finished files for the progress line."""
        if not any(tasks for _, tasks in stages):
            return
        if self.pool:  # the first stage waits for nothing: not for Beam's import, nor for its runner to start
            self.pool.begin(*stages[0])
        with self.say.progress(word, done, total):
            # Beam warns on import about clients of services that rt2data does not use.
            logging.disable(logging.WARNING)
            try:
                from rt2data.runners import beam as beam_runner
            finally:
                logging.disable(logging.NOTSET)
            if self.pool:
                errors = beam_runner.run_here(stages, self.pool)
            else:
                errors = beam_runner.run(stages, self.work, self.options)
        if errors:
            raise Rt2dataError(*errors[0])
