"""Learned encoders of actions: a user's own code behind a tokenizer of the scheme ``learned``.

A specification says the encoder's name, how many ids a chunk has, how many there are, and the fingerprint of the
weights. It never says what code runs: that is said by the user alone, in Python (`register`) or as
``NAME=MODULE:FUNCTION`` on the command line (`allow`), where FUNCTION, called without arguments, returns a `Learned`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from rt2data.errors import near
from rt2data.tokenizer.errors import ActionError

__all__ = ["Learned", "allow", "known", "register"]

FINGERPRINT = re.compile(r"[A-Za-z0-9_.:+-]{1,128}")
_PLACE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.+-]{0,79})=([A-Za-z_][\w.]{0,200}):([A-Za-z_]\w{0,100})", re.ASCII)


class Learned(Protocol):
    """What a user's encoder is. The same chunk must give the same ids, alone and beside others, on every machine.

    Attributes:
        fingerprint: names the weights, such as the SHA-256 of their file: at most 128 letters, digits and _ . : + -
    """

    fingerprint: str

    def encode(self, chunks: Any) -> Any:
        """Return the ids of action chunks: integers (n, K) of float32 (n, H, D), both of numpy.

        The numbers are those of the actions, taken to -1 and 1 by the bounds; bounds of -1 and 1 leave them.
        """

    def decode(self, ids: Any) -> Any:
        """Return action chunks, floats (n, H, D), of ids int32 (n, K)."""


_known: dict[str, Learned] = {}
_places: dict[str, str] = {}


def register(name: str, encoder: Learned) -> None:
    """Let tokenizers of this process that name an encoder `name` use `encoder`.

    Raises:
        ActionError: no fingerprint, or no methods.
    """
    where = f'learned encoder "{name}"'
    if not all(callable(getattr(encoder, method, None)) for method in ("encode", "decode")):
        raise ActionError(where, f"a {type(encoder).__name__}", "an object with encode, decode and fingerprint")
    mark = getattr(encoder, "fingerprint", None)
    if not isinstance(mark, str) or not FINGERPRINT.fullmatch(mark):
        raise ActionError(where, f"the fingerprint {str(mark)[:60]!r}", "1 to 128 letters, digits and _ . : + -")
    _known[name] = encoder


def allow(places: Iterable[str]) -> None:
    """Import encoders and register them; one that was imported from the same place before is kept.

    Args:
        places: ``NAME=MODULE:FUNCTION`` each.

    Raises:
        ActionError: another form, or a module or function that there is not.
    """
    for place in places:
        found = _PLACE.fullmatch(place)
        if found is None:
            raise ActionError("learned", repr(place)[:120], "NAME=MODULE:FUNCTION, such as rvq=my_package.rvq:load")
        name, module, function = found.groups()
        if _places.get(name) == place:
            continue
        try:
            make = getattr(importlib.import_module(module), function, None)
        except ImportError as error:
            repair = "It must be importable on every worker: install it, or set PYTHONPATH"
            raise ActionError(f"learned {place}", str(error)[:200], "a module that can be imported", repair) from error
        if not callable(make):
            raise ActionError(f"learned {place}", f"no function {function} in {module}", "one that returns an encoder")
        register(name, make())
        _places[name] = place


def allowed() -> tuple[str, ...]:
    """The places of the encoders of this process, for processes that work for it."""
    return tuple(_places.values())


def as_places(written: Mapping[str, str]) -> list[str]:
    """Return ``NAME=MODULE:FUNCTION`` of a mapping of names to ``MODULE:FUNCTION``."""
    return [f"{name}={place}" for name, place in written.items()]


def known() -> Mapping[str, Learned]:
    """The encoders of this process by name."""
    return dict(_known)


def find(name: str, weights: str = "") -> Learned:
    """Return the encoder of a name, whose weights have the fingerprint `weights` ("": any).

    Raises:
        ActionError: it is not registered, or has other weights.
    """
    where = f'learned encoder "{name}"'
    if name not in _known:
        repair = f"Give it with --learned {name}=MODULE:FUNCTION, or rt2data.tokenizer.learned.register"
        raise ActionError(where, "no code for it", "the user's own", near(name, _known) or repair)
    encoder = _known[name]
    if weights and encoder.fingerprint != weights:
        raise ActionError(where, f"weights {encoder.fingerprint}", f"{weights}, which the tokenizer names")
    return encoder
