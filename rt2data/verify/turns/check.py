"""The conversation of a sample of a kind, rendered a second time from docs/recipes.md, without the writer's code.

What the sample itself says (instruction, state, action, numbers of steps) is filled in, and what annotations say of its
step as far as they can be read. All else that only a track says may be any text, the same wherever the sample says it.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

from rt2data.storage.places import Place
from rt2data.verify.chunks.other_steps import moved, unrolled
from rt2data.verify.facts import Facts
from rt2data.verify.reference import keys, texts
from rt2data.verify.reference.keys import Key
from rt2data.verify.report import Report
from rt2data.verify.turns.matching import acts, matches, text_of
from rt2data.verify.turns.store import database
from rt2data.verify.turns.tracks import SLOT, Asked, Step, Tracks, lines, names, parse

Json = dict[str, Any]
Sizes = Mapping[str, tuple[int, int]]  # of an image, by its camera

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # control characters but tab and line feed
ROLES = ("system", "user", "assistant")
OPERATIONS = (
    *("strip", "lower", "lower_first", "no_final_stop", "underscores_to_spaces", "newlines_to_spaces"),
    *("no_punctuation", "collapse_whitespace"),
)
EDITS = (*OPERATIONS, "join", "or")
ALWAYS = ("instruction", "task", "action", "hz", "control", "robot", "step", "steps")
USED = ("source", "step", "steps", "messages", "prompt", "target", "bins")  # of a sample whose conversation waits
AWAY = ("state", "action", "step")  # what of other steps these samples say themselves


class TurnCheck:
    """Checks the conversations of samples one at a time: at once, or at the end where other samples' actions are asked.

    With `data_root` what tracks say is compared with the files that the recipe names.
    """

    def __init__(self, facts: Facts, report: Report, data_root: Place | None = None) -> None:
        self.facts, self.check, self.notes = facts, report["turns"], report.notes
        self.reads = data_root is not None
        self.own: dict[str, str] = {}  # of the last sample: its state and action, and what it says of other steps
        self.told: dict[str, str] = {}
        self.kinds: dict[str, Json] = {}
        self.tracks: dict[str, Tracks] = {}
        self.waiting = database("waiting (what BLOB)")
        for source, entry in facts.sources.items():
            if not entry.get("kinds"):
                continue
            rule = facts.rules[source]
            written = rule.get("kinds") or facts.recipe.get("kinds") or {}
            self.kinds[source] = {name: unrolled(kind) for name, kind in written.items()}
            tracks = Tracks(entry, rule, names(self.kinds[source]), facts.recipe.get("image"))
            if data_root is not None:
                tracks.read(data_root, self.check)
            self.tracks[source] = tracks

    def check_sample(
        self,
        where: str,
        sample: Json,
        key: Key,
        sizes: Sizes,
        number: int,
        state: Callable[[str, Json], str],
        action: Callable[[Json, str], str],
    ) -> None:
        """Check a sample of a kind that fits the schema.

        Args:
            where: its place.
            sample: its JSON.
            key: its key.
            sizes: of its images.
            number: which of all samples it is.
            state, action: give its state and its action as text.
        """
        self.own, self.told = {}, {}
        kinds, tracks = self.kinds.get(sample["source"], {}), self.tracks.get(sample["source"])
        kind = kinds.get(key.kind)
        self.check.expect(kind is not None, where, f"the kind {key.kind}", "one of the recipe")
        if kind is None or tracks is None:
            return
        self._sound(where, sample)
        own = names({name: kinds[name] for name in (key.kind, kind.get("otherwise")) if name})
        known = self._known(where, sample, own, state, action)
        if tracks.derived and not sample.get("relative"):
            tracks.add_action(bytes.fromhex(key.digest), sample["step"], sample["dims"], sample["action"])
        if tracks.derived.keys() & own:
            case = [where, {name: sample[name] for name in USED}, key, known, sizes, number]
            self.waiting.execute("INSERT INTO waiting VALUES (?)", (zlib.compress(json.dumps(case).encode(), 1),))
        else:
            self.told = self._compare(where, sample, key, known, sizes)

    def finish(self) -> Iterator[tuple[str, Json, Key, dict[str, str], int]]:
        """Check what waited for the actions of other samples, and note what could be compared.

        Yields:
            Of each sample that waited its place, JSON and key, what it says of other steps, and its number.
        """
        for (packed,) in self.waiting.execute("SELECT what FROM waiting"):
            where, sample, key, known, sizes, number = json.loads(zlib.decompress(packed))
            yield where, sample, Key(*key), self._compare(where, sample, Key(*key), known, sizes), number
        for source, tracks in self.tracks.items():
            self.notes += tracks.describe(source, reads=self.reads)

    def _compare(
        self, where: str, sample: Json, key: Key, known: Mapping[str, str | None], sizes: Sizes
    ) -> dict[str, str]:
        """Compare the messages of a sample with the turns of its kind; return what they say of other steps."""
        kinds = self.kinds[sample["source"]]
        kind, at = kinds[key.kind], Step(bytes.fromhex(key.digest), sample["step"], sample["steps"], sizes)
        values = Values(self.tracks[sample["source"]], known, at)
        self._share(where, kind, key, at)
        needed = [slot for slot in _needed(kind) if slot not in ALWAYS or slot == "task"]
        required = needed if kind.get("requires") == "all" else kind.get("requires") or []
        for slot in required:
            self.check.expect(values.get(slot) != [], where, f"a step without {{{slot}}}", "one that has it")
        tried = [kind]
        if kind.get("otherwise") in kinds:
            lacks = [values.get(slot) for slot in needed]
            gone, sure = [] in lacks or _uneven(kind, values), None not in lacks
            tried = [kinds[kind["otherwise"]]] if gone else [kind] if sure else [kind, kinds[kind["otherwise"]]]
        words = _lengths(sample, known)
        found = [matches(list(self._turns(key, one, values)), sample["messages"], words) for one in tried]
        fits = any(told is not None for told in found)
        written = " / ".join(f"{message['role']}: {text_of(message)}" for message in sample["messages"])
        self.check.expect(fits, where, f'the conversation "{written[:400]}"', f"the turns of the kind {key.kind}")
        asked = [message["role"] for message in sample["messages"]] == ["user", "assistant"]
        said = [text_of(message) for message in sample["messages"]] if asked else [None, None]
        stated = [sample["prompt"], sample["target"]]
        # Turns that may be left out are no prompt and target, even where the others are two.
        agrees = stated in (said, [None, None])
        self.check.expect(agrees, where, "another prompt or target than its turns", "their texts, or null")
        return next((told for told in found if told is not None), {})

    def _share(self, where: str, kind: Json, key: Key, at: Step) -> None:
        """Check that a step is among the share that gives samples of a kind, and that a variant is one of its texts.

        Where the row over which the share changes is not known, the larger end of it is compared.
        """
        share = most = kind.get("share", 1)
        if isinstance(share, list):
            first, last = share
            segment = self.tracks[key.source].segment(kind["over"], at)
            if segment is None:
                most = max(share)
            else:
                start, end = segment
                inside = start <= at.step < end
                most = first - (first - last) * (at.step - start) / (end - start) if inside else 0
        step = key._replace(variant=-1, copy=0)
        taken = most >= 1 or keys.hash64("share", self.facts.recipe["seed"], step) < round(most * 2.0**64)
        self.check.expect(taken, where, f"a sample of the kind {key.kind}", f"none: its share of steps is {share}")
        if kind.get("pools") == "all":
            several = math.prod(texts.pool_sizes(kind))
            expected = f"one of {several} texts of the kind {key.kind}"
            self.check.expect(0 <= key.variant < several, where, f"variant {key.variant}", expected)

    def _sound(self, where: str, sample: Json) -> None:
        """Check that images are those of the sample, and that spans lie in their turn, one behind the other."""
        shown = [part["image"] for message in sample["messages"] for part in message["content"] if "image" in part]
        found = f"turns that show {', '.join(dict.fromkeys(shown)) or 'no image'}"
        expected = f"{', '.join(sample['images']) or 'none'}, its images, in their order"
        self.check.expect(list(dict.fromkeys(shown)) == sample["images"], where, found, expected)
        for message in sample["messages"]:
            text, place = text_of(message), 0
            for span in message["spans"]:
                inside = place <= span["start"] < span["end"] <= len(text)
                self.check.expect(inside, where, f"the span {span} of {len(text)} characters", "spans within the turn")
                learned = message["loss"] in (span["loss"], "both")
                self.check.expect(learned, where, f"{span['loss']} in a turn with loss {message['loss']}", "the turn's")
                place = span["end"]
            self.check.expect(_CONTROL.search(text) is None, where, "a control character in a turn", "readable text")
            whole = all(set(part) == {"type", part["type"]} for part in message["content"])
            self.check.expect(whole, where, f"content {message['content']}"[:200], "parts with their text or image")

    def _known(
        self,
        where: str,
        sample: Json,
        own: set[str],
        state: Callable[[str, Json], str],
        action: Callable[[Json, str], str],
    ) -> dict[str, str | None]:
        """The values that the sample itself says, of those that its texts may name; None for one that it lacks."""
        instruction = lines(sample["instruction"])
        known: dict[str, str | None] = {"instruction": instruction, "robot": sample["source"]}
        known |= {"step": str(sample["step"]), "steps": str(sample["steps"])}
        if "task" not in self.tracks[sample["source"]].stated:
            known["task"] = instruction
        for name in sorted(filter(acts, own)):
            known[name] = action(sample, name.partition(":")[2])
        if "state" in own:
            known["state"] = None if sample["proprio"] is None else state(where, sample)
        self.own = {name: text for name, text in known.items() if text and (name == "state" or acts(name))}
        return known

    def _turns(self, key: Key, kind: Json, values: Values) -> Iterator[Json]:
        """Each turn: its role, the pieces of its text, and whether it may be left out or come several times."""
        number = 0
        for frame, group in groupby(kind["turns"], key=lambda turn: turn.get("frame")):
            turns = list(group)
            if frame is not None:
                # Turns of another step that are left out where it lacks a value are left out together.
                filled = [(t.get("missing") == "skip", self._turn(key, t, kind, values, number + i))
                          for i, t in enumerate(turns)]  # fmt: skip
                gone = any(skips and not one for skips, one in filled)
                yield from (one for skips, told in filled for one in told if not (gone and skips))
                number += len(turns)
                continue
            for turn in turns:
                yield from self._written(key, turn, kind, values, number)
                number += len(turn.get("turns", [turn]))

    def _written(self, key: Key, turn: Json, kind: Json, values: Values, number: int) -> Iterator[Json]:
        """A turn, or the turns that are repeated for the elements of lists."""
        if "each" not in turn:
            yield from self._turn(key, turn, kind, values, number)
            return
        inner = turn["turns"]
        lists = {name: values.get(slot) for name, slot in turn["each"].items()}
        if None in lists.values():
            own = values.bind(dict.fromkeys(lists))
            repeated = [one for i, t in enumerate(inner) for one in self._turn(key, t, kind, own, number + i)]
            yield {"each": repeated}
        else:
            told = {name: one or [] for name, one in lists.items()}
            for element in range(max(map(len, told.values()))):
                own = values.bind({name: one[element] for name, one in told.items() if element < len(one)})
                for i, t in enumerate(inner):
                    yield from self._turn(key, t, kind, own, number + i)

    def _turn(self, key: Key, turn: Json, kind: Json, values: Values, number: int) -> list[Json]:
        """A turn, none where it is left out."""
        role = next(role for role in ROLES if role in turn)
        pool = turn[role] if isinstance(turn[role], list) else [turn[role]]
        missing = turn.get("missing")
        template = pool[self._which(key, kind, number, len(pool))] if len(pool) > 1 else pool[0]
        pieces = self._pattern(key, template, kind, values)
        if missing == "skip" and any(what == "gone" for what, _ in pieces):
            return []
        learned = {one for text in pool for one in _learned(text, kind)}
        loss = turn.get("loss") or ("none" if learned == {"none"} or role != "assistant" else "both")
        if loss == "both":  # of what the turn's texts have
            acts, words = "action" in learned, "text" in learned
            loss = "both" if acts and words else "action" if acts else "text"
        return [
            {
                "role": role,
                "pattern": [piece for piece in pieces if piece[0] != "gone"] if missing == "empty" else pieces,
                "optional": missing == "skip" and any(what in ("track", "other") for what, _ in pieces),
                "empty": missing == "empty" or bool(kind.get("parts")),
                "loss": loss,
                "end": turn.get("end", loss != "none"),
            }
        ]

    def _which(self, key: Key, kind: Json, number: int, size: int) -> int:
        """Which text of a pool a sample has: one by hash, or where each is a sample the one of its variant."""
        if kind.get("pools") != "all" or key.variant < 0:
            return keys.hash64(f"pool {number}", self.facts.recipe["seed"], key) % size
        left = key.variant  # the last pool changes fastest
        for behind in reversed(texts.pool_sizes(kind)[number + 1 :]):
            left //= behind
        return left % size

    def _pattern(self, key: Key, template: str, kind: Json, values: Values) -> list[tuple[str, str]]:
        """A template as pieces: (text, literal), (action:NAME, string), (gone, placeholder) of a value that is missing.

        (track, placeholder) may be any text, and (other, placeholder) one of another step; images stand for nothing.
        (silent, text) is not learned.
        """
        pieces: list[tuple[str, str]] = []
        at = 0
        for found in SLOT.finditer(template):
            pieces.append(("text", template[at : found.start()]))
            at = found.end()
            if found[1] is None:
                pieces.append(("text", found[0][0]))
                continue
            asked = parse(found[1])
            part = _part(kind, asked.name)
            if asked.name.split(":")[0] in ("images", "image"):
                pieces.append(("image" if values.has_step(asked) else "gone", asked.name))
            elif part is not None:
                pieces += self._filled_part(key, asked, part, kind, values)
            else:
                pieces.append(_piece(found[1], asked, values))
        pieces.append(("text", template[at:]))
        return [piece for piece in pieces if piece[1]]

    def _filled_part(self, key: Key, asked: Asked, part: Json, kind: Json, values: Values) -> list[tuple[str, str]]:
        name = asked.name.removesuffix("_part")
        drop, missing = float(part.get("drop", 0)), part.get("missing")
        instead = [("text", part.get("otherwise", "").replace("{{", "{").replace("}}", "}"))]
        if keys.hash64(f"drop {name}", self.facts.recipe["seed"], key) < round(drop * 2.0**64):
            return instead
        inner = self._pattern(key, moved(part["text"], asked.step), kind, values)
        learned = {"action": "action", "none": "silent"}.get(part.get("loss", ""), "")
        if learned:  # its text is literal
            return [(learned, "".join(text for _, text in inner))]
        if missing == "skip" and any(what == "gone" for what, _ in inner):
            return instead
        if missing == "skip" and any(what in ("track", "other") for what, _ in inner):
            return [("track", f"part {name}")]  # the whole part, or nothing
        return [piece for piece in inner if piece[0] != "gone"] if missing == "empty" else inner


class Values:
    """The values of one sample, by what stands in their placeholders, but for operations on texts."""

    def __init__(self, tracks: Tracks, known: Mapping[str, str | None], at: Step) -> None:
        self.tracks, self.at = tracks, at
        self.found: dict[str, list[str] | None] = {name: [] if text is None else [text] for name, text in known.items()}

    def get(self, slot: str) -> list[str] | None:
        """The texts of a value, [] where it is missing; None where it may be any text."""
        if slot not in self.found:
            named = parse(slot).name
            if named in self.tracks.stated:
                self.found[slot] = self.tracks.value(slot, self.at)
            else:
                self.found[slot] = None  # {hz} and {control}, which samples do not say
        return self.found[slot]

    def has_step(self, asked: Asked) -> bool:
        """Whether the episode has the step that a placeholder is of."""
        at = self.at.step + asked.step * int(self.tracks.entry["stride"])
        return 0 <= at < self.at.steps

    def bind(self, elements: Mapping[str, str | None]) -> Values:
        """These values, and the elements of lists by the names that stand for them; None may be any text."""
        bound = Values(self.tracks, {}, self.at)
        bound.found = self.found | {name: None if text is None else [text] for name, text in elements.items()}
        return bound


def _piece(slot: str, asked: Asked, values: Values) -> tuple[str, str]:
    """The piece that stands for a placeholder."""
    chosen = "|".join(
        call for call in slot.split("|") if call.partition("(")[0] not in {name for name, _ in asked.edits}
    )
    found = values.get(chosen)
    if not values.has_step(asked):
        found = []
    if found == [] and not any(name == "or" for name, _ in asked.edits):
        return "gone", slot
    if found is None and asked.step and asked.name.partition(":")[0] in AWAY:
        return "other", slot
    if found is None or not all(name in EDITS for name, _ in asked.edits):
        return "track", slot
    return asked.name if acts(asked.name) else "text", asked.edit(found)


def _part(kind: Json, name: str) -> Json | None:
    """The part of a kind that a placeholder stands for; None where it is none."""
    part = (kind.get("parts") or {}).get(name.removesuffix("_part")) if name.endswith("_part") else None
    return {"text": part} if isinstance(part, str) else part


def _needed(kind: Json) -> list[str]:
    """The placeholders, without operations on texts, whose absence no turn or part provides for."""
    needed: dict[str, None] = {}
    for turn in kind["turns"]:
        bound = turn.get("each", {})
        for inner in turn.get("turns", [turn]):
            if inner.get("missing"):
                continue
            needed |= dict.fromkeys(bound.values())
            pool = inner[next(role for role in ROLES if role in inner)]
            for slot in _slots(pool):
                part = _part(kind, slot)
                if part is not None:
                    needed |= {} if part.get("missing") else dict.fromkeys(_without_fallback(part["text"]))
                elif slot not in bound and slot in _without_fallback(pool):
                    needed[slot] = None
    return [slot for slot in needed if slot.split(":")[0] not in ("images", "image")]


def _slots(pool: str | list[str]) -> list[str]:
    """What stands in the placeholders of texts, without operations."""
    return [_bare(slot) for slot in _written(pool)]


def _without_fallback(pool: str | list[str]) -> list[str]:
    """Those of them that no ``or(TEXT)`` stands behind."""
    return [_bare(slot) for slot in _written(pool) if not any(name == "or" for name, _ in parse(slot).edits)]


def _written(pool: str | list[str]) -> list[str]:
    found = [match[1] for text in ([pool] if isinstance(pool, str) else pool) for match in SLOT.finditer(text)]
    return [slot for slot in found if slot]


def _bare(slot: str) -> str:
    return "|".join(call for call in slot.split("|") if call.partition("(")[0] not in EDITS)


def _uneven(kind: Json, values: Values) -> bool:
    """Whether lists that turns are repeated for have another length than one another."""
    for turn in kind["turns"]:
        if "each" in turn and not all(inner.get("missing") for inner in turn.get("turns", [turn])):
            lists = [values.get(slot) for slot in turn["each"].values()]
            if None not in lists and len({len(one) for one in lists if one is not None}) > 1:
                return True
    return False


def _learned(template: str, kind: Json) -> Iterator[str]:
    """What the pieces of a template are learned as: ``text``, ``action`` or ``none``; nothing of images."""
    if SLOT.sub(lambda found: "" if found[1] else "x", template):
        yield "text"
    for slot in _written(template):
        name = re.split("[|:]", slot)[0]
        part = _part(kind, name)
        if name not in ("images", "image"):
            yield part.get("loss", "text") if part else "action" if acts(name) else "text"


def _lengths(sample: Json, known: Mapping[str, str | None]) -> dict[str, int]:
    """How many words what is known only of this step has at any other; not of schemes of varying length."""
    words = {name: len(text.split()) for name in AWAY if (text := known.get(name))}
    return {name: size for name, size in words.items() if name != "action" or size == len(sample["bins"])}
