"""The field ``actions`` of a recipe: further tokenizers of the same actions, beside ``tokenizer``, each with a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rt2data.errors import Rt2dataError
from rt2data.recipes.bounds import Bounds
from rt2data.recipes.include import WrittenRecipe
from rt2data.tokenizer import ActionError, ActionTokenizer

KEY = "actions"


@dataclass(frozen=True, slots=True)
class ActionScheme:
    """One further tokenizer of actions.

    Attributes:
        name: by which templates (``{action:NAME}``), its file and the samples' fields go.
        spec: a bundled tokenizer, or a file.
        horizon: steps of its chunks, the first of those that the sample has.
        bounds: the rule of its bounds, the same for every source.
    """

    name: str
    spec: str
    horizon: int
    bounds: Bounds

    @property
    def floats(self) -> bool:
        """Whether it has no bins: its numbers are a field of samples, and no text."""
        return self.bounds.rule == "none"

    @property
    def resolved(self) -> dict[str, Any]:
        """As JSON, defaults filled in."""
        return {"spec": self.spec, "horizon": self.horizon, "bounds": self.bounds.resolved}


def parse_actions(written: WrittenRecipe) -> tuple[ActionScheme, ...]:
    """Parse the field ``actions``, which fits its schema; () where the recipe has none.

    Raises:
        Rt2dataError: no tokenizer of that name, where its horizon has to be looked up.
    """
    schemes = []
    for name, fields in written.fields.get(KEY, {}).items():
        horizon = fields.get("horizon") or own_horizon(fields["spec"], written.at(KEY, name, "spec"))
        rule = fields.get("bounds") or ("none" if scheme_of(fields["spec"]) == "float" else "quantiles")
        schemes.append(ActionScheme(name, fields["spec"], int(horizon), Bounds(rule)))
    return tuple(schemes)


def own_horizon(tokenizer: str, where: str) -> int:
    """Return the steps of an action chunk of a tokenizer, which a recipe names at `where`.

    Raises:
        Rt2dataError: no tokenizer of that name, or a file that is none.
    """
    try:
        return ActionTokenizer.from_pretrained(tokenizer).horizon
    except ActionError as error:
        raise Rt2dataError(where, f"{error.where}: {error.found}", error.expected, error.repair) from None


def check_horizons(schemes: tuple[ActionScheme, ...], horizon: int, written: WrittenRecipe) -> None:
    """Check that no chunk is longer than those of `tokenizer`, of `horizon` steps: it says what samples hold."""
    for scheme in schemes:
        if scheme.horizon > horizon:
            found = f"horizon {scheme.horizon}, and {horizon} of tokenizer:"
            repair = f"Give it tokenizer: {{horizon: {scheme.horizon}}}, or leave its horizon out"
            raise Rt2dataError(written.at(KEY, scheme.name), found, "none longer than that of tokenizer:", repair)


def check_schemes(schemes: tuple[ActionScheme, ...], written: WrittenRecipe) -> None:
    """Check that bounds fit the tokenizers; not where a worker parses a recipe, since it may lack their files."""
    for scheme in schemes:
        if scheme_of(scheme.spec) == "learned":  # only the bins of `tokenizer` are stored
            found = f"the tokenizer {scheme.spec}, whose ids follow from no rule"
            raise Rt2dataError(written.at(KEY, scheme.name), found, "such a one as tokenizer: itself")
        floats = scheme_of(scheme.spec) == "float"
        if floats != scheme.floats:
            found = f"bounds: {scheme.bounds.describe()} with the tokenizer {scheme.spec}"
            expected = "none, since its kind says which statistics it takes" if floats else "none with a float-* alone"
            raise Rt2dataError(written.at(KEY, scheme.name), found, expected, "Leave bounds: out")


def scheme_of(tokenizer: str) -> str:
    """Return the scheme of a tokenizer; "" where there is none yet: it may still have to be fitted to the recipe."""
    try:
        return ActionTokenizer.from_pretrained(tokenizer).spec.scheme
    except ActionError:
        return ""
