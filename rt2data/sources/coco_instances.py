"""COCO's instances: the boxes of each picture as one text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rt2data import boxes
from rt2data.errors import Rt2dataError
from rt2data.sources.coco_captions import lists, with_unlisted
from rt2data.sources.web import Example, WebCorpus


class CocoInstances(WebCorpus):
    """An example is a picture with all its boxes, those of crowds left out. `boxes:` says how they are written."""

    def read(self, split: str, files: Sequence[str]) -> list[Example]:
        path = self.root / files[0]
        if self.web.boxes is None:
            raise Rt2dataError(self.declaration.file, "no boxes", "boxes: with the question")
        pictures, annotations, data = lists(path, ("bbox", "category_id"))
        stored = data.get("categories")
        categories = (
            {c.get("id"): c.get("name") for c in stored if isinstance(c, dict)} if isinstance(stored, list) else {}
        )
        found: dict[Any, list[boxes.Box]] = {}
        for entry in annotations:
            label = categories.get(entry["category_id"]) if isinstance(entry["category_id"], int) else None
            box = boxes.read(entry["bbox"], label, self.web.boxes.form)
            if box is not None and not entry.get("iscrowd"):
                found.setdefault(entry["image_id"], []).append(box)
        examples = []
        for entry in with_unlisted(pictures, found):
            stated = (entry.get("width"), entry.get("height"))
            width, height = (n if isinstance(n, int) and n > 0 else 0 for n in stated)
            examples.append(
                Example(
                    str(entry["id"]),
                    str(entry["id"]),
                    [self.names(entry)],
                    self.declaration.language,
                    question=self.web.boxes.question,
                    boxes=found.get(entry["id"], []),
                    size=(width, height),
                )
            )
        return examples
