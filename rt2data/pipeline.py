"""The Beam pipeline of some stages: tasks in, errors out; each stage waits for the one before it."""

from __future__ import annotations

import json
import re
import uuid
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsList
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from rt2data import whole, worker
from rt2data.errors import Rt2dataError

MARK = ".rt2data-work"  # a file of the work directory that every worker must see


class RunTasks(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """Runs the tasks of a stage, and yields the error of each that failed.

    In the client's own process tasks go to its worker processes, all of a bundle at a time; elsewhere they run here.
    """

    def __init__(self, stage: str, work: str) -> None:
        self.stage, self.work = stage, work

    def start_bundle(self) -> None:
        self._pending: list[Any] = []

    def process(self, task: str, before: Sequence[str] = ()) -> Iterator[str]:
        if before:  # a stage before this one failed: its error is the one to report
            return
        pool = worker.pool()
        if pool is not None:
            self._pending.append(pool.submit(self.stage, json.loads(task)))
            return
        if not (Path(self.work) / MARK).is_file():
            expected = "a work directory on storage that all workers share"
            yield json.dumps([self.work, "not there on a Beam worker", expected, "Give one with --work"])
            return
        answer = worker.run(self.stage, json.loads(task))
        if "error" in answer:
            yield json.dumps(answer["error"])

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for future in self._pending:
            try:
                answer = future.result()
            except Rt2dataError as error:  # the worker process itself was lost
                answer = {"error": [error.where, error.found, error.expected, error.repair]}
            if "error" in answer:
                yield WindowedValue(json.dumps(answer["error"]), MIN_TIMESTAMP, (GlobalWindow(),))
                for other in self._pending:  # those not begun yet
                    other.cancel()
                return


def _write_errors(path: str, errors: Sequence[str]) -> None:
    whole.write(Path(path), json.dumps(sorted(errors)).encode())


def _job_failed(options: Sequence[str], error: RuntimeError) -> Rt2dataError:
    """What to say of a job that the runner tried as often as it would. Beam has logged the whole of it by then."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = re.search(r"--runner[= ](\S+)", " ".join(options))
    where = named.group(1) if named else "the runner"
    repair = "Its log says more; the same command continues where the job stopped"
    return Rt2dataError(where, lines[-1] if lines else "the job failed", "a job that ends", repair)


def run(
    stages: Sequence[tuple[str, Sequence[str]]], work: Path, options: Sequence[str], *, local: bool
) -> list[list[str]]:
    """Run the stages in order.

    Args:
        stages: name (of `worker.STAGES`) and tasks, each as JSON.
        work: the work directory, which all workers share.
        options: Beam's, as they are.
        local: run in this process; else on the runner that the options name.

    Returns:
        The errors of the first stage that has any, each as (where, found, expected, repair), sorted.

    Raises:
        Rt2dataError: the runner gave the job up.
    """
    whole.write(work / MARK, b"")
    answer = work / f".errors-{uuid.uuid4().hex}.json"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Beam's own, about packages that rt2data does not use
        runner = FnApiRunner() if local else None
        try:
            with beam.Pipeline(runner=runner, options=PipelineOptions(list(options))) as pipeline:
                failed: list[Any] = []
                for stage, tasks in stages:
                    before = {"before": AsList(failed[-1])} if failed else {}
                    created = (
                        pipeline
                        | f"{stage}: tasks" >> beam.Create(list(tasks))
                        | f"{stage}: spread" >> beam.Reshuffle()
                    )
                    errors = created | f"{stage}: run" >> beam.ParDo(RunTasks(stage, str(work)), **before)
                    failed.append(errors)
                every = failed | "errors" >> beam.Flatten()
                pipeline | "answer" >> beam.Create([str(answer)]) | "write" >> beam.Map(_write_errors, AsList(every))
        except RuntimeError as error:
            if str(error).startswith("KeyboardInterrupt"):  # what Beam makes of Ctrl-C
                raise KeyboardInterrupt from None
            if local:
                raise
            raise _job_failed(options, error) from error
    try:
        return [json.loads(error) for error in json.loads(answer.read_bytes())]
    finally:
        answer.unlink(missing_ok=True)
