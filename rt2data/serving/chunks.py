"""Execute action chunks: average those that overlap, or take the first steps of each and ask again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rt2data.robot import rotation
from rt2data.tokenizer import ActionError, Decoded, arrays

if TYPE_CHECKING:
    import numpy.typing as npt


class TemporalEnsemble:
    """Average what the last chunks say of each step: temporal ensembling. The policy is asked at every step.

    The chunk i of those that reach the present step counts exp(-decay i), 0 being the oldest: new ones are taken in
    slowly. With 0.01 that is ACT (tonyzhaozh/act@742c753, imitate_episodes.py), with 0 the plain mean of Octo's
    TemporalEnsembleWrapper (octo-models/octo@241fb35) and of SimplerEnv's ActionEnsembler
    (simpler-env/SimplerEnv@4ab7178), which have the same formula. ACT leaves out an action of which one number is
    exactly 0, since it marks what is not there so; here what is not finite is left out, such as a reply that was no
    action.

    Each column is averaged for itself, as they do it. That is right for displacements; absolute angles near -pi and pi
    would average to 0, so name them in `rotations`. An average of grippers, 0 closed and 1 open, is a vote: whoever
    takes it for one binarises it then.

    Args:
        horizon: how many steps of each chunk are used, so also how many chunks are averaged.
        decay: how much less a chunk counts than the one before it.
        rotations: the first columns of roll, pitch, yaw that are averaged as rotations: the one whose matrix is nearest
            to the average of their matrices. Computed by numpy.

    Raises:
        ActionError: a horizon below 1, or a decay that is not a finite number.
    """

    def __init__(self, horizon: int, decay: float = 0.01, *, rotations: Sequence[int] = ()) -> None:
        if horizon < 1 or not np.isfinite(decay):
            raise ActionError(
                "TemporalEnsemble", f"horizon {horizon}, decay {decay}", "a step or more, a finite number"
            )
        self._horizon, self._decay, self._rotations = horizon, decay, tuple(rotations)
        self._chunks: deque[tuple[Any, npt.NDArray[np.bool_]]] = deque(maxlen=horizon)

    def __call__(self, chunk: Any) -> Any:
        """Take in the chunk of this step and return the action to execute.

        Args:
            chunk: floats (..., H, D) of any library, H at least `horizon`; the leading axes are environments.

        Returns:
            float64 (float32 where the device has none), (..., D), of the library of `chunk` and on its device; NaN
            where no chunk is finite.

        Raises:
            ActionError: another shape than the chunks before had.
        """
        xp = arrays.namespace(chunk)
        x = np.asarray(chunk) if xp is np else chunk
        shape = tuple(x.shape)
        _check_shape("chunk", shape, self._horizon, tuple(self._chunks[-1][0].shape) if self._chunks else shape)
        self._chunks.append((arrays.cast(xp, x, arrays.widest_float(xp, x)), np.ones(shape[:-2], np.bool_)))
        count = len(self._chunks)
        said = xp.stack([one[..., count - 1 - i, :] for i, (one, _) in enumerate(self._chunks)])
        weights = np.stack([np.exp(-self._decay * i) * counts for i, (_, counts) in enumerate(self._chunks)])
        finite = xp.all(xp.isfinite(said), axis=-1)
        shares = xp.where(finite, arrays.cast(xp, arrays.constant(xp, weights, x), arrays.dtype_name(said)), 0.0)
        with np.errstate(invalid="ignore"):
            shares = shares / xp.sum(shares, axis=0)
        said = xp.where(finite[..., None], said, 0.0)
        action = xp.sum(shares[..., None] * said, axis=0)
        return self._turned(xp, action, said, shares) if self._rotations else action

    def reset(self, rows: npt.ArrayLike | None = None) -> None:
        """Forget the chunks: of all environments, or where `rows`, bool of the leading shape, is True."""
        if rows is None:
            self._chunks.clear()
        for _, counts in self._chunks:
            counts[np.asarray(rows, np.bool_)] = False

    def _turned(self, xp: Any, action: Any, said: Any, shares: Any) -> Any:
        """The average with its rotations averaged as such."""
        out = arrays.to_numpy(action).copy()
        every, weights = arrays.to_numpy(said).astype(np.float64), arrays.to_numpy(shares)
        for first in self._rotations:
            columns = slice(first, first + 3)
            matrices = rotation.from_rpy(every[..., columns].reshape(-1, 3)).reshape(*every.shape[:-1], 3, 3)
            mean = (weights[..., None, None] * matrices).sum(axis=0).reshape(-1, 3, 3)
            out[..., columns] = rotation.to_rpy(rotation.nearest(mean)).reshape(out[..., columns].shape)
        return arrays.constant(xp, out, action)


class RecedingHorizon:
    """Execute the first steps of a chunk, then ask for the next one: openpi's ActionChunkBroker and Octo's RHCWrapper.

    Source: Physical-Intelligence/openpi@15a9616, action_chunk_broker.py; octo-models/octo@241fb35, gym_wrappers.py.

    Args:
        ask: gives the chunk for an observation: actions (..., H, D), or `Decoded` with terminate (..., H). The leading
            axes are environments, and it is asked for all of them together.
        steps: how many steps of each chunk are executed, at most H.

    Raises:
        ActionError: fewer than 1 step.
    """

    def __init__(self, ask: Callable[[Any], Any], steps: int) -> None:
        if steps < 1:
            raise ActionError("steps", str(steps), "a step or more")
        self._ask, self._steps = ask, steps
        self._chunk: Decoded | None = None
        self._bare = False  # whether `ask` gives actions alone
        self._at = np.zeros((), np.int64)  # per environment, which step comes

    def __call__(self, observation: Any) -> Any:
        """Return the next action.

        Args:
            observation: what `ask` is given, if it is asked at all: where the steps of some environment are at an end.
                Only these take the new chunk.

        Returns:
            (..., D), or `Decoded` with terminate (...), as `ask` gives chunks.

        Raises:
            ActionError: a chunk of fewer steps, or of another shape than the one before.
        """
        due = self._at >= self._steps
        if self._chunk is None or due.any():
            asked = self._ask(observation)
            self._bare = not isinstance(asked, Decoded)
            new = asked if isinstance(asked, Decoded) else Decoded(asked, None)
            shape = tuple(np.shape(new.actions))
            _check_shape("chunk", shape, self._steps, tuple(np.shape((self._chunk or new).actions)))
            if self._chunk is None or due.all():
                self._chunk, self._at = new, np.zeros(shape[:-2], np.int64)
            else:
                self._chunk = Decoded(*(_replaced(due, *pair) for pair in zip(new, self._chunk, strict=True)))
                self._at[due] = 0
        actions, flags = (_step(part, self._at) for part in self._chunk)
        self._at += 1
        return actions if self._bare else Decoded(actions, flags)

    def reset(self, rows: npt.ArrayLike | None = None) -> None:
        """Ask again at the next step: for all environments, or where `rows`, bool of the leading shape, is True."""
        if rows is None:
            self._chunk, self._at = None, np.zeros((), np.int64)
        else:
            self._at[np.asarray(rows, np.bool_)] = self._steps


def _step(part: Any, at: npt.NDArray[np.int64]) -> Any:
    """The step `at` (...) of actions (..., H, D) or flags (..., H)."""
    if part is None:
        return None
    xp = arrays.namespace(part)
    part = np.asarray(part) if xp is np else part
    lead = at.ndim
    first = int(at.flat[0]) if at.size else 0
    if (at == first).all():
        return part[(slice(None),) * lead + (first,)]
    flat = xp.reshape(part, (-1, *part.shape[lead:]))
    rows, steps = (arrays.constant(xp, one, part) for one in (np.arange(at.size), at.reshape(-1)))
    return xp.reshape(flat[rows, steps], (*at.shape, *part.shape[lead + 1 :]))


def _replaced(due: npt.NDArray[np.bool_], new: Any, old: Any) -> Any:
    if new is None:
        return None
    xp = arrays.namespace(new)
    new, old = (np.asarray(one) if xp is np else one for one in (new, old))
    flags = due.reshape(*due.shape, *(1,) * (len(new.shape) - due.ndim))
    return xp.where(arrays.constant(xp, flags, new), new, old)


def _check_shape(where: str, shape: tuple[int, ...], steps: int, before: tuple[int, ...]) -> None:
    if len(shape) < 2 or shape[-2] < steps:
        raise ActionError(where, f"shape {shape}", f"(..., steps, dimensions) with {steps} steps or more")
    if shape != before:
        raise ActionError(where, f"shape {shape}", f"{before}, that of the chunk before", "Call reset() between them")
