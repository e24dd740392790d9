"""``learned``: ids of a user's own encoder (VQ-BeT, RDT2's residual vector quantizer, FSQ), of a whole chunk.

Rule: y = (x - middle) / half, which takes the bounds to -1 and 1, in float64; rounded to float32 it goes to the encoder
(`rt2data.tokenizer.learned`), whose ids are the bins. Decoding runs backwards. Nothing is clipped here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rt2data.tokenizer import arrays, learned
from rt2data.tokenizer.arrays import Array, Namespace
from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.spec import Spec

if TYPE_CHECKING:
    import numpy.typing as npt


class LearnedIds:
    """The rule above over arrays (..., horizon, D), or (..., D) for a horizon of 1; by numpy, on the host."""

    __slots__ = ("_spec",)

    faults: tuple[str, ...] = (
        "ids of a learned encoder: how near they decode, and whether a decoded action has the same ids, is up to it",
    )

    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    def encode(self, xp: Namespace, x: Array) -> Array:
        """Ids (..., K), int32.

        Raises:
            ActionError: no encoder, or one whose answer is no ids, or differs when a chunk is encoded again.
        """
        spec, host = self._spec, arrays.to_numpy(x)
        encoder = learned.find(spec.options["encoder"], spec.options["weights"])
        middle, half = self._scale()
        chunks = ((host.astype(np.float64) - middle) / half).astype(np.float32)
        chunks = chunks.reshape(-1, spec.horizon, len(spec.dims))
        leading = host.shape[: host.ndim - (2 if spec.horizon > 1 else 1)]
        ids = np.zeros((0, spec.options["fields"]), np.int32)
        if len(chunks):
            ids = self._checked(encoder.encode(chunks.copy()), len(chunks))
            again = self._checked(encoder.encode(chunks[-1:].copy()), 1)
            if (again[0] != ids[-1]).any():
                repair = "Switch off what is random (dropout, sampling), and compute in float32"
                found = "other ids of a chunk when it is encoded again, alone"
                raise ActionError(self._where, found, "the same each time", repair)
        return arrays.constant(xp, ids.reshape(*leading, spec.options["fields"]), x)

    def clipped(self, xp: Namespace, x: Array) -> Array:
        """Zeros, int8, in the shape of `x`: an encoder takes every number."""
        return arrays.cast(xp, xp.zeros_like(x), "int8")

    def decode(self, xp: Namespace, bins: Array, dtype: str) -> Array:
        """Actions (..., horizon, D), or (..., D), of ids (..., 1, K), or (..., K) for a horizon of 1."""
        spec, host = self._spec, arrays.to_numpy(bins).astype(np.int32)
        encoder = learned.find(spec.options["encoder"], spec.options["weights"])
        rows = host.reshape(-1, spec.options["fields"])
        shape = (spec.horizon, len(spec.dims))
        y = arrays.to_numpy(encoder.decode(rows.copy())) if len(rows) else np.zeros((0, *shape))
        if y.shape != (len(rows), *shape) or y.dtype.kind != "f" or not np.isfinite(y).all():
            found = f"decoded actions of the shape {y.shape} and dtype {y.dtype}"
            raise ActionError(self._where, found, f"finite floats {(len(rows), *shape)}")
        middle, half = self._scale()
        leading, tail = (host.shape[:-2], shape) if spec.horizon > 1 else (host.shape[:-1], shape[1:])
        return arrays.constant(xp, (y * half + middle).reshape(*leading, *tail).astype(dtype), bins)

    def round_trip(self) -> tuple[bool, bool, int]:
        """See Properties; nothing is known of it."""
        return False, False, 0

    @property
    def _where(self) -> str:
        return f'learned encoder "{self._spec.options["encoder"]}"'

    def _scale(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The middle and half the width of each dimension's bounds."""
        low, high = (np.array([getattr(d, end) for d in self._spec.dims], np.float64) for end in ("low", "high"))
        return (low + high) / 2, high - (low + high) / 2

    def _checked(self, ids: Any, count: int) -> npt.NDArray[np.int32]:
        host, wanted = arrays.to_numpy(ids), (count, self._spec.options["fields"])
        if host.shape != wanted or host.dtype.kind not in "iu":
            found = f"ids of the shape {host.shape} and dtype {host.dtype}"
            raise ActionError(self._where, found, f"integers {wanted}")
        if host.size and not 0 <= host.min() <= host.max() < self._spec.bins:
            raise ActionError(self._where, f"ids from {host.min()} to {host.max()}", f"0..{self._spec.bins - 1}")
        return host.astype(np.int32)
