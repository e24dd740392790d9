"""Pictures that several corpora have: none may be in two splits where dataset splits are taken whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from rt2data import index
from rt2data.errors import Rt2dataError
from rt2data.index.keys import U64
from rt2data.recipes.recipe import Recipe, RecipeSource
from rt2data.samples import selection
from rt2data.samples.job import Job

# Namespaces whose pictures are partly the same under other ids. Of Visual Genome's 108,077 pictures about half are in
# COCO (Krishna et al., Visual Genome, IJCV 2017; `coco_id` in its image_data.json).
OVERLAPPING = ("coco", "visual_genome")


def overlaps(recipe: Recipe) -> list[str]:
    """A sentence where a recipe of several splits has pictures of COCO and of Visual Genome, else none."""
    sources = {namespace: _of_namespace(recipe, namespace) for namespace in OVERLAPPING}
    splits = {name for own in sources.values() for source in own for name in source.splits.names}
    if not all(sources.values()) or len(splits) < 2:
        return []
    coco, genome = (", ".join(source.declaration.name for source in own) for own in sources.values())
    found = f"about half of the pictures of Visual Genome ({genome}) are also COCO's ({coco}), under other ids"
    return [f"{found}: such a picture may be in train through one and in another split through the other"]


def _of_namespace(recipe: Recipe, namespace: str) -> list[RecipeSource]:
    """The sources whose pictures have ids in a namespace."""
    return [s for s in recipe.sources if s.declaration.web and s.declaration.web.image_namespace == namespace]


def check_pictures(job: Job) -> None:
    """Raise where a picture, by its id in a namespace, is in two splits through sources that take dataset splits whole.

    COCO's train split of 2017, for one, has pictures of its val split of 2014, which is VQAv2's. Pictures are compared
    by the hash that would split them; 8 bytes are held for each picture of a namespace.

    Raises:
        Rt2dataError: names the two sources and splits, and how many pictures they share.
    """
    splits = job.recipe.splits
    for namespace, numbers in _namespaces(job).items():
        held: list[tuple[int, int, U64]] = []  # source, split, sorted hashes of the pictures
        for number in numbers:
            for split, pictures in _pictures(job, number).items():
                for other, other_split, others in held:
                    if other_split != split and len(both := np.intersect1d(pictures, others, assume_unique=True)):
                        first, second = job.recipe.sources[other], job.recipe.sources[number]
                        word = "picture" if len(both) == 1 else "pictures"
                        found = (
                            f"{len(both):,} {word} of {namespace} in {splits[other_split]} through "
                            f"{first.declaration.name} and in {splits[split]} through {second.declaration.name}"
                        )
                        repair = "Give all sources of these pictures the same shares, or take other dataset splits"
                        raise Rt2dataError(second.where, found, "each picture in one split", repair)
                held.append((number, split, pictures))


def _namespaces(job: Job) -> dict[str, list[int]]:
    """By namespace of pictures, its sources where these take dataset splits whole, into several splits."""
    found: dict[str, list[int]] = {}
    for number, source in enumerate(job.recipe.sources):
        namespace = source.declaration.web.image_namespace if source.declaration.web else None
        if namespace is not None and source.splits.fixed:
            found.setdefault(namespace, []).append(number)
    sources = job.recipe.sources
    return {
        namespace: numbers
        for namespace, numbers in found.items()
        if len({name for number in numbers for name in sources[number].splits.names}) > 1
    }


def _pictures(job: Job, number: int) -> dict[int, U64]:
    """The pictures of a source's samples by split, as sorted hashes without repetition."""
    parts: dict[int, list[U64]] = {}
    for part in job.parts:
        if part.source == number:
            table, source = job.table(part), job.source(part)
            for split, hashes in _of_part(job, source, table, part.split):
                parts.setdefault(split, []).append(hashes)
    return {split: np.unique(np.concatenate(hashes)) for split, hashes in parts.items()}


def _of_part(job: Job, source: RecipeSource, table: pa.Table, dataset_split: str) -> Iterator[tuple[int, U64]]:
    """The pictures of a part's samples by split."""
    samples = selection.select(table, job.recipe, source, dataset_split)
    samples = samples.take(selection.has_image(table, source)[samples.rows])
    hashes = index.numbers(table, "split_hash")[samples.rows]
    for split in np.unique(samples.split[samples.split >= 0]).tolist():
        yield split, np.unique(hashes[samples.split == split])
