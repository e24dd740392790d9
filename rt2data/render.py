"""Rendering: the rows of one source in one shard become keys, JSON members and references to images.

The fields of a sample's JSON are the same, in the same order, in every sample of every mixture; `schemas/sample.json`
defines them. JSON is put together from pieces that many samples share, since making an object per sample and encoding
it costs more than copying its image does. Pieces are kept in columns, a row of which is joined at once: loops over rows
and adding up pieces take many times as long.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute

from rt2data import images, index, order, prompts
from rt2data.recipe import Recipe, RecipeSource
from rt2data.tokenizer import ActionTokenizer

FIELDS = (
    "key", "kind", "source", "dataset", "split", "prompt", "target", "images", "language",
    "instruction", "plan", "episode", "step", "steps", "dims", "units", "horizon", "action", "terminate", "bins",
    "proprio", "tokenizer", "action_valid", "image_valid", "example", "turns", "question", "answers", "captions",
)  # fmt: skip


@dataclass(slots=True)
class Refs:
    """The images of a camera, or (`back` > 0) those that it took `back` steps before.

    `suffix` per sample (``jpg``, ``wrist.png``; "" where a sample has none), `files` the distinct file names, and
    arrays (n,) of the file's position (-1: none), offset, length and CRC32C.
    """

    camera: str
    back: int
    suffix: list[str]
    files: list[str]
    file: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    crc: npt.NDArray[np.uint32]


@dataclass(slots=True)
class Rendered:
    """n samples of one source, in the order of their rows."""

    keys: list[str]
    json: list[bytes]
    cameras: list[Refs]


def render(
    table: pa.Table,
    recipe: Recipe,
    source: RecipeSource,
    split: str,
    cameras: tuple[str, ...],
    tokenizer: ActionTokenizer | None,
    proprio: ActionTokenizer | None = None,
) -> Rendered:
    """Render rows of a run.

    Args:
        table: rows of one source, all of one split.
        tokenizer: restricted to this source; None for a web source.
        proprio: that of its proprioception, where the prompt holds it.
    """
    copy, variant, step = (index.numbers(table, name) for name in ("copy", "variant", "step"))
    keys = order.keys(source.id, index.units(table).tobytes(), step, variant, copy)
    backs = range(source.sampling.history)
    refs = [_refs(table, camera, back, i == 0, recipe) for back in backs for i, camera in enumerate(cameras)]
    head = _piece(kind=source.declaration.kind, source=source.id, dataset=source.declaration.name, split=split)
    pictures, valid = _images(table, source, refs)
    language = _each(table, "language", lambda text: _piece(language=text))
    prompt, target, middle, tail = (
        _robot(table, source, tokenizer, proprio) if tokenizer is not None else _web(table, source)
    )
    names = [key.encode() for key in keys]
    columns = [
        repeat(b'{"key":"'),
        names,
        repeat(b'",' + head),
        prompt,
        target,
        pictures,
        language,
        *middle,
        valid,
        tail,
    ]
    return Rendered(keys, list(map(b"".join, zip(*columns, strict=False))), refs)  # a column may be endless


def _images(table: pa.Table, source: RecipeSource, refs: list[Refs]) -> tuple[list[bytes], list[bytes]]:
    """The fields `images` and `image_valid` of each row, made once for each combination that occurs."""
    robot = source.declaration.robot
    padding = {camera.name for camera in robot.cameras if camera.padding} if robot else set()
    every: list[list[Any]] = []
    for one in refs:
        there = (
            index.numbers(table, f"{one.camera}.h{one.back}.there").tolist() if one.back else [True] * len(one.suffix)
        )
        every += [one.suffix, [ok and one.camera not in padding for ok in there]]
    rows = list(zip(*every, strict=True))
    named, valued = {}, {}
    for row in set(rows):
        names, valid = row[::2], row[1::2]
        found = [(name, ok) for name, ok in zip(names, valid, strict=True) if name]
        named[row], valued[row] = (
            _piece(images=[name for name, _ in found]),
            _piece(image_valid=[ok for _, ok in found]),
        )
    return [named[row] for row in rows], [valued[row] for row in rows]


def _piece(**fields: Any) -> bytes:
    """The fields as JSON without the braces, with a comma at the end."""
    return orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] + b","


def _each(table: pa.Table, column: str, make: Any) -> list[Any]:
    """``make(value)`` for each row, called once per distinct value."""
    encoded = table.column(column).combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    made = [make(value) for value in encoded.dictionary.to_pylist()]
    null = make(None) if encoded.null_count else None
    return [null if code is None else made[code] for code in encoded.indices.to_pylist()]


_NO_ROBOT = _piece(
    instruction=None, plan=None, episode=None, step=None, steps=None, dims=None, units=None, horizon=None, action=None,
    terminate=None, bins=None, proprio=None, tokenizer=None, action_valid=None,
)  # fmt: skip
_WEB_COLUMNS = ("episode", "target")
_NO_WEB = _piece(example=None, turns=None, question=None, answers=None, captions=None)[:-1] + b"}"


# Of each row the fields prompt and target, what stands between `language` and `image_valid` in pieces, and the rest.
Column = Iterable[bytes]
Body = tuple[Column, Column, list[Column], Column]


def _robot(table: pa.Table, source: RecipeSource, tokenizer: ActionTokenizer, proprio: ActionTokenizer | None) -> Body:
    robot, horizon = source.declaration.robot, tokenizer.horizon
    action, ends, valid = index.matrix(table.column("action")), _flags(table, "terminate"), _flags(table, "valid")
    chunk = action.reshape(-1, horizon, len(tokenizer.dims)) if horizon > 1 else action
    bins = np.asarray(tokenizer.encode(chunk, (ends if horizon > 1 else ends[:, 0]) if tokenizer.terminate else None))
    targets = tokenizer.format(bins)
    instruction = _each(table, "instruction", lambda t: _piece(instruction=t))
    plan = _plans(table, source)
    episode = _each(table, "episode", lambda t: _piece(episode=t))
    steps = zip(index.numbers(table, "step").tolist(), index.numbers(table, "steps").tolist(), strict=True)
    shape = _piece(dims=robot.dims if robot else (), units=robot.units if robot else (), horizon=horizon)
    state = [b"null"] * len(targets)
    if "proprio" in table.column_names:
        held = index.matrix(table.column("proprio"))
        known = np.isfinite(held).all(axis=1).tolist()
        state = [row if ok else b"null" for row, ok in zip(_rows(held), known, strict=True)]
    fingerprint = _piece(tokenizer=tokenizer.fingerprint)
    asked = _prompts(table, source, proprio, [before is not None for _, before in plan])
    answers = [
        b'"target":"%b",' % target.encode() if before is None else _piece(target=prompts.with_plan(before, target))
        for target, (_, before) in zip(targets, plan, strict=True)
    ]
    middle = [
        instruction, [said for said, _ in plan], episode, [b'"step":%d,"steps":%d,' % pair for pair in steps],
        repeat(shape + b'"action":'), _rows(action), repeat(b',"terminate":'), _rows(ends), repeat(b',"bins":'),
        _rows(bins), repeat(b',"proprio":'), state, repeat(b"," + fingerprint + b'"action_valid":'), _rows(valid),
        repeat(b","),
    ]  # fmt: skip
    return asked, answers, middle, repeat(_NO_WEB)


def _flags(table: pa.Table, name: str) -> npt.NDArray[np.bool_]:
    """A column with a flag, or a list of them, per row: (n, 1) or (n, horizon)."""
    several = pa.types.is_fixed_size_list(table.schema.field(name).type)
    return np.asarray(index.matrix(table.column(name)) if several else index.numbers(table, name)[:, None])


def _plans(table: pa.Table, source: RecipeSource) -> list[tuple[bytes, str | None]]:
    """Per row the field `plan`, and what stands before the action in the target; None where there is no plan."""
    none = (_piece(plan=None), None)
    if "plan" not in table.column_names:
        return [none] * table.num_rows
    return _each(table, "plan", lambda t: none if t is None else (_piece(plan=t), prompts.planned(source.prompts, t)))


def _prompts(
    table: pa.Table, source: RecipeSource, proprio: ActionTokenizer | None, planned: list[bool]
) -> list[bytes]:
    """The field `prompt` of each row, `planned` where its target has a plan.

    What stands around the state is made once per instruction.
    """

    def pieces(instruction: str, kind: str) -> list[bytes]:
        return [orjson.dumps(text)[1:-1] for text in prompts.around_state(source.prompts, instruction, kind)]

    kinds = ("robot", "plan") if any(planned) else ("robot",)
    every = _each(table, "instruction", lambda text: [pieces(text, kind) for kind in kinds])
    chosen = [both[plan] for both, plan in zip(every, planned, strict=True)]
    if proprio is None:
        return [b'"prompt":"%b",' % piece for (piece,) in chosen]
    states = proprio.format(proprio.encode(index.matrix(table.column("proprio"))))
    return [b'"prompt":"%b",' % state.encode().join(own) for own, state in zip(chosen, states, strict=True)]


def _rows(values: npt.NDArray[Any]) -> list[bytes]:
    """Each row of an (n, D) array as a JSON list. Floats of 32 bits get the shortest decimal that gives them back."""
    if not len(values):
        return []
    text = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
    return [b"[" + row + b"]" for row in text[2:-2].split(b"],[")]


def _web(table: pa.Table, source: RecipeSource) -> Body:
    vqa = source.declaration.kind == "vqa"
    caption = _piece(prompt=source.prompts["caption"])
    asked, answers, tails = [], [], []
    for row in table.select([*_WEB_COLUMNS, *(("turns", "question", "answers") if vqa else ("captions",))]).to_pylist():
        prompt = _piece(prompt=prompts.vqa(source.prompts, row["question"], row["turns"] or ())) if vqa else caption
        own = {"example": row["episode"], "turns": None, "question": None, "answers": None, "captions": None} | row
        tail = _piece(**{name: own[name] for name in ("example", "turns", "question", "answers", "captions")})
        asked.append(prompt)
        answers.append(_piece(target=row["target"]))
        tails.append(tail[:-1] + b"}")
    return asked, answers, [repeat(_NO_ROBOT)], tails


def _refs(table: pa.Table, camera: str, back: int, first: bool, recipe: Recipe) -> Refs:
    name = f"{camera}.h{back}" if back else camera
    column = table.column(f"{name}.file").combine_chunks().dictionary_encode()
    encoded = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    before = "" if first and not back else f"{name}."
    suffixes = [before + (recipe.image["format"] if recipe.image else kind) for kind in images.FORMATS]
    file = np.asarray(encoded.indices.fill_null(-1) if encoded.null_count else encoded.indices)
    suffix = [suffixes[code] for code in index.numbers(table, f"{name}.format").tolist()]
    if encoded.null_count:  # a web example with fewer pictures than others
        suffix = [text if code >= 0 else "" for text, code in zip(suffix, file.tolist(), strict=True)]
    return Refs(
        camera,
        back,
        suffix,
        encoded.dictionary.to_pylist(),
        file,
        index.numbers(table, f"{name}.offset"),
        index.numbers(table, f"{name}.length").astype(np.int64),
        index.numbers(table, f"{name}.crc"),
    )
