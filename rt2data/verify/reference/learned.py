"""The scheme ``learned``: what can be said of a user's ids, and with the encoder given, the ids once more."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class LearnedIds:
    """The rule of dimensions `dims` over chunks of `horizon` steps; `encoder` is the user's, None where none is given.

    Attributes:
        count: how many ids a chunk has.
    """

    def __init__(
        self, dims: Sequence[Mapping[str, Any]], horizon: int, options: Mapping[str, Any], encoder: Any
    ) -> None:
        self.dims, self.horizon, self.encoder = dims, horizon, encoder
        self.count: int = options["fields"]
        self.before, self.one, self.behind = map(str, options.get("template") or ["", "", ""])

    def encode(self, action: Sequence[float]) -> list[int]:
        """The ids of horizon x D numbers, encoded alone."""
        scaled = []
        for i, x in enumerate(action):
            middle, half = self._scale(i)
            scaled.append((x - middle) / half)
        chunk = np.array(scaled, np.float32).reshape(1, self.horizon, len(self.dims))
        return [int(i) for i in np.asarray(self.encoder.encode(chunk)).reshape(-1)]

    def decode(self, ids: Sequence[int]) -> list[float]:
        """The horizon x D numbers of ids."""
        values = np.asarray(self.encoder.decode(np.array([ids], np.int32)), np.float64).reshape(-1).tolist()
        return [math.fsum((y * self._scale(i)[1], self._scale(i)[0])) for i, y in enumerate(values)]

    def write(self, ids: Sequence[int]) -> str:
        """The ids as tokens, by the template."""
        return self.before + "".join(self.one.replace("{}", str(i)) for i in ids) + self.behind

    def read(self, text: str) -> list[int]:
        """The numbers between the texts of the template, whatever else there is."""
        head, _, tail = self.one.partition("{}")
        return [int(n) for n in re.findall(f"{re.escape(head)}([0-9]{{1,9}}){re.escape(tail)}", text)]

    def _scale(self, number: int) -> tuple[float, float]:
        dim = self.dims[number % len(self.dims)]
        middle = (float(dim["low"]) + float(dim["high"])) / 2
        return middle, float(dim["high"]) - middle
