"""Open an RLDS dataset with the reader that its container needs: TFRecord or ArrayRecord."""

from __future__ import annotations

from rt2data.declarations.declaration import Declaration
from rt2data.rlds.dataset import RldsDataset, list_versions
from rt2data.sources.robot.rlds_tfrecord import Rlds
from rt2data.storage.places import Place


def open_rlds(declaration: Declaration, root: Place) -> Rlds:
    """Open the RLDS dataset in `root`, whichever container its records are in."""
    dataset = RldsDataset.open(root, _version(declaration, root))
    dataset.check_format()
    reader = Rlds
    if dataset.file_format == "array_record":
        from rt2data.sources.robot.rlds_array_record import RldsArrayRecord

        reader = RldsArrayRecord
    source = reader(declaration, dataset)
    if dataset.directory != root:  # chosen here, from the versions in `root`
        source.other_versions = tuple(name for name in list_versions(root) if name != dataset.directory.name)
    return source


def _version(declaration: Declaration, root: Place) -> str | None:
    """Choose the version folder in `root` that the declaration prefers; None leaves the choice to the reader."""
    present = [version for version in declaration.versions if (root / version / "dataset_info.json").is_file()]
    return max(present, key=lambda version: tuple(map(int, version.split(".")))) if present else None
