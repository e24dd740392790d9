"""Parse what a recipe holds out of train: instructions, objects, episodes, images.

An episode with a held-out instruction is held out as a whole. All of it makes a split of its own, whatever split the
recipe would have given it. `rt2data.samples.holdout` finds the rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rt2data.declarations.declaration import Declaration
from rt2data.errors import Rt2dataError, near

# Scripts without spaces: each character counts as a word.
_SIGNS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_SIGNS}]|[^\\W_{_SIGNS}]+")


@dataclass(frozen=True, slots=True)
class Holdout:
    """What is held out, and the name of its split.

    Attributes:
        split: the split's name.
        instructions: compared by their words (`normalise_words`): case, punctuation and spaces do not matter.
        objects: words, or sequences of words, that an instruction contains.
        episodes: (dataset, id) each.
        pictures: (namespace, id) each; the namespace is "" for a digest of the image's bytes.
    """

    split: str
    instructions: tuple[str, ...]
    objects: tuple[str, ...]
    episodes: tuple[tuple[str, str], ...]
    pictures: tuple[tuple[str, str], ...]

    def entries(self) -> list[str]:
        """List everything that is held out, as a recipe names it."""
        pictures = [f"{namespace}:{name}" if namespace else name for namespace, name in self.pictures]
        return [*self.instructions, *self.objects, *(f"{dataset} {name}" for dataset, name in self.episodes), *pictures]


def parse_holdout(raw: Mapping[str, Any], declarations: Sequence[Declaration], where: Callable[[str], str]) -> Holdout:
    """Parse the ``holdout`` of a recipe with these sources. `where` gives the line of a field."""
    robots = [declaration.name for declaration in declarations if declaration.robot]
    known = _public_names(declarations)
    episodes = []
    for dataset, names in raw.get("episodes", {}).items():
        if dataset not in known:
            expected = f"one of the recipe's robot sources: {', '.join(robots) or 'it has none'}"
            raise Rt2dataError(where("episodes"), f'episodes of "{dataset}"', expected, near(dataset, known))
        episodes += [(known[dataset], str(name)) for name in names]
    spaces = {declaration.web.image_namespace or "" for declaration in declarations if declaration.web}
    pictures = []
    for text in raw.get("pictures", ()):
        namespace, colon, name = text.partition(":")
        valid = (namespace in spaces and colon) or ("" in spaces and re.fullmatch("[0-9a-f]{40}", text))
        if not valid:
            named = ", ".join(f"{space}:ID" for space in sorted(spaces) if space)
            expected = " or ".join([*([named] if named else []), *(["40 digits of a digest"] if "" in spaces else [])])
            raise Rt2dataError(where("pictures"), f'the picture "{text}"', expected or "a recipe with web sources")
        pictures.append((namespace, name) if colon else ("", text))
    for key in ("instructions", "objects"):
        empty = next((text for text in raw.get(key, ()) if not normalise_words(text)), None)
        if empty is not None:
            raise Rt2dataError(where(key), f'"{empty}" among the {key}', "texts with a letter or digit in them")
        if key in raw and not robots:
            raise Rt2dataError(where(key), f"{key} in a recipe without a robot source", "pictures")
    return Holdout(
        raw.get("split", "holdout"), tuple(raw.get("instructions", ())), tuple(raw.get("objects", ())),
        tuple(dict.fromkeys(episodes)), tuple(pictures),
    )  # fmt: skip


def by_public_name(raw: Mapping[str, Any], declarations: Sequence[Declaration]) -> dict[str, Any]:
    """Return the ``holdout`` of a recipe with these sources, its episodes under the public names of the sources."""
    if "episodes" not in raw:
        return dict(raw)
    known, episodes = _public_names(declarations), dict[str, list[Any]]()
    for dataset, names in raw["episodes"].items():
        own = episodes.setdefault(known[dataset], [])
        own += [name for name in names if name not in own]
    return dict(raw) | {"episodes": episodes}


def _public_names(declarations: Sequence[Declaration]) -> dict[str, str]:
    """Return the public name of each robot source, by each of its names, aliases and ids."""
    return {name: declaration.name for declaration in declarations if declaration.robot for name in declaration.names}


def normalise_words(text: str) -> str:
    """Return the words of a text in lower case, with a space between them."""
    return " ".join(_WORD.findall(text.casefold()))
