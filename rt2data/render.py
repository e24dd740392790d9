"""Rendering: the rows of one source in one shard become keys, JSON members and references to images.

The fields of a sample's JSON are the same, in the same order, in every sample of every mixture; `schemas/sample.json`
defines them. JSON is put together from pieces that many samples share, since making an object per sample and encoding
it costs more than copying its image does. Each sample's pieces are joined once: adding them up one by one takes four
times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute

from rt2data import images, index, order, prompts
from rt2data.recipe import Recipe, RecipeSource
from rt2data.select import units_of
from rt2data.tokenizer import ActionTokenizer

FIELDS = (
    "key", "kind", "source", "dataset", "split", "prompt", "target", "images", "language",
    "instruction", "plan", "episode", "step", "steps", "dims", "units", "horizon", "action", "terminate", "bins",
    "proprio", "tokenizer", "action_valid", "image_valid", "example", "turns", "question", "answers", "captions",
)  # fmt: skip


@dataclass(slots=True)
class Refs:
    """The images of camera `name`.

    `suffix` per sample (``jpg``, ``wrist.png``; "" where a sample has none), `files` the distinct file names, and
    arrays (n,) of the file's position (-1: none), offset, length and CRC32C.
    """

    name: str
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
) -> Rendered:
    """Render rows of a run.

    Args:
        table: rows of one source, all of one split.
        tokenizer: restricted to this source; None for a web source.
    """
    copy, variant, step = (index.numbers(table, name) for name in ("copy", "variant", "step"))
    keys = order.keys(source.id, units_of(table), step, variant, copy)
    refs = [_refs(table, camera, first=i == 0, recipe=recipe) for i, camera in enumerate(cameras)]
    head = _piece(kind=source.declaration.kind, source=source.id, dataset=source.declaration.name, split=split)
    robot = source.declaration.robot
    padding = {camera.name for camera in robot.cameras if camera.padding} if robot else set()
    pictures = list(zip(*(r.suffix for r in refs), strict=True))
    images_of: dict[tuple[str, ...], tuple[bytes, bytes]] = {}
    for names in set(pictures):
        there = [(name, camera not in padding) for name, camera in zip(names, cameras, strict=True) if name]
        images_of[names] = _piece(images=[name for name, _ in there]), _piece(image_valid=[ok for _, ok in there])
    language = _each(table, "language", lambda text: _piece(language=text))
    body = _robot(table, source, tokenizer) if tokenizer is not None else _web(table, source)
    # fmt: off
    json = [
        b"".join((
            b'{"key":"', key.encode(), b'",', head, prompt, target, images_of[names][0], lang, *middle,
            images_of[names][1], tail,
        ))
        for key, names, lang, (prompt, target, middle, tail) in zip(keys, pictures, language, body, strict=True)
    ]
    # fmt: on
    return Rendered(keys, json, refs)


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


def _robot(table: pa.Table, source: RecipeSource, tokenizer: ActionTokenizer) -> Any:
    robot = source.declaration.robot
    action, ends = index.matrix(table.column("action")), index.numbers(table, "terminate")
    bins = np.asarray(tokenizer.encode(action, ends if tokenizer.terminate else None))
    targets = tokenizer.format(bins)
    instruction = _each(
        table,
        "instruction",
        lambda t: (
            _piece(prompt=prompts.robot(source.prompts, t)),
            _piece(prompt=prompts.robot(source.prompts, t, "plan")),
            _piece(instruction=t),
        ),
    )
    plan = _plans(table, source)
    episode = _each(table, "episode", lambda t: _piece(episode=t))
    steps = zip(index.numbers(table, "step").tolist(), index.numbers(table, "steps").tolist(), strict=True)
    shape = _piece(dims=robot.dims if robot else (), units=robot.units if robot else (), horizon=1)
    proprio = (
        _rows(index.matrix(table.column("proprio"))) if "proprio" in table.column_names else [b"null"] * len(targets)
    )
    fingerprint = _piece(tokenizer=tokenizer.fingerprint)
    words = {True: b"[true]", False: b"[false]"}
    ends, valid = ends.tolist(), index.numbers(table, "valid").tolist()
    for target, (plain, reasoned, text), (said, before), name, (step, length), values, end, codes, state, ok in zip(
        targets, instruction, plan, episode, steps, _rows(action), ends, _rows(bins), proprio, valid, strict=True
    ):
        prompt = plain if before is None else reasoned
        answer = (
            b'"target":"%s",' % target.encode() if before is None else _piece(target=prompts.with_plan(before, target))
        )
        middle = (
            text, said, name, b'"step":%d,"steps":%d,' % (step, length), shape, b'"action":', values,
            b',"terminate":', words[end], b',"bins":', codes, b',"proprio":', state, b",", fingerprint,
            b'"action_valid":', words[ok], b",",
        )  # fmt: skip
        yield prompt, answer, middle, _NO_WEB


def _plans(table: pa.Table, source: RecipeSource) -> list[tuple[bytes, str | None]]:
    """Per row the field `plan`, and what stands before the action in the target; None where there is no plan."""
    none = (_piece(plan=None), None)
    if "plan" not in table.column_names:
        return [none] * table.num_rows
    return _each(table, "plan", lambda t: none if t is None else (_piece(plan=t), prompts.planned(source.prompts, t)))


def _rows(values: npt.NDArray[Any]) -> list[bytes]:
    """Each row of an (n, D) array as a JSON list. Floats of 32 bits get the shortest decimal that gives them back."""
    if not len(values):
        return []
    text = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
    return [b"[" + row + b"]" for row in text[2:-2].split(b"],[")]


def _web(table: pa.Table, source: RecipeSource) -> Any:
    vqa = source.declaration.kind == "vqa"
    caption = _piece(prompt=source.prompts["caption"])
    for row in table.select([*_WEB_COLUMNS, *(("turns", "question", "answers") if vqa else ("captions",))]).to_pylist():
        prompt = _piece(prompt=prompts.vqa(source.prompts, row["question"], row["turns"] or ())) if vqa else caption
        own = {"example": row["episode"], "turns": None, "question": None, "answers": None, "captions": None} | row
        tail = _piece(**{name: own[name] for name in ("example", "turns", "question", "answers", "captions")})
        yield prompt, _piece(target=row["target"]), (_NO_ROBOT,), tail[:-1] + b"}"


def _refs(table: pa.Table, camera: str, *, first: bool, recipe: Recipe) -> Refs:
    column = table.column(f"{camera}.file").combine_chunks().dictionary_encode()
    encoded = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    before = "" if first else f"{camera}."
    names = [before + (recipe.image["format"] if recipe.image else kind) for kind in images.FORMATS]
    file = np.asarray(encoded.indices.fill_null(-1) if encoded.null_count else encoded.indices)
    suffix = [names[code] for code in index.numbers(table, f"{camera}.format").tolist()]
    if encoded.null_count:  # a web example with fewer pictures than others
        suffix = [name if code >= 0 else "" for name, code in zip(suffix, file.tolist(), strict=True)]
    return Refs(
        camera,
        suffix,
        encoded.dictionary.to_pylist(),
        file,
        index.numbers(table, f"{camera}.offset"),
        index.numbers(table, f"{camera}.length").astype(np.int64),
        index.numbers(table, f"{camera}.crc"),
    )
