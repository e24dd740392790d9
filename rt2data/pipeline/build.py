"""INDEX, MEASURE, PLAN, EXCHANGE, GATHER, COMMIT: a build, top to bottom."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rt2data import storage
from rt2data.errors import Rt2dataError
from rt2data.pipeline import commit, exchange, staging
from rt2data.pipeline.stages import (
    annotate,
    index_all,
    measure_all,
    open_source,
    open_tokenizer,
    other_splits_of,
    resolve,
    resolve_proprio,
    work_folder,
)
from rt2data.pipeline.summary import summary
from rt2data.plan import planner
from rt2data.plan import text as plan_text
from rt2data.recipes import recipe as recipes
from rt2data.runners.engine import Engine, finished
from rt2data.runners.progress import Reporter
from rt2data.storage.places import Place
from rt2data.storage.workdir import WorkDir
from rt2data.tokenizer import proprio


def build(
    recipe: str | Path,
    out: str | Place,
    *,
    data_root: str | Place | None = None,
    work: str | Path | None = None,
    workers: int | None = None,
    beam_options: Sequence[str] = (),
    staged: str = "auto",
    progress: bool = True,
) -> dict[str, Any]:
    """Build a mixture.

    Args:
        recipe: a recipe file, or the name of one that comes with rt2data.
        out: the mixture's folder or URL: new, empty, or of an earlier build of the same recipe and data.
        data_root: the folder or URL that holds the datasets.
        work: the folder of indexes and runs; ``OUT.work`` unless given. May serve several mixtures. It is a folder of a
            file system, which on a remote runner all workers share.
        workers: worker processes of a local build; as many as there are processors unless given. Those of a
            `worker.Pool` that is entered are used instead, where there is one.
        beam_options: given to Beam as they are, such as ``["--runner=FlinkRunner"]``.
        staged: copy images in the order of the shards first, in long reads (`rt2data.pipeline.staging`): ``yes``,
        ``no``, or
            ``auto``, where single reads are slow.
        progress: print the plan and the progress on stderr.

    Returns:
        The manifest.

    Raises:
        Rt2dataError: input that cannot be used. OUT is then as it was before.
    """
    the_recipe = recipes.read_recipe(recipes.find_recipe(str(recipe)))
    target = storage.place(out).absolute()
    folder = work_folder(target, work)
    if target in (folder, *folder.parents):
        raise Rt2dataError(
            str(folder), f"the work directory is inside {target}", "a folder outside of it", "Choose another --work"
        )
    say = Reporter(enabled=progress)
    found = [open_source(s, data_root, folder) for s in the_recipe.sources]
    commit.refuse_foreign(target, the_recipe.name)
    spec = open_tokenizer(the_recipe)
    with Engine(folder, workers, beam_options, say) as engine:
        annotated = annotate(the_recipe, data_root, folder, engine)
        the_job = index_all(the_recipe, found, folder, engine, check=the_recipe.image_check, annotated=annotated)
        measured = measure_all(the_job, engine)
        tokenizer, states = resolve(the_recipe, spec, measured), resolve_proprio(the_recipe, measured)
        the_plan = planner.make(
            the_job,
            [one.to_dict() for one in (tokenizer, states) if one],
            [other_splits_of(s, one) for s, one in zip(the_recipe.sources, found, strict=True)],
        )
        chosen = staging.choose(the_job, staged, [s.reads for s in the_plan.sources])
        for source, one in zip(the_plan.sources, chosen, strict=True):
            source.staged = one
        say.line(plan_text.plan_text(the_recipe, the_plan, workers, target))
        files = WorkDir(folder).build(the_plan.digest)
        if (done := commit.complete(target, the_plan)) is not None:
            say.line(f"{target} holds this mixture already")
            return done
        commit.claim(target, the_plan)
        the_plan.save(files.folder)
        tokenizer.save_pretrained(str(files.folder))
        if states:
            states.save_pretrained(str(files.folder), proprio.FILE)
        drawn = [sum(s.quota.values()) for s in the_plan.sources]
        the_job = the_job.for_exchange(drawn, chosen, [s.image_bytes for s in the_plan.sources])
        common = {"job": str(the_job.save()), "build": files.name, "out": str(target)}
        runs = [common | {"group": g} for g in range(len(the_job.groups))]
        shards = [common | {"bucket": b} for b in range(exchange.buckets(the_plan))]
        records = [files.record(n) for n in range(the_plan.shards)]
        engine.run([("exchange", runs), ("gather", shards)], "shards", finished(records, os.path.exists), len(records))
        written = commit.commit(target, the_job, the_plan, (tokenizer, states), measured, files)
    say.line(summary(target, written))
    return written
