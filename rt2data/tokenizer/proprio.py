"""Proprioception as text in the robot prompt: 256 bins of each number, between bounds of its source.

A prompt that holds ``{proprio}`` gets the state of the step there, ``12 200 133``: the bins of an `ActionTokenizer` of
the ``uniform`` scheme without a terminate field. It lies beside the action tokenizer as ``proprio.json``, so that a
server writes the same prompt from a state, and can be read back from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rt2data import mixture, prompts, storage
from rt2data.errors import Rt2dataError
from rt2data.tokenizer import ActionTokenizer

if TYPE_CHECKING:
    import numpy.typing as npt

    from rt2data.storage.places import Place

FILE = "proprio.json"
SPEC: Mapping[str, Any] = {
    "format": "rt2data.tokenizer/1", "name": "proprio", "scheme": "uniform", "bins": 256, "terminate": None,
    "dims": [{"name": "state", "low": -1.0, "high": 1.0}],
}  # fmt: skip


def load(folder: Place) -> ActionTokenizer | None:
    """The tokenizer of the states of a mixture, by source; None where no prompt holds them."""
    return ActionTokenizer.from_pretrained(str(folder / FILE)) if (folder / FILE).is_file() else None


class RobotPrompt:
    """The robot prompt of one source of a built mixture, as its samples have it: for serving. Immutable.

    Args:
        folder: the mixture, a folder or URL; its ``manifest.json``, and ``proprio.json`` where there is one, are read.
        source: the source's short id.
    """

    def __init__(self, folder: str | Path, source: str) -> None:
        manifest = mixture.load_manifest(folder)
        names = {entry["source"]: entry["dataset"] for entry in manifest["sources"] if entry["kind"] == "robot"}
        if source not in names:
            raise Rt2dataError(str(folder), f'no robot source "{source}"', f"one of {', '.join(names) or 'none'}")
        own = next(entry for entry in manifest["recipe"]["sources"] if entry["source"] == names[source])
        self.prompts: dict[str, Any] = manifest["recipe"]["prompts"] | own.get("prompts", {})
        self.source, found = source, load(storage.place(folder))
        self.tokenizer = found.for_source(source) if found is not None and source in found.sources else None

    def __call__(self, instruction: str, state: npt.ArrayLike | None = None, *, plan: bool = False) -> str:
        """The prompt of an instruction and, where the prompt holds it, the state, as the dataset stores it.

        `plan`: the prompt that asks for a plan before the action.
        """
        kind = "plan" if plan else "robot"
        if "{proprio}" not in self.prompts[kind]:
            return prompts.robot(self.prompts, instruction, kind)
        if self.tokenizer is None:
            raise Rt2dataError(f"the prompt of {self.source}", f"no {FILE}", "the file beside tokenizer.json")
        if state is None:
            names = " ".join(dim.name for dim in self.tokenizer.dims)
            raise Rt2dataError(f"the prompt of {self.source}", "no state", f"the {names} of this moment")
        import numpy as np

        bins = self.tokenizer.encode(np.asarray(state, np.float32))
        return prompts.robot(self.prompts, instruction, kind, str(self.tokenizer.format(bins)))
