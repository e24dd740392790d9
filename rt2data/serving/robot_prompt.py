"""The robot prompt of a mixture for serving: instruction and proprioception as its samples have them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rt2data import mixture, prompts, storage
from rt2data.errors import Rt2dataError
from rt2data.mixture.reader import find_source
from rt2data.tokenizer.proprio import FILE, load, write_state

if TYPE_CHECKING:
    import numpy.typing as npt


class RobotPrompt:
    """The robot prompt of one source of a built mixture. Immutable.

    Args:
        folder: the mixture, a folder or URL; its ``manifest.json``, and ``proprio.json`` where there is one, are read.
        source: the source's name, an alias or its short id.

    Attributes:
        source: its public name.

    Raises:
        Rt2dataError: no mixture, or no such robot source in it.
    """

    def __init__(self, folder: str | Path, source: str) -> None:
        manifest = mixture.load_manifest(folder)
        robots = [entry["source"] for entry in manifest["sources"] if entry["kind"] == "robot"]
        self.source: str = find_source(manifest, source, f"{folder}: robot sources", robots)["source"]
        own = next(entry for entry in manifest["recipe"]["sources"] if entry["source"] == self.source)
        self.prompts: dict[str, Any] = manifest["recipe"]["prompts"] | own.get("prompts", {})
        tokenizer = load(storage.place(folder))
        known = tokenizer is not None and self.source in tokenizer.sources
        self.tokenizer = tokenizer.for_source(self.source) if tokenizer and known else None

    def __call__(self, instruction: str, state: npt.ArrayLike | None = None, *, plan: bool = False) -> str:
        """Format the prompt.

        Args:
            instruction: as the dataset stores it; the recipe's text operations are applied.
            state: the proprioception, (D,), in the units of the dataset; needed where the prompt holds it.
            plan: whether to ask for reasoning before the action.

        Raises:
            Rt2dataError: no state for a prompt that holds it.
        """
        kind = "plan" if plan else "robot"
        if "{proprio}" not in self.prompts[kind]:
            return prompts.format_robot_prompt(self.prompts, instruction, kind)
        if self.tokenizer is None:
            raise Rt2dataError(f"the prompt of {self.source}", f"no {FILE}", "the file beside tokenizer.json")
        if state is None:
            names = " ".join(dim.name for dim in self.tokenizer.dims)
            raise Rt2dataError(f"the prompt of {self.source}", "no state", f"the {names} of this moment")
        told = write_state(self.tokenizer, state, f"the prompt of {self.source}")
        return prompts.format_robot_prompt(self.prompts, instruction, kind, told)
