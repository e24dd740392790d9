"""COCO's caption layout: one JSON with images and annotations, several captions per picture."""

from __future__ import annotations

from typing import Any

from rt2data import index
from rt2data.errors import Rt2dataError
from rt2data.sources.web import Example, WebCorpus, texts


class CocoCaptions(WebCorpus):
    """An example is a picture in one language with all its captions. Fields: https://cocodataset.org/#format-data."""

    def read(self, split: str) -> list[Example]:
        data = self.load(split, "annotations")
        where = str(self.root / self.file(split, "annotations"))
        for key, fields in (("images", ("id",)), ("annotations", ("image_id", "caption"))):
            found = data.get(key) if isinstance(data, dict) else None
            if not isinstance(found, list):
                raise Rt2dataError(where, f'no list under "{key}"', 'COCO JSON with the lists "images" and "annotations"')
            for row, entry in enumerate(found):
                missing = [f for f in fields if not isinstance(entry, dict) or f not in entry]
                if missing:
                    raise Rt2dataError(f"{where} {key}[{row}]", f'no "{missing[0]}"', f"{' and '.join(fields)} in each entry")
        captions: dict[tuple[Any, str | None], list[Any]] = {}
        for entry in sorted(data["annotations"], key=lambda e: str(e.get("id", "")).zfill(20)):
            language = entry.get("language") or self.declaration.language
            captions.setdefault((entry["image_id"], language), []).append(entry["caption"])
        languages: dict[Any, list[str | None]] = {}
        for image, language in captions:
            languages.setdefault(image, []).append(language)
        known = {entry["id"] for entry in data["images"]}
        # A caption whose picture is not listed is an example too: it is left out and counted, not forgotten.
        unlisted = [{"id": image} for image in languages if image not in known]
        examples = []
        for entry in [*data["images"], *unlisted]:
            picture = self.picture(entry)
            for language in languages.get(entry["id"], [self.declaration.language]):
                found = texts(captions.get((entry["id"], language), []))
                own = str(entry["id"]) if language == self.declaration.language else f"{entry['id']}/{language}"
                examples.append(
                    Example(
                        id=own, image_unit=str(entry["id"]), image=picture, language=language, captions=found,
                        reject=0 if found else index.CODE["no_caption"],
                    )  # fmt: skip
                )
        return examples
