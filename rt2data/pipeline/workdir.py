"""Where everything lies in the work directory and in OUT."""

from __future__ import annotations

from pathlib import Path

from rt2data.plan.plan import Stream
from rt2data.samples.job import Job


def shard_name(recipe_name: str, stream: Stream, number: int) -> str:
    """``SPLIT/NAME-SPLIT-00000-of-00008.tar`` below the mixture's folder; by source
    ``SPLIT/SOURCE/NAME-SPLIT-SOURCE-00000-of-00008.tar``.
    """
    folder, name = stream.split, f"{recipe_name}-{stream.split}"
    if stream.source is not None:
        folder, name = f"{folder}/{stream.source}", f"{name}-{stream.source}"
    return f"{folder}/{name}-{number:05d}-of-{stream.shards:05d}.tar"


def record_file(folder: Path, number: int) -> Path:
    """Where GATHER notes what it wrote as shard `number`, counted over all streams."""
    return folder / "shards" / f"{number:06d}.json"


def run_file(folder: Path, the_job: Job, group: int) -> Path:
    """The run of a group, below the plan's state folder."""
    return folder / the_job.runs / f"{group:06d}.arrow"
