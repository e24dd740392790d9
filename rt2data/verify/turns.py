"""The conversation of a sample of a kind, rendered a second time from docs/recipes.md, without the writer's code.

What the sample itself says (instruction, state, action, numbers of steps) is filled in; what only a track says may be
any text, the same wherever the sample says it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from rt2data.verify.facts import Facts
from rt2data.verify.reference import keys, texts
from rt2data.verify.reference.keys import Key
from rt2data.verify.report import Report

Json = dict[str, Any]

_SLOT = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # control characters but tab and line feed
_ACTION = re.compile(r"\{action:?([a-z0-9_]*)[|}]")
ROLES = ("system", "user", "assistant")
OPERATIONS = (
    *("strip", "lower", "lower_first", "no_final_stop", "underscores_to_spaces", "newlines_to_spaces"),
    *("no_punctuation", "collapse_whitespace"),
)


class TurnCheck:
    """Checks the conversations of samples, one at a time."""

    def __init__(self, facts: Facts, report: Report) -> None:
        self.facts, self.check = facts, report["turns"]

    def check_sample(
        self, where: str, sample: Json, key: Key, state: Callable[[str, Json], str], action: Callable[[Json, str], str]
    ) -> None:
        """Check a sample of a kind that fits the schema.

        Args:
            where: its place.
            sample: its JSON.
            key: its key.
            state, action: give its state and its action as text.
        """
        kinds = self.facts.rules[sample["source"]].get("kinds") or self.facts.recipe.get("kinds") or {}
        kind = kinds.get(key.kind)
        if not self.check.expect(kind is not None, where, f"the kind {key.kind}", "one of the recipe") or kind is None:
            return
        self._sound(where, sample)
        self._share(where, kind, key)
        known = self._known(where, sample, kind, state, action)
        tried = [kind] + ([kinds[kind["otherwise"]]] if kind.get("otherwise") in kinds else [])
        fits = any(self._fits(sample, key, one, known) for one in tried)
        written = " / ".join(f"{message['role']}: {_text(message)}" for message in sample["messages"])
        self.check.expect(fits, where, f'the conversation "{written[:400]}"', f"the turns of the kind {key.kind}")
        asked = [message["role"] for message in sample["messages"]] == ["user", "assistant"]
        said = [_text(message) for message in sample["messages"]] if asked else [None, None]
        stated = [sample["prompt"], sample["target"]]
        # Turns that may be left out are no prompt and target, even where the others are two.
        agrees = stated in (said, [None, None])
        self.check.expect(agrees, where, "another prompt or target than its turns", "their texts, or null")

    def _sound(self, where: str, sample: Json) -> None:
        """Check that images are those of the sample, and that spans lie in their turn, one behind the other."""
        shown = [part["image"] for message in sample["messages"] for part in message["content"] if "image" in part]
        found = f"turns that show {', '.join(dict.fromkeys(shown)) or 'no image'}"
        expected = f"{', '.join(sample['images']) or 'none'}, its images, in their order"
        self.check.expect(list(dict.fromkeys(shown)) == sample["images"], where, found, expected)
        for message in sample["messages"]:
            text, place = _text(message), 0
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
        kind: Json,
        state: Callable[[str, Json], str],
        action: Callable[[Json, str], str],
    ) -> dict[str, str]:
        """The values that the sample itself says."""
        written = str(kind)
        known = {"instruction": _lines(sample["instruction"]), "robot": sample["source"]}
        known |= {"step": str(sample["step"]), "steps": str(sample["steps"])}
        for name in dict.fromkeys(_ACTION.findall(written)):
            known[f"action:{name}" if name else "action"] = action(sample, name)
        if "{state" in written and sample["proprio"] is not None:
            known["state"] = state(where, sample)
        return known

    def _fits(self, sample: Json, key: Key, kind: Json, known: dict[str, str]) -> bool:
        """Whether the messages of a sample are the turns of a kind, with turns left out that may be."""
        turns = list(self._turns(key, kind, known))
        return _matches(turns, sample["messages"], 0, 0, {})

    def _turns(self, key: Key, kind: Json, known: dict[str, str]) -> Iterator[Json]:
        """Each turn: its role, the pattern of its text, and whether it may be left out or come several times."""
        number = 0
        for turn in kind["turns"]:
            if "each" in turn:
                inner = [self._turn(key, one, kind, known, number + i) for i, one in enumerate(turn["turns"])]
                number += len(inner)
                yield {"each": inner}
                continue
            yield self._turn(key, turn, kind, known, number)
            number += 1

    def _turn(self, key: Key, turn: Json, kind: Json, known: dict[str, str], number: int) -> Json:
        role = next(role for role in ROLES if role in turn)
        pool = turn[role] if isinstance(turn[role], list) else [turn[role]]
        template = pool[self._which(key, kind, number, len(pool))] if len(pool) > 1 else pool[0]
        return {
            "role": role,
            "pattern": self._pattern(key, template, kind, known),
            "optional": turn.get("missing") == "skip",
            "loss": turn.get("loss", "both" if role == "assistant" else "none"),
            "end": turn.get("end"),
        }

    def _which(self, key: Key, kind: Json, number: int, size: int) -> int:
        """Which text of a pool a sample has: one by hash, or where each is a sample the one of its variant."""
        if kind.get("pools") != "all":
            return keys.hash64(f"pool {number}", self.facts.recipe["seed"], key) % size
        left = key.variant  # in the last pool's texts first
        for texts_of_turn in reversed(texts.pool_sizes(kind)[number + 1 :]):
            left //= texts_of_turn
        return left % size

    def _share(self, where: str, kind: Json, key: Key) -> None:
        """Check that a sample is among the share of steps that give one; where that changes, the larger end of it."""
        share = kind.get("share", 1)
        most = max(share) if isinstance(share, list) else share
        step = key._replace(variant=-1, copy=0)
        taken = most >= 1 or keys.hash64("share", self.facts.recipe["seed"], step) < round(most * 2.0**64)
        self.check.expect(taken, where, f"a sample of the kind {key.kind}", f"none: its share of steps is {share}")
        several = math.prod(texts.pool_sizes(kind))
        agrees = 0 <= key.variant < several if kind.get("pools") == "all" else True
        self.check.expect(agrees, where, f"variant {key.variant}", f"one of {several} texts of the kind {key.kind}")

    def _pattern(self, key: Key, template: str, kind: Json, known: dict[str, str]) -> list[tuple[str, str]]:
        """A template as pieces: (text, literal), (track, name), (action:NAME, string); images stand for nothing."""
        pieces: list[tuple[str, str]] = []
        at = 0
        for found in _SLOT.finditer(template):
            pieces.append(("text", template[at : found.start()]))
            at = found.end()
            if found[1] is None:
                pieces.append(("text", found[0][0]))
                continue
            name, *calls = found[1].split("|")
            part = (kind.get("parts") or {}).get(name.removesuffix("_part")) if name.endswith("_part") else None
            if name.split(":")[0] in ("images", "image"):
                pieces.append(("image", name))
            elif part is not None:
                pieces += self._part(key, name.removesuffix("_part"), part, kind, known)
            elif name in known and all(call in OPERATIONS or call.startswith("or") for call in calls):
                value = known[name]
                for call in calls:
                    fallback = call.removeprefix("or").strip("()")
                    value = texts.apply(call, value) if call in OPERATIONS else value or fallback
                pieces.append((name if _acts(name) else "text", value))
            else:
                pieces.append(("track", found[1]))
        pieces.append(("text", template[at:]))
        return [piece for piece in pieces if piece[1]]

    def _part(self, key: Key, name: str, part: Any, kind: Json, known: dict[str, str]) -> list[tuple[str, str]]:
        fields = {"text": part} if isinstance(part, str) else part
        drop = float(fields.get("drop", 0))
        dropped = keys.hash64(f"drop {name}", self.facts.recipe["seed"], key) < round(drop * 2.0**64)
        instead = fields.get("otherwise", "").replace("{{", "{").replace("}}", "}")
        if dropped:
            return [("text", instead)] if instead else []
        inner = self._pattern(key, fields["text"], kind, known)
        unknown = any(what == "track" for what, _ in inner)
        if fields.get("missing") == "skip" and unknown:
            return [("track", f"part {name}")]  # the whole part, or nothing
        return inner


def _matches(turns: list[Json], messages: list[Json], turn: int, message: int, seen: dict[str, str]) -> bool:
    """Whether messages from `message` on are turns from `turn` on."""
    if turn == len(turns):
        return message == len(messages)
    own = turns[turn]
    if "each" in own:
        if _matches(turns, messages, turn + 1, message, seen):
            return True
        size = len(own["each"])
        group = messages[message : message + size]
        if len(group) == size and all(_is_turn(one, said, {}) for one, said in zip(own["each"], group, strict=True)):
            return _matches(turns, messages, turn, message + size, seen)
        return False
    if own["optional"] and _matches(turns, messages, turn + 1, message, seen):
        return True
    if message == len(messages) or not _is_turn(own, messages[message], seen):
        return False
    return _matches(turns, messages, turn + 1, message + 1, seen)


def _is_turn(turn: Json, message: Json, seen: dict[str, str]) -> bool:
    """Whether a message is a turn: its role, its text, what is learned of it."""
    if message["role"] != turn["role"]:
        return False
    names: dict[str, str] = {}
    pattern = ""
    for what, text in turn["pattern"]:
        if what == "image":
            continue
        if what != "track":
            pattern += re.escape(text)
        elif text in names:
            pattern += f"(?P={names[text]})"
        elif text in seen:
            pattern += re.escape(seen[text])
        else:
            names[text] = f"t{len(names)}"
            pattern += f"(?P<{names[text]}>.*?)"
    found = re.fullmatch(pattern, _text(message), re.DOTALL)
    if found is None:
        return False
    whole = [(what, text) for what, text in turn["pattern"] if what != "image"]
    words, acts = any(not _acts(what) for what, _ in whole), any(_acts(what) for what, _ in whole)
    loss = turn["loss"]
    if loss == "both":
        loss = "both" if acts and words else "action" if acts else "text"
    end = turn["end"] if turn["end"] is not None else loss != "none"
    if (message["loss"], message["end"]) != (loss, end):
        return False
    own = [span for span in message["spans"] if span["loss"] == "action"]
    actions = [(span.get("tokenizer", ""), _text(message)[span["start"] : span["end"]]) for span in own]
    strings = [(what.partition(":")[2], text) for what, text in whole if _acts(what)]
    if loss in ("action", "both") and actions != strings:
        return False
    if loss in ("text", "both"):
        covered = sum(s["end"] - s["start"] for s in message["spans"] if s["loss"] == "text")
        return bool(covered == len(_text(message)) - sum(len(text) for _, text in strings))
    return True


def _acts(name: str) -> bool:
    """Whether a placeholder's name, or what a piece is, stands for an action string."""
    return name.partition(":")[0] == "action"


def _text(message: Json) -> str:
    return "".join(part.get("text", "") for part in message["content"])


def _lines(text: str) -> str:
    """A text without control characters but tab and line feed, as docs/recipes.md says of instructions."""
    if text.isprintable():
        return text
    text = text.strip("\0").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r" ?[\x00-\x08\x0b-\x1f\x7f-\x9f]+ ?", " ", text)
