"""Open an RLDS dataset with the reader that its container needs: TFRecord or ArrayRecord."""

from __future__ import annotations

from rt2data.declarations.declaration import Declaration
from rt2data.rlds.dataset import RldsDataset
from rt2data.sources.robot.rlds_tfrecord import Rlds
from rt2data.storage.places import Place


def open_rlds(declaration: Declaration, root: Place) -> Rlds:
    """Open the RLDS dataset in `root`, whichever container its records are in."""
    dataset = RldsDataset.open(root, _version(declaration, root))
    dataset.check_format()
    if dataset.file_format == "array_record":
        from rt2data.sources.robot.rlds_array_record import RldsArrayRecord

        return RldsArrayRecord(declaration, dataset)
    return Rlds(declaration, dataset)


def _version(declaration: Declaration, root: Place) -> str | None:
    """Choose the version folder in `root` that the declaration prefers; None leaves the choice to the reader."""
    present = [version for version in declaration.versions if (root / version / "dataset_info.json").is_file()]
    return max(present, key=lambda version: tuple(map(int, version.split(".")))) if present else None
