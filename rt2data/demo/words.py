"""The words of the demo world in five languages: names of objects, questions, answers and captions."""

# ruff: noqa: RUF001 - Japanese has its own question mark and colon

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LANGUAGES = ("en", "fr", "de", "es", "ja")

# Noun and gender (m, f, n) of each shape.
NOUNS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "en": {s: (s, "n") for s in ("cube", "cup", "ball", "cylinder", "star", "heart", "moon", "hexagon")},
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
    "de": {
        "cube": ("Würfel", "m"),
        "cup": ("Tasse", "f"),
        "ball": ("Kugel", "f"),
        "cylinder": ("Zylinder", "m"),
        "star": ("Stern", "m"),
        "heart": ("Herz", "n"),
        "moon": ("Mond", "m"),
        "hexagon": ("Sechseck", "n"),
    },
    "es": {
        "cube": ("cubo", "m"),
        "cup": ("taza", "f"),
        "ball": ("bola", "f"),
        "cylinder": ("cilindro", "m"),
        "star": ("estrella", "f"),
        "heart": ("corazón", "m"),
        "moon": ("luna", "f"),
        "hexagon": ("hexágono", "m"),
    },
    "ja": {
        "cube": ("立方体", ""),
        "cup": ("カップ", ""),
        "ball": ("ボール", ""),
        "cylinder": ("円柱", ""),
        "star": ("星", ""),
        "heart": ("ハート", ""),
        "moon": ("月", ""),
        "hexagon": ("六角形", ""),
    },
}
# Forms of each colour: en and de stem; fr and es masculine, feminine; ja noun, adjective.
_TONES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "en": {c: (c, c) for c in ("red", "orange", "yellow", "green", "blue", "purple")},
    "fr": {
        "red": ("rouge", "rouge"),
        "orange": ("orange", "orange"),
        "yellow": ("jaune", "jaune"),
        "green": ("vert", "verte"),
        "blue": ("bleu", "bleue"),
        "purple": ("violet", "violette"),
    },
    "de": {
        "red": ("rot", "rot"),
        "orange": ("orange", "orangefarben"),
        "yellow": ("gelb", "gelb"),
        "green": ("grün", "grün"),
        "blue": ("blau", "blau"),
        "purple": ("violett", "violett"),
    },
    "es": {
        "red": ("rojo", "roja"),
        "orange": ("naranja", "naranja"),
        "yellow": ("amarillo", "amarilla"),
        "green": ("verde", "verde"),
        "blue": ("azul", "azul"),
        "purple": ("morado", "morada"),
    },
    "ja": {
        "red": ("赤", "赤い"),
        "orange": ("オレンジ", "オレンジ色の"),
        "yellow": ("黄色", "黄色い"),
        "green": ("緑", "緑色の"),
        "blue": ("青", "青い"),
        "purple": ("紫", "紫色の"),
    },
}
YES = {"en": "yes", "fr": "oui", "de": "ja", "es": "sí", "ja": "はい"}
NO = {"en": "no", "fr": "non", "de": "nein", "es": "no", "ja": "いいえ"}
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
        return self.language == "fr" and self.noun[0] in "éh"

    @property
    def the_noun(self) -> str:
        """Without the colour: "the star"."""
        if self.language == "ja":
            return self.noun
        if self._elided:
            return f"l'{self.noun}"
        return f"{_ARTICLES[self.language][self._gender]} {self.noun}"

    @property
    def tone(self) -> str:
        """The colour as the answer to a question about this object."""
        forms = _TONES[self.language][self.colour]
        return forms[1] if self.language in ("fr", "es") and self._gender == "f" else forms[0]

    @property
    def bare(self) -> str:
        """Without an article: "red star"."""
        if self.language == "ja":
            return _TONES["ja"][self.colour][1] + self.noun
        if self.language == "de":
            return f"{_TONES['de'][self.colour][1]}{_STRONG[self._gender]} {self.noun}"
        if self.language == "en":
            return f"{self.colour} {self.noun}"
        return f"{self.noun} {self.tone}"

    @property
    def a(self) -> str:
        """As an object (German: in the accusative): "a red star"."""
        if self.language == "ja":
            return self.bare
        if self.language == "de":
            article, ending = _ACCUSATIVE[self._gender]
            return f"{article} {_TONES['de'][self.colour][1]}{ending} {self.noun}"
        if self.language == "en":
            return f"{'an' if self.colour == 'orange' else 'a'} {self.bare}"
        return f"{_A[self.language][self._gender]} {self.bare}"

    @property
    def the(self) -> str:
        """As a subject: "the red star"."""
        if self.language == "ja":
            return self.bare
        if self.language == "de":
            return f"{_ARTICLES['de'][self._gender]} {_TONES['de'][self.colour][1]}e {self.noun}"
        if self.language == "en":
            return f"the {self.bare}"
        return f"{self.the_noun} {self.tone}"

    @property
    def of_the(self) -> str:
        """After "left" or "right": "of the red star"; in English and German without the "of"."""
        if self.language == "de":
            article = "der" if self._gender == "f" else "dem"
            return f"{article} {_TONES['de'][self.colour][1]}en {self.noun}"
        if self.language == "fr":
            return f"{'du ' if self._gender == 'm' and not self._elided else 'de '}{self.the.removeprefix('le ')}"
        if self.language == "es":
            return f"{'del' if self._gender == 'm' else 'de la'} {self.bare}"
        return self.the


_ARTICLES = {
    "en": {"n": "the"},
    "fr": {"m": "le", "f": "la"},
    "de": {"m": "der", "f": "die", "n": "das"},
    "es": {"m": "el", "f": "la"},
}
_A = {"fr": {"m": "un", "f": "une"}, "es": {"m": "un", "f": "una"}}
_STRONG = {"m": "er", "f": "e", "n": "es"}
_ACCUSATIVE = {"m": ("einen", "en"), "f": ("eine", "e"), "n": ("ein", "es")}

COLOUR_QUESTION = {
    "en": "What color is {0.the_noun}?",
    "fr": "De quelle couleur est {0.the_noun} ?",
    "de": "Welche Farbe hat {0.the_noun}?",
    "es": "¿De qué color es {0.the_noun}?",
    "ja": "{0.the_noun}は何色ですか？",
}
COUNT_QUESTION = {
    "en": "How many toys are on the table?",
    "fr": "Combien de jouets y a-t-il sur la table ?",
    "de": "Wie viele Spielsachen liegen auf dem Tisch?",
    "es": "¿Cuántos juguetes hay en la mesa?",
    "ja": "テーブルの上におもちゃはいくつありますか？",
}
SIDE_QUESTION = {
    "en": ("Is {0.the} to the left of {1.of_the}?", "Is {0.the} to the right of {1.of_the}?"),
    "fr": ("Est-ce que {0.the} est à gauche {1.of_the} ?", "Est-ce que {0.the} est à droite {1.of_the} ?"),
    "de": ("Ist {0.the} links von {1.of_the}?", "Ist {0.the} rechts von {1.of_the}?"),
    "es": ("¿Está {0.the} a la izquierda {1.of_the}?", "¿Está {0.the} a la derecha {1.of_the}?"),
    "ja": ("{0.the}は{1.the}の左にありますか？", "{0.the}は{1.the}の右にありますか？"),
}
EXISTS_QUESTION = {
    "en": "Is there {0.a} on the table?",
    "fr": "Y a-t-il {0.a} sur la table ?",
    "de": "Gibt es {0.a} auf dem Tisch?",
    "es": "¿Hay {0.a} en la mesa?",
    "ja": "テーブルの上に{0.a}はありますか？",
}
# What each kind of question asks, as VQAv2's question types do; by language.
QUESTION_TYPES = {
    "colour": ("what color is the", "de quelle couleur est", "welche farbe hat", "de qué color es", "何色"),
    "count": ("how many", "combien", "wie viele", "cuántos", "いくつ"),
    "side": ("is the", "est-ce que", "ist", "está", "ありますか"),
    "exists": ("is there a", "y a-t-il", "gibt es", "hay", "ありますか"),
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
    "de": (
        "Ein Roboterarm über einem Tisch; darauf sieht man {list}.",
        "Auf dem Tisch sieht man {n} Spielsachen: {list}.",
        "{left} liegt links von {right}.",
    ),
    "es": (
        "Un brazo robótico sobre una mesa con {list}.",
        "Hay {n} juguetes en la mesa: {list}.",
        "{left} está a la izquierda {right}.",
    ),
    "ja": (
        "テーブルの上に{list}があり、その上にロボットアームがあります。",
        "テーブルの上におもちゃが{n}個あります：{list}。",
        "{right}の左に{left}があります。",
    ),
}
HOLDING = {
    "en": "The gripper is holding {0.a}.",
    "fr": "La pince tient {0.a}.",
    "de": "Der Greifer hält {0.a}.",
    "es": "La pinza sostiene {0.a}.",
    "ja": "グリッパーは{0.a}を持っています。",
}
EMPTY = {
    "en": "The gripper is empty.",
    "fr": "La pince est vide.",
    "de": "Der Greifer ist leer.",
    "es": "La pinza está vacía.",
    "ja": "グリッパーは何も持っていません。",
}
OUTERMOST = {
    "en": "On the far left there is {0.a}, on the far right {1.a}.",
    "fr": "Tout à gauche il y a {0.a}, tout à droite {1.a}.",
    "de": "Ganz links sieht man {0.a}, ganz rechts {1.a}.",
    "es": "A la izquierda del todo hay {0.a} y a la derecha del todo {1.a}.",
    "ja": "一番左に{0.a}、一番右に{1.a}があります。",
}
_AND = {"en": " and ", "fr": " et ", "de": " und ", "es": " y ", "ja": "と"}


def join_names(language: str, names: Sequence[Name]) -> str:
    """Enumerate names: "a red star, a blue cube and a green cup"."""
    *most, last = [name.a for name in names]
    comma = "、" if language == "ja" else ", "
    return comma.join(most) + _AND[language] + last if most else last
