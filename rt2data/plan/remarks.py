"""What a plan says of images that are turned or are not there, and of boxes: how many, and which field to look at."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from rt2data import index
from rt2data.declarations.web import UNITS
from rt2data.plan.plan import SourcePlan
from rt2data.recipes.recipe import RecipeSource
from rt2data.samples import selection
from rt2data.samples.selection import Selection

WORDS = {
    "turned": "images turned upright by their EXIF orientation, and encoded anew",
    "clipped": "boxes that reach beyond their image, clipped to it",
    "skipped": "boxes without an area or a label, which no answer holds",
    "text_only": "examples whose records name no image, samples of text alone",
}


def count_remarks(table: pa.Table, source: RecipeSource, samples: Selection) -> Counter[str]:
    """Count in the usable rows of a part what `WORDS` names."""
    counts: Counter[str] = Counter()
    if source.declaration.web is None:
        return counts
    for camera in selection.cameras(source):
        if f"{camera}.turn" in table.column_names:
            counts["turned"] += int(np.count_nonzero(index.numbers(table, f"{camera}.turn")[samples.kept]))
    for word in ("skipped", "clipped") if source.declaration.web.boxes else ():
        counts[word] += int(index.numbers(table, f"{index.BOXES}{word}")[samples.kept].sum())
    if source.declaration.web.text_only:
        counts["text_only"] += int(np.count_nonzero(~selection.has_image(table, source)[samples.kept]))
    return +counts


def describe_remarks(source: RecipeSource, plan: SourcePlan) -> list[str]:
    """Say what was counted, a sentence each."""
    sentences = [
        f"{plan.dataset}: {text}: {plan.remarks[word]:,}" for word, text in WORDS.items() if plan.remarks[word]
    ]
    rule = source.declaration.web.boxes if source.declaration.web else None
    if plan.remarks["turned"] and rule is not None:
        sides = f"{rule.pixels} pixels" if rule.pixels else "the stated width and height, else to stored pixels"
        sentences[0] += f"; their boxes are turned too: they belong to {sides} (boxes.pixels)"
    return sentences


def explain_boxes(source: RecipeSource, plan: SourcePlan) -> list[str]:
    """Say, for records whose boxes cannot be used, which fields to look at, a sentence each."""
    rule = source.declaration.web.boxes if source.declaration.web else None
    if rule is None:
        return []
    others = ", ".join(unit for unit in UNITS if unit != rule.unit)
    named = f"boxes are declared form {rule.form}, unit {rule.unit}"
    sentences = []
    if plan.left_out["box_units"]:
        sentences.append(
            f"{plan.left_out['box_units']:,} box_units: no number of a record is above 1.5; {named}; "
            "look at boxes.unit, which may be fractions"
        )
    if plan.left_out["box_outside"]:
        sentences.append(
            f"{plan.left_out['box_outside']:,} box_outside: more than half of a box is outside of its image; {named}; "
            f"look at boxes.form, boxes.unit ({others}) and fields.width and height"
        )
    if plan.left_out["bad_box"]:
        sentences.append(
            f"{plan.left_out['bad_box']:,} bad_box: not four finite numbers, a size below 0, or another number "
            f"of labels than of boxes; {named}; look at fields.boxes, fields.label and boxes.form"
        )
    return [f"{plan.dataset}: {text}" for text in sentences]
