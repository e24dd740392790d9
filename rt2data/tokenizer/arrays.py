"""Compute with arrays of any library through the Python array API standard.

numpy needs nothing else. PyTorch, JAX and other arrays need ``array-api-compat``, imported when the first one is seen;
nothing is copied to the host.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from rt2data.tokenizer.errors import ActionError

if TYPE_CHECKING:
    import numpy.typing as npt

# Arrays of several libraries, and their modules, have no common static type.
Array = Any
Namespace = Any


def namespace(x: Array) -> Namespace:
    """Return the array API namespace of an array; numpy for numpy arrays, numbers and lists.

    Raises:
        ActionError: for arrays of other libraries where array-api-compat is not installed, and for what is no array.
    """
    if isinstance(x, (np.ndarray, np.generic, list, tuple, bool, int, float)):
        return np
    try:
        import array_api_compat  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as e:
        kind = f"{type(x).__module__}.{type(x).__name__}"
        raise ActionError(
            kind, "array-api-compat is not installed", "it, for this array", "Install rt2data[arrays]"
        ) from e
    try:
        return array_api_compat.array_namespace(x)
    except TypeError as e:
        raise ActionError("array", f"a {type(x).__name__}", "an array, or a list of numbers") from e


def name_of(dtype: object) -> str:
    """Return ``float32`` for any library's float32, whether it is given as a dtype or as a class."""
    if isinstance(dtype, np.dtype):
        return dtype.name
    return np.dtype(dtype).name if isinstance(dtype, type) else str(dtype).rsplit(".", 1)[-1]


def dtype_name(x: Array) -> str:
    """Return the name of an array's dtype, as `name_of` gives it."""
    return name_of(x.dtype)


def action_dtype(dtype: object) -> str:
    """Return the name of a dtype of decoded actions, given as a name or as any library's own.

    Raises:
        ActionError: neither float32 nor float64.
    """
    name = dtype if isinstance(dtype, str) else name_of(dtype)
    if name not in ("float32", "float64"):
        raise ActionError("dtype", str(dtype), "float32 or float64")
    return name


def has_float64(xp: Namespace, x: Array) -> bool:
    """Return whether the library computes in float64 on the device of `x`: not JAX without x64, nor Apple's GPUs."""
    if xp is np:
        return True
    if xp.__name__.startswith("jax"):
        return bool(sys.modules["jax"].config.jax_enable_x64)
    return getattr(getattr(x, "device", None), "type", "") != "mps"


def widest_float(xp: Namespace, x: Array) -> str:
    """Return the name of the dtype that rules are computed in: float64 where the library has it (`has_float64`), else
    float32.
    """
    return "float64" if has_float64(xp, x) else "float32"


def cast(xp: Namespace, x: Array, dtype: str) -> Array:
    """Cast an array to a dtype, by its name; an array of that dtype is returned as it is."""
    if xp is np:  # whose older versions have no function of that name
        return x.astype(dtype, copy=False)
    return xp.astype(x, getattr(xp, dtype), copy=False)


def constant(xp: Namespace, table: npt.NDArray[Any], like: Array) -> Array:
    """Convert a numpy table to an array of library `xp` on the device of `like`."""
    if xp is np:
        return table
    if xp.__name__.startswith("jax"):
        # Placed by JAX beside what it meets; naming a device would fail inside jit.
        return xp.asarray(table)
    return xp.asarray(table, device=like.device)


def to_numpy(x: Array) -> npt.NDArray[Any]:
    """Convert any array or list to numpy, copied to the host where it must be."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
    return np.asarray(x)


class Tables:
    """Tables of numbers that a rule needs, made by numpy on first use and kept, for arrays of any library and device.

    torch.compile takes a table as a constant: what makes it is no part of what is compiled. JAX gets the numpy table
    each time, since what it makes of one inside jit is valid there only.
    """

    __slots__ = ("_kept", "_key", "_make")

    def __init__(self, make: Callable[[str], npt.NDArray[Any]]) -> None:
        self._make = make
        self._kept: dict[tuple[str, str], Array] = {}
        self._key = str(next(_COUNTER))

    def get(self, xp: Namespace, name: str, like: Array) -> Array:
        """Return the table `name` as an array of library `xp` on the device of `like`."""
        if xp is np:
            return self._host(name)
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(like, torch.Tensor):
            return self._device(name, str(like.device), self._key)
        return constant(xp, self._host(name), like)

    def _host(self, name: str) -> npt.NDArray[Any]:
        kept = self._kept.get((name, ""))
        if kept is None:
            kept = self._kept[name, ""] = self._make(name)
        return kept

    def _device(self, name: str, device: str, key: str) -> Array:
        """`key` is only there to be read: torch.compile guards a string that it reads, and not the object of a method
        whose result is constant. Without it a compiled function would keep the bounds of the first tokenizer it met.
        """
        del key
        if (name, device) not in self._kept:
            self._kept[name, device] = sys.modules["torch"].asarray(self._host(name), device=device)
        return self._kept[name, device]

    # What torch.compiler.assume_constant_result sets.
    _device._dynamo_marked_constant = True  # type: ignore[attr-defined]  # noqa: SLF001


_COUNTER = itertools.count()
