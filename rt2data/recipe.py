"""Recipes: one YAML file in ``mixtures/`` that says what a mixture is made of."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rt2data import config, declaration, resources
from rt2data.declaration import Declaration
from rt2data.errors import Rt2dataError, near

# RT-2 prints the robot and the VQA prompt (arXiv 2307.15818, section 3.2); its captioning prompt was never published.
PROMPTS: dict[str, Any] = {
    "robot": "Q: what action should the robot take to {instruction}? A:",
    "vqa": "Q: {question} A:",
    "caption": "Q: What does the image show? A:",
    "instruction": ["strip", "lower_first", "no_final_stop"],
}
_PLACEHOLDERS = {"robot": {"instruction"}, "vqa": {"question"}, "caption": set[str]()}


@dataclass(frozen=True, slots=True)
class RecipeSource:
    """One source of a recipe. Exactly one of `weight`, `repeat`, `samples` is not None.

    `hashed` gives each split's share of the split units (episodes, pictures) in order; `taken` gives the dataset's own
    splits per split. One of the two is None.
    """

    declaration: Declaration
    path: str | None
    weight: float | None
    repeat: float | None
    samples: int | None
    hashed: tuple[tuple[str, float], ...] | None
    taken: tuple[tuple[str, tuple[str, ...]], ...] | None
    answers: str
    captions: str
    where: str

    @property
    def id(self) -> str:
        return self.declaration.id

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.hashed or self.taken or ())


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe with every default filled in. `resolved` is its JSON form, which the manifest keeps."""

    name: str
    file: str
    seed: int
    samples_per_shard: int
    train_samples: int | None
    weights: str
    max_repeat: float
    cameras: tuple[str, ...]
    image: dict[str, Any] | None
    image_check: str
    tokenizer: str
    bounds: str
    prompts: dict[str, Any]
    sources: tuple[RecipeSource, ...]
    resolved: dict[str, Any]

    @property
    def splits(self) -> tuple[str, ...]:
        """Every split of the mixture, train first, then in the order of the recipe."""
        names = dict.fromkeys(name for source in self.sources for name in source.splits)
        return ("train", *(name for name in names if name != "train"))


def find(name: str) -> Path:
    """The recipe file: a path, or the name of a recipe that comes with rt2data."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    bundled = resources.folder("mixtures") / f"{path.stem if path.suffix in ('.yaml', '.yml') else name}.yaml"
    if (path.parent == Path(".") or path.parent.name == "mixtures") and bundled.is_file():
        return bundled
    known = [p.stem for p in resources.files("mixtures", ".yaml")]
    raise Rt2dataError(
        str(name), "no such recipe", f"a YAML file, or one of {', '.join(known)}", near(path.stem, known)
    )


def read(path: Path) -> Recipe:
    """Read and check a recipe, and fill in its defaults. Errors name the line."""
    raw, lines = config.read_yaml(path)
    return parse(raw, str(path), lines)


def parse(
    raw: Any, file: str, lines: dict[config.Where, int] | None = None, declarations: Sequence[Declaration] = ()
) -> Recipe:
    """The recipe of data that was read from `file`.

    ``Recipe.resolved`` of a recipe parses to the same recipe, given the `declarations` of its sources that do not
    come with rt2data.
    """
    config.check(raw, "recipe", file, lines)

    def at(*where: str | int) -> str:
        return f"{file}:{config.line_of(lines, where)}"

    prompts = PROMPTS | raw.get("prompts", {})
    for kind, allowed in _PLACEHOLDERS.items():
        _check_prompt(prompts[kind], allowed, at("prompts", kind))
    sources = []
    common = raw.get("splits", {"train": 1.0})
    for index, entry in enumerate(raw["sources"]):
        here = at("sources", index, "source")
        found = _declared(entry["source"], file, here, declarations)
        amounts = [key for key in ("weight", "repeat", "samples") if key in entry] or ["repeat"]
        if len(amounts) > 1:
            raise Rt2dataError(
                at("sources", index, amounts[1]), f"{' and '.join(amounts)} together", "one of weight, repeat, samples"
            )
        splits, where = (
            (entry["splits"], at("sources", index, "splits")) if "splits" in entry else (common, at("splits"))
        )
        hashed, taken = _splits(splits, where)
        if "answers" in entry and found.kind != "vqa":
            raise Rt2dataError(at("sources", index, "answers"), f'"answers" for a {found.kind} source', "a VQA source")
        if "captions" in entry and found.kind != "caption":
            raise Rt2dataError(
                at("sources", index, "captions"), f'"captions" for a {found.kind} source', "a caption source"
            )
        sources.append(
            RecipeSource(
                declaration=found,
                path=entry.get("path"),
                weight=entry.get("weight"),
                repeat=entry.get("repeat", 1 if amounts == ["repeat"] else None),
                samples=entry.get("samples"),
                hashed=hashed,
                taken=taken,
                answers=entry.get("answers", "majority"),
                captions=entry.get("captions", "all"),
                where=here,
            )  # fmt: skip
        )
    _check_together(sources, raw, at)
    image = raw.get("image", "keep")
    tokenizer = raw.get("tokenizer", {})
    recipe = Recipe(
        name=raw["name"], file=file, seed=raw.get("seed", 0), samples_per_shard=raw.get("samples_per_shard", 5000),
        train_samples=raw.get("train_samples"), weights=raw.get("weights", "share"), max_repeat=raw.get("max_repeat", 10),
        cameras=tuple(raw.get("cameras", ["primary"])), image=None if image == "keep" else image,
        image_check=raw.get("image_check", "header"), tokenizer=tokenizer.get("spec", "rt2"),
        bounds=tokenizer.get("bounds", "quantiles"), prompts=prompts, sources=tuple(sources), resolved={},
    )  # fmt: skip
    recipe.resolved.update(_resolve(recipe, raw))
    return recipe


def _declared(name: str, file: str, where: str, given: Sequence[Declaration]) -> Declaration:
    """A source's declaration: one of `given`, one that comes with rt2data, or a file beside the recipe."""
    for one in given:
        if one.name == name:
            return one
    if ".yaml" in name:
        return declaration.load(str(Path(file).parent / name))
    return declaration.find(name, where)


def _check_prompt(text: str, allowed: set[str], where: str) -> None:
    found = set(re.findall(r"\{([^{}]*)\}", text))
    if found - allowed or not allowed <= found:
        expected = f"the placeholder {{{next(iter(allowed))}}} and no other" if allowed else "no placeholder"
        raise Rt2dataError(where, f'prompt "{text}" has {", ".join(sorted(found)) or "no placeholder"}', expected)


def _splits(
    raw: dict[str, Any], where: str
) -> tuple[tuple[tuple[str, float], ...] | None, tuple[tuple[str, tuple[str, ...]], ...] | None]:
    if all(isinstance(value, list) for value in raw.values()):
        taken = [name for names in raw.values() for name in names]
        if len(set(taken)) < len(taken):
            twice = next(name for name in taken if taken.count(name) > 1)
            raise Rt2dataError(where, f'the dataset split "{twice}" is taken twice', "each dataset split in one split")
        return None, tuple((name, tuple(names)) for name, names in raw.items())
    if any(isinstance(value, list) for value in raw.values()):
        raise Rt2dataError(where, "shares and dataset splits mixed", "either a share for each split or a list for each")
    if not math.isclose(sum(raw.values()), 1.0, abs_tol=1e-9):
        raise Rt2dataError(where, f"shares that add up to {sum(raw.values()):g}", "shares that add up to 1")
    return tuple((name, float(share)) for name, share in raw.items()), None


def _check_together(sources: list[RecipeSource], raw: dict[str, Any], at: Any) -> None:
    ids = [source.id for source in sources]
    for index, one in enumerate(ids):
        if one in ids[:index]:
            name = sources[index].declaration.name
            repair = "Take more dataset splits with splits:, or more copies with repeat:"
            raise Rt2dataError(at("sources", index), f'source "{name}" is given twice', "each source once", repair)
    kinds = {kind for s in sources for kind in ("weight", "repeat", "samples") if getattr(s, kind) is not None}
    if len(kinds) > 1:
        found = " and ".join(sorted(kinds, reverse=True))
        repair = "A source that names none of them has repeat: 1"
        raise Rt2dataError(
            at("sources"), f"{found} mixed in one recipe", "one of weight, repeat, samples for all sources", repair
        )
    for option in ("train_samples", "weights"):
        if option in raw and kinds != {"weight"}:
            raise Rt2dataError(at(option), f'"{option}" with {" ".join(kinds)}', "sources with weights")
    for index, source in enumerate(sources):
        robot = source.declaration.robot
        if robot and robot.controller and raw.get("tokenizer", {}).get("bounds") == "fixed":
            found = f"fixed bounds for {source.declaration.name}, whose actions are in units of a controller"
            repair = "Fixed bounds are in metres and radians; nobody documents this controller's scale"
            raise Rt2dataError(at("sources", index), found, "bounds: quantiles", repair)
    # A picture's hash is the same everywhere, but two different cuts of the hashes could put it in two splits.
    cut: dict[str, RecipeSource] = {}
    for index, source in enumerate(sources):
        if source.declaration.web is None:
            continue
        namespace = source.declaration.web.image_namespace
        if namespace is None:  # known by content: no two corpora are meant to share pictures
            continue
        first = cut.setdefault(namespace, source)
        if (first.hashed, first.taken) != (source.hashed, source.taken):
            names = f"{first.declaration.name} and {source.declaration.name}"
            found = f"{names} share the pictures of {namespace} but not the splits"
            repair = "A picture could be in train through one and in val through the other"
            raise Rt2dataError(at("sources", index), found, "the same splits for both", repair)


def _resolve(recipe: Recipe, raw: dict[str, Any]) -> dict[str, Any]:
    sources = []
    for s in recipe.sources:
        entry: dict[str, Any] = {"source": s.declaration.name}
        entry |= {key: getattr(s, key) for key in ("weight", "repeat", "samples") if getattr(s, key) is not None}
        entry["splits"] = {
            name: list(value) if isinstance(value, tuple) else value for name, value in s.hashed or s.taken or ()
        }
        entry |= {"answers": s.answers} if s.declaration.kind == "vqa" else {}
        entry |= {"captions": s.captions} if s.declaration.kind == "caption" else {}
        sources.append(entry)
    resolved: dict[str, Any] = {
        "name": recipe.name, "seed": recipe.seed, "samples_per_shard": recipe.samples_per_shard,
        "max_repeat": recipe.max_repeat, "cameras": list(recipe.cameras), "image": recipe.image or "keep",
        "image_check": recipe.image_check, "tokenizer": {"spec": recipe.tokenizer, "bounds": recipe.bounds},
        "prompts": recipe.prompts, "sources": sources,
    }  # fmt: skip
    if recipe.sources[0].weight is not None:
        resolved["weights"] = recipe.weights
    if recipe.train_samples is not None:
        resolved["train_samples"] = recipe.train_samples
    if "description" in raw:
        resolved["description"] = raw["description"]
    return resolved
