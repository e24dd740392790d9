"""Where every intermediate file lies in the work directory. Paths only: what the files hold is known where they are
written and read.

A work directory is a folder of a file system, which all workers share. It may serve several mixtures.

=============================== ===================================================================
``index/DATASET/NAME.arrow``    the index of a part, or of several small ones
``seen/NAME.json``              size and time of the files that an index or a count was made from
``blobs/``                      images that no file of a dataset holds as bytes
``blobs/staged/BUILD-RUNS/``    images of a build, copied in the order of its shards
``examples/``                   what was read of annotation files of web corpora
``annotations/NAME.arrow``      the texts of an annotation file; ``.keys.arrow``, ``.json`` beside it
``tracks/NAME.arrow``           the annotations of a file or of a dataset; ``.spans.arrow``, ``.json`` beside it
``pictures/DATASET/NAME.arrow`` digests and pixel statistics of the images of an index
``jobs/DIGEST.json``            jobs: recipe and indexed parts, as workers read them
``doubles/DIGEST/``             which rows of a job are duplicates
``measure/JOB/``                sums and counts that statistics are made from, errors of replayed episodes
``builds/DIGEST/``              plan, tokenizers, runs and shard records of a build
=============================== ===================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class WorkDir:
    """The paths of the work directory `root`."""

    root: Path

    @classmethod
    def of_job(cls, file: Path) -> WorkDir:
        """The work directory in which a job's file lies."""
        return cls(file.parent.parent)

    def path(self, name: str) -> Path:
        """The file of a name relative to the work directory, as indexes and annotations have in jobs."""
        return self.root / name

    def name(self, path: Path) -> str:
        """The inverse of `path`."""
        return path.relative_to(self.root).as_posix()

    def index(self, dataset: str, name: str) -> Path:
        """An index of parts of a dataset (the declaration's short id)."""
        return self.root / "index" / dataset / f"{name}.arrow"

    @property
    def seen_folder(self) -> Path:
        return self.root / "seen"

    def seen(self, name: str) -> Path:
        """What was known of source files when something was made from them."""
        return self.seen_folder / f"{name}.json"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def examples(self) -> Path:
        return self.root / "examples"

    def annotations(self, name: str) -> AnnotationFiles:
        return AnnotationFiles(self.root / "annotations" / f"{name}.arrow")

    def tracks(self, name: str) -> TrackFiles:
        return TrackFiles(self.root / "tracks" / f"{name}.arrow")

    def pictures(self, index_file: str, name: str) -> Path:
        """What the image pass found for the index named `index_file` (as `name` gives it)."""
        index = PurePosixPath(index_file).relative_to("index").with_suffix("")
        return self.root / "pictures" / f"{index}-{name}.arrow"

    def job(self, digest: str) -> Path:
        return self.root / "jobs" / f"{digest}.json"

    def duplicates(self, digest: str) -> DuplicateFiles:
        return DuplicateFiles(self.root / "doubles" / digest)

    def measure(self, job: str) -> MeasureFiles:
        """The statistics of a job, by the name of its file without the ending."""
        return MeasureFiles(self.root / "measure" / job)

    def build(self, digest: str) -> BuildFiles:
        """The build of a plan, by the plan's digest or the first 32 characters of it."""
        return BuildFiles(self, digest[:32])

    @property
    def mark(self) -> Path:
        """A file that every worker must see: without it the work directory is not shared."""
        return self.root / ".rt2data-work"

    def errors(self, name: str) -> Path:
        """Where a Beam pipeline leaves the errors of its tasks."""
        return self.root / f".errors-{name}.json"


@dataclass(frozen=True, slots=True)
class AnnotationFiles:
    """The index of an annotation file: `texts`, `keys` (episode, step, row of the text), and `counts`, written last."""

    texts: Path

    @property
    def keys(self) -> Path:
        return self.texts.with_suffix(".keys.arrow")

    @property
    def counts(self) -> Path:
        return self.texts.with_suffix(".json")


@dataclass(frozen=True, slots=True)
class TrackFiles:
    """The tracks of an annotation file: `rows`, `spans` (which rows an episode has), and `counts`, written last."""

    rows: Path

    @property
    def spans(self) -> Path:
        return self.rows.with_suffix(".spans.arrow")

    @property
    def counts(self) -> Path:
        return self.rows.with_suffix(".json")


@dataclass(frozen=True, slots=True)
class DuplicateFiles:
    """The search for duplicates in a job."""

    folder: Path

    def run(self, part: int) -> Path:
        """The digests of a part, by its position in the job."""
        return self.folder / "runs" / f"{part:06d}.arrow"

    def range(self, number: int) -> Path:
        """The digests of a range that occur in several places."""
        return self.folder / "ranges" / f"{number:06d}.npy"

    def marks(self, source: int, index_file: str) -> Path:
        """A byte for each row of an index, of the source at position `source` of the recipe."""
        return self.folder / "marks" / f"{source}-{PurePosixPath(index_file).stem}.npy"


@dataclass(frozen=True, slots=True)
class MeasureFiles:
    """The statistics of a job: two passes over its groups, and a replay of its episodes by a tokenizer."""

    folder: Path

    def moments(self, group: int) -> Path:
        """Pass 1 over a group."""
        return self.folder / f"{group:06d}.moments.npz"

    def wanted(self, source: int) -> Path:
        """The cells of a source that pass 2 counts."""
        return self.folder / f"{source}.wanted.npz"

    def cells(self, group: int) -> Path:
        """Pass 2 over a group."""
        return self.folder / f"{group:06d}.cells.npz"

    def drift(self, tokenizer: str) -> Path:
        """The folder of the replay by the tokenizer of a fingerprint, which lies there too."""
        return self.folder / f"drift-{tokenizer[:32]}"

    def drift_of(self, tokenizer: str, group: int) -> Path:
        """The errors of the episodes of a group."""
        return self.drift(tokenizer) / f"{group:06d}.npz"


@dataclass(frozen=True, slots=True)
class BuildFiles:
    """What a build leaves from its plan to its commit. `runs` names a division into groups (`Job.runs`)."""

    work: WorkDir
    name: str

    @property
    def folder(self) -> Path:
        """The folder of the plan and the tokenizers."""
        return self.work.root.joinpath("builds", self.name)

    def runs(self, runs: str) -> Path:
        return self.folder / runs

    def run(self, runs: str, group: int) -> Path:
        """The rows of a group, by shard group."""
        return self.runs(runs) / f"{group:06d}.arrow"

    def bins(self, runs: str, group: int) -> Path:
        """How often each bin of the tokenizer occurs in a group."""
        return self.runs(runs) / f"{group:06d}.bins.npz"

    def record(self, shard: int) -> Path:
        """What was written as a shard, counted over all streams."""
        return self.folder.joinpath("shards", f"{shard:06d}.json")  # one join: asked for some times a shard

    @property
    def encoded(self) -> Path:
        """Images that were encoded anew, for the time in which a shard is written."""
        return self.folder / "encoded"

    def staged(self, runs: str) -> Path:
        """The folder of images in the order of the shards."""
        return self.work.blobs / "staged" / f"{self.name}-{runs}"

    def staged_run(self, runs: str, group: int) -> Path:
        """The images of a run."""
        return self.staged(runs) / f"{group:06d}"
