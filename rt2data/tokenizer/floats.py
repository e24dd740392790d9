"""Actions that are no text, for flow and diffusion heads: the normaliser of a tokenizer of the "float" scheme.

Its rule is that of a stack (`rt2data.tokenizer.normalisers`), and an option says what of the statistics it uses: low
and high of a dimension are two quantiles, or minimum and maximum; of a z-score they are mean - std and mean + std.
Bounds of exactly -1 and 1 take the number as it is: the mask of the normaliser is False there.

>>> tok = ActionTokenizer.from_pretrained("out/mine").for_source("bridge_dataset")
>>> values = float_normaliser(tok).normalise(actions)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rt2data.tokenizer.errors import ActionError
from rt2data.tokenizer.normalisers import RULES, Normaliser
from rt2data.tokenizer.spec import Spec

if TYPE_CHECKING:
    from rt2data.tokenizer.tokenizer import ActionTokenizer

# The stacks that do not normalise a gripper; their mask is False there.
RAW_GRIPPER = frozenset({"openvla", "openvla-oft", "octo", "starvla", "starvla-deploy"})


def float_normaliser(tokenizer: ActionTokenizer) -> Normaliser:
    """Return what normalises the actions of a tokenizer of the "float" scheme, and back.

    ``normalise(actions)`` takes (..., D) or (..., H, D) in the units of a mixture's samples, and ``denormalise`` a
    model's output of the same shape. A sample's `action_normalised` is the first, rounded to float32.

    Args:
        tokenizer: of one source: ``ActionTokenizer.from_pretrained(MIXTURE).for_source(SOURCE)``.

    Raises:
        ActionError: another scheme, or bounds per source.
    """
    spec = tokenizer.spec
    if spec.scheme != "float" or spec.sources:
        found = f'the "{spec.scheme}" scheme' + (", with bounds per source" if spec.sources else "")
        raise ActionError(f'tokenizer "{spec.name}"', found, 'the "float" scheme, of one source (for_source)')
    return make_normaliser(spec)


def make_normaliser(spec: Spec) -> Normaliser:
    """Return the normaliser of a specification of the "float" scheme, with its bounds."""
    stack, kind = spec.options["stack"], spec.options["kind"]
    low, high = np.array([d.low for d in spec.dims]), np.array([d.high for d in spec.dims])
    mask = ~((low == -1) & (high == 1))
    rule = RULES[stack][kind]
    if rule.kind == "zscore":
        low, high = (low + high) / 2, (high - low) / 2
    zero = np.array([d.constant for d in spec.dims]) if rule.unused == "zero" else None
    return Normaliser(kind, rule, low, high, None if mask.all() else mask, zero)
