"""COCO's caption layout: one JSON with images and annotations, several captions per picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rt2data import index
from rt2data.errors import Rt2dataError
from rt2data.sources.web import Example, WebCorpus, checked, load_json, texts
from rt2data.storage import Place


class CocoCaptions(WebCorpus):
    """An example is a picture in one language with all its captions. Fields: https://cocodataset.org/#format-data."""

    def read(self, split: str, files: Sequence[str]) -> list[Example]:
        path = self.root / files[0]
        pictures, annotations, _ = lists(path, ("caption",))
        captions: dict[tuple[Any, str | None], list[Any]] = {}
        for entry in annotations:
            captions.setdefault((entry["image_id"], self.language(entry)), []).append(entry["caption"])
        languages: dict[Any, list[str | None]] = {}
        for image, language in captions:
            languages.setdefault(image, []).append(language)
        examples = []
        for entry in with_unlisted(pictures, languages):
            picture = self.names(entry)
            for language in languages.get(entry["id"], [self.declaration.language]):
                found = texts(captions.get((entry["id"], language)))
                own = str(entry["id"]) if language == self.declaration.language else f"{entry['id']}/{language}"
                reject = 0 if found else index.CODE["no_caption"]
                examples.append(Example(own, str(entry["id"]), [picture], language, captions=found, reject=reject))
        return examples


def lists(path: Place, others: tuple[str, ...]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """The pictures and, in the order of their ids, the annotations of a COCO file, and the file."""
    data = load_json(path, "annotations")
    for key in ("images", "annotations"):
        if not isinstance(data.get(key) if isinstance(data, dict) else None, list):
            expected = 'COCO JSON with the lists "images" and "annotations"'
            raise Rt2dataError(str(path), f'no list under "{key}"', expected)
    pictures = list(checked(data["images"], f"{path} images", ("id",)))
    annotations = checked(data["annotations"], f"{path} annotations", ("image_id",), others)
    return pictures, sorted(annotations, key=lambda e: str(e.get("id", "")).zfill(20)), data


def with_unlisted(pictures: list[dict[str, Any]], annotated: Any) -> list[dict[str, Any]]:
    """The pictures, and those that are not listed but annotated: they are left out and counted, not forgotten."""
    known = {entry["id"] for entry in pictures}
    return [*pictures, *({"id": image} for image in annotated if image not in known)]
