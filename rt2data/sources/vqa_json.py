"""VQA v2.0's layout: one JSON of questions, one of annotations, joined by question_id (also OK-VQA's)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rt2data import index
from rt2data.errors import Rt2dataError
from rt2data.sources.web import Example, WebCorpus, checked, load_json, texts


class VqaJson(WebCorpus):
    """Questions with several human answers each. Fields: https://visualqa.org/download.html."""

    roles = ("questions", "annotations")

    def read(self, split: str, files: Sequence[str]) -> list[Example]:
        questions, subtype = self._list(split, files[0], "questions", ("question_id", "image_id"))
        entries, _ = self._list(split, files[1], "annotations", ("question_id",))
        annotations: dict[Any, dict[str, Any]] = {}
        for row, entry in enumerate(entries):
            if annotations.setdefault(entry["question_id"], entry) is not entry:
                where = f"{self.root / files[1]} annotations[{row}]"
                found = f"question_id {entry['question_id']} a second time"
                raise Rt2dataError(where, found, "one entry for each question")
        asked = {entry["question_id"] for entry in questions}
        # Answers whose question is not listed are an example too: it is left out and counted, not forgotten.
        unasked = [{"image_id": ""} | entry for entry in entries if entry["question_id"] not in asked]
        every = [*questions, *unasked]
        return [self._example(entry, annotations.get(entry["question_id"], {}), subtype) for entry in every]

    def _example(self, entry: dict[str, Any], annotation: dict[str, Any], subtype: str) -> Example:
        given = annotation.get("answers")
        stored = [a.get("answer") if isinstance(a, dict) else a for a in given] if isinstance(given, list) else None
        answers = texts(stored) or texts([annotation.get("multiple_choice_answer")])
        question = entry.get("question")
        usable = isinstance(question, str) and bool(question.strip())
        return Example(
            id=str(entry["question_id"]),
            image_unit=str(entry["image_id"]),
            pictures=[self.names({"data_subtype": subtype} | entry)],
            language=self.language(entry),
            question=question if usable else None,
            answers=answers,
            reject=index.CODE["no_question"] if not usable else 0 if answers else index.CODE["no_answer"],
        )

    def _list(self, split: str, name: str, key: str, ids: tuple[str, ...]) -> tuple[list[dict[str, Any]], str]:
        """The entries under `key`, and what the file calls the split of its pictures."""
        path = self.root / name
        data = load_json(path, key)
        found = data.get(key) if isinstance(data, dict) else None
        if not isinstance(found, list):
            raise Rt2dataError(str(path), f'no list under "{key}"', f'VQA v2.0 JSON with a list "{key}"')
        return list(checked(found, f"{path} {key}", ids)), str(data.get("data_subtype", split))
