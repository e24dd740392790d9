"""COCO's caption layout: one JSON with images and annotations, several captions per picture."""

from __future__ import annotations

from typing import Any

from rt2data import index
from rt2data.errors import Rt2dataError
from rt2data.sources.web import Example, WebCorpus, checked, texts


class CocoCaptions(WebCorpus):
    """An example is a picture in one language with all its captions. Fields: https://cocodataset.org/#format-data."""

    def read(self, split: str) -> list[Example]:
        data = self.load(split, "annotations")
        where = str(self.root / self.file(split, "annotations"))
        for key in ("images", "annotations"):
            if not isinstance(data.get(key) if isinstance(data, dict) else None, list):
                raise Rt2dataError(where, f'no list under "{key}"', 'COCO JSON with the lists "images" and "annotations"')
        pictures = list(checked(data["images"], f"{where} images", ("id",)))
        annotations = list(checked(data["annotations"], f"{where} annotations", ("image_id",), ("caption",)))
        captions: dict[tuple[Any, str | None], list[Any]] = {}
        for entry in sorted(annotations, key=lambda e: str(e.get("id", "")).zfill(20)):
            captions.setdefault((entry["image_id"], self.language(entry)), []).append(entry["caption"])
        languages: dict[Any, list[str | None]] = {}
        for image, language in captions:
            languages.setdefault(image, []).append(language)
        known = {entry["id"] for entry in pictures}
        # A caption whose picture is not listed is an example too: it is left out and counted, not forgotten.
        unlisted = [{"id": image} for image in languages if image not in known]
        examples = []
        for entry in [*pictures, *unlisted]:
            place = self.picture(entry)
            for language in languages.get(entry["id"], [self.declaration.language]):
                found = texts(captions.get((entry["id"], language)))
                own = str(entry["id"]) if language == self.declaration.language else f"{entry['id']}/{language}"
                examples.append(
                    Example(
                        id=own, image_unit=str(entry["id"]), language=language, captions=found,
                        reject=0 if found else index.CODE["no_caption"], **place,
                    )  # fmt: skip
                )
        return examples
