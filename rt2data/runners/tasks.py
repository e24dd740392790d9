"""Tasks: one piece of a stage's work each, as a value that goes to a worker as JSON.

A stage's module defines its task as a frozen dataclass. Fields are strings, numbers, paths, places, and tuples of
strings or of flat dataclasses, so that the same task has the same JSON on every machine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from rt2data import storage
from rt2data.storage.object_store import Url
from rt2data.storage.places import Place
from rt2data.storage.workdir import WorkDir

Kind = TypeVar("Kind", bound="Task")

Counts = dict[str, int]  # what a task did: samples, bytes, "left_out.REASON"


@dataclass(frozen=True, slots=True)
class Task(ABC):
    """A task of some stage."""

    @abstractmethod
    def run(self) -> Counts:
        """Do the work, which ends up in a file below the work directory. May run twice without harm.

        Returns:
            What was done, by name; empty where it was done before.

        Raises:
            Rt2dataError: input that cannot be used.
        """

    def to_json(self) -> dict[str, Any]:
        """The task as JSON: paths and places are strings."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_json(cls: type[Kind], content: dict[str, Any]) -> Kind:
        """The inverse of `to_json`."""
        kinds = _kinds(cls)
        return cls(**{name: _typed(kinds[name], value) for name, value in content.items()})


Stages = Sequence[tuple[str, Sequence[Task]]]  # the name of each (`rt2data.runners.workers.STAGES`), and its tasks


@cache
def _kinds(task: type[Task]) -> dict[str, Any]:
    return get_type_hints(task)


def _plain(value: Any) -> Any:
    if isinstance(value, WorkDir):
        return str(value.root)
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, tuple):
        return [_plain(element) for element in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, (type, Url)) else str(value)


def _typed(kind: Any, value: Any) -> Any:
    if kind is WorkDir:
        return WorkDir(Path(value))
    if kind is Path:
        return Path(value)
    if kind == Place:
        return storage.place(value)
    if isinstance(value, list):
        return tuple(_typed(get_args(kind)[0], element) for element in value)
    if isinstance(value, dict):
        return kind(**{name: tuple(one) if isinstance(one, list) else one for name, one in value.items()})
    return value
