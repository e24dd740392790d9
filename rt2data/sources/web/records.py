"""Records become examples by the declared fields; no format needs code for names alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, ClassVar

import orjson

from rt2data import index, storage
from rt2data.sources.pictures import MAX_BYTES, Names, Picture
from rt2data.sources.web import boxes, conversation
from rt2data.sources.web.absent_fields import AbsentFields
from rt2data.sources.web.corpus import WebCorpus
from rt2data.sources.web.examples import Example
from rt2data.sources.web.field_path import lookup, strings, texts


class Records(WebCorpus):
    """A corpus whose files hold records. A format says how a file becomes records: `records`.

    A record is a mapping. Values of the type `Picture` stand for images inside the file itself. What a field is called
    in such a file is its `field_word`; of a table, ``column``, each record has all of them.
    """

    field_word: ClassVar[str] = "key"

    def records(self, split: str, name: str) -> Iterator[dict[str, Any]]:
        """Yield the records of a file, with their ``$row`` and perhaps ``$key``.

        A format of files that are no rows of records replaces `read` or `index` in its place.
        """
        raise NotImplementedError

    def read(self, split: str, files: Sequence[str]) -> Iterable[Example]:
        (name,) = files
        records = self.checked(self.records(split, name), split, name)
        return self.complete(e for record in records for e in self.read_record(record, split, name))

    def checked(self, records: Iterable[dict[str, Any]], split: str, name: str) -> Iterator[dict[str, Any]]:
        """Yield the records of the file `name`.

        Raises:
            Rt2dataError: it has some, and a declared field is in none of them, nor in those of another split.
        """
        fields, where = AbsentFields(self.web, split), str(self.root / name)
        for record in records:
            fields.see(record)
            if self.field_word == "column" and fields.records == 1:  # what the first row lacks, all lack
                fields.refuse(where, self.field_word, self.first_records(split))
            yield record
        fields.refuse(where, self.field_word, self.first_records(split))

    def first_records(self, split: str) -> Iterator[dict[str, Any]]:
        """Yield the first record of each split but `split` whose files are there."""
        for other in self.web.splits:
            if other != split and all(self.find(other, role) for role in self.roles):
                yield from islice(self.records(other, self.volumes(other)[0][0]), 1)

    def read_record(self, record: dict[str, Any], split: str, name: str) -> list[Example]:
        """Make the examples of a record of the file `name`; none where it belongs to another split."""
        record["$file"], record["$folder"] = _place(name)
        if "id" not in self.web.fields or any("$digest" in path for path in self.web.fields.values()):
            record["$digest"] = self.digest_of(record)
        if reason := record.get("$bad"):
            return [Example(record["$key"], "", self.pictures(record), None, reject=index.CODE[reason])]
        where = self.web.where.get(split, {})
        if any(lookup(record, path) not in wanted for path, wanted in where.items()):
            return []
        return list(self._make_examples(record))

    def digest_of(self, record: dict[str, Any]) -> str:
        """Digest a record's content, images inside the file included: the same wherever it stands."""
        content = {key: value for key, value in record.items() if not key.startswith("$")}
        text = orjson.dumps(content, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=self._default)
        return hashlib.blake2b(text, digest_size=10).hexdigest()

    def _default(self, value: Any) -> str:
        return self.content(value) if isinstance(value, Picture) else str(value)

    def content(self, picture: Picture) -> str:
        """Digest the bytes of an image inside a file."""
        with storage.open_file(self.root / picture.file) as file:
            file.seek(picture.offset)
            return hashlib.blake2b(file.read(min(picture.length, MAX_BYTES + 1)), digest_size=20).hexdigest()

    def complete(self, examples: Iterable[Example]) -> Iterable[Example]:
        """Complete the examples of a file; all are held where records or images of several belong together."""
        completed = _grouped(examples) if self.web.group else examples
        if self.web.max_images > 1:
            completed = list(completed)
            _tie(completed, numbered=self.web.image_namespace is not None)
        return completed

    def _make_examples(self, record: dict[str, Any]) -> Iterator[Example]:
        """Make the examples of a record: one per answer of a conversation or language of captions, else one."""
        web = self.web

        def get(name: str) -> Any:
            return lookup(record, web.fields[name]) if name in web.fields else None

        own = _text(get("id")) if "id" in web.fields else record["$digest"]
        pictures = self.pictures(record)
        unit = get("image_id") if web.image_namespace is not None else ""
        language = get("language")
        common: dict[str, Any] = {
            "image_unit": own if unit is None else _text(unit),
            "language": language if isinstance(language, str) and language.strip() else self.declaration.language,
            "columns": {name: _plain(lookup(record, path)) for name, path in web.columns.items()},
        }
        url = get("url")
        if isinstance(url, str) and url.strip():
            pictures = [_not_fetched(picture) for picture in pictures]
        if "conversation" in web.fields:
            yield from self._turns(own, get("conversation"), pictures, common)
        elif "boxes" in web.fields and web.boxes:
            stored, label = get("boxes"), get("label")
            labels = label if isinstance(label, list) else [label]
            rows = stored if isinstance(label, list) and isinstance(stored, list) else [stored]
            parsed = [boxes.read(b, n, web.boxes.form) for b, n in zip(rows, labels, strict=False)]
            size = [n if isinstance(n, int) and n > 0 else 0 for n in (get("width"), get("height"))]
            kept = [box for box in parsed if box is not None]
            where = web.boxes.question
            yield Example(own, pictures=pictures, question=where, boxes=kept, size=(size[0], size[1]), **common)
        elif self.declaration.kind == "vqa":
            question, answers = get("question"), strings(get("answers"))
            asked = isinstance(question, str) and bool(question.strip())
            reject = index.CODE["no_question"] if not asked else 0 if answers else index.CODE["no_answer"]
            question = question if asked else None
            yield Example(own, pictures=pictures, question=question, answers=answers, reject=reject, **common)
        elif web.captions:
            for language, path in web.captions.items():
                name = own if language == self.declaration.language else f"{own}/{language}"
                yield self._caption(name, strings(lookup(record, path)), pictures, common | {"language": language})
        else:
            yield self._caption(own, strings(get("captions")), pictures, common)

    def _caption(
        self, own: str, captions: list[str], pictures: list[Picture | Names], common: dict[str, Any]
    ) -> Example:
        reject = 0 if captions else index.CODE["no_caption"]
        return Example(own, pictures=pictures, captions=captions, reject=reject, **common)

    def _turns(
        self, own: str, stored: Any, pictures: list[Picture | Names], common: dict[str, Any]
    ) -> Iterator[Example]:
        """Make an example of each answer; the first has the conversation's id, the others `/1`, ... after it."""
        turns = conversation.read(stored, len(pictures))
        if isinstance(turns, str):
            yield Example(own, pictures=pictures, reject=index.CODE[turns], **common)
            return
        for n, turn in enumerate(turns):
            reason = "" if turn.answer.strip() else "no_answer"
            yield Example(
                f"{own}/{n}" if n else own,
                pictures=pictures[: turn.pictures],
                question=turn.question or None,
                answers=texts([turn.answer]),
                turns=turn.before,
                reject=index.CODE[reason if turn.question.strip() else "no_question"],
                **common,
            )

    def pictures(self, record: dict[str, Any]) -> list[Picture | Names]:
        """List the images that a record names, in their order."""
        if "image" not in self.web.fields:
            return [self.names(record)] if self.web.images else []
        stored = lookup(record, self.web.fields["image"])
        pictures: list[Picture | Names] = []
        for picture in stored if isinstance(stored, list) else [stored]:
            if isinstance(picture, dict):  # as `datasets` stores an image
                picture = picture.get("bytes") or picture.get("path")
            if isinstance(picture, (Picture, Names)):
                pictures.append(picture)
            elif picture is not None and picture != "":
                pictures.append(
                    self.names(record | {"image": picture}) if self.web.images else self.names_of(str(picture))
                )
        return pictures

    def names_of(self, name: str) -> Names:
        """Return where an image is that a record names by its file."""
        return Names((name,)) if self.inside(name) else Names((), "unsafe_path")


@lru_cache
def _place(name: str) -> tuple[str, str]:
    """Split a file's name: without its suffix, and its folder with a slash after it."""
    file = PurePosixPath(name)
    return file.with_suffix("").as_posix(), name[: -len(file.name)]


def _not_fetched(picture: Picture | Names) -> Picture | Names:
    """Mark an image that has a URL: without its file it was not fetched."""
    named = isinstance(picture, Names) and picture.reason == "missing_image"
    return Names(picture.tried, "url_without_file") if named and isinstance(picture, Names) else picture


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool)) else None


def _grouped(examples: Iterable[Example]) -> list[Example]:
    """Merge examples of one id, with the texts of all."""
    by_id: dict[str, Example] = {}
    for e in examples:
        first = by_id.setdefault(e.id, e)
        if first is not e:
            first.captions += e.captions
            first.answers += e.answers
            first.boxes = None if first.boxes is None else first.boxes + (e.boxes or [])
            first.reject = 0 if first.captions or first.answers or first.boxes else first.reject
    return list(by_id.values())


def _tie(examples: Sequence[Example], *, numbered: bool) -> None:
    """Tie images that stand in one example to one split: all that hang together go by the first of them.

    That holds within a file. `numbered`: an image's id stands for it, else the content of the one with the first name.
    """
    parent: dict[Picture | Names, Picture | Names] = {}

    def root(one: Picture | Names) -> Picture | Names:
        while (above := parent.setdefault(one, one)) != one:
            parent[one] = parent[above]
            one = parent[one]
        return one

    for e in examples:
        for other in e.pictures[1:]:
            a, b = sorted((root(e.pictures[0]), root(other)), key=str)
            parent[b] = a
    units: dict[Picture | Names, str] = {}
    for e in examples:
        if not e.pictures:
            continue
        top = root(e.pictures[0])
        if numbered:
            units[top] = min(units.get(top, e.image_unit), e.image_unit)
        else:
            e.anchor = top
    if numbered:
        for e in examples:
            e.image_unit = units[root(e.pictures[0])] if e.pictures else e.image_unit
