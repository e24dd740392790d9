"""Write questions and captions about images of the demo world, in the layouts of VQAv2 and of COCO captions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from rt2data.demo import words
from rt2data.demo.motion import pick_things, scatter_places
from rt2data.demo.pose import add, from_rpy, rotate
from rt2data.demo.render import Box, Camera, body_box, boxes_overlap, join_boxes
from rt2data.demo.robot import FINGER_GAP, Arm
from rt2data.demo.scene import COLOURS, PRIMARY, Scene, Thing, make_camera, make_tables
from rt2data.demo.shapes import SHAPES
from rt2data.demo.words import Name
from rt2data.images.codec import encode_image

IMAGE_NAME = "tabletop_{:012d}.jpg"
# Images 0..79 have questions, 40..103 have captions: 40 have both.
_ASKED, _CAPTIONED = range(80), range(40, 104)
_APART = 16.0  # pixels between two objects' centres from which one counts as left of the other
_INFO = {
    "description": "Questions and captions about a rendered tabletop, made by rt2data.",
    "version": "1.0",
    "year": 2025,
    "contributor": "rt2data",
    "date_created": "2025-01-01 00:00:00",
}
_LICENCE = {"url": "https://www.apache.org/licenses/LICENSE-2.0", "name": "Apache License 2.0"}


@dataclass(frozen=True, slots=True)
class View:
    """An image and what is true of it: the objects on the table from left to right, and what the hand holds."""

    image_id: int
    jpeg: bytes
    things: list[Thing]
    boxes: list[Box]  # of the things, in pixels
    held: Thing | None

    @property
    def middles(self) -> list[float]:
        """Centres of the objects, pixels from the left."""
        return [_middle(box) for box in self.boxes]


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its answer and others that a person might give."""

    text: str
    answer: str
    others: Sequence[str]
    question_type: str
    answer_type: str
    language: str


def write_web(folder: Path, seed: int) -> None:
    """Write ``folder/tabletop_vqa`` and ``folder/tabletop_captions``."""
    rng = Random(f"rt2data tabletop {seed} web")
    ids = sorted(rng.sample(range(1000, 600_000), _CAPTIONED.stop))
    vqa, captions = folder / "tabletop_vqa", folder / "tabletop_captions"
    for place in (vqa / "images", captions / "images", captions / "annotations"):
        place.mkdir(parents=True)
    asked, captioned = [], []
    for i, image_id in enumerate(ids):
        view = make_view(rng, image_id, make_tables(seed))
        name = IMAGE_NAME.format(image_id)
        if i in _ASKED:
            asked.append(view)
            (vqa / "images" / name).write_bytes(view.jpeg)
        if i in _CAPTIONED:
            captioned.append(view)
            (captions / "images" / name).write_bytes(view.jpeg)
    _write_questions(vqa, rng, asked)
    _write_captions(captions, rng, captioned)


def make_view(rng: Random, image_id: int, tables: Mapping[str, Image.Image]) -> View:
    """Render an image in which every object is in full view: neither objects nor the arm hide one."""
    while True:
        camera = make_camera(rng)
        places = scatter_places(rng, rng.randrange(2, 7), 0.09)
        if places is None:
            continue
        things = pick_things(rng, [*places, (0.0, 0.0, 0.0)])
        held = things.pop() if rng.random() < 0.4 else None
        things = things[: len(places)]
        y = rng.uniform(-0.2, 0.2)
        position = (rng.uniform(0.28, 0.34), y, rng.uniform(0.19, 0.25))
        turn = from_rpy(rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1), rng.uniform(-0.7, 0.7))
        openness = SHAPES[held.shape].grip / FINGER_GAP if held else rng.choice((0.0, 1.0))
        if held:
            down = rotate(turn, (0.0, 0.0, -SHAPES[held.shape].height / 2))
            held = Thing(held.shape, held.colour, add(position, down), turn)
        boxes = [body_box(thing.body(), camera) for thing in things]
        hand = Arm(position, turn, openness, (0.0, 0.0, 0.0))
        hiding = [body_box(b, camera) for b in (*hand.fingers(), *hand.hand(), *([held.body()] if held else []))]
        middles = [_middle(box) for box in boxes]
        if _all_seen(boxes, hiding, camera) and max(middles) - min(middles) > _APART:
            break
    scene = Scene(rng, camera, tables, things)
    arm = Arm(position, turn, openness, scene.paint)
    image = scene.render_primary(arm, [held] if held else [])
    order = sorted(range(len(things)), key=middles.__getitem__)
    return View(image_id, encode_image(image, "jpeg"), [things[i] for i in order], [boxes[i] for i in order], held)


def _middle(box: Box) -> float:
    return (box[0] + box[2]) / 2


def _all_seen(boxes: Sequence[Box], hiding: Sequence[Box], camera: Camera) -> bool:
    """Return whether no box leaves the image and none of `boxes` is covered by more than a corner."""
    inside = (2.0, 2.0, camera.width - 2.0, camera.height - 2.0)
    if any(join_boxes(inside, box) != inside for box in (*boxes, *hiding)):
        return False
    pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i]] + [(a, b) for a in boxes for b in hiding]
    return not any(boxes_overlap(a, b, 3.0) for a, b in pairs)


def _write_questions(folder: Path, rng: Random, views: Sequence[View]) -> None:
    questions, annotations = [], []
    for view in views:
        for k, question in enumerate(ask_questions(rng, view)):
            question_id = view.image_id * 1000 + k
            head = {"image_id": view.image_id, "question": question.text, "question_id": question_id}
            questions.append(head | {"language": question.language})
            answers = _answers(rng, question)
            most = Counter(a["answer"] for a in answers).most_common(1)[0][0]
            annotations.append(
                {
                    "question_id": question_id,
                    "image_id": view.image_id,
                    "question_type": question.question_type,
                    "answer_type": question.answer_type,
                    "multiple_choice_answer": most,
                    "answers": answers,
                }
            )
    shared = {"info": _INFO, "license": _LICENCE, "data_type": "tabletop", "data_subtype": "train"}
    head = shared | {"task_type": "Open-Ended", "questions": questions}
    _write_json(folder / "v2_OpenEnded_tabletop_train_questions.json", head)
    _write_json(folder / "v2_tabletop_train_annotations.json", shared | {"annotations": annotations})


def ask_questions(rng: Random, view: View) -> Iterator[Question]:
    """Yield three questions about an image, each of another kind."""
    kinds = [_count, _side, _exists, _holding, _shape, _outermost, _count_shape]
    asked = 0
    # Colour is what people ask about most: it comes first for every other image.
    for kind in [*([_colour] if rng.random() < 0.5 else []), *rng.sample(kinds, len(kinds))]:
        question = kind(rng, view)
        if question is not None:
            yield question
            asked += 1
        if asked == 3:
            return


def _language(rng: Random) -> str:
    return "en" if rng.random() < 0.55 else "fr"


def _type(kind: str, language: str) -> str:
    return words.QUESTION_TYPES[kind][language]


def _name(thing: Thing, language: str = "en") -> Name:
    return Name(language, thing.shape, thing.colour)


def _all(view: View) -> list[Thing]:
    return [*view.things, *([view.held] if view.held else [])]


def _once(view: View, attribute: str) -> list[Thing]:
    """List the objects on the table whose shape (or colour) nothing else in the image has."""
    counts = Counter(getattr(thing, attribute) for thing in _all(view))
    return [thing for thing in view.things if counts[getattr(thing, attribute)] == 1]


def _yes_no(yes: bool, text: str, kind: str, language: str) -> Question:
    answer, other = words.YES[language], words.NO[language]
    if not yes:
        answer, other = other, answer
    return Question(text, answer, [other], _type(kind, language), "yes/no", language)


def _number(number: int, text: str, language: str) -> Question:
    others = [str(n) for n in (number - 1, number + 1) if n >= 0]
    return Question(text, str(number), others, _type("count", language), "number", language)


def _colour(rng: Random, view: View) -> Question | None:
    language = _language(rng)
    things = _once(view, "shape")
    if not things:
        return None
    name = _name(rng.choice(things), language)
    others = [Name(language, name.shape, c).tone for c in words.MISTAKEN[name.colour]]
    text = words.COLOUR_QUESTION[language].format(name)
    return Question(text, name.tone, others, _type("colour", language), "other", language)


def _count(rng: Random, view: View) -> Question:
    language = _language(rng)
    return _number(len(view.things), words.COUNT_QUESTION[language], language)


def _side(rng: Random, view: View) -> Question | None:
    language = _language(rng)
    pairs = [(i, j) for i, a in enumerate(view.middles) for j, b in enumerate(view.middles) if abs(a - b) > _APART]
    if not pairs:
        return None
    i, j = rng.choice(pairs)
    right = rng.random() < 0.5
    text = words.SIDE_QUESTION[language][right].format(_name(view.things[i], language), _name(view.things[j], language))
    return _yes_no((i > j) == right, text, "side", language)


def _exists(rng: Random, view: View) -> Question:
    language = _language(rng)
    present = {(thing.shape, thing.colour) for thing in view.things}
    yes = rng.random() < 0.5
    everything = [(s, c) for s in SHAPES for c in COLOURS if _distinct(s, c, view.held)]
    shape, colour = rng.choice([look for look in everything if (look in present) == yes])
    text = words.EXISTS_QUESTION[language].format(Name(language, shape, colour))
    return _yes_no(yes, text, "exists", language)


def _distinct(shape: str, colour: str, held: Thing | None) -> bool:
    """Return whether the hand holds something else: whether what it holds is on the table is a matter of taste."""
    return held is None or (held.shape, held.colour) != (shape, colour)


def _holding(rng: Random, view: View) -> Question:
    if rng.random() < 0.4:
        empty = view.held is None
        return _yes_no(not empty, "Is the robot holding something?", "side", "en")
    text = "What is the gripper holding?"
    if view.held is None:
        return Question(text, "nothing", ["air", "none"], "what is the", "other", "en")
    name = _name(view.held)
    others = [name.noun, *(f"{name.colour} {s}" for s in words.SYNONYMS[name.shape])]
    return Question(text, name.bare, others, "what is the", "other", "en")


def _shape(rng: Random, view: View) -> Question | None:
    things = _once(view, "colour")
    if not things:
        return None
    thing = rng.choice(things)
    text = f"What is the {thing.colour} toy?"
    return Question(text, thing.shape, words.SYNONYMS[thing.shape], "what is the", "other", "en")


def _outermost(_rng: Random, view: View) -> Question | None:
    if view.middles[1] - view.middles[0] < _APART:
        return None
    name, other = _name(view.things[0]), _name(view.things[1])
    others = [name.noun, other.bare]
    return Question("Which toy on the table is farthest to the left?", name.bare, others, "which", "other", "en")


def _count_shape(rng: Random, view: View) -> Question:
    if rng.random() < 0.5:
        shape = rng.choice([thing.shape for thing in view.things])
        number = sum(thing.shape == shape for thing in view.things)
        return _number(number, f"How many {shape}s are on the table?", "en")
    colour = rng.choice(list(COLOURS))
    number = sum(thing.colour == colour for thing in view.things)
    return _number(number, f"How many {colour} toys are on the table?", "en")


def _answers(rng: Random, question: Question) -> list[dict[str, Any]]:
    """Draw ten answers, at least six of them the true one."""
    given = [question.answer] * 10
    for i in rng.sample(range(10), rng.choices((0, 1, 2, 3, 4), (45, 25, 15, 10, 5))[0]):
        given[i] = rng.choice(question.others)
    answers = []
    for i, answer in enumerate(given):
        sure = rng.choices(("yes", "maybe", "no"), (80, 15, 5) if answer == question.answer else (40, 40, 20))[0]
        answers.append({"answer": answer, "answer_confidence": sure, "answer_id": i + 1})
    return answers


def _write_captions(folder: Path, rng: Random, views: Sequence[View]) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for view in views:
        width, height = PRIMARY
        name = IMAGE_NAME.format(view.image_id)
        images.append({"id": view.image_id, "file_name": name, "width": width, "height": height, "license": 1})
        language = "en" if len(images) % 3 else "fr"  # every third image
        for caption in _captions(rng, view, language):
            head = {"id": len(annotations) + 1, "image_id": view.image_id}
            annotations.append(head | {"caption": caption, "language": language})
    licences = [{"id": 1, **_LICENCE}]
    whole = {"info": _INFO, "licenses": licences, "images": images, "annotations": annotations}
    _write_json(folder / "annotations" / "captions_tabletop_train.json", whole)


def _captions(rng: Random, view: View, language: str) -> list[str]:
    """Draw five captions, all true."""
    names = [_name(thing, language) for thing in view.things]
    shuffled = rng.sample(names, len(names))
    above, counted, beside = words.CAPTIONS[language]
    captions = [
        above.format(list=words.join_names(language, shuffled)),
        counted.format(n=len(names), list=words.join_names(language, names)),
        words.HOLDING[language].format(_name(view.held, language)) if view.held else words.EMPTY[language],
        words.OUTERMOST[language].format(names[0], names[-1]),
    ]
    pairs = [(i, j) for i in range(len(names)) for j in range(i) if view.middles[i] - view.middles[j] > _APART]
    right, left = rng.choice(pairs)
    text = beside.format(left=names[left].the, right=names[right].of_the)
    captions.append(text[0].upper() + text[1:])
    return rng.sample(captions, 5)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")
