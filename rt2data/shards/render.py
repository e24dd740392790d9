"""Rendering: the rows of one source in one shard become keys, JSON members and references to images.

The fields of a sample's JSON are the same, in the same order, in every sample of a mixture; `schemas/sample.json`
defines them. JSON is put together from pieces that many samples share, since making an object per sample and encoding
it costs more than copying its image does. Pieces are columns, which Arrow joins (`rt2data.index.text_columns`): loops
over rows take many times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute
import pyarrow.ipc

from rt2data import index, prompts
from rt2data.images import codec
from rt2data.index import keys as order
from rt2data.index import text_columns
from rt2data.index.text_columns import Texts
from rt2data.recipes.recipe import Recipe, RecipeSource
from rt2data.samples import windows
from rt2data.samples.kinds import VALUE
from rt2data.shards import messages
from rt2data.shards.columns import (
    Column,
    Refs,
    chunk_bins,
    coded,
    each,
    first_steps,
    flags,
    json_fragment,
    rows_as_lists,
)
from rt2data.shards.row_texts import KindOfRows, empty
from rt2data.tokenizer import ActionTokenizer
from rt2data.tokenizer.floats import float_normaliser
from rt2data.turns.template import Picture

FIELDS = (
    "key", "kind", "source", "dataset", "split", "prompt", "target", "images", "cameras", "language",
    "instruction", "plan", "episode", "step", "steps", "dims", "units", "horizon", "action", "terminate", "bins",
    "proprio", "tokenizer", "action_valid", "image_valid", "example", "turns", "question", "answers", "captions",
)  # fmt: skip
RELATIVE = ("relative", "origin")  # in mixtures where a source has relative chunks, after `action_valid`
NORMALISED = "action_normalised"  # in mixtures whose actions have no bins, after `image_valid`
FURTHER = "actions_normalised"  # in mixtures with further tokenizers of floats, after those
CONVERSATION = ("recipe_kind", "messages")  # in mixtures with kinds of sample, at the end
DRAWN = "drawn"  # in mixtures whose kinds draw into images, behind them


@dataclass(slots=True)
class Rendered:
    """n samples of one source, in the order of their rows."""

    keys: Texts
    json: Texts
    cameras: list[Refs]


Part = tuple[int, Rendered, npt.NDArray[np.uint64]]  # source (its position in the recipe), samples, orders


def render(
    table: pa.Table,
    recipe: Recipe,
    source: RecipeSource,
    split: str,
    tokenizer: ActionTokenizer | None,
    proprio: ActionTokenizer | None = None,
    kind: KindOfRows | None = None,
    further: Mapping[str, ActionTokenizer] = MappingProxyType({}),
) -> Rendered:
    """Render rows of a run.

    Args:
        table: rows of one source, all of one split.
        tokenizer: restricted to this source; None for a web source.
        proprio: that of its proprioception, where the prompt holds it.
        kind: of the rows, where the source has kinds.
        further: the recipe's further tokenizers of actions by name, restricted to this source; {} for a web source.
    """
    copy, variant, step = (index.numbers(table, name) for name in ("copy", "variant", "step"))
    keys = order.keys(source.id, index.units(table).tobytes(), step, variant, copy, kind.name if kind else "")
    pictures = windows.pictures(source, kind.turns if kind else None)
    first = next((one for one in pictures if not (one.step or one.drawing)), None)
    refs = [_refs(table, one, recipe, first=one is first) for one in pictures]
    head = json_fragment(kind=source.declaration.kind, source=source.name, dataset=source.name, split=split)
    language = each(table, "language", lambda text: json_fragment(language=text))
    prompt, target, middle, tail = (
        _robot(table, source, tokenizer, proprio) if tokenizer is not None else _web(table, source)
    )
    if recipe.is_relative:
        middle += _relative(table, source)
    own = _normalised(table, tokenizer) if recipe.floats else []
    own += _further(table, recipe, further)
    more: list[Column] = [*own, tail, b"}"]
    if recipe.has_kinds:
        if kind is not None and not isinstance(target, bytes):
            spoken = messages.kind_messages(
                table, recipe, source, kind, refs, target, {"": tokenizer, **further} if tokenizer else {}, proprio
            )
            refs = [replace(one, file=np.where(ok, one.file, -1)) for one, ok in zip(refs, spoken.shown, strict=True)]
        else:
            spoken = messages.plain_messages(source.declaration.kind, prompt, target, refs, table.num_rows)
        prompt, target = spoken.prompt, spoken.target
        named = json_fragment(recipe_kind=kind.name if kind else None)
        drawn = [b',"drawn":[', _drawn(refs, table.num_rows), b"]"] if recipe.draws else []
        more = [*own, tail, b"," + named + b'"messages":[', spoken.messages, b"]", *drawn, b"}"]
    images, valid = _images(table, source, refs)
    json = text_columns.join(b'{"key":"', keys, b'",' + head, prompt, target, images, language, *middle, valid, *more)
    return Rendered(keys, json, refs)


def _images(table: pa.Table, source: RecipeSource, refs: list[Refs]) -> tuple[Texts, Texts]:
    """The fields `images` and `cameras`, and `image_valid`, of each row, made once for each combination that occurs."""
    robot = source.declaration.robot
    padding = {camera.name for camera in robot.cameras if camera.padding} if robot else set()
    fields = {camera.name: camera.field for camera in robot.cameras} if robot else {}
    names, valid, columns = [], [], []
    for one in refs:
        names.append(np.where(one.file >= 0, one.suffix.astype(np.int64), -1))
        valid.append(one.exists & (one.camera not in padding))
        columns += [names[-1] + 1, valid[-1]]
    combined = np.zeros(table.num_rows, np.int64)
    for column in columns:  # both factors stay small: a combination is numbered by its place among those that occur
        combined = np.unique(combined * (len(codec.READ_FORMATS) + 1) + column, return_inverse=True)[1]
    _, rows = np.unique(combined, return_index=True)
    named, valued = [], []
    for row in rows.tolist():
        shown = [
            (one.suffixes[code[row]], one.camera, bool(ok[row]))
            for one, code, ok in zip(refs, names, valid, strict=True)
            if code[row] >= 0
        ]
        took = (
            [{"member": name, "role": camera, "field": fields[camera]} for name, camera, _ in shown] if robot else None
        )
        named.append(json_fragment(images=[name for name, *_ in shown], cameras=took))
        valued.append(json_fragment(image_valid=[ok for *_, ok in shown]))
    return text_columns.take(named, combined), text_columns.take(valued, combined)


def _drawn(refs: list[Refs], n: int) -> Texts:
    """The elements of the field `drawn` of each row: of each image with a drawing its member and lines."""
    elements: list[tuple[Texts, npt.NDArray[np.bool_]]] = []
    for one in refs:
        if one.drawing is None or one.lines is None:
            continue
        heads = [b"{" + json_fragment(member=suffix, drawing=one.drawing.name) + b'"lines":' for suffix in one.suffixes]
        there = one.file >= 0
        begin = text_columns.take(heads, np.where(there, one.suffix, 0))
        lines = one.lines.fill_null("[]").cast(pa.large_string()).cast(text_columns.TYPE)
        elements.append((text_columns.join(begin, lines, b"}"), there))
    return messages.join_list(elements) if elements else empty(n)


_NO_ROBOT = json_fragment(
    instruction=None, plan=None, episode=None, step=None, steps=None, dims=None, units=None, horizon=None, action=None,
    terminate=None, bins=None, proprio=None, tokenizer=None, action_valid=None,
)  # fmt: skip
_WEB_COLUMNS = ("episode", "target")
_NO_WEB = json_fragment(example=None, turns=None, question=None, answers=None, captions=None)[:-1]

# Of each row the fields prompt and target, what stands between `language` and `image_valid` in pieces, and the rest up
# to the last field.
Body: TypeAlias = tuple[Column, Column, list[Column], Column]


def _robot(table: pa.Table, source: RecipeSource, tokenizer: ActionTokenizer, proprio: ActionTokenizer | None) -> Body:
    robot, horizon = source.declaration.robot, tokenizer.horizon
    action, ends, valid = index.matrix(table.column("action")), flags(table, "terminate"), flags(table, "valid")
    bins = chunk_bins(action, ends, tokenizer)
    targets = tokenizer.format(bins)
    instruction = each(table, "instruction", lambda t: json_fragment(instruction=t))
    episode = each(table, "episode", lambda t: json_fragment(episode=t))
    steps = [text_columns.digits(index.numbers(table, name)) for name in ("step", "steps")]
    shape = json_fragment(dims=robot.dims if robot else (), units=robot.units if robot else (), horizon=horizon)
    state: Column = b"null,"
    if "proprio" in table.column_names:
        held = index.matrix(table.column("proprio"))
        known = np.isfinite(held).all(axis=1)
        state = pa.compute.if_else(known, rows_as_lists(held), pa.scalar(b"null,", text_columns.TYPE))
    fingerprint = json_fragment(tokenizer=tokenizer.fingerprint)
    codes, plans = coded(table, "plan") if "plan" in table.column_names else (np.zeros(len(bins), np.int8), [None])
    plan = text_columns.take([json_fragment(plan=one) for one in plans], codes)
    asked: Column
    if source.kinds:  # their turns say what the prompt is, and where the action stands
        asked, answers = b"", text_columns.of(targets)
    else:
        before = [b"" if one is None else _before(source, one, targets[0]) for one in plans]
        answers = text_columns.join(b'"target":"', text_columns.take(before, codes), text_columns.of(targets), b'",')
        asked = _prompts(table, source, proprio, np.array([one is not None for one in plans])[codes])
    middle = [
        instruction, plan, episode, b'"step":', steps[0], b',"steps":', steps[1], b"," + shape + b'"action":',
        rows_as_lists(action), b'"terminate":', rows_as_lists(ends),
        b'"bins":', rows_as_lists(bins) if tokenizer.fields else b"[],",
        b'"proprio":', state, fingerprint + b'"action_valid":', rows_as_lists(valid),
    ]  # fmt: skip
    return asked, answers, middle, _NO_WEB


def fields(recipe: Recipe) -> tuple[str, ...]:
    """The fields of a sample of a recipe's mixture, in their order."""
    at = FIELDS.index("image_valid")
    relative, normalised = RELATIVE if recipe.is_relative else (), (NORMALISED,) if recipe.floats else ()
    conversation = (*CONVERSATION, *((DRAWN,) if recipe.draws else ())) if recipe.has_kinds else ()
    further = (FURTHER,) if any(scheme.floats for scheme in recipe.actions) else ()
    return (*FIELDS[:at], *relative, FIELDS[at], *normalised, *further, *FIELDS[at + 1 :], *conversation)


def _relative(table: pa.Table, source: RecipeSource) -> list[Column]:
    """The fields of RELATIVE: the rule of each dimension, and the state at the chunk's start where it is known."""
    how = source.sampling.relative
    state: Column = b"null,"
    if "origin" in table.column_names:
        state = rows_as_lists(index.matrix(table.column("origin")))
    return [json_fragment(relative=how.rules if how else None) + b'"origin":', state]


def _normalised(table: pa.Table, tokenizer: ActionTokenizer | None) -> list[Column]:
    """The field `action_normalised` of each row."""
    if tokenizer is None:
        return [f'"{NORMALISED}":null,'.encode()]
    return [f'"{NORMALISED}":'.encode(), _normalise(table, tokenizer)]


def _normalise(table: pa.Table, tokenizer: ActionTokenizer) -> Texts:
    """The normalised numbers of each row's first steps, as a list of JSON and a comma."""
    chunk = first_steps(index.matrix(table.column("action")), tokenizer)
    values = float_normaliser(tokenizer).normalise(chunk).astype(np.float32)
    return rows_as_lists(values.reshape(len(values), -1))


def _further(table: pa.Table, recipe: Recipe, further: Mapping[str, ActionTokenizer]) -> list[Column]:
    """The field `actions_normalised` of each row, in mixtures that have it."""
    names = [scheme.name for scheme in recipe.actions if scheme.floats]
    if not names:
        return []
    if not further:
        return [f'"{FURTHER}":null,'.encode()]
    columns: list[Column] = [f'"{FURTHER}":'.encode() + b"{"]
    for name in names:
        columns += [f'"{name}":'.encode(), _normalise(table, further[name])]
    columns[-1] = pyarrow.compute.binary_slice(columns[-1], 0, -1)  # without the comma
    return [*columns, b"},"]


def _before(source: RecipeSource, plan: str, target: str) -> bytes:
    """What stands before the action in a target with a plan; `target` is that of any action, which all begin alike."""
    begin = target[:1]
    return _escaped(prompts.join_target(prompts.format_reasoning(source.prompts, plan), begin).removesuffix(begin))


def _escaped(text: str) -> bytes:
    return orjson.dumps(text)[1:-1]


def _prompts(
    table: pa.Table, source: RecipeSource, proprio: ActionTokenizer | None, planned: npt.NDArray[np.bool_]
) -> Texts:
    """The field `prompt` of each row, `planned` where its target has a plan.

    What stands around the state is made once per instruction.
    """
    codes, instructions = coded(table, "instruction")
    kinds = ("robot", "plan") if planned.any() else ("robot",)
    around = [prompts.split_robot_prompt(source.prompts, text, kind) for kind in kinds for text in instructions]
    codes = codes + planned * len(instructions)
    begin = text_columns.take([b'"prompt":"' + _escaped(pieces[0]) for pieces in around], codes)
    if proprio is None:
        return text_columns.join(begin, b'",')
    states = text_columns.of(proprio.format(proprio.encode(index.matrix(table.column("proprio")))))
    shown = np.array([len(pieces) > 1 for pieces in around])[codes]
    end = text_columns.take([_escaped("".join(pieces[1:])) for pieces in around], codes)
    return text_columns.join(begin, pa.compute.if_else(shown, states, pa.scalar(b"", text_columns.TYPE)), end, b'",')


def _web(table: pa.Table, source: RecipeSource) -> Body:
    vqa = source.declaration.kind == "vqa"
    caption = json_fragment(prompt=source.prompts["caption"])
    asked, answers, tails = [], [], []
    for row in table.select([*_WEB_COLUMNS, *(("turns", "question", "answers") if vqa else ("captions",))]).to_pylist():
        prompt = caption
        if vqa:
            asked_text = prompts.format_vqa_prompt(source.prompts, row["question"], row["turns"] or ())
            prompt = json_fragment(prompt=asked_text)
        own = {"example": row["episode"], "turns": None, "question": None, "answers": None, "captions": None} | row
        tail = json_fragment(**{name: own[name] for name in ("example", "turns", "question", "answers", "captions")})
        asked.append(prompt)
        answers.append(json_fragment(target=row["target"]))
        tails.append(tail[:-1])
    return text_columns.of(asked), text_columns.of(answers), [_NO_ROBOT], text_columns.of(tails)


def _refs(table: pa.Table, picture: Picture, recipe: Recipe, *, first: bool) -> Refs:
    name = picture.taken.name
    column = table.column(f"{name}.file").combine_chunks().dictionary_encode()
    encoded = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    before = "" if first else f"{picture.name}."
    suffixes = [before + (recipe.image["format"] if recipe.image else kind) for kind in codec.READ_FORMATS]
    file = np.asarray(encoded.indices.fill_null(-1) if encoded.null_count else encoded.indices)
    turn = index.numbers(table, f"{name}.turn") if f"{name}.turn" in table.column_names else None
    lines = None
    if picture.drawing:
        lines = table.column(f"{VALUE}image:{picture.camera}|draw({picture.drawing})").combine_chunks()
    there = index.numbers(table, f"{name}.there") if picture.step else np.ones(table.num_rows, np.bool_)
    return Refs(
        picture,
        suffixes,
        encoded.dictionary.to_pylist(),
        index.numbers(table, f"{name}.format"),
        file,
        index.numbers(table, f"{name}.offset"),
        index.numbers(table, f"{name}.length").astype(np.int64),
        index.numbers(table, f"{name}.crc"),
        np.asarray(there, np.bool_),
        turn if turn is not None and turn.any() else None,
        recipe.drawings.get(picture.drawing),
        lines,
    )
