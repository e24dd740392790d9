"""What a specification says of its tokenizer: name, dimensions, bins and the like, of which nothing is computed."""

from __future__ import annotations

from rt2data.tokenizer.spec import Spec
from rt2data.tokenizer.spec_fields import Dim, Terminate


class Described:
    """A tokenizer as its specification describes it."""

    __slots__ = ("_fingerprint", "_spec")

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits over all that decides what a string means; not the name, not the vocabulary."""
        if self._fingerprint is None:
            self._fingerprint = self._spec.fingerprint()
        return self._fingerprint

    @property
    def name(self) -> str:
        return self._spec.name

    @property
    def spec(self) -> Spec:
        return self._spec

    @property
    def dims(self) -> tuple[Dim, ...]:
        """The dimensions of an action, in order."""
        return self._spec.dims

    @property
    def bins(self) -> int:
        """The number of bins of each dimension."""
        return self._spec.bins

    @property
    def horizon(self) -> int:
        """The number of steps in one action chunk; 1 for single actions."""
        return self._spec.horizon

    @property
    def terminate(self) -> Terminate | None:
        """The numbers that field 0 can hold and what they mean; None for a scheme without that field."""
        return self._spec.terminate

    @property
    def fields(self) -> int:
        """The number of integers of one action: mostly horizon * (dimensions + 1 for terminate)."""
        return self._spec.rows * self._spec.fields_per_step

    @property
    def sources(self) -> tuple[str, ...]:
        """Public names of a mixture's sources that have bounds of their own; none where there is one set of bounds."""
        return tuple(self._spec.sources)
