"""VQA v2.0's layout: one JSON of questions, one of annotations, joined by question_id (also OK-VQA's)."""

from __future__ import annotations

from typing import Any

from rt2data import index
from rt2data.errors import Rt2dataError
from rt2data.sources.web import Example, WebCorpus, texts


class VqaJson(WebCorpus):
    """Questions with several human answers each. Fields: https://visualqa.org/download.html."""

    def read(self, split: str) -> list[Example]:
        questions = self._list(split, "questions")
        annotations = {a.get("question_id"): a for a in self._list(split, "annotations")}
        shared = {"data_subtype": self.subtype}
        examples: list[Example] = []
        for row, entry in enumerate(questions):
            if "question_id" not in entry or "image_id" not in entry:
                missing = "question_id" if "question_id" not in entry else "image_id"
                where = f"{self.root / self.file(split, 'questions')} questions[{row}]"
                raise Rt2dataError(where, f'no "{missing}"', "question_id, image_id and question in each entry")
            question = entry.get("question")
            annotation = annotations.get(entry["question_id"], {})
            answers = texts(a.get("answer") if isinstance(a, dict) else a for a in annotation.get("answers", []))
            if not answers:
                answers = texts([annotation.get("multiple_choice_answer")])
            usable = isinstance(question, str) and bool(question.strip())
            reject = index.CODE["no_question"] if not usable else 0 if answers else index.CODE["no_answer"]
            examples.append(
                Example(
                    id=str(entry["question_id"]), image_unit=str(entry["image_id"]), image=self.picture(shared | entry),
                    language=entry.get("language") or self.declaration.language, question=question if usable else None,
                    answers=answers, reject=reject,
                )  # fmt: skip
            )
        return examples

    def _list(self, split: str, key: str) -> list[dict[str, Any]]:
        data = self.load(split, key)
        found = data.get(key) if isinstance(data, dict) else None
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            where = str(self.root / self.file(split, key))
            raise Rt2dataError(where, f'no list of objects under "{key}"', f'VQA v2.0 JSON with a list "{key}"')
        if key == "questions":
            self.subtype = data.get("data_subtype", split)
        return found
