"""The words of the demo world in two languages: names of objects, questions, answers and captions.

The second language is there for what mixtures do with languages. French has genders, elision and letters beyond ASCII.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LANGUAGES = ("en", "fr")

# Noun and gender (m, f) of each shape.
NOUNS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "en": {s: (s, "") for s in ("cube", "cup", "ball", "cylinder", "star", "heart", "moon", "hexagon")},
    "fr": {
        "cube": ("cube", "m"),
        "cup": ("tasse", "f"),
        "ball": ("balle", "f"),
        "cylinder": ("cylindre", "m"),
        "star": ("étoile", "f"),
        "heart": ("cœur", "m"),
        "moon": ("lune", "f"),
        "hexagon": ("hexagone", "m"),
    },
}
# Forms of each colour: masculine, feminine.
_TONES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "en": {c: (c, c) for c in ("red", "orange", "yellow", "green", "blue", "purple")},
    "fr": {
        "red": ("rouge", "rouge"),
        "orange": ("orange", "orange"),
        "yellow": ("jaune", "jaune"),
        "green": ("vert", "verte"),
        "blue": ("bleu", "bleue"),
        "purple": ("violet", "violette"),
    },
}
YES = {"en": "yes", "fr": "oui"}
NO = {"en": "no", "fr": "non"}
# What people mistake a colour for, and other words that they use for a shape.
MISTAKEN = {
    "red": ("orange", "purple"),
    "orange": ("red", "yellow"),
    "yellow": ("orange", "green"),
    "green": ("blue", "yellow"),
    "blue": ("purple", "green"),
    "purple": ("blue", "red"),
}
SYNONYMS = {
    "cube": ("block", "box"),
    "cup": ("mug", "coffee cup"),
    "ball": ("sphere", "marble"),
    "cylinder": ("can", "tube"),
    "star": ("star shape", "starfish"),
    "heart": ("heart shape", "love heart"),
    "moon": ("crescent", "half moon"),
    "hexagon": ("nut", "hexagonal block"),
}


@dataclass(frozen=True, slots=True)
class Name:
    """The name of an object in one language."""

    language: str
    shape: str
    colour: str

    @property
    def noun(self) -> str:
        return NOUNS[self.language][self.shape][0]

    @property
    def _gender(self) -> str:
        return NOUNS[self.language][self.shape][1]

    @property
    def _elided(self) -> bool:
        return self.noun[0] in "éh"

    @property
    def the_noun(self) -> str:
        """Without the colour: "the star"."""
        if self.language == "en":
            return f"the {self.noun}"
        if self._elided:
            return f"l'{self.noun}"
        return f"{'la' if self._gender == 'f' else 'le'} {self.noun}"

    @property
    def tone(self) -> str:
        """The colour as the answer to a question about this object."""
        return _TONES[self.language][self.colour][self._gender == "f"]

    @property
    def bare(self) -> str:
        """Without an article: "red star"."""
        return f"{self.tone} {self.noun}" if self.language == "en" else f"{self.noun} {self.tone}"

    @property
    def a(self) -> str:
        """With the indefinite article: "a red star"."""
        if self.language == "en":
            return f"{'an' if self.colour == 'orange' else 'a'} {self.bare}"
        return f"{'une' if self._gender == 'f' else 'un'} {self.bare}"

    @property
    def the(self) -> str:
        """With the definite article: "the red star"."""
        return f"the {self.bare}" if self.language == "en" else f"{self.the_noun} {self.tone}"

    @property
    def of_the(self) -> str:
        """After "left" or "right": "de l'étoile rouge"; in English without the "of"."""
        if self.language == "en":
            return self.the
        return f"{'du ' if self._gender == 'm' and not self._elided else 'de '}{self.the.removeprefix('le ')}"


COLOUR_QUESTION = {"en": "What color is {0.the_noun}?", "fr": "De quelle couleur est {0.the_noun} ?"}
COUNT_QUESTION = {"en": "How many toys are on the table?", "fr": "Combien de jouets y a-t-il sur la table ?"}
SIDE_QUESTION = {
    "en": ("Is {0.the} to the left of {1.of_the}?", "Is {0.the} to the right of {1.of_the}?"),
    "fr": ("Est-ce que {0.the} est à gauche {1.of_the} ?", "Est-ce que {0.the} est à droite {1.of_the} ?"),
}
EXISTS_QUESTION = {"en": "Is there {0.a} on the table?", "fr": "Y a-t-il {0.a} sur la table ?"}
# What each kind of question asks, as VQAv2's question types do.
QUESTION_TYPES = {
    "colour": {"en": "what color is the", "fr": "de quelle couleur est"},
    "count": {"en": "how many", "fr": "combien"},
    "side": {"en": "is the", "fr": "est-ce que"},
    "exists": {"en": "is there a", "fr": "y a-t-il"},
}
# Captions: {list} is what is on the table, {n} its count; {left} is left of {right}.
CAPTIONS = {
    "en": (
        "A robot arm above a table with {list}.",
        "There are {n} toys on the table: {list}.",
        "{left} is to the left of {right}.",
    ),
    "fr": (
        "Un bras robotique au-dessus d'une table avec {list}.",
        "Il y a {n} jouets sur la table : {list}.",
        "{left} est à gauche {right}.",
    ),
}
HOLDING = {"en": "The gripper is holding {0.a}.", "fr": "La pince tient {0.a}."}
EMPTY = {"en": "The gripper is empty.", "fr": "La pince est vide."}
OUTERMOST = {
    "en": "On the far left there is {0.a}, on the far right {1.a}.",
    "fr": "Tout à gauche il y a {0.a}, tout à droite {1.a}.",
}
_AND = {"en": " and ", "fr": " et "}


def join_names(language: str, names: Sequence[Name]) -> str:
    """Enumerate names: "a red star, a blue cube and a green cup"."""
    *most, last = [name.a for name in names]
    return ", ".join(most) + _AND[language] + last if most else last
