"""The fields ``kinds`` and ``choose`` of a source: parsed by `rt2data.turns`, checked against its declaration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rt2data.declarations.declaration import Declaration
from rt2data.errors import Rt2dataError, near
from rt2data.recipes.action_schemes import ActionScheme
from rt2data.recipes.include import WrittenRecipe, WrittenSource
from rt2data.recipes.sampling import MAX_IMAGES
from rt2data.tokenizer import ActionError, GroundingTokenizer
from rt2data.turns.drawings import Drawing
from rt2data.turns.kind_parser import parse_kinds
from rt2data.turns.kinds import Kind, Turn
from rt2data.turns.template import CALL_FORM, slots, write_template

CHOICES = ("every_kind", "one_kind_per_step")
MAX_ASKED = 64  # choices among the pools of a kind that are told apart
# Fields that say in another way what a sample holds.
_INSTEAD = ("plans", "prompts")


def parse_source_kinds(
    declaration: Declaration,
    written: WrittenRecipe,
    entry: WrittenSource,
    cameras: Sequence[str],
    schemes: Sequence[ActionScheme],
    drawings: Mapping[str, Drawing],
    *,
    floats: bool,
) -> tuple[tuple[Kind, ...], str]:
    """Parse the kinds of a source: its own, or those of the recipe where it is a robot source.

    Args:
        declaration: of the source.
        written, entry: recipe and source as written.
        cameras: that the recipe uses of it.
        schemes: the recipe's further tokenizers of actions.
        drawings: of the recipe, by name.
        floats: whether the recipe's actions have no bins.

    Returns:
        The kinds, () where the source gives one without a name, and how a step chooses among them, of CHOICES.

    Raises:
        Rt2dataError: kinds of a source that is no robot's, or that name a camera, a state or an action string that it
            has not.
    """
    own = "kinds" in entry.fields
    if declaration.robot is None:
        for key in ("kinds", "choose"):
            if key in entry.fields:
                raise Rt2dataError(entry.at(key), f'"{key}" for a {declaration.kind} source', "a robot source")
        return (), CHOICES[0]
    raw = entry.fields["kinds"] if own else written.fields.get("kinds")
    choose = entry.fields.get("choose", written.fields.get("choose", CHOICES[0]))
    if raw is None:
        return (), CHOICES[0]
    for key in _INSTEAD if own else ("plans",):
        if key in entry.fields:
            repair = "A kind's turns say what its prompts and targets are"
            raise Rt2dataError(entry.at(key), f'"{key}" beside kinds', "one of them", repair)
    where = entry.at("kinds") if own else written.at("kinds")
    at = entry.at if own else written.at
    kinds = parse_kinds(raw, where, lambda name: at("kinds", name), drawings)
    for key in ("weight", "samples") if kinds[0].weight is None else ():
        if key in entry.fields:
            found = f'"{key}" on a source whose kinds say how often or how many'
            raise Rt2dataError(entry.at(key), found, "repeat or nothing", "Or give its kinds weights")
    for kind in kinds:
        place = entry.at("kinds", kind.name) if own else written.at("kinds", kind.name)
        for slot in kind.images():
            if slot.name == "image" and slot.argument not in cameras:
                expected = f"one of {', '.join(cameras)}"
                repair = near(slot.argument, cameras) or "cameras: names those that a recipe uses"
                raise Rt2dataError(place, f"the image of {slot.argument or 'no camera'}", expected, repair)
        for slot in (*kind.values().values(), *(drawing.slot for _, drawing in kind.drawn().values())):
            if slot.form:
                _open_form(slot.form, place)
        if kind.every_text:
            for key, value in (("choose", "one_kind_per_step"), ("instructions", "all")):
                if value == (choose if key == "choose" else entry.fields.get(key)):
                    found = f"pools: all on the kind {kind.name}, and {key}: {value}"
                    raise Rt2dataError(place, found, "one of them: a variant is one text of a step")
        if choose == CHOICES[1] and kind.weight is None:
            raise Rt2dataError(place, "repeat or samples with choose: one_kind_per_step", "weight for each kind")
        if kind.uses("hz") and declaration.robot.control_hz is None:
            found = f"{{hz}} in a kind of {declaration.name}, whose control rate nobody states"
            raise Rt2dataError(place, found, "a declaration with control_hz", "Leave {hz} out of its turns")
        _check_actions(kind, schemes, place, floats=floats)
        if kind.uses("state") and not declaration.robot.proprio:
            found = f"{{state}} in a kind of {declaration.name}, which declares no proprioception"
            raise Rt2dataError(place, found, "a declaration with proprio:", "Leave {state} out of its turns")
    return kinds, choose


def _check_actions(kind: Kind, schemes: Sequence[ActionScheme], where: str, *, floats: bool) -> None:
    """Check that each action that a kind writes is of a tokenizer that there is, and that it is text."""
    known = {scheme.name: scheme.floats for scheme in schemes}
    for slot in kind.values().values():
        if slot.name != "action":
            continue
        if slot.argument not in ("", *known):
            expected = f"one of {', '.join(known)}" if known else "{action}"
            repair = near(slot.argument, known) or "actions: in the recipe names further tokenizers"
            raise Rt2dataError(where, f"{{{slot.key}}}, and no tokenizer of this name", expected, repair)
        if known[slot.argument] if slot.argument else floats:
            found = f"{{{slot.key}}} with a tokenizer of floats, whose action is no text"
            repair = "A turn without {action} and with loss: action stands for the action of a head"
            raise Rt2dataError(where, found, f"turns without {{{slot.key}}}", repair)


def _open_form(name: str, where: str) -> None:
    if name == CALL_FORM:
        return
    try:
        GroundingTokenizer.from_pretrained(name)
    except ActionError as error:
        told = error.found if error.where == name else f"{error.where}: {error.found}"
        raise Rt2dataError(where, f"form({name}): {told}", f"{CALL_FORM} or {error.expected}", error.repair) from None


def other_steps(kinds: Sequence[Kind], cameras: Sequence[str], history: int, where: str) -> tuple[int, ...]:
    """The steps other than a sample's own that some kinds of a source look at, beside its history.

    Raises:
        Rt2dataError: more images than a sample may have.
    """
    for kind in kinds:
        number = len(kind.pictures(cameras, history))
        if number > MAX_IMAGES:
            found = f"{number} images in the kind {kind.name}"
            raise Rt2dataError(where, found, f"at most {MAX_IMAGES} images in a sample")
    return tuple(sorted({step for kind in kinds for step in kind.steps()}))


def asked_before(kind: Kind, is_answer: Callable[[Turn], bool]) -> tuple[list[str], Turn | None]:
    """What a kind asks before its first answer, as written: a text for each choice among its pools.

    Args:
        kind: the kind.
        is_answer: whether a turn is the answer that is meant.

    Returns:
        The texts and the answer; no text where the kind has no such answer. Of more than MAX_ASKED choices one text
        has all.
    """
    asked = [""]
    for turn, _ in kind.flat():
        if is_answer(turn):
            return asked, turn
        texts = [write_template(text) for text in turn.pool]
        if len(asked) * len(texts) > MAX_ASKED:
            texts = [" | ".join(texts)]
        asked = [f"{before}{turn.role}: {text}\n" for before in asked for text in texts]
    return [], None


def has_action(turn: Turn) -> bool:
    """Whether an action string stands in a turn."""
    return any(slot.name == "action" for text in turn.pool for slot in slots(text))
