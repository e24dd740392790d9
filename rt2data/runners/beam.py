"""The Beam pipeline of some stages: tasks in, errors out; each stage waits for the one before it."""

from __future__ import annotations

import json
import re
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsList
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from rt2data.errors import Rt2dataError
from rt2data.runners import workers
from rt2data.storage import atomic
from rt2data.storage.workdir import WorkDir

Stages = Sequence[tuple[str, Sequence[str]]]


class RunTasks(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """Runs the tasks of a stage in a worker of Beam's, and yields the error of each that failed."""

    def __init__(self, stage: str, work: str) -> None:
        self.stage, self.work = stage, work

    def process(self, task: str, before: Sequence[str] = ()) -> Iterator[str]:
        if before:  # a stage before this one failed: its error is the one to report
            return
        if not WorkDir(Path(self.work)).mark.is_file():
            expected = "a work directory on storage that all workers share"
            yield json.dumps([self.work, "not there on a Beam worker", expected, "Give one with --work"])
            return
        answer = workers.run(self.stage, json.loads(task))
        if "error" in answer:
            yield json.dumps(answer["error"])


class HandOver(beam.DoFn):  # type: ignore[misc]
    """Hands the tasks of a stage to this process's worker processes, all of a bundle at a time; yields the first error.

    The pool keeps it too: to collect it would take two more stages, 0.2 s of each pipeline.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def start_bundle(self) -> None:
        self._pending: list[Any] = []

    def process(self, task: str, before: Sequence[str] = ()) -> None:
        pool = workers.pool()
        if pool and not before:
            self._pending.append(pool.submit(self.stage, json.loads(task)))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        pool = workers.pool()
        for future in self._pending:
            try:
                answer = future.result()
            except Rt2dataError as error:  # the worker process itself was lost
                answer = {"error": [error.where, error.found, error.expected, error.repair]}
            if pool and "error" in answer:
                pool.errors.append(answer["error"])
                yield WindowedValue(json.dumps(answer["error"]), MIN_TIMESTAMP, (GlobalWindow(),))
                for other in self._pending:  # those not begun yet
                    other.cancel()
                return


def _write_errors(path: str, errors: Sequence[str]) -> None:
    atomic.write_file(Path(path), json.dumps(sorted(errors)).encode())


def _job_failed(options: Sequence[str], error: RuntimeError) -> Rt2dataError:
    """What to say of a job that the runner tried as often as it would. Beam has logged the whole of it by then."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = re.search(r"--runner[= ](\S+)", " ".join(options))
    where = named.group(1) if named else "the runner"
    repair = "Its log says more; the same command continues where the job stopped"
    return Rt2dataError(where, lines[-1] if lines else "the job failed", "a job that ends", repair)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Beam's warnings about packages that rt2data does not use; Ctrl-C is what it was."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except RuntimeError as error:
            if str(error).startswith("KeyboardInterrupt"):  # what Beam makes of Ctrl-C
                raise KeyboardInterrupt from None
            raise


def run_here(stages: Stages, pool: workers.Pool) -> list[list[str]]:
    """Run the stages in order, on Beam's runner in this process, which hands them to `pool`.

    A pipeline has as few transforms as can be, each of which takes this runner 10 to 20 ms: nothing is shuffled, since
    all tasks of a stage come in one bundle.

    Args:
        stages: name (of `workers.STAGES`) and tasks, each as JSON.
        pool: that of this process (`workers.pool`).

    Returns:
        The first error of the first stage that has any, as (where, found, expected, repair); none where none has.
    """
    with _quiet(), beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as pipeline:
        before: dict[str, Any] = {}
        for stage, tasks in stages:
            created = pipeline | f"{stage}: tasks" >> beam.Create(list(tasks), reshuffle=False)
            failed = created | f"{stage}: run" >> beam.ParDo(HandOver(stage), **before)
            before = {"before": AsList(failed)}
    errors, pool.errors = pool.errors, []
    return errors


def run(stages: Stages, work: Path, options: Sequence[str], runner: Any = None) -> list[list[str]]:
    """Run the stages in order on Beam's workers.

    Args:
        stages: name (of `workers.STAGES`) and tasks, each as JSON.
        work: the work directory, which all workers share.
        options: Beam's, as they are.
        runner: a runner of Beam's, in place of the one that the options name.

    Returns:
        The errors of the first stage that has any, each as (where, found, expected, repair), sorted.

    Raises:
        Rt2dataError: the runner gave the job up.
    """
    files = WorkDir(work)
    atomic.write_file(files.mark, b"")
    answer = files.errors(uuid.uuid4().hex)
    try:
        with _quiet(), beam.Pipeline(runner=runner, options=PipelineOptions(list(options))) as pipeline:
            failed: list[Any] = []
            for stage, tasks in stages:
                before = {"before": AsList(failed[-1])} if failed else {}
                created = (
                    pipeline | f"{stage}: tasks" >> beam.Create(list(tasks)) | f"{stage}: spread" >> beam.Reshuffle()
                )
                failed.append(created | f"{stage}: run" >> beam.ParDo(RunTasks(stage, str(work)), **before))
            every = failed | "errors" >> beam.Flatten()
            pipeline | "answer" >> beam.Create([str(answer)]) | "write" >> beam.Map(_write_errors, AsList(every))
    except RuntimeError as error:
        raise _job_failed(options, error) from error
    try:
        return [json.loads(error) for error in json.loads(answer.read_bytes())]
    finally:
        answer.unlink(missing_ok=True)
